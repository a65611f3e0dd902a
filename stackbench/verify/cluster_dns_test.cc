#include "stackbench/verify/cluster_dns.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/verify/probe_plan.h"

namespace stackbench {
namespace {

using base::Json;
using checks::Allowance;

Json dns_pod(std::string_view name, std::string_view phase, std::string_view address) {
  return {{"metadata",
           {{"name", name}, {"namespace", system_namespace}, {"labels", {{dns_label, dns_app}}}}},
          {"spec", {{"nodeName", "n1"}}},
          {"status", {{"phase", phase}, {"podIPs", Json::array({{{"ip", address}}})}}}};
}

// A DNS that its own namespace isolates, but for those of namespaces with a label.
DnsObjects closed_dns() {
  DnsObjects objects;
  objects.space = {{"metadata", {{"name", system_namespace}, {"labels", {{"system", "yes"}}}}}};
  objects.pods = {{"items", Json::array({dns_pod("coredns-0", "Pending", "10.0.0.1"),
                                         dns_pod("coredns-1", "Running", "10.0.0.2")})}};
  const Json spec = {
      {"podSelector", Json::object()},
      {"policyTypes", {"Ingress"}},
      {"ingress",
       Json::array({{{"from", Json::array({{{"namespaceSelector",
                                             {{"matchLabels", {{"dns", "yes"}}}}}}})}}})}};
  objects.policies = {
      {"items", Json::array({{{"metadata", {{"name", "dns"}, {"namespace", system_namespace}}},
                              {"spec", spec}}})}};
  return objects;
}

checks::PolicyWorld shop_beside(const Json& labels) {
  checks::PolicyWorld world;
  // Who may list namespaces knows that one, too, without having looked at its policies.
  world.namespaces = {{"shop", labels.get<checks::Labels>()}, {std::string(system_namespace), {}}};
  world.pods = {
      {.name = "web", .in_namespace = "shop", .addresses = {*base::IpAddress::parse("10.0.0.9")}}};
  return world;
}

Allowance to_dns(const checks::PolicyWorld& world, const ProbeOutside& dns) {
  return checks::decide(world, {.source = checks::PodEnd{0},
                                .destination = checks::PodEnd{*dns.pod},
                                .protocol = base::kube::Protocol::TCP,
                                .port = dns_port})
      .allowance;
}

TEST(ClusterDns, IsOneThatRunsAndIsJudgedByThePoliciesOfItsOwnNamespace) {
  for (const auto& [label, expected] :
       {std::pair("yes", Allowance::allowed), std::pair("no", Allowance::denied)}) {
    auto world = shop_beside({{"dns", label}});
    const auto dns = dns_of(closed_dns(), false, world);
    ASSERT_TRUE(dns) << dns.error().message;
    ASSERT_EQ(dns->size(), 1U);
    EXPECT_EQ(dns->front().name, "DNS kube-system/coredns-1");
    EXPECT_EQ(dns->front().endpoint.to_string(), "10.0.0.2:53");
    EXPECT_EQ(to_dns(world, dns->front()), expected) << label;
    EXPECT_EQ(world.namespaces.at(std::string(system_namespace)).at("system"), "yes");
  }
}

TEST(ClusterDns, IsInTheWorldOnceWhereItsNamespaceIsLookedAt) {
  auto world = shop_beside({{"dns", "no"}});
  ASSERT_TRUE(dns_of(closed_dns(), false, world));
  const auto pods = world.pods.size();
  const auto policies = world.policies.size();
  const auto again = dns_of(closed_dns(), true, world);
  ASSERT_TRUE(again);
  EXPECT_EQ(world.pods.size(), pods);
  EXPECT_EQ(world.policies.size(), policies);
  EXPECT_EQ(to_dns(world, again->front()), Allowance::denied);
}

TEST(ClusterDns, ThatDoesNotRunIsMissing) {
  auto objects = closed_dns();
  objects.pods["items"].erase(1);
  auto world = shop_beside({{"dns", "no"}});
  const auto dns = dns_of(objects, false, world);
  ASSERT_FALSE(dns);
  EXPECT_EQ(dns.error().kind, base::ErrorKind::missing);
}

}  // namespace
}  // namespace stackbench
