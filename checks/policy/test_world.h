// The world most tests of policies are about, as the upstream suites have it: namespaces x, y and z
// with pods a, b and c in each, which have a label `pod` and, their namespaces, a label `ns`. Pods
// a and c are on node1, b on node2; x/agent has the network of node1. Ports 80 and 81 have names.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "checks/policy/oracle.h"

namespace checks {

inline base::IpAddress address(std::string_view text) { return *base::IpAddress::parse(text); }

inline PolicyWorld test_world() {
  using enum base::kube::Protocol;
  PolicyWorld world;
  for (int i = 1; i <= 2; ++i) {
    world.nodes.push_back({.name = fmt::format("node{}", i),
                           .addresses = {address(fmt::format("172.18.0.{}", i + 1)),
                                         address(fmt::format("fc00:172:18::{}", i + 1))}});
  }
  int number = 0;
  for (const std::string space : {"x", "y", "z"}) {
    world.namespaces[space] = {{"ns", space}, {"kubernetes.io/metadata.name", space}};
    for (const std::string name : {"a", "b", "c"}) {
      const int node = name == "b" ? 2 : 1;
      ++number;
      world.pods.push_back(
          {.name = name,
           .in_namespace = space,
           .labels = {{"pod", name}},
           .addresses = {address(fmt::format("10.244.{}.{}", node, number)),
                         address(fmt::format("fd00:10:244:{}::{}", node, number))},
           .node = fmt::format("node{}", node),
           .named_ports = {{.name = "serve-80-tcp", .protocol = TCP, .port = 80},
                           {.name = "serve-81-tcp", .protocol = TCP, .port = 81},
                           {.name = "serve-80-udp", .protocol = UDP, .port = 80}}});
    }
  }
  world.pods.push_back({.name = "agent",
                        .in_namespace = "x",
                        .labels = {{"pod", "agent"}},
                        .addresses = world.nodes[0].addresses,
                        .node = "node1",
                        .host_network = true});
  return world;
}

// "x/a", "node1" or an address.
inline FlowEnd end_of(const PolicyWorld& world, std::string_view text) {
  if (const auto slash = text.find('/'); slash != std::string_view::npos) {
    return PodEnd{find_pod(world, text.substr(0, slash), text.substr(slash + 1)).value()};
  }
  for (std::size_t i = 0; i < world.nodes.size(); ++i) {
    if (world.nodes[i].name == text) return NodeEnd{.node = i};
  }
  return OutsideEnd{address(text)};
}

// "x/a > y/b TCP 80", with " v6" behind for IPv6.
inline PolicyFlow flow_of(const PolicyWorld& world, std::string_view text) {
  const auto family = text.ends_with(" v6") ? base::AddressFamily::ipv6 : base::AddressFamily::ipv4;
  const auto next = [&text] {
    const auto space = text.find(' ');
    const auto word = text.substr(0, space);
    text.remove_prefix(space == std::string_view::npos ? text.size() : space + 1);
    return word;
  };
  PolicyFlow flow{.family = family};
  flow.source = end_of(world, next());
  next();
  flow.destination = end_of(world, next());
  flow.protocol = base::enum_from_name<base::kube::Protocol>(next()).value();
  flow.port = static_cast<std::uint16_t>(std::stoi(std::string(next())));
  return flow;
}

// A policy by its "namespace/name" and the JSON of its spec, as the API server takes it.
inline base::kube::NetworkPolicy policy_of(std::string_view name, std::string_view spec) {
  const auto slash = name.find('/');
  auto policy =
      base::kube::read_network_policy({{"apiVersion", "networking.k8s.io/v1"},
                                       {"kind", "NetworkPolicy"},
                                       {"metadata",
                                        {{"namespace", std::string(name.substr(0, slash))},
                                         {"name", std::string(name.substr(slash + 1))}}},
                                       {"spec", base::parse_json(spec).value()}});
  if (!policy) ADD_FAILURE() << policy.error().message;
  return policy.value();
}

}  // namespace checks
