// What tables come of objects: read as the programs read them, but in words.
#include "cluster/lab/policy/compile.h"

#include <optional>
#include <set>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>

#include "base/json.h"

namespace cluster {
namespace {

using testing::IsEmpty;

base::IpAddress address(std::string_view text) { return base::IpAddress::parse(text).value(); }

base::kube::NetworkPolicy policy(std::string_view name, std::string_view spec,
                                 std::string_view in_namespace = "default") {
  const auto text = fmt::format(
      R"({{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
           "metadata": {{"name": "{}", "namespace": "{}"}}, "spec": {}}})",
      name, in_namespace, spec);
  auto read = base::kube::read_network_policy(base::parse_json(text).value());
  if (!read) throw std::runtime_error(read.error().message);
  return *read;
}

// Pods a (app=a) and b (app=b, tier=x) in default, c (app=a) in the namespace `other` (team=red).
class Compile : public testing::Test {
 protected:
  Compile() {
    objects.namespaces = {{"default", {{"kubernetes.io/metadata.name", "default"}}},
                          {"other", {{"kubernetes.io/metadata.name", "other"}, {"team", "red"}}}};
    add("a", "default", {{"app", "a"}}, "10.244.1.2", "fd00::2");
    add("b", "default", {{"app", "b"}, {"tier", "x"}}, "10.244.1.3", "fd00::3");
    add("c", "other", {{"app", "a"}}, "10.244.2.2", "fd00::4");
  }

  void add(const std::string& name, const std::string& in_namespace, const Labels& labels,
           std::string_view ipv4, std::string_view ipv6) {
    using base::kube::Protocol;
    objects.pods.push_back({.number = static_cast<std::uint32_t>(objects.pods.size() + 1),
                            .name = name,
                            .in_namespace = in_namespace,
                            .labels = labels,
                            .ipv4 = address(ipv4),
                            .ipv6 = address(ipv6),
                            .ports = {{"web", Protocol::TCP, 7001}, {"dns", Protocol::UDP, 53}}});
  }

  void compile() { tables = compile_policies(objects, faults); }

  const PolicyPod* pod_at(const base::IpAddress& at) const {
    for (const auto& pod : objects.pods) {
      if (pod.ipv4 == at || pod.ipv6 == at) return &pod;
    }
    return nullptr;
  }

  // As the programs search, by halves in effect.
  static std::uint32_t class_of(const std::vector<PolicyTables::Span>& spans,
                                const base::IpAddress& at) {
    std::uint32_t found = 0;
    for (const auto& span : spans) {
      if (span.first <= number_of(at)) found = span.in_class;
    }
    return found;
  }

  bool permits(std::uint32_t rules, const base::IpAddress& peer, std::uint32_t service) const {
    if (rules == 0) return true;
    const auto& spans =
        peer.family == base::AddressFamily::ipv4 ? tables.spans_ipv4 : tables.spans_ipv6;
    for (const auto in_class : {std::uint32_t{POLICY_EVERYBODY}, class_of(spans, peer)}) {
      const auto found = tables.allowed.find({rules, in_class});
      if (found == tables.allowed.end()) continue;
      for (const auto& range : found->second) {
        if (range.first <= service && service <= range.last) return true;
      }
    }
    return false;
  }

  // Whether a connection passes the egress of who dials and the ingress of who is dialled; either
  // may be a pod's name or an address.
  bool passes(const std::string& from, const std::string& to, int port,
              int protocol = IPPROTO_TCP) const {
    const auto source = place(from);
    const auto target = place(to);
    const auto service = static_cast<std::uint32_t>(protocol << 16 | port);
    if (const auto* pod = pod_at(source)) {
      if (!permits(tables.pods[pod->number].egress, target, service)) return false;
    }
    const auto* pod = pod_at(target);
    return pod == nullptr || permits(tables.pods[pod->number].ingress, source, service);
  }

  base::IpAddress place(const std::string& name) const {
    for (const auto& pod : objects.pods) {
      if (pod.name == name) return pod.ipv4;
    }
    return address(name);
  }

  void apply(std::string_view name, std::string_view spec,
             std::string_view in_namespace = "default") {
    objects.policies.push_back(policy(name, spec, in_namespace));
    compile();
  }

  PolicyObjects objects;
  CompileFaults faults;
  PolicyTables tables;
};

TEST_F(Compile, WithoutPoliciesNobodyIsIsolated) {
  compile();
  EXPECT_TRUE(passes("a", "b", 80));
  EXPECT_TRUE(passes("a", "8.8.8.8", 53, IPPROTO_UDP));
  EXPECT_THAT(tables.allowed, IsEmpty());
  EXPECT_EQ(tables.identities, 3U);
}

TEST_F(Compile, ASelectedPodIsIsolatedInThatDirectionAlone) {
  apply("deny", R"({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"]})");
  EXPECT_FALSE(passes("a", "b", 80));
  EXPECT_FALSE(passes("8.8.8.8", "b", 80));
  EXPECT_TRUE(passes("b", "a", 80));
  EXPECT_TRUE(passes("b", "c", 80));
  apply("deny-out", R"({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"]})");
  EXPECT_FALSE(passes("b", "a", 80));
}

TEST_F(Compile, APolicySelectsPodsOfItsOwnNamespace) {
  apply("deny", R"({"podSelector": {}})", "other");
  EXPECT_FALSE(passes("a", "c", 80));
  EXPECT_TRUE(passes("c", "a", 80));
}

TEST_F(Compile, APodSelectorMeansPodsOfThePolicysNamespace) {
  apply("allow", R"({"podSelector": {"matchLabels": {"app": "b"}},
                     "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}]})");
  EXPECT_TRUE(passes("a", "b", 80));
  EXPECT_FALSE(passes("c", "b", 80)) << "app=a, in another namespace";
}

TEST_F(Compile, ANamespaceSelectorMeansAllItsPodsUnlessAPodSelectorIsBesideIt) {
  apply("red", R"({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"from": [
      {"namespaceSelector": {"matchLabels": {"team": "red"}}}]}]})");
  EXPECT_TRUE(passes("c", "b", 80));
  EXPECT_FALSE(passes("a", "b", 80));
  objects.policies.clear();
  apply("red-and-z", R"({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"from": [
      {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "z"}}}]}]})");
  EXPECT_FALSE(passes("c", "b", 80));
}

TEST_F(Compile, AnEmptyPeerListMeansEverybodyAndNoRuleNobody) {
  apply("all", R"({"podSelector": {}, "ingress": [{}]})");
  EXPECT_TRUE(passes("8.8.8.8", "b", 80));
  EXPECT_TRUE(passes("c", "b", 53, IPPROTO_ICMP));
}

TEST_F(Compile, ExpressionsHoldAsTheApiSays) {
  const auto selected = [&](std::string_view expression) {
    objects.policies.clear();
    apply("deny", fmt::format(R"({{"podSelector": {{"matchExpressions": [{}]}}}})", expression));
    std::string names;
    for (const auto& pod : objects.pods) {
      if (tables.pods[pod.number].ingress != 0) names += pod.name;
    }
    return names;
  };
  EXPECT_EQ(selected(R"({"key": "app", "operator": "In", "values": ["a", "z"]})"), "a");
  EXPECT_EQ(selected(R"({"key": "tier", "operator": "NotIn", "values": ["x"]})"), "a");
  EXPECT_EQ(selected(R"({"key": "tier", "operator": "Exists"})"), "b");
  EXPECT_EQ(selected(R"({"key": "tier", "operator": "DoesNotExist"})"), "a");
}

TEST_F(Compile, BlocksHoldTheirAddressesButForTheExcepted) {
  apply("block", R"({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"from": [{"ipBlock":
      {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.1.2.0/24", "10.255.255.255/32"]}}]}]})");
  EXPECT_TRUE(passes("10.0.255.255", "b", 80));
  EXPECT_FALSE(passes("10.1.0.0", "b", 80));
  EXPECT_FALSE(passes("10.1.255.255", "b", 80));
  EXPECT_TRUE(passes("10.2.0.0", "b", 80));
  EXPECT_TRUE(passes("10.255.255.254", "b", 80));
  EXPECT_FALSE(passes("10.255.255.255", "b", 80));
  EXPECT_FALSE(passes("11.0.0.0", "b", 80));
  EXPECT_FALSE(passes("9.255.255.255", "b", 80));
  EXPECT_TRUE(passes("a", "b", 80)) << "pods' addresses are addresses";
  EXPECT_FALSE(passes("fd00::2", "b", 80));
}

TEST_F(Compile, ABlockOfOneFamilySaysNothingOfTheOther) {
  apply("all-ipv6", R"({"podSelector": {"matchLabels": {"app": "b"}},
                        "ingress": [{"from": [{"ipBlock": {"cidr": "::/0"}}]}]})");
  EXPECT_FALSE(passes("8.8.8.8", "b", 80));
  EXPECT_TRUE(passes("2001:db8::1", "b", 80));
  EXPECT_TRUE(passes("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "b", 80));
}

TEST_F(Compile, PortsAreOfTheirProtocol) {
  apply("ports", R"({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"ports": [
      {"port": 80}, {"protocol": "UDP", "port": 8000, "endPort": 8010}, {"protocol": "SCTP"}]}]})");
  EXPECT_TRUE(passes("a", "b", 80));
  EXPECT_FALSE(passes("a", "b", 81));
  EXPECT_FALSE(passes("a", "b", 80, IPPROTO_UDP));
  EXPECT_FALSE(passes("a", "b", 7999, IPPROTO_UDP));
  EXPECT_TRUE(passes("a", "b", 8000, IPPROTO_UDP));
  EXPECT_TRUE(passes("a", "b", 8010, IPPROTO_UDP));
  EXPECT_FALSE(passes("a", "b", 8011, IPPROTO_UDP));
  EXPECT_TRUE(passes("a", "b", 65535, IPPROTO_SCTP));
  EXPECT_FALSE(passes("a", "b", 0, IPPROTO_ICMP)) << "rules that name ports allow no echo";
}

TEST_F(Compile, NamesOfPortsAreThoseOfThePodThatIsReached) {
  objects.pods[2].ports = {{"web", base::kube::Protocol::TCP, 9999}};
  apply("in", R"({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Ingress"],
                  "ingress": [{"ports": [{"port": "web"}]}]})");
  EXPECT_TRUE(passes("a", "b", 7001));
  EXPECT_FALSE(passes("a", "b", 9999));
  apply("out", R"({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
                   "egress": [{"ports": [{"port": "web"}, {"port": "dns"}]}]})");
  EXPECT_TRUE(passes("a", "b", 7001));
  EXPECT_TRUE(passes("a", "c", 9999));
  EXPECT_FALSE(passes("a", "c", 7001));
  EXPECT_FALSE(passes("a", "8.8.8.8", 7001)) << "who is no pod has no names";
  EXPECT_FALSE(passes("a", "b", 53, IPPROTO_UDP)) << "dns is UDP there, and TCP in the rule";
}

TEST_F(Compile, RulesOfSeveralPoliciesAddUp) {
  apply("one", R"({"podSelector": {}, "ingress": [{"ports": [{"port": 80}]}]})");
  apply("two",
        R"({"podSelector": {"matchLabels": {"app": "b"}}, "ingress": [{"ports": [{"port": 81}],
                   "from": [{"podSelector": {}}]}]})");
  EXPECT_TRUE(passes("c", "b", 80));
  EXPECT_TRUE(passes("a", "b", 81));
  EXPECT_FALSE(passes("c", "b", 81));
  EXPECT_FALSE(passes("b", "a", 81));
  EXPECT_EQ(tables.rule_sets, 2U);
}

TEST_F(Compile, PodsThatTheSamePoliciesSelectShareTheirRules) {
  for (int i = 5; i < 100; ++i) {
    add(fmt::format("more-{}", i), "default", {{"app", "a"}}, fmt::format("10.244.3.{}", i),
        fmt::format("fd00::3:{:x}", i));
  }
  for (int i = 0; i < 1000; ++i) {
    objects.policies.push_back(
        policy(fmt::format("p{}", i),
               fmt::format(R"({{"podSelector": {{}}, "ingress": [{{"from": [{{"ipBlock": {{"cidr":
                        "100.64.{}.{}/32"}}}}], "ports": [{{"port": {}}}]}}]}})",
                           i / 256, i % 256, 1000 + i)));
  }
  compile();
  EXPECT_EQ(tables.rule_sets, 1U);
  EXPECT_EQ(tables.identities, 3U);
  EXPECT_EQ(tables.allowed.size(), 1000U);
  EXPECT_TRUE(passes("100.64.3.231", "more-7", 1999));
  EXPECT_FALSE(passes("100.64.3.231", "more-7", 1998));
}

TEST_F(Compile, EachFaultIsInTheTablesAndNowhereWithoutIt) {
  const auto observed = [&](const CompileFaults& planted) {
    faults = planted;
    objects.policies.clear();
    apply("all", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"],
      "ingress": [{"ports": [{"port": 80}], "from": [{"ipBlock":
          {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}],
      "egress": [{"ports": [{"port": 80}], "to": [{"podSelector": {}}]}]})");
    std::string open;
    if (passes("a", "b", 81)) open += "port ";
    if (passes("10.1.0.1", "b", 80)) open += "except ";
    if (passes("a", "8.8.8.8", 53, IPPROTO_UDP)) open += "udp ";
    if (passes("10.1.0.1", "a", 22)) open += "pod ";
    return open;
  };
  EXPECT_EQ(observed({}), "");
  EXPECT_EQ(observed({.port_too_wide = true}), "port ");
  EXPECT_EQ(observed({.except_ignored = true}), "except ");
  EXPECT_EQ(observed({.udp_egress_open = true}), "udp ");
  EXPECT_EQ(observed({.open_pods = {1}}), "udp pod ") << "a is open both ways";
}

TEST_F(Compile, TheLayoutHoldsEverySection) {
  apply("one", R"({"podSelector": {}, "ingress": [{"ports": [{"port": 80}, {"port": 82}]}]})");
  const auto entries = lay_out(tables, 7);
  EXPECT_EQ(entries[policy_generation].high, 7U);
  EXPECT_EQ(entries[policy_pods].second, 4U);
  const auto& a = entries[entries[policy_pods].first + 1];
  EXPECT_EQ(a.high >> 32, tables.pods[1].ingress);
  EXPECT_EQ(a.low >> 32, tables.pods[1].class_ipv4);
  const auto& addresses = entries[entries[policy_addresses].first + 1];
  EXPECT_EQ(addresses.first, number_of(objects.pods[0].ipv4).low);
  EXPECT_EQ(addresses.high, number_of(objects.pods[0].ipv6).high);
  EXPECT_EQ(addresses.low, number_of(objects.pods[0].ipv6).low);
  EXPECT_EQ(entries[policy_spans_ipv4].second, tables.spans_ipv4.size());
  // The pair is found from its hash on, and leads to its ranges.
  const auto& pairs = entries[policy_pairs];
  const __u64 wanted = __u64{tables.pods[1].ingress} << 32 | POLICY_EVERYBODY;
  const PolicyEntry* found = nullptr;
  for (__u32 i = 0; i < POLICY_PROBES_AT_MOST && found == nullptr; ++i) {
    const auto& entry = entries[pairs.first + ((policy_hash(wanted) + i) & (pairs.second - 1))];
    if (entry.high == wanted) found = &entry;
  }
  ASSERT_NE(found, nullptr);
  ASSERT_EQ(found->second, 2U);
  EXPECT_EQ(entries[found->first].low, 6U << 16 | 80);
  EXPECT_EQ(entries[found->first + 1].first, 6U << 16 | 82);
}

}  // namespace
}  // namespace cluster
