#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/kube/endpoint_slice.h"
#include "base/kube/meta.h"
#include "base/kube/network_policy.h"
#include "base/kube/service.h"

namespace base::kube {
namespace {

using testing::HasSubstr;

// What `kubectl get service,endpointslice -o json` prints, with the fields we do not look at.
constexpr std::string_view service_json = R"({
  "apiVersion": "v1", "kind": "Service",
  "metadata": {"name": "web", "namespace": "shop", "uid": "0c1d", "resourceVersion": "4711",
               "labels": {"app": "web"}},
  "spec": {"type": "ClusterIP", "selector": {"app": "web"}, "clusterIP": "10.96.0.11",
           "clusterIPs": ["10.96.0.11", "fd00:10:96::b"], "ipFamilies": ["IPv4", "IPv6"],
           "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": "http"},
                     {"name": "dns", "protocol": "UDP", "port": 53, "targetPort": 5353}],
           "sessionAffinity": "None"},
  "status": {"loadBalancer": {}}})";

constexpr std::string_view slice_json = R"({
  "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv6",
  "metadata": {"name": "web-abc12", "labels": {"kubernetes.io/service-name": "web"}},
  "endpoints": [
    {"addresses": ["fd00:10:244:2::2"], "conditions": {"ready": false, "terminating": true},
     "nodeName": "node2", "targetRef": {"kind": "Pod", "name": "web-0", "namespace": "default"}},
    {"addresses": ["fd00:10:244:2::3"]}],
  "ports": [{"name": "http", "protocol": "TCP", "port": 8080}]})";

template <typename T>
Result<T> read(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, parse_json(text));
  return from_json<T>(json, "object");
}

TEST(KubeService, IsReadAsTheServerPrintsIt) {
  const auto service = read<Service>(service_json);
  ASSERT_TRUE(service) << service.error().message;
  EXPECT_EQ(service->metadata.in_namespace, "shop");
  EXPECT_EQ(service->metadata.resource_version, "4711");
  ASSERT_EQ(service->spec.ports.size(), 2U);
  EXPECT_EQ(service->spec.ports[0].target_port, IntOrString{"http"});
  EXPECT_EQ(service->spec.ports[1].target_port, IntOrString{5353});
  EXPECT_EQ(service->spec.ports[1].protocol, Protocol::UDP);
  EXPECT_THAT(service->spec.cluster_ips, testing::ElementsAre("10.96.0.11", "fd00:10:96::b"));
}

TEST(KubeService, ReadsBackWhatItWrites) {
  const auto service = read<Service>(service_json);
  ASSERT_TRUE(service);
  const auto again = from_json<Service>(to_json(*service));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *service);
}

TEST(KubeService, ErrorsNameThePlace) {
  const auto bad_port = read<Service>(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},
          "spec":{"ports":[{"port":80},{"port":70000}]}})");
  ASSERT_FALSE(bad_port);
  EXPECT_THAT(bad_port.error().message, HasSubstr("object.spec.ports[1].port"));
  const auto bad_target = read<Service>(
      R"({"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},
          "spec":{"ports":[{"port":80,"targetPort":1.5}]}})");
  ASSERT_FALSE(bad_target);
  EXPECT_THAT(bad_target.error().message, HasSubstr("targetPort"));
  const auto nameless =
      read<Service>(R"({"apiVersion":"v1","kind":"Service","metadata":{},"spec":{}})");
  ASSERT_FALSE(nameless);
  EXPECT_THAT(nameless.error().message, HasSubstr("object.metadata.name: missing"));
}

TEST(KubeEndpointSlice, IsReadAsTheServerPrintsIt) {
  const auto slice = read<EndpointSlice>(slice_json);
  ASSERT_TRUE(slice) << slice.error().message;
  EXPECT_EQ(slice->address_type, IpFamily::IPv6);
  ASSERT_EQ(slice->endpoints.size(), 2U);
  EXPECT_EQ(slice->endpoints[0].conditions.ready, false);
  EXPECT_EQ(slice->endpoints[0].target_ref->name, "web-0");
  // Unknown is not the same as false.
  EXPECT_EQ(slice->endpoints[1].conditions.ready, std::nullopt);
  const auto again = from_json<EndpointSlice>(to_json(*slice));
  ASSERT_TRUE(again);
  EXPECT_EQ(*again, *slice);
}

// As `kubectl get networkpolicy -o json` prints it, of the example in the Kubernetes documentation
// with more of everything.
constexpr std::string_view policy_json = R"({
  "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
  "metadata": {"name": "test-network-policy", "namespace": "shop", "uid": "0c1d", "generation": 1},
  "spec": {
    "podSelector": {"matchLabels": {"role": "db"}},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
      {"from": [{"ipBlock": {"cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"]}},
                {"namespaceSelector": {"matchLabels": {"project": "x"}}, "podSelector": {}},
                {"podSelector": {"matchExpressions": [
                  {"key": "role", "operator": "NotIn", "values": ["a", "b"]},
                  {"key": "example.com/tier", "operator": "Exists"}]}}],
       "ports": [{"protocol": "TCP", "port": 6379}, {"protocol": "UDP", "port": "dns"}]}],
    "egress": [{"to": [{"ipBlock": {"cidr": "fd00:10::/64"}}],
                "ports": [{"protocol": "SCTP", "port": 32000, "endPort": 32768}]}, {}]}})";

// A policy of this spec, as the API server would make it.
Result<NetworkPolicy> policy_of(std::string_view spec) {
  ASSIGN_OR_RETURN(const Json json, parse_json(spec));
  return read_network_policy({{"apiVersion", "networking.k8s.io/v1"},
                              {"kind", "NetworkPolicy"},
                              {"metadata", {{"name", "deny"}, {"namespace", "shop"}}},
                              {"spec", json}});
}

std::string refused(std::string_view spec) {
  const auto policy = policy_of(spec);
  return policy ? "taken" : policy.error().message;
}

TEST(KubeNetworkPolicy, IsReadAsTheServerPrintsIt) {
  const auto policy = read_network_policy(*parse_json(policy_json));
  ASSERT_TRUE(policy) << policy.error().message;
  EXPECT_EQ(policy->metadata.in_namespace, "shop");
  const auto& from = policy->spec.ingress.at(0).from;
  ASSERT_EQ(from.size(), 3U);
  EXPECT_EQ(from[0].ip_block->cidr.to_string(), "172.17.0.0/16");
  EXPECT_EQ(from[0].ip_block->except.at(0).prefix, 24);
  EXPECT_FALSE(from[0].pod_selector);
  EXPECT_EQ(from[1].pod_selector, LabelSelector{});
  EXPECT_FALSE(from[2].namespace_selector);
  EXPECT_EQ(from[2].pod_selector->match_expressions.at(0).op, SelectorOperator::NotIn);
  EXPECT_EQ(policy->spec.ingress[0].ports.at(1).port, IntOrString{"dns"});
  EXPECT_EQ(policy->spec.egress.at(0).ports.at(0).end_port, 32768);
  EXPECT_EQ(policy->spec.egress.at(1), NetworkPolicyEgressRule{});
  const auto again = from_json<NetworkPolicy>(to_json(*policy));
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(*again, *policy);
}

TEST(KubeNetworkPolicy, IsWrittenAsAPersonWould) {
  const auto policy = read_network_policy(*parse_json(policy_json));
  ASSERT_TRUE(policy);
  const auto written = manifest(*policy);
  const auto& from = written["spec"]["ingress"][0]["from"];
  EXPECT_EQ(dump_json(from[0]),
            R"({"ipBlock":{"cidr":"172.17.0.0/16","except":["172.17.1.0/24"]}})");
  EXPECT_EQ(dump_json(from[1]),
            R"({"podSelector":{},"namespaceSelector":{"matchLabels":{"project":"x"}}})");
  EXPECT_EQ(dump_json(written["spec"]["egress"][1]), "{}");
  EXPECT_EQ(read_network_policy(written), policy);
}

TEST(KubeNetworkPolicy, IsCompletedAsTheServerDoes) {
  // "all policies (whether or not they contain an ingress section) are assumed to affect ingress"
  EXPECT_THAT(policy_of("{}")->spec.policy_types, testing::ElementsAre(PolicyType::Ingress));
  EXPECT_THAT(policy_of(R"({"policyTypes": null, "egress": []})")->spec.policy_types,
              testing::ElementsAre(PolicyType::Ingress));
  EXPECT_THAT(policy_of(R"({"policyTypes": [], "egress": [{}]})")->spec.policy_types,
              testing::ElementsAre(PolicyType::Ingress, PolicyType::Egress));
  EXPECT_THAT(policy_of(R"({"policyTypes": ["Egress"], "ingress": [{}]})")->spec.policy_types,
              testing::ElementsAre(PolicyType::Egress));
  EXPECT_EQ(policy_of(R"({"ingress": [{"ports": [{"port": 80}]}]})")->spec.ingress[0].ports[0],
            (NetworkPolicyPort{.protocol = Protocol::TCP, .port = IntOrString{80}}));
}

TEST(KubeNetworkPolicy, NullIsAbsentAndEmptyIsNot) {
  const auto policy = policy_of(R"({"podSelector": null, "ingress": [
      {"from": null, "ports": null},
      {"from": [{"podSelector": {}, "namespaceSelector": null, "ipBlock": null}]}]})");
  ASSERT_TRUE(policy) << policy.error().message;
  EXPECT_EQ(policy->spec.ingress.at(0), NetworkPolicyIngressRule{});
  EXPECT_EQ(policy->spec.ingress.at(1).from.at(0),
            (NetworkPolicyPeer{.pod_selector = LabelSelector{}}));
  // Taken as absent it would select every pod.
  EXPECT_THAT(refused(R"({"podSelector": {"matchLabels": {"app": null}}})"),
              HasSubstr("spec.podSelector.matchLabels.app: expected a string"));
}

TEST(KubeNetworkPolicy, RefusesWhatTheServerRefuses) {
  const auto peer = [](std::string_view text) {
    return refused(fmt::format(R"({{"ingress": [{{"from": [{}]}}]}})", text));
  };
  const auto port = [](std::string_view text) {
    return refused(fmt::format(R"({{"egress": [{{"ports": [{}]}}]}})", text));
  };
  const auto expression = [](std::string_view text) {
    return refused(fmt::format(R"({{"podSelector": {{"matchExpressions": [{}]}}}})", text));
  };
  EXPECT_EQ(peer(R"({"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}})"),
            "NetworkPolicy shop/deny: spec.ingress[0].from[0]: may not specify both ipBlock and "
            "another peer");
  EXPECT_THAT(peer("{}"), HasSubstr("spec.ingress[0].from[0]: must specify a peer"));
  EXPECT_THAT(peer(R"({"ipBlock": {"cidr": "10.0.0.0/33"}})"),
              HasSubstr("NetworkPolicy shop/deny: spec.ingress[0].from[0].ipBlock.cidr: expected"));
  EXPECT_THAT(peer(R"({"ipBlock": {}})"), HasSubstr("ipBlock.cidr: missing"));
  for (const auto* outside : {"11.0.0.0/24", "10.0.0.0/8", "0.0.0.0/0", "fd00::/64"}) {
    EXPECT_THAT(
        peer(fmt::format(R"({{"ipBlock": {{"cidr": "10.0.0.0/8", "except": ["{}"]}}}})", outside)),
        HasSubstr("ipBlock.except[0]: "));
  }
  EXPECT_EQ(peer(R"({"ipBlock": {"cidr": "10.1.2.3/8", "except": ["10.9.9.9/32"]}})"), "taken");
  EXPECT_EQ(peer(R"({"ipBlock": {"cidr": "fd00:10::/33", "except": ["fd00:10:7fff::/64"]}})"),
            "taken");
  EXPECT_THAT(peer(R"({"ipBlock": {"cidr": "fd00:10::/33", "except": ["fd00:10:8000::/64"]}})"),
              HasSubstr("strict subset"));

  EXPECT_THAT(
      port(R"({"endPort": 90})"),
      HasSubstr("spec.egress[0].ports[0].endPort: may not be specified when `port` is not"));
  EXPECT_THAT(port(R"({"port": "http", "endPort": 90})"), HasSubstr("`port` is non-numeric"));
  EXPECT_THAT(port(R"({"port": 91, "endPort": 90})"), HasSubstr("greater than or equal to `port`"));
  EXPECT_EQ(port(R"({"port": 90, "endPort": 90})"), "taken");
  EXPECT_THAT(port(R"({"port": 0})"), HasSubstr("between 1 and 65535, got 0"));
  EXPECT_THAT(port(R"({"port": 1, "endPort": 65536})"), HasSubstr("got 65536"));
  for (const auto* name : {"-a", "80", "a--b", "a-very-long-name", "HTTP"}) {
    EXPECT_THAT(port(fmt::format(R"({{"port": "{}"}})", name)), HasSubstr("no name of a port"));
  }
  EXPECT_THAT(port(R"({"protocol": "ICMP"})"),
              HasSubstr("ports[0].protocol: expected one of TCP, UDP, SCTP, got \"ICMP\""));

  EXPECT_THAT(expression(R"({"key": "a", "operator": "Gt", "values": ["1"]})"),
              HasSubstr("spec.podSelector.matchExpressions[0].operator: expected one of In, NotIn, "
                        "Exists, DoesNotExist, got \"Gt\""));
  EXPECT_THAT(expression(R"({"key": "a", "operator": "NotIn"})"), HasSubstr("values: must be"));
  EXPECT_THAT(expression(R"({"key": "a", "operator": "In", "values": []})"),
              HasSubstr("values: must be"));
  EXPECT_THAT(expression(R"({"key": "a", "operator": "Exists", "values": ["1"]})"),
              HasSubstr("values: may not be"));
  EXPECT_THAT(expression(R"({"key": "a b", "operator": "Exists"})"), HasSubstr("no label key"));
  EXPECT_THAT(refused(R"({"podSelector": {"matchLabels": {"app": "-"}}})"),
              HasSubstr("no label value"));
  EXPECT_THAT(refused(R"({"policyTypes": ["Ingress", "Egress", "Ingress"]})"),
              HasSubstr("more than two"));
  EXPECT_THAT(refused(R"({"policyTypes": ["ingress"]})"), HasSubstr("one of Ingress, Egress"));
  // Every fault at once.
  EXPECT_THAT(refused(R"({"ingress": [{"from": [{}]}], "egress": [{"ports": [{"port": 0}]}]})"),
              testing::AllOf(HasSubstr("spec.ingress[0].from[0]: "),
                             HasSubstr("; spec.egress[0].ports[0].port: ")));
}

TEST(KubeNetworkPolicy, NamesAnObjectThatHasNone) {
  const auto nameless =
      read_network_policy(Json{{"apiVersion", "networking.k8s.io/v1"}, {"kind", "NetworkPolicy"}});
  ASSERT_FALSE(nameless);
  EXPECT_EQ(nameless.error().message, "NetworkPolicy default/: metadata: missing");
  const auto other = read_network_policy(*parse_json(
      R"({"apiVersion": "cilium.io/v2", "kind": "NetworkPolicy", "metadata": {"name": "Bad"}})"));
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().message,
              testing::AllOf(HasSubstr("apiVersion: expected networking.k8s.io/v1"),
                             HasSubstr("metadata.name: \"Bad\" is no name")));
}

TEST(Labels, AreWhatTheServerTakes) {
  for (const auto* good : {"app", "a.b_c-D", "example.com/tier", "kubernetes.io/metadata.name"}) {
    EXPECT_TRUE(is_label_key(good)) << good;
  }
  for (const auto* bad : {"", "/a", "a/", "Example.com/a", "a..b/c", "a/b/c", "-a", "a b"}) {
    EXPECT_FALSE(is_label_key(bad)) << bad;
  }
  EXPECT_TRUE(is_label_value(""));
  EXPECT_TRUE(is_label_value(std::string(63, 'a')));
  EXPECT_FALSE(is_label_value(std::string(64, 'a')));
  EXPECT_FALSE(is_label_value("a."));
}

TEST(DnsLabel, IsWhatTheServerTakes) {
  for (const auto* good : {"a", "web", "web-0", "0", "a-b-c"}) EXPECT_TRUE(is_dns_label(good));
  for (const auto* bad : {"", "-a", "a-", "Web", "a.b", "a_b", "a b"}) {
    EXPECT_FALSE(is_dns_label(bad)) << bad;
  }
  EXPECT_TRUE(is_dns_label(std::string(63, 'a')));
  EXPECT_FALSE(is_dns_label(std::string(64, 'a')));
}

}  // namespace
}  // namespace base::kube
