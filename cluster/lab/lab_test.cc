// The parts of the lab that need no namespace: addresses, layout, wiring, objects, Service table.
#include <algorithm>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "cluster/filler_policy.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/filler.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/object_store.h"
#include "cluster/lab/service_table.h"
#include "cluster/lab/wiring.h"

namespace cluster {
namespace {

using base::ErrorKind;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

EnvironmentPlan example_plan() {
  EnvironmentPlan plan;
  plan.name = "iptables";
  plan.topology.pods["client"] = {.node = 1, .replicas = 1};
  plan.topology.pods["web"] = {.node = 2, .replicas = 3};
  plan.topology.services["web"] = {.target = "web"};
  plan.ports = {{"tcp-rr", Protocol::TCP, 8001, 7001}, {"udp-rr", Protocol::UDP, 8003, 7003}};
  return plan;
}

base::Json parse(std::string_view text) {
  auto json = base::parse_json(text);
  EXPECT_TRUE(json) << text;
  return json.value_or(base::Json());
}

TEST(Addresses, AreAsThePlanSays) {
  EXPECT_EQ(addresses::pod_ipv4(2, 1).to_string(), "10.244.2.2");
  EXPECT_EQ(addresses::pod_ipv6(16, 200).to_string(), "fd00:10:244:10::c9");
  EXPECT_EQ(addresses::node_ipv4(1).to_string(), "172.18.0.2");
  EXPECT_EQ(addresses::node_ipv6(16).to_string(), "fd00:172:18::11");
  EXPECT_EQ(addresses::service_ipv4(1).to_string(), "10.96.0.11");
  EXPECT_EQ(addresses::service_ipv4(246).to_string(), "10.96.1.0");
  EXPECT_EQ(addresses::service_ipv6(1).to_string(), "fd00:10:96::b");
  EXPECT_EQ(addresses::service_ipv4(addresses::most_services).to_string(), "10.96.234.106");
  EXPECT_EQ(addresses::child_mac(16, 200), "02:5b:00:00:10:c8");
}

TEST(Layout, NumbersPodsByGroupAndReplica) {
  const auto layout = lay_out(example_plan());
  ASSERT_TRUE(layout) << layout.error().message;
  std::vector<std::string> lines;
  for (const auto& pod : layout->pods) {
    lines.push_back(fmt::format("{} {} node{} {} {}", pod.handle.id, pod.handle.name,
                                pod.handle.node, pod.handle.ipv4, pod.handle.ipv6));
  }
  EXPECT_THAT(lines, ElementsAre("1 client-0 node1 10.244.1.2 fd00:10:244:1::2",
                                 "2 web-0 node2 10.244.2.2 fd00:10:244:2::2",
                                 "3 web-1 node2 10.244.2.3 fd00:10:244:2::3",
                                 "4 web-2 node2 10.244.2.4 fd00:10:244:2::4"));
}

TEST(Layout, RefusesWhatItCannotLayOut) {
  const auto message = [](auto change) {
    auto plan = example_plan();
    change(plan);
    const auto layout = lay_out(plan);
    EXPECT_FALSE(layout);
    if (layout) return std::string();
    EXPECT_EQ(layout.error().kind, ErrorKind::input);
    return layout.error().message;
  };
  EXPECT_THAT(message([](auto& plan) { plan.name = "a.b"; }), HasSubstr("a.b"));
  EXPECT_THAT(message([](auto& plan) { plan.topology.pods.clear(); }), HasSubstr("topology.pods"));
  EXPECT_THAT(message([](auto& plan) { plan.topology.pods["web"].node = 3; }),
              HasSubstr("topology.pods.web.node: expected 1 to 2, got 3"));
  EXPECT_THAT(message([](auto& plan) { plan.topology.nodes = 17; }), HasSubstr("1 to 16"));
  EXPECT_THAT(message([](auto& plan) { plan.topology.pods["Web"] = {}; }), HasSubstr("\"Web\""));
  EXPECT_THAT(message([](auto& plan) { plan.topology.services["web"].target = "wbe"; }),
              HasSubstr("topology.services.web.target: there are no pods \"wbe\""));
  EXPECT_THAT(message([](auto& plan) { plan.ports[1].name = "tcp-rr"; }), HasSubstr("twice"));
  EXPECT_THAT(message([](auto& plan) { plan.ports.clear(); }), HasSubstr("port"));
  EXPECT_THAT(message([](auto& plan) { plan.ports[0].target_port = 0; }), HasSubstr("got 0"));
  EXPECT_THAT(
      message([](auto& plan) { plan.topology.pods["many"] = {.node = 2, .replicas = 198}; }),
      HasSubstr("more than 200 pods on node 2"));
}

TEST(Filler, StandsBetweenTheNamesItPromisesAndInOneFamily) {
  auto plan = example_plan();
  plan.topology.services = {
      {"a", {.target = "web"}}, {"m", {.target = "web"}}, {"z", {.target = "web"}}};
  plan.filler = {.services = 5, .family = base::AddressFamily::ipv6};
  const auto layout = lay_out(plan);
  ASSERT_TRUE(layout);
  ObjectStore store;
  for (const auto& service : services_of(plan, *layout)) {
    ASSERT_TRUE(store.apply(base::to_json(service)));
  }
  for (const auto& slice : slices_of(plan, *layout)) ASSERT_TRUE(store.apply(base::to_json(slice)));
  for (const auto& service : filler_services(plan)) {
    ASSERT_TRUE(store.apply(base::to_json(service)));
  }
  for (const auto& slice : filler_slices(plan, *layout)) {
    ASSERT_TRUE(store.apply(base::to_json(slice)));
  }
  std::vector<std::string> order;
  for (const auto& entry : store.service_table().entries) {
    if (entry.cluster.address.family != base::AddressFamily::ipv6) {
      EXPECT_EQ(entry.service.size(), 1U) << entry.service;  // none of the fillers
      continue;
    }
    EXPECT_FALSE(entry.backends.empty()) << entry.service;
    if (entry.port_name == "tcp-rr") order.push_back(entry.service);
  }
  EXPECT_THAT(order, ElementsAre("a", "filler-00001", "filler-00002", "m", "other-00003",
                                 "other-00004", "other-00005", "z"));
}

TEST(FillerPolicies, AreWhatAServerTakesHalfOfThemAtThePodsAndTheLastAllowsTheirPorts) {
  auto plan = example_plan();
  plan.filler = {.services = 0, .policies = 6, .selectors = 4};
  std::vector<std::string> order;
  std::set<std::string> blocks;
  int at_pods = 0;
  for (int number = 1; number <= 6; ++number) {
    const auto policy =
        base::kube::read_network_policy(base::kube::manifest(filler_policy(plan, number)));
    ASSERT_TRUE(policy) << policy.error().message;
    order.push_back(policy->metadata.name);
    at_pods += policy->spec.pod_selector == base::kube::LabelSelector{} ? 1 : 0;
    EXPECT_EQ(policy->spec.policy_types.size(), 2U);
    for (const auto& peer : policy->spec.ingress.at(0).from) {
      if (peer.ip_block) blocks.insert(peer.ip_block->cidr.to_string());
    }
    if (number == 6) continue;
    EXPECT_EQ(policy->spec.egress.at(0).to.size(), 4U);
    EXPECT_EQ(policy->spec.egress.at(0).ports.size(), 1U);
  }
  EXPECT_THAT(order, ElementsAre("filler-00001", "filler-00002", "filler-00003", "filler-00004",
                                 "filler-00005", "filler-last"));
  EXPECT_TRUE(std::ranges::is_sorted(order));
  EXPECT_EQ(at_pods, 4);
  EXPECT_EQ(blocks.size(), 5U * 2);
  const auto last = filler_policy(plan, 6);
  ASSERT_EQ(last.spec.ingress.at(0).ports.size(), plan.ports.size());
  EXPECT_EQ(last.spec.ingress[0].ports[0].port,
            base::kube::IntOrString{std::int32_t{plan.ports[0].target_port}});
}

TEST(FillerPolicies, ReachTheEndOfTheBlocksTheirAddressesAreOf) {
  auto plan = example_plan();
  plan.filler = {
      .services = 0, .policies = most_filler_policies, .selectors = most_filler_selectors};
  const auto block_of = [&] {
    return filler_policy(plan, most_filler_policies - 1).spec.egress.at(0).to.at(1).ip_block;
  };
  EXPECT_EQ(block_of()->cidr.to_string(), "198.19.134.140/32");
  plan.filler.family = base::AddressFamily::ipv6;
  EXPECT_EQ(block_of()->cidr.to_string(), "2001:2::1:868c/128");
}

TEST(Wiring, LinksEveryNamespaceOnce) {
  const auto layout = lay_out(example_plan());
  ASSERT_TRUE(layout);
  const auto plans = wire("iptables", *layout);
  std::set<std::string> names;
  std::string all;
  for (const auto& plan : plans) {
    EXPECT_TRUE(names.insert(plan.name).second) << plan.name;
    all += plan.ip_batch;
  }
  EXPECT_EQ(names.size(), 8U);
  EXPECT_EQ(plans[0].name, "iptables.router");
  for (const auto& plan : plans) {
    if (plan.name == "iptables.router") continue;
    const std::string linked = fmt::format("mtu 1500 netns {}\n", plan.name);
    const auto first = all.find(linked);
    ASSERT_NE(first, std::string::npos) << plan.name;
    EXPECT_EQ(all.find(linked, first + 1), std::string::npos) << plan.name;
  }
}

TEST(Wiring, ForwardsOnNodesAndNeverInPods) {
  const auto layout = lay_out(example_plan());
  ASSERT_TRUE(layout);
  for (const auto& plan : wire("iptables", *layout)) {
    const bool forwards = plan.name.find("node") != std::string::npos ||
                          plan.name.find("router") != std::string::npos;
    EXPECT_EQ(plan.sysctls.contains("net.ipv4.ip_forward"), forwards) << plan.name;
    EXPECT_EQ(plan.sysctls.at("net.ipv4.conf.all.rp_filter"), "0");
    // Every route that leads to somebody says the congestion control.
    EXPECT_THAT(plan.ip_batch, HasSubstr("congctl cubic"));
    EXPECT_THAT(plan.ip_batch, Not(HasSubstr("nud reachable")));
  }
}

TEST(Wiring, KeepsInterfaceNamesWithinTheKernelsLimit) {
  PodHandle pod;
  pod.id = 16 * 200;
  EXPECT_LT(pod_interface(pod).size(), 16U);
}

constexpr std::string_view web_service = R"({"apiVersion": "v1", "kind": "Service",
  "metadata": {"name": "web"},
  "spec": {"ports": [{"name": "http", "port": 80, "targetPort": 8080}]}})";

std::string web_slice(std::string_view endpoints, std::string_view name = "web-1") {
  return fmt::format(R"({{"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
    "metadata": {{"name": "{}", "labels": {{"kubernetes.io/service-name": "web"}}}},
    "addressType": "IPv4", "endpoints": [{}], "ports": [{{"name": "http", "port": 8080}}]}})",
                     name, endpoints);
}

std::vector<std::string> backends_of(const ObjectStore& store) {
  std::vector<std::string> backends;
  for (const auto& entry : store.service_table().entries) {
    for (const auto& backend : entry.backends) backends.push_back(backend.endpoint.to_string());
  }
  return backends;
}

TEST(ObjectStore, AllocatesServiceAddressesOfBothFamilies) {
  ObjectStore store;
  ASSERT_TRUE(store.apply(parse(web_service)));
  EXPECT_THAT(store.find_service("web")->spec.cluster_ips,
              ElementsAre("10.96.0.11", "fd00:10:96::b"));
  auto other = parse(web_service);
  other["metadata"]["name"] = "other";
  ASSERT_TRUE(store.apply(other));
  EXPECT_THAT(store.find_service("other")->spec.cluster_ips,
              ElementsAre("10.96.0.12", "fd00:10:96::c"));
  // Written again without addresses, it keeps its own.
  other["spec"]["ports"][0]["port"] = 81;
  ASSERT_TRUE(store.apply(other));
  EXPECT_THAT(store.find_service("other")->spec.cluster_ips,
              ElementsAre("10.96.0.12", "fd00:10:96::c"));
}

TEST(ObjectStore, TakesAListOfServicesAtOnceOrNoneOfThem) {
  ObjectStore store;
  const auto balancer = [](int number) {
    return base::Json{{"apiVersion", "v1"},
                      {"kind", "Service"},
                      {"metadata", {{"name", fmt::format("many-{}", number)}}},
                      {"spec",
                       {{"type", "LoadBalancer"},
                        {"allocateLoadBalancerNodePorts", false},
                        {"ports", {{{"port", 80}}}}}}};
  };
  base::Json list{{"apiVersion", "v1"}, {"kind", "ServiceList"}, {"items", base::Json::array()}};
  // More than a node has ports for.
  for (int number = 0; number < 3000; ++number) list["items"].push_back(balancer(number));
  ASSERT_TRUE(store.apply(list));
  const auto* last = store.find_service("many-2999");
  ASSERT_NE(last, nullptr);
  EXPECT_FALSE(last->spec.ports[0].node_port);

  auto wrong = list;
  wrong["items"][0]["spec"]["ports"][0]["port"] = 81;
  wrong["items"][1]["spec"]["ports"] = base::Json::array();
  const auto refused = store.apply(wrong);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("many-1"), std::string::npos);
  EXPECT_EQ(store.find_service("many-0")->spec.ports[0].port, 80);
  wrong["apiVersion"] = "v2";
  EXPECT_FALSE(store.apply(wrong));
}

TEST(ObjectStore, GivesTheAddressesOfARemovedServiceAgain) {
  ObjectStore store;
  const auto add = [&](const std::string& name) {
    base::kube::Service service;
    service.metadata.name = name;
    service.spec.ports = {{.name = "", .port = 80}};
    EXPECT_TRUE(store.apply(base::to_json(service)));
    return store.find_service(name)->spec.cluster_ips.front();
  };
  const auto first = add("first");
  const auto second = add("second");
  EXPECT_NE(first, second);
  ASSERT_TRUE(store.remove("Service", "first"));
  EXPECT_EQ(add("third"), first);
  // Only one may have it.
  auto thief = base::to_json(*store.find_service("third"));
  thief["metadata"]["name"] = "thief";
  const auto refused = store.apply(thief);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("belongs to Service third"));
}

TEST(ObjectStore, VersionsGrowWithChangesAlone) {
  ObjectStore store;
  const auto first = store.apply(parse(web_service));
  const auto same = store.apply(parse(web_service));
  auto changed = parse(web_service);
  changed["metadata"]["labels"]["tier"] = "front";
  const auto second = store.apply(changed);
  ASSERT_TRUE(first && same && second);
  EXPECT_EQ(*same, *first);
  EXPECT_GT(*second, *first);
  const auto removed = store.remove("Service", "web");
  ASSERT_TRUE(removed);
  EXPECT_GT(*removed, *second);
  EXPECT_EQ(store.remove("Service", "web").value_or(0), *removed);
  EXPECT_EQ(store.find_service("web"), nullptr);
}

TEST(ObjectStore, RefusesWhatAServerWouldAndKeepsWhatItHas) {
  ObjectStore store;
  ASSERT_TRUE(store.apply(parse(web_service)));
  const auto before = store.service_table();
  const auto refusal = [&](auto change) {
    auto object = parse(web_service);
    change(object);
    const auto applied = store.apply(object);
    EXPECT_FALSE(applied) << base::dump_json(object);
    EXPECT_EQ(store.service_table(), before);
    return applied ? base::Error() : applied.error();
  };
  using base::Json;
  EXPECT_THAT(refusal([](Json& object) { object["metadata"]["name"] = "We b"; }).message,
              HasSubstr("metadata.name"));
  EXPECT_THAT(refusal([](Json& object) { object["apiVersion"] = "v2"; }).message,
              HasSubstr("apiVersion: expected v1"));
  EXPECT_THAT(refusal([](Json& object) { object["spec"]["ports"] = Json::array(); }).message,
              HasSubstr("Service web: spec.ports: expected at least one"));
  EXPECT_THAT(refusal([](Json& object) { object["spec"]["ports"][0]["port"] = 0; }).message,
              HasSubstr("Service.spec.ports[0].port"));
  EXPECT_THAT(refusal([](Json& object) {
                object["spec"]["ports"].push_back(object["spec"]["ports"][0]);
              }).message,
              HasSubstr("spec.ports[1].name: \"http\" appears twice"));
  EXPECT_THAT(refusal([](Json& object) { object["spec"]["clusterIPs"] = {"10.96.0"}; }).message,
              HasSubstr("spec.clusterIPs[0]: expected an address, got \"10.96.0\""));
  EXPECT_THAT(refusal([](Json& object) {
                object["metadata"]["name"] = "thief";
                object["spec"]["clusterIPs"] = {"10.96.0.11"};
              }).message,
              HasSubstr("10.96.0.11 belongs to Service web already"));
}

// What the lab does not implement is the caller's skip, never a silent approximation.
TEST(ObjectStore, TakesPoliciesOfItsNamespacesAsAServerDoes) {
  ObjectStore store;
  const auto policy = [](std::string_view in_namespace, std::string_view spec) {
    return parse(fmt::format(R"({{"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
      "metadata": {{"name": "deny", "namespace": "{}"}}, "spec": {}}})",
                             in_namespace, spec));
  };
  const auto nowhere = store.apply(policy("shop", R"({"podSelector": {}})"));
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().kind, ErrorKind::input);
  EXPECT_EQ(nowhere.error().message, "NetworkPolicy shop/deny: namespaces \"shop\" not found");
  ASSERT_TRUE(store.put_namespace("shop", {{"team", "red"}}));
  EXPECT_EQ(store.namespaces().at("shop"),
            (Labels{{"kubernetes.io/metadata.name", "shop"}, {"team", "red"}}));
  const auto first = store.apply(policy("shop", R"({"podSelector": {}})"));
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(store.apply(policy("shop", R"({"podSelector": {}, "policyTypes": ["Ingress"]})")),
            first)
      << "defaulted, it is the same";
  ASSERT_EQ(store.policies().size(), 1U);
  EXPECT_FALSE(store.apply(policy("shop", R"({"podSelector": {}, "policyTypes": ["Both"]})")));
  EXPECT_TRUE(store.remove("NetworkPolicy", "deny"));
  EXPECT_EQ(store.policies().size(), 1U) << "that of the default namespace was meant";
  EXPECT_TRUE(store.remove("NetworkPolicy", "shop/deny"));
  EXPECT_TRUE(store.policies().empty());
}

TEST(ObjectStore, LabelsAreVersionedAndChecked) {
  ObjectStore store;
  const auto first = store.put_pod("default", "web-0", {{"app", "web"}});
  ASSERT_TRUE(first);
  EXPECT_EQ(store.put_pod("default", "web-0", {{"app", "web"}}), first);
  EXPECT_GT(*store.put_pod("default", "web-0", {{"app", "other"}}), *first);
  EXPECT_FALSE(store.put_pod("default", "web-0", {{"app", "no value"}}));
  EXPECT_EQ(store.pods().at({"default", "web-0"}), (Labels{{"app", "other"}}));
  // The API server's own label is no one else's.
  ASSERT_TRUE(store.put_namespace("default", {{"kubernetes.io/metadata.name", "mine"}}));
  EXPECT_EQ(store.namespaces().at("default"), (Labels{{"kubernetes.io/metadata.name", "default"}}));
}

TEST(ObjectStore, SaysWhatTheLabDoesNotImplement) {
  ObjectStore store;
  const auto kind_of = [&](std::string_view text) {
    const auto applied = store.apply(parse(text));
    EXPECT_FALSE(applied);
    return applied ? ErrorKind::usage : applied.error().kind;
  };
  EXPECT_EQ(kind_of(R"({"apiVersion": "security.istio.io/v1", "kind": "Telemetry"})"),
            ErrorKind::missing);
  for (const auto* field : {R"("type": "ExternalName")", R"("internalTrafficPolicy": "Local")"}) {
    EXPECT_EQ(kind_of(fmt::format(R"({{"apiVersion": "v1", "kind": "Service",
      "metadata": {{"name": "web"}}, "spec": {{{}, "ports": [{{"port": 80}}]}}}})",
                                  field)),
              ErrorKind::missing)
        << field;
  }
  EXPECT_EQ(kind_of(R"({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                        "spec": {"ports": [{"port": 80, "protocol": "SCTP"}]}})"),
            ErrorKind::missing);
  EXPECT_EQ(kind_of(R"({"metadata": {"name": "web"}})"), ErrorKind::input);
  EXPECT_EQ(kind_of(R"([])"), ErrorKind::input);
  EXPECT_FALSE(store.remove("Pod", "web-0"));
}

TEST(ObjectStore, RefusesSlicesOfTheWrongFamily) {
  ObjectStore store;
  const auto applied = store.apply(parse(web_slice(R"({"addresses": ["fd00::1"]})")));
  ASSERT_FALSE(applied);
  EXPECT_THAT(applied.error().message,
              HasSubstr("endpoints[0].addresses: expected an IPv4 address, got \"fd00::1\""));
  EXPECT_FALSE(store.apply(parse(web_slice(R"({"addresses": []})"))));
}

TEST(ServiceTable, HoldsReadyBackendsOnce) {
  ObjectStore store;
  ASSERT_TRUE(store.apply(parse(web_service)));
  EXPECT_THAT(backends_of(store), ElementsAre());
  ASSERT_TRUE(store.apply(parse(web_slice(
      R"({"addresses": ["10.244.2.3"], "conditions": {"ready": true}},
         {"addresses": ["10.244.2.2"]},
         {"addresses": ["10.244.2.4"], "conditions": {"ready": false}})"))));
  EXPECT_THAT(backends_of(store), ElementsAre("10.244.2.2:8080", "10.244.2.3:8080"));
  // While an endpoint moves between slices it is in both.
  ASSERT_TRUE(store.apply(parse(web_slice(R"({"addresses": ["10.244.2.2"]})", "web-2"))));
  EXPECT_THAT(backends_of(store), ElementsAre("10.244.2.2:8080", "10.244.2.3:8080"));
}

TEST(ServiceTable, FallsBackToServingTerminatingEndpoints) {
  ObjectStore store;
  ASSERT_TRUE(store.apply(parse(web_service)));
  ASSERT_TRUE(store.apply(parse(web_slice(
      R"({"addresses": ["10.244.2.2"],
          "conditions": {"ready": false, "serving": true, "terminating": true}},
         {"addresses": ["10.244.2.3"],
          "conditions": {"ready": false, "serving": false, "terminating": true}})"))));
  EXPECT_THAT(backends_of(store), ElementsAre("10.244.2.2:8080"));
}

TEST(ServiceTable, MatchesSlicesByLabelNamespacePortAndFamily) {
  ObjectStore store;
  ASSERT_TRUE(store.apply(parse(web_service)));
  const auto with = [&](auto change) {
    auto slice = parse(web_slice(R"({"addresses": ["10.244.2.2"]})"));
    change(slice);
    EXPECT_TRUE(store.apply(slice));
    return backends_of(store);
  };
  using base::Json;
  EXPECT_THAT(with([](Json& slice) {
                slice["metadata"]["labels"]["kubernetes.io/service-name"] = "other";
              }),
              ElementsAre());
  EXPECT_THAT(with([](Json& slice) { slice["metadata"].erase("labels"); }), ElementsAre());
  EXPECT_THAT(with([](Json& slice) { slice["metadata"]["namespace"] = "elsewhere"; }),
              ElementsAre());
  EXPECT_THAT(with([](Json& slice) { slice["ports"][0]["name"] = "https"; }), ElementsAre());
  EXPECT_THAT(with([](Json& slice) { slice["ports"][0]["protocol"] = "UDP"; }), ElementsAre());
  EXPECT_THAT(with([](Json&) {}), ElementsAre("10.244.2.2:8080"));
}

TEST(ServiceTable, OfThePlansObjectsIsDualStackAndWhole) {
  const auto plan = example_plan();
  const auto layout = lay_out(plan);
  ASSERT_TRUE(layout);
  ObjectStore store;
  for (const auto& service : services_of(plan, *layout))
    ASSERT_TRUE(store.apply(base::to_json(service)));
  for (const auto& slice : slices_of(plan, *layout)) {
    ASSERT_TRUE(store.apply(base::to_json(slice)));
  }
  const auto table = store.service_table();
  ASSERT_EQ(table.entries.size(), 4U) << "two ports in two families";
  EXPECT_EQ(table.entries[0].cluster.to_string(), "10.96.0.11:8001");
  EXPECT_EQ(table.entries[1].cluster.to_string(), "[fd00:10:96::b]:8001");
  EXPECT_EQ(table.entries[2].protocol, Protocol::UDP);
  for (const auto& entry : table.entries) {
    ASSERT_EQ(entry.backends.size(), 3U);
    EXPECT_EQ(entry.backends[0].pod, "web-0");
    EXPECT_EQ(entry.backends[0].endpoint.address.family, entry.cluster.address.family);
  }
}

}  // namespace
}  // namespace cluster
