#include "cluster/lab/mesh/mesh.h"

#include <gtest/gtest.h>

#include "cluster/lab/layout.h"
#include "cluster/lab/object_store.h"

namespace cluster {
namespace {

using base::kube::MtlsMode;

struct World {
  EnvironmentPlan plan;
  MeshState state;

  explicit World(MtlsMode mode) {
    plan.name = "env";
    plan.topology.pods["client"] = {};
    plan.topology.pods["web"] = {.node = 2, .replicas = 2, .labels = {{"app", "web"}}};
    plan.topology.services["web"] = {.target = "web"};
    plan.ports = {{"tcp-rr", Protocol::TCP, 8001, 7001},
                  {"udp-rr", Protocol::UDP, 8003, 7003},
                  {"http", Protocol::TCP, 8004, 7004}};
    plan.mesh = MeshPlan{};
    const auto layout = *lay_out(plan);
    ObjectStore store;
    for (const auto& service : services_of(plan, layout))
      EXPECT_TRUE(store.apply(base::to_json(service)));
    for (const auto& slice : slices_of(plan, layout))
      EXPECT_TRUE(store.apply(base::to_json(slice)));
    for (const auto& pod : layout.pods) state.pods.push_back(pod.handle);
    state.table = store.service_table();
    base::kube::PeerAuthentication mesh;
    mesh.metadata.in_namespace = "istio-system";
    mesh.spec.mtls = base::kube::MutualTls{mode};
    state.policies = {mesh};
  }

  [[nodiscard]] const PodHandle& pod(std::string_view name) const {
    for (const auto& one : state.pods) {
      if (one.name == name) return one;
    }
    throw std::runtime_error("no such pod");
  }
  [[nodiscard]] ProxySpec spec(std::string_view name, bool left_out = false) const {
    return proxy_spec(plan, state, pod(name), left_out);
  }
};

TEST(ProxySpec, AClientKnowsTheServicesTcpPortsAndNothingOfUdp) {
  const auto spec = World(MtlsMode::STRICT).spec("client-0");
  ASSERT_EQ(spec.services.size(), 2);
  EXPECT_TRUE(spec.ports.empty()) << "no Service leads to it";
  const auto& http =
      spec.services[0].protocol == ProxiedProtocol::http ? spec.services[0] : spec.services[1];
  EXPECT_EQ(http.address.port, 8004);
  EXPECT_EQ(http.host, "web.default.svc.cluster.local");
  EXPECT_EQ(http.identities, std::vector<std::string>{"spiffe://cluster.local/ns/default/sa/web"});
  ASSERT_EQ(http.endpoints.size(), 2);
  EXPECT_TRUE(http.endpoints[0].mutual_tls);
  EXPECT_EQ(http.endpoints[0].endpoint.port, 7004);
}

TEST(ProxySpec, PlaintextBetweenProxiesWhereTheMeshSaysDisable) {
  const World world(MtlsMode::DISABLE);
  for (const auto& service : world.spec("client-0").services) {
    for (const auto& endpoint : service.endpoints) EXPECT_FALSE(endpoint.mutual_tls);
    EXPECT_TRUE(service.identities.empty());
  }
  for (const auto& port : world.spec("web-0").ports) EXPECT_EQ(port.mode, MtlsMode::DISABLE);
}

TEST(ProxySpec, APodThatWantsNoProxyIsDialledInTheClear) {
  World world(MtlsMode::STRICT);
  auto& web = *std::ranges::find(world.state.pods, "web-1", &PodHandle::name);
  web.labels[std::string(inject_label)] = "false";
  int in_the_clear = 0;
  for (const auto& service : world.spec("client-0").services) {
    for (const auto& endpoint : service.endpoints) {
      if (endpoint.mutual_tls) continue;
      ++in_the_clear;
      EXPECT_EQ(endpoint.endpoint.address, web.ipv4);
    }
  }
  EXPECT_EQ(in_the_clear, 2);
}

TEST(ProxySpec, OnePortIsLeftOutOfStrictWhereThatIsPlanted) {
  const World world(MtlsMode::STRICT);
  for (const bool planted : {false, true}) {
    const auto ports = world.spec("web-0", planted).ports;
    ASSERT_EQ(ports.size(), 2);
    EXPECT_EQ(ports[0].mode, planted ? MtlsMode::PERMISSIVE : MtlsMode::STRICT);
    EXPECT_EQ(ports[1].mode, MtlsMode::STRICT);
  }
}

TEST(PeerAuthentications, AreKeptByAgeAndReplacedInPlace) {
  ObjectStore store;
  ASSERT_TRUE(store.put_namespace("default", {}));
  const auto policy = [](const char* name, const char* in_namespace, const char* mode) {
    return base::Json{{"apiVersion", "security.istio.io/v1"},
                      {"kind", "PeerAuthentication"},
                      {"metadata", {{"name", name}, {"namespace", in_namespace}}},
                      {"spec", {{"mtls", {{"mode", mode}}}}}};
  };
  ASSERT_TRUE(store.apply(policy("z", "istio-system", "STRICT")));
  ASSERT_TRUE(store.apply(policy("a", "default", "DISABLE")));
  ASSERT_TRUE(store.apply(policy("z", "istio-system", "PERMISSIVE")));
  const auto all = store.peer_authentications();
  ASSERT_EQ(all.size(), 2);
  EXPECT_EQ(all[0].metadata.name, "z");
  EXPECT_EQ(all[0].spec.mtls->mode, MtlsMode::PERMISSIVE);
  EXPECT_FALSE(store.apply(policy("a", "nowhere", "STRICT")));
  ASSERT_TRUE(store.remove("PeerAuthentication", "istio-system/z"));
  EXPECT_EQ(store.peer_authentications().size(), 1);
}

TEST(ProxySpec, AuthorizationIsThatOfThePodsOwnObjectsUnlessItIsPlantedOut) {
  World world(MtlsMode::STRICT);
  base::kube::AuthorizationPolicy of_web;
  of_web.metadata.name = "web";
  of_web.spec.selector = base::kube::WorkloadSelector{.match_labels = {{"app", "web"}}};
  base::kube::RequestAuthentication elsewhere;
  elsewhere.metadata.in_namespace = "elsewhere";
  elsewhere.spec.jwt_rules = {{.issuer = "i", .jwks = "{}"}};
  world.state.authorization_policies = {of_web};
  world.state.request_authentications = {elsewhere};
  EXPECT_EQ(world.spec("web-0").authorization.policies.size(), 1);
  EXPECT_TRUE(world.spec("web-0").authorization.jwt_rules.empty());
  EXPECT_TRUE(world.spec("client-0").authorization.policies.empty());
  world.plan.faults = {FaultKind::authorization_left_out};
  EXPECT_TRUE(world.spec("web-0").authorization.policies.empty());
}

TEST(MeshObjects, OfTwoAboutOneHostTheSecondIsRefused) {
  ObjectStore store;
  ASSERT_TRUE(store.put_namespace("default", {}));
  const auto rule = [](const char* name, const char* host) {
    return base::Json{{"apiVersion", "networking.istio.io/v1"},
                      {"kind", "DestinationRule"},
                      {"metadata", {{"name", name}}},
                      {"spec", {{"host", host}}}};
  };
  ASSERT_TRUE(store.apply(rule("a", "web")));
  ASSERT_TRUE(store.apply(rule("a", "web"))) << "it replaces itself";
  const auto second = store.apply(rule("b", "web.default.svc.cluster.local"));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, base::ErrorKind::missing);
  EXPECT_EQ(second.error().message,
            "DestinationRule default/b: DestinationRule default/a is about "
            "web.default.svc.cluster.local, too, and two about one host are not implemented here");
  EXPECT_TRUE(store.apply(rule("b", "other")));
  ASSERT_TRUE(store.remove("DestinationRule", "default/a"));
  EXPECT_EQ(store.destination_rules().size(), 1);
  EXPECT_TRUE(store.virtual_services().empty());
}

TEST(ProxySpec, RoutingIsOfTheMeshAndLabelsAreOfThePods) {
  World world(MtlsMode::STRICT);
  base::kube::DestinationRule rule;
  rule.spec.host = "web";
  rule.spec.subsets = {{.name = "v1", .labels = {{"version", "v1"}}}};
  world.state.routing.destination_rules = {rule};
  const auto spec = world.spec("client-0");
  EXPECT_EQ(spec.routing, world.state.routing);
  const auto& endpoints = spec.services[0].endpoints;
  EXPECT_EQ(endpoints.at(0).labels.at("app"), "web");
  world.plan.faults = {FaultKind::subsets_ignored};
  EXPECT_TRUE(world.spec("client-0").routing.destination_rules[0].spec.subsets[0].labels.empty());
}

}  // namespace
}  // namespace cluster
