#include "cluster/check_plan.h"

#include <algorithm>
#include <set>

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;
using base::kube::is_dns_label;

Result<> check_name(std::string_view what, const std::string& name) {
  if (is_dns_label(name)) return {};
  return base::fail(ErrorKind::input, "{}: expected 1 to 63 of a-z, 0-9 and -, got \"{}\"", what,
                    name);
}

// An environment's name becomes part of file names; it has its own alphabet (cluster/topology.h).
Result<> check_environment_name(const std::string& name) {
  const bool fits =
      !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
               letter == '_';
      });
  if (fits) return {};
  return base::fail(ErrorKind::input, "environment: expected 1 to 63 of a-z, 0-9 and _, got \"{}\"",
                    name);
}

Result<> check_ports(const std::vector<ServicePort>& ports) {
  std::set<std::string> names;
  std::set<std::pair<Protocol, std::uint16_t>> offered;
  for (const auto& port : ports) {
    RETURN_IF_ERROR(check_name("ports", port.name));
    if (port.port == 0 || port.target_port == 0) {
      return base::fail(ErrorKind::input, "ports: {}: expected 1 to 65535, got 0", port.name);
    }
    if (!names.insert(port.name).second || !offered.insert({port.protocol, port.port}).second) {
      return base::fail(ErrorKind::input, "ports: {} {} appears twice", port.name, port.port);
    }
  }
  return {};
}

Result<> check_services(const EnvironmentPlan& plan) {
  for (const auto& [name, service] : plan.topology.services) {
    RETURN_IF_ERROR(check_name("topology.services", name));
    if (!plan.topology.pods.contains(service.target)) {
      return base::fail(ErrorKind::input, "topology.services.{}.target: there are no pods \"{}\"",
                        name, service.target);
    }
  }
  if (!plan.topology.services.empty() && plan.ports.empty()) {
    return base::fail(ErrorKind::input, "topology.services: a Service needs at least one port");
  }
  return {};
}

Result<> check_pods(const TopologySpec& topology) {
  if (topology.pods.empty()) return base::fail(ErrorKind::input, "topology.pods: expected some");
  for (const auto& [group, spec] : topology.pods) {
    RETURN_IF_ERROR(check_name("topology.pods", group));
    if (group == external_client) {
      return base::fail(ErrorKind::input,
                        "topology.pods.{}: this name is kept for the client outside", group);
    }
    if (spec.node < 1 || spec.node > topology.nodes) {
      return base::fail(ErrorKind::input, "topology.pods.{}.node: expected 1 to {}, got {}", group,
                        topology.nodes, spec.node);
    }
    if (spec.in_namespace != default_namespace &&
        !topology.namespaces.contains(spec.in_namespace)) {
      return base::fail(ErrorKind::input,
                        "topology.pods.{}.namespace: there is no namespace \"{}\"", group,
                        spec.in_namespace);
    }
  }
  return {};
}

}  // namespace

Result<> check_plan(const EnvironmentPlan& plan) {
  RETURN_IF_ERROR(check_environment_name(plan.name));
  RETURN_IF_ERROR(check_ports(plan.ports));
  if (plan.topology.nodes < 1 || plan.topology.nodes > most_nodes) {
    return base::fail(ErrorKind::input, "topology.nodes: expected 1 to {}, got {}", most_nodes,
                      plan.topology.nodes);
  }
  for (const auto& [name, spec] : plan.topology.namespaces) {
    RETURN_IF_ERROR(check_name("topology.namespaces", name));
  }
  RETURN_IF_ERROR(check_pods(plan.topology));
  return check_services(plan);
}

std::vector<PodHandle> pods_of(const EnvironmentPlan& plan) {
  std::vector<PodHandle> pods;
  for (const auto& [group, spec] : plan.topology.pods) {
    for (int replica = 0; replica < spec.replicas + spec.standby; ++replica) {
      pods.push_back({.name = fmt::format("{}-{}", group, replica),
                      .group = group,
                      .node = spec.node,
                      .ipv4 = {},
                      .ipv6 = {},
                      .id = static_cast<std::uint32_t>(pods.size() + 1),
                      .standby = replica >= spec.replicas,
                      .in_namespace = spec.in_namespace,
                      .labels = spec.labels});
      const auto single = spec.single.find(pods.back().name);
      if (single == spec.single.end()) continue;
      for (const auto& [label, value] : single->second.labels) pods.back().labels[label] = value;
    }
  }
  return pods;
}

std::string filler_name(const Filler& filler, int number) {
  const auto prefix = number <= filler.services / 2 ? first_filler_prefix : second_filler_prefix;
  return fmt::format("{}{:05}", prefix, number);
}

}  // namespace cluster
