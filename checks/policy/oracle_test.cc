#include "checks/policy/oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks/policy/test_world.h"

namespace checks {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct Written {
  std::string name;
  std::string spec;
};

struct OracleCase {
  std::string title;
  std::vector<Written> policies;
  // "x/a > y/b TCP 80", beside what the reference says of each.
  std::vector<std::string> allowed;
  std::vector<std::string> denied;
  std::vector<std::string> unknown = {};
};

// What policies of the API reference's examples and of the upstream suites mean, written down from
// these and not from the oracle. A title in quotes is a test's name there
// (test/e2e/network/netpol/network_policy.go).
const std::vector<OracleCase> cases{
    {"no policy allows everything",
     {},
     {"x/a > y/b TCP 80", "192.0.2.7 > x/a UDP 53", "x/a > 192.0.2.7 SCTP 9", "node2 > x/a TCP 1"},
     {}},
    {"should support a 'default-deny-ingress' policy",
     {{"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress"]})"}},
     {"x/a > y/b TCP 80", "y/a > y/b TCP 80", "x/a > 192.0.2.7 TCP 80"},
     {"y/a > x/a TCP 80", "x/b > x/a UDP 80", "192.0.2.7 > x/c TCP 80", "node2 > x/a TCP 80",
      "y/a > x/a TCP 80 v6"}},
    {"should support a 'default-deny-all' policy",
     {{"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"}},
     {"y/a > z/b TCP 80", "192.0.2.7 > y/a TCP 80"},
     {"x/a > y/b TCP 80", "y/a > x/a TCP 80", "x/a > x/b SCTP 80", "x/a > 192.0.2.7 UDP 53"}},
    {"should enforce policy to allow traffic from pods within server namespace based on "
     "PodSelector",
     {{"x/a-from-b", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}]})"}},
     {"x/b > x/a TCP 80", "x/c > x/b TCP 80"},
     {"x/c > x/a TCP 80", "y/b > x/a TCP 80", "192.0.2.7 > x/a TCP 80"}},
    {"should enforce policy to allow ingress traffic from pods in all namespaces",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"from": [{"namespaceSelector": {}}]}]})"}},
     {"x/b > x/a TCP 80", "z/c > x/a UDP 1"},
     // Selectors select pods, and nothing else.
     {"192.0.2.7 > x/a TCP 80", "node2 > x/a TCP 80"}},
    {"should enforce policy to allow traffic only from a different namespace, based on "
     "NamespaceSelector",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"from": [
        {"namespaceSelector": {"matchLabels": {"ns": "y"}}}]}]})"}},
     {"y/a > x/a TCP 80"},
     {"x/b > x/a TCP 80", "z/a > x/a TCP 80"}},
    {"should enforce policy based on NamespaceSelector with MatchExpressions",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"from": [
        {"namespaceSelector": {"matchExpressions": [
          {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["y"]}]}}]}]})"}},
     {"y/a > x/a TCP 80"},
     {"x/b > x/a TCP 80", "z/a > x/a TCP 80"}},
    {"should enforce policy based on PodSelector or NamespaceSelector",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"from": [
        {"namespaceSelector": {"matchExpressions": [
          {"key": "ns", "operator": "NotIn", "values": ["x"]}]}},
        {"podSelector": {"matchLabels": {"pod": "b"}}}]}]})"}},
     {"x/b > x/a TCP 80", "y/c > x/a TCP 80"},
     {"x/c > x/a TCP 80"}},
    {"should enforce policy based on PodSelector and NamespaceSelector",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [{"from": [
        {"namespaceSelector": {"matchExpressions": [
          {"key": "ns", "operator": "NotIn", "values": ["x"]}]},
         "podSelector": {"matchLabels": {"pod": "b"}}}]}]})"}},
     {"y/b > x/a TCP 80", "z/b > x/a TCP 80"},
     {"x/b > x/a TCP 80", "y/a > x/a TCP 80"}},
    {"should enforce policy based on Ports",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
        {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}], "ports": [{"port": 81}]}]})"}},
     {"y/a > x/a TCP 81"},
     {"y/a > x/a TCP 80", "y/a > x/a UDP 81", "x/b > x/a TCP 81"}},
    {"should enforce multiple, stacked policies with overlapping podSelectors",
     {{"x/one", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"ports": [{"protocol": "TCP", "port": 80}]}]})"},
      {"x/two", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "ingress": [{"ports": [{"protocol": "TCP", "port": 81}]}]})"}},
     {"y/a > x/a TCP 80", "y/a > x/a TCP 81"},
     {"y/a > x/a TCP 82", "y/a > x/a UDP 80"}},
    {"should support allow-all policy",
     {{"x/all", R"({"podSelector": {}, "ingress": [{}]})"},
      {"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress"]})"}},
     {"y/a > x/a TCP 80", "192.0.2.7 > x/a UDP 53", "node2 > x/a TCP 80"},
     {}},
    {"should allow ingress access on one named port",
     {{"x/named", R"({"podSelector": {},
        "ingress": [{"ports": [{"protocol": "TCP", "port": "serve-81-tcp"}]}]})"}},
     {"y/a > x/a TCP 81"},
     {"y/a > x/a TCP 80", "y/a > x/a UDP 81", "y/a > x/a TCP 82"}},
    {"should allow egress access on one named port",
     {{"x/named", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"ports": [{"protocol": "TCP", "port": "serve-80-tcp"}]}]})"}},
     {"x/a > y/b TCP 80"},
     // A name is a pod's: nobody else has one.
     {"x/a > y/b TCP 81", "x/a > y/b UDP 80", "x/a > 192.0.2.7 TCP 80", "x/a > node2 TCP 80"}},
    {"a name counts for its protocol alone",
     {{"x/named", R"({"podSelector": {}, "ingress": [{"ports": [
        {"protocol": "UDP", "port": "serve-80-tcp"}, {"protocol": "UDP", "port": "serve-80-udp"}]}]})"}},
     {"y/a > x/a UDP 80"},
     {"y/a > x/a TCP 80"}},
    {"should work with Ingress, Egress specified together",
     {{"x/both", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}]}],
        "egress": [{"ports": [{"port": 80}, {"protocol": "UDP", "port": 53}]}]})"}},
     {"x/b > x/a TCP 80", "x/a > x/c TCP 80", "x/a > 192.0.2.7 UDP 53"},
     {"x/c > x/a TCP 80", "x/a > x/b TCP 81"}},
    {"should enforce egress policy allowing traffic to a server in a different namespace based on "
     "PodSelector and NamespaceSelector",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"namespaceSelector": {"matchLabels": {"ns": "y"}},
                            "podSelector": {"matchLabels": {"pod": "a"}}}]}]})"}},
     {"x/a > y/a TCP 80", "x/b > z/a TCP 80", "z/a > x/a TCP 80"},
     {"x/a > y/b TCP 80", "x/a > x/b TCP 80", "x/a > 192.0.2.7 TCP 80"}},
    {"should allow egress access to server in CIDR block (and pods have addresses)",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.244.2.5/32"}}]}]})"}},
     {"x/a > y/b TCP 80"},
     {"x/a > x/b TCP 80", "x/a > 192.0.2.7 TCP 80", "x/a > y/b TCP 80 v6"}},
    {"should enforce except clause while egress access to server in CIDR block",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.244.2.0/24", "except": ["10.244.2.5/32"]}}]}]})"}},
     {"x/a > x/b TCP 80"},
     {"x/a > y/b TCP 80"}},
    {"should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.244.2.0/24", "except": ["10.244.2.5/32"]}}]}]})"},
      {"x/a-too", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.244.2.5/32"}}]}]})"}},
     {"x/a > y/b TCP 80", "x/a > x/b TCP 80"},
     {"x/a > y/a TCP 80"}},
    {"the example of the Kubernetes documentation",
     {{"x/test-network-policy", R"({"podSelector": {"matchLabels": {"pod": "a"}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                              {"namespaceSelector": {"matchLabels": {"ns": "y"}}},
                              {"podSelector": {"matchLabels": {"pod": "b"}}}],
                     "ports": [{"protocol": "TCP", "port": 6379}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/24"}}],
                    "ports": [{"protocol": "TCP", "port": 5978}]}]})"}},
     {"172.17.0.255 > x/a TCP 6379", "172.17.2.0 > x/a TCP 6379", "y/c > x/a TCP 6379",
      "x/b > x/a TCP 6379", "x/a > 10.0.0.7 TCP 5978"},
     {"172.17.1.0 > x/a TCP 6379", "172.18.0.9 > x/a TCP 6379", "z/b > x/a TCP 6379",
      "y/c > x/a TCP 6380", "x/a > 10.0.1.7 TCP 5978", "x/a > 10.0.0.7 UDP 5978"}},
    {"blocks of IPv6, to the bit",
     {{"x/v6", R"({"podSelector": {}, "ingress": [{"from": [
        {"ipBlock": {"cidr": "2001:db8:8000::/33", "except": ["2001:db8:8000::/47"]}}]}]})"}},
     {"2001:db8:8002::1 > x/a TCP 1 v6", "2001:db8:ffff::1 > x/a TCP 1 v6"},
     {"2001:db8:7fff::1 > x/a TCP 1 v6", "2001:db8:8001:ffff::1 > x/a TCP 1 v6",
      "192.0.2.7 > x/a TCP 1"}},
    {"everything of one family",
     {{"x/v4",
       R"({"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]})"}},
     {"y/a > x/a TCP 1", "node2 > x/a TCP 1", "192.0.2.7 > x/a UDP 1"},
     {"y/a > x/a TCP 1 v6", "node2 > x/a TCP 1 v6"}},
    {"endPort: both ends belong to the range",
     {{"x/range", R"({"podSelector": {}, "ingress": [{"ports": [{"port": 80, "endPort": 82},
        {"protocol": "SCTP", "port": 90, "endPort": 90}]}]})"}},
     {"y/a > x/a TCP 80", "y/a > x/a TCP 81", "y/a > x/a TCP 82", "y/a > x/a SCTP 90"},
     {"y/a > x/a TCP 79", "y/a > x/a TCP 83", "y/a > x/a UDP 81", "y/a > x/a TCP 90"}},
    {"should not allow access by TCP when a policy specifies only UDP (and a port without a number "
     "is "
     "every port)",
     {{"x/udp", R"({"podSelector": {}, "ingress": [{"ports": [{"protocol": "UDP"}]}]})"},
      {"y/tcp", R"({"podSelector": {}, "ingress": [{"ports": [{}]}]})"}},
     {"y/a > x/a UDP 80", "y/a > x/a UDP 65535", "x/a > y/a TCP 1"},
     {"y/a > x/a TCP 80", "y/a > x/a SCTP 80", "x/a > y/a UDP 80", "x/a > y/a SCTP 80"}},
    {"an empty list of peers or ports is no restriction",
     {{"x/all", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [], "ports": []}], "egress": [{"to": null, "ports": null}]})"}},
     {"192.0.2.7 > x/a SCTP 7", "x/a > 192.0.2.7 UDP 7", "x/a > node2 TCP 1"},
     {}},
    {"peers of one rule and its ports must both match; two rules are alternatives",
     {{"x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
        {"from": [{"podSelector": {"matchLabels": {"pod": "b"}}}], "ports": [{"port": 80}]},
        {"from": [{"podSelector": {"matchLabels": {"pod": "c"}}}], "ports": [{"port": 81}]}]})"}},
     {"x/b > x/a TCP 80", "x/c > x/a TCP 81"},
     {"x/b > x/a TCP 81", "x/c > x/a TCP 80"}},
    {"policyTypes left out: ingress always, egress where there are rules of it",
     {{"x/none", R"({"podSelector": {}})"},
      {"y/egress", R"({"podSelector": {}, "egress": [{"ports": [{"port": 80}]}]})"}},
     {"x/a > z/b TCP 81", "y/a > z/b TCP 80"},
     {"z/a > x/a TCP 80", "z/a > y/a TCP 80", "y/a > z/b TCP 81"}},
    {"rules of a direction that policyTypes leaves out count for nothing",
     {{"x/a", R"({"podSelector": {}, "policyTypes": ["Egress"], "ingress": [],
        "egress": [{"ports": [{"port": 80}]}]})"},
      {"y/a", R"({"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}]})"}},
     {"z/a > x/a TCP 81", "x/a > z/b TCP 80", "y/a > z/b TCP 81"},
     {"x/a > z/b TCP 81", "z/a > y/a TCP 80"}},
    {"labels: NotIn and DoesNotExist hold where the label is not there",
     {{"x/notin", R"({"podSelector": {"matchExpressions": [
        {"key": "tier", "operator": "NotIn", "values": ["db"]}]}, "ingress": []})"},
      {"y/in", R"({"podSelector": {"matchExpressions": [
        {"key": "tier", "operator": "In", "values": ["db"]}]}, "ingress": []})"},
      {"z/exists", R"({"podSelector": {"matchExpressions": [{"key": "pod", "operator": "Exists"},
        {"key": "pod", "operator": "NotIn", "values": ["c"]},
        {"key": "tier", "operator": "DoesNotExist"}]}, "ingress": []})"}},
     {"z/a > y/a TCP 80", "x/a > z/c TCP 80"},
     {"z/a > x/a TCP 80", "x/a > z/a TCP 80"}},
    {"a policy holds for pods of its namespace alone",
     {{"x/deny", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": []})"}},
     {"z/b > y/a TCP 80"},
     {"z/b > x/a TCP 80"}},
    {"a pod cannot block access to itself",
     {{"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"}},
     {"x/a > x/a TCP 80", "x/a > x/a UDP 80 v6"},
     {"x/a > x/b TCP 80"}},
    {"traffic from the pod's own node is exempt, that from others is not",
     {{"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"}},
     {"node1 > x/a TCP 80", "node2 > x/b TCP 80 v6"},
     {"node2 > x/a TCP 80", "node1 > x/b TCP 80", "x/a > node2 TCP 80"},
     // The reference and the concepts page differ.
     {"x/a > node1 TCP 80"}},
    {"a node is an address",
     {{"x/node", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": "172.18.0.3/32"}}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "172.18.0.0/16"}}]}]})"}},
     {"node2 > x/a TCP 80", "x/a > node2 TCP 80", "x/a > node1 TCP 80"},
     {"172.18.0.4 > x/a TCP 80"}},
    {"what a hostNetwork pod may is known where both ways to take it agree",
     {{"y/from-x", R"({"podSelector": {}, "ingress": [{"from": [
        {"namespaceSelector": {"matchLabels": {"ns": "x"}}}]}]})"},
      {"z/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"},
      {"x/block", R"({"podSelector": {"matchLabels": {"pod": "b"}}, "ingress": [{"from": [
        {"ipBlock": {"cidr": "172.18.0.2/32"}}]}]})"}},
     {"x/agent > x/b TCP 80", "y/a > x/agent TCP 80"},
     {"x/agent > z/b TCP 80", "z/b > x/agent TCP 80"},
     // As a pod it matches the selector, as its node it does not; and node1 is z/a's own.
     {"x/agent > y/b TCP 80", "x/agent > z/a TCP 80", "z/a > x/agent TCP 80"}},
    {"whether a policy isolates a hostNetwork pod is left to the plugin",
     {{"x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"}},
     {},
     {},
     {"y/a > x/agent TCP 80", "x/agent > y/a TCP 80"}},
};

TEST(PolicyOracle, MeansWhatTheReferenceSays) {
  for (const auto& one : cases) {
    auto world = test_world();
    for (const auto& policy : one.policies)
      world.policies.push_back(policy_of(policy.name, policy.spec));
    ASSERT_TRUE(validate(world));
    const auto expect = [&](const std::vector<std::string>& flows, Allowance expected) {
      for (const auto& text : flows) {
        const auto flow = flow_of(world, text);
        EXPECT_EQ(decide(world, flow).allowance, expected)
            << one.title << ": " << text << ": " << explain(world, flow);
      }
    };
    expect(one.allowed, Allowance::allowed);
    expect(one.denied, Allowance::denied);
    expect(one.unknown, Allowance::unknown);
  }
}

TEST(PolicyOracle, AnotherKindOfPolicyMakesItsPodsUnknown) {
  auto world = test_world();
  world.policies.push_back(
      policy_of("x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress"]})"));
  world.unmodelled.push_back({.kind = "CiliumNetworkPolicy",
                              .name = "l7",
                              .in_namespace = "x",
                              .pod_selector = base::kube::LabelSelector{{{"pod", "a"}}}});
  const auto ask = [&](std::string_view text) {
    return decide(world, flow_of(world, text)).allowance;
  };
  EXPECT_EQ(ask("y/a > x/a TCP 80"), Allowance::unknown);
  EXPECT_EQ(ask("x/a > y/a TCP 80"), Allowance::unknown);
  EXPECT_EQ(ask("node1 > x/a TCP 80"), Allowance::unknown);
  // Other pods are as they were, and a flow that one end denies is denied.
  EXPECT_EQ(ask("y/a > y/b TCP 80"), Allowance::allowed);
  EXPECT_EQ(ask("x/a > x/b TCP 80"), Allowance::denied);
  EXPECT_EQ(ask("x/a > x/a TCP 80"), Allowance::allowed);
  EXPECT_EQ(explain(world, flow_of(world, "y/a > x/a TCP 80")),
            "unknown: ingress of x/a: CiliumNetworkPolicy x/l7 may select it, a kind that is not "
            "modelled");
  EXPECT_THAT(unmodelled_of(world, *find_pod(world, "x", "a")), ElementsAre(0));
  EXPECT_THAT(unmodelled_of(world, *find_pod(world, "x", "b")), ElementsAre());
  // One of the cluster, of which cannot be read what it selects, may select any pod.
  world.unmodelled = {{.kind = "Calico GlobalNetworkPolicy", .name = "g"}};
  EXPECT_EQ(ask("y/a > z/a TCP 80"), Allowance::unknown);
  world.unmodelled[0].namespace_selector = base::kube::LabelSelector{{{"ns", "z"}}};
  EXPECT_EQ(ask("y/a > z/a TCP 80"), Allowance::unknown);
  EXPECT_EQ(ask("y/a > y/b TCP 80"), Allowance::allowed);
}

TEST(PolicyOracle, ReadsWhichPodsOtherKindsSelect) {
  const auto read = [](std::string_view text) {
    return unmodelled_policy(*base::parse_json(text));
  };
  const auto cilium = read(R"({"apiVersion": "cilium.io/v2", "kind": "CiliumNetworkPolicy",
      "metadata": {"name": "l7", "namespace": "x"},
      "spec": {"endpointSelector": {"matchLabels": {"k8s:app": "web", "tier": "db"}}}})");
  ASSERT_TRUE(cilium);
  EXPECT_EQ(cilium->kind, "CiliumNetworkPolicy");
  EXPECT_EQ(cilium->in_namespace, "x");
  EXPECT_EQ(cilium->pod_selector->match_labels, (Labels{{"app", "web"}, {"tier", "db"}}));
  const auto reserved = read(R"({"apiVersion": "cilium.io/v2",
      "kind": "CiliumClusterwideNetworkPolicy", "metadata": {"name": "l7"},
      "spec": {"endpointSelector": {"matchLabels": {"reserved:host": ""}}}})");
  ASSERT_TRUE(reserved);
  EXPECT_FALSE(reserved->pod_selector);
  EXPECT_EQ(reserved->in_namespace, "");
  const auto admin = read(R"({"apiVersion": "policy.networking.k8s.io/v1alpha1",
      "kind": "AdminNetworkPolicy", "metadata": {"name": "anp"}, "spec": {"subject": {"pods": {
      "namespaceSelector": {"matchLabels": {"ns": "x"}}, "podSelector": {}}}}})");
  ASSERT_TRUE(admin);
  EXPECT_EQ(admin->namespace_selector->match_labels, (Labels{{"ns", "x"}}));
  EXPECT_EQ(admin->pod_selector, base::kube::LabelSelector{});
  const auto calico = read(R"({"apiVersion": "projectcalico.org/v3", "kind": "NetworkPolicy",
      "metadata": {"name": "c", "namespace": "y"}, "spec": {"selector": "app == 'web'"}})");
  ASSERT_TRUE(calico);
  EXPECT_EQ(calico->kind, "Calico NetworkPolicy");
  EXPECT_FALSE(calico->pod_selector);
  EXPECT_FALSE(read(R"({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"})"));
  EXPECT_FALSE(read(R"({"apiVersion": "v1", "kind": "Service"})"));
  EXPECT_FALSE(read("[]"));
}

TEST(PolicyOracle, SaysWhy) {
  auto world = test_world();
  const auto why = [&](std::string_view text) { return explain(world, flow_of(world, text)); };
  EXPECT_EQ(why("x/a > y/b TCP 80"),
            "allowed: egress of x/a: no policy selects it; ingress of y/b: no policy selects it");
  EXPECT_EQ(why("192.0.2.7 > node1 TCP 80"),
            "allowed: no policy holds for 192.0.2.7; no policy holds for node node1");
  world.policies = {
      policy_of("x/deny-egress", R"({"podSelector": {}, "policyTypes": ["Egress"]})"),
      policy_of("y/web", R"({"podSelector": {"matchLabels": {"pod": "b"}}, "ingress": [
          {"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.8/32"]}}]},
          {"from": [{"podSelector": {"matchLabels": {"pod": "a"}}},
                    {"namespaceSelector": {"matchExpressions": [
                       {"key": "ns", "operator": "In", "values": ["x", "z"]}]},
                     "podSelector": {}}],
           "ports": [{"port": 80, "endPort": 81}, {"protocol": "UDP", "port": "serve-80-udp"}]}]})"),
      policy_of("y/deny", R"({"podSelector": {}})")};
  EXPECT_EQ(
      why("x/a > x/b TCP 80"),
      "denied: egress of x/a is isolated by policy x/deny-egress, none of whose rules matches");
  EXPECT_EQ(why("z/a > y/b TCP 80"),
            "allowed: egress of z/a: no policy selects it; ingress of y/b: policy y/web, ingress "
            "rule 2 (from podSelector all in namespaceSelector ns in (x,z), TCP 80-81, UDP "
            "serve-80-udp)");
  EXPECT_EQ(why("192.0.2.7 > y/b TCP 9"),
            "allowed: no policy holds for 192.0.2.7; ingress of y/b: policy y/web, ingress rule 1 "
            "(from ipBlock 192.0.2.0/24 except 192.0.2.8/32, every port)");
  EXPECT_EQ(why("z/a > y/b TCP 82"),
            "denied: ingress of y/b is isolated by policies y/web, y/deny, none of whose rules "
            "matches (y/web, rule 2 has z/a, but only for TCP 80-81, UDP serve-80-udp)");
  EXPECT_EQ(why("192.0.2.8 > y/b UDP 80"),
            "denied: ingress of y/b is isolated by policies y/web, y/deny, none of whose rules "
            "matches (y/web, rule 2 has the port, but only from podSelector pod=a, podSelector all "
            "in namespaceSelector ns in (x,z))");
  EXPECT_EQ(why("x/a > x/a TCP 80"),
            "allowed: egress of x/a: a pod cannot block access to itself; ingress of x/a: a pod "
            "cannot block access to itself");
  EXPECT_THAT(why("node1 > y/a TCP 80"), HasSubstr("comes from the node the pod runs on"));
  EXPECT_THAT(why("x/a > node1 TCP 80"), HasSubstr("unknown: egress of x/a: no rule matches"));
  EXPECT_THAT(why("x/agent > y/a TCP 80"), HasSubstr("hostNetwork"));
  EXPECT_EQ(describe_flow(world, flow_of(world, "x/a > y/b UDP 53 v6")),
            "x/a to y/b, UDP 53 over IPv6");
}

TEST(PolicyOracle, AFlowNeedsAddresses) {
  auto world = test_world();
  world.pods[0].addresses.pop_back();
  const auto flow = flow_of(world, "y/a > x/a TCP 80 v6");
  EXPECT_EQ(decide(world, flow).allowance, Allowance::unknown);
  EXPECT_EQ(explain(world, flow), "unknown: x/a has no IPv6 address");
  EXPECT_EQ(decide(world, flow_of(world, "y/a > x/a TCP 80")).allowance, Allowance::allowed);
}

TEST(PolicyOracle, TellsWhichPoliciesCoverAPod) {
  auto world = test_world();
  world.policies = {policy_of("x/deny", R"({"podSelector": {}})"),
                    policy_of("y/deny", R"({"podSelector": {}})"),
                    policy_of("x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}},
                                         "policyTypes": ["Egress", "Ingress"]})")};
  const auto a = *find_pod(world, "x", "a");
  EXPECT_THAT(isolating(world, a, PolicyDirection::ingress), ElementsAre(0, 2));
  EXPECT_THAT(isolating(world, a, PolicyDirection::egress), ElementsAre(2));
  EXPECT_THAT(isolating(world, *find_pod(world, "x", "b"), PolicyDirection::egress), ElementsAre());
}

TEST(PolicyOracle, RefusesAWorldThatCannotBe) {
  auto world = test_world();
  world.pods.push_back(world.pods[0]);
  EXPECT_THAT(validate(world).error().message, HasSubstr("two pods x/a"));
  world.pods.pop_back();
  world.policies.push_back(policy_of("x/a", "{}"));
  world.policies[0].spec.ingress = {{.from = {{}}}};
  EXPECT_THAT(validate(world).error().message, HasSubstr("spec.ingress[0].from[0]"));
}

}  // namespace
}  // namespace checks
