#include "cluster/lab/mesh/routing.h"

#include <gtest/gtest.h>

#include "cluster/lab/mesh/envoy_config.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::DestinationRule;
using base::kube::HttpRoute;
using base::kube::RequestPercent;
using base::kube::VirtualService;

constexpr std::string_view host = "web.default.svc.cluster.local";

HttpRoute split() {
  return {.route = {{.destination = {"web", "v1"}, .weight = 80},
                    {.destination = {"web", "v2"}, .weight = 20}}};
}

ProxyRouting routing(std::vector<HttpRoute> routes) {
  VirtualService service;
  service.metadata.name = "web";
  service.spec = {.hosts = {"web"}, .http = std::move(routes)};
  DestinationRule rule;
  rule.metadata.name = "web";
  rule.spec = {
      .host = "web",
      .traffic_policy =
          base::kube::DestinationPolicy{.connection_pool = {{.tcp = {{.max_connections = 9}}}}},
      .subsets = {{.name = "v1", .labels = {{"version", "v1"}}},
                  {.name = "v2", .labels = {{"version", "v2"}}}}};
  return {.virtual_services = {service}, .destination_rules = {rule}};
}

TEST(MeshRouting, WithoutAnObjectAHostIsOneCluster) {
  const auto routes = http_routes({}, host, 8004);
  EXPECT_EQ(routes, Json::parse(R"([{"match": {"prefix": "/"}, "route": {
    "cluster": "outbound|8004||web.default.svc.cluster.local", "timeout": "0s"}}])"));
  EXPECT_TRUE(http_fault_filters({}, host).empty());
  EXPECT_EQ(subsets_of({}, host).size(), 1);
}

TEST(MeshRouting, WeightsAreOfClustersOfSubsets) {
  EXPECT_EQ(http_routes(routing({split()}), host, 8004), Json::parse(R"([{
    "match": {"prefix": "/"},
    "route": {"timeout": "0s", "weighted_clusters": {"clusters": [
      {"name": "outbound|8004|v1|web.default.svc.cluster.local", "weight": 80},
      {"name": "outbound|8004|v2|web.default.svc.cluster.local", "weight": 20}]}}}])"));
}

TEST(MeshRouting, EveryMatchIsARouteOfItsOwn) {
  HttpRoute route{
      .match = {{.uri = {{.exact = "/a"}}, .headers = {{"end-user", {.exact = "jason"}}}},
                {.uri = {{.prefix = "/b"}}, .method = {{.exact = "GET"}}}},
      .route = {{.destination = {"web", "v2"}}}};
  const auto routes = http_routes(routing({route}), host, 8004);
  ASSERT_EQ(routes.size(), 2);
  EXPECT_EQ(routes.at(0).at("match"), Json::parse(R"({"path": "/a", "headers": [
    {"name": "end-user", "string_match": {"exact": "jason"}}]})"));
  EXPECT_EQ(routes.at(1).at("match"), Json::parse(R"({"prefix": "/b", "headers": [
    {"name": ":method", "string_match": {"exact": "GET"}}]})"));
}

TEST(MeshRouting, FaultsAreTheFiltersOfARoute) {
  HttpRoute route{.fault = {{.delay = {{.fixed_delay = std::chrono::milliseconds(1500),
                                        .percentage = RequestPercent{50}}},
                             .abort = {{.http_status = 418, .percentage = RequestPercent{0.01}}}}},
                  .route = {{.destination = {"web"}}}};
  const auto all = routing({route});
  const auto config = http_routes(all, host, 8004)
                          .at(0)
                          .at("typed_per_filter_config")
                          .at("envoy.filters.http.fault");
  EXPECT_EQ(config.at("delay"), Json::parse(R"({"fixed_delay": "1.500000000s",
    "percentage": {"numerator": 500000, "denominator": "MILLION"}})"));
  EXPECT_EQ(config.at("abort"), Json::parse(R"({"http_status": 418,
    "percentage": {"numerator": 100, "denominator": "MILLION"}})"));
  ASSERT_EQ(http_fault_filters(all, host).size(), 1);
  EXPECT_TRUE(http_fault_filters(all, "other.default.svc.cluster.local").empty());
}

TEST(MeshRouting, ASubsetHasItsHostsPolicyButForTheParts) {
  auto all = routing({split()});
  auto& v2 = all.destination_rules[0].spec.subsets[1];
  v2.traffic_policy = base::kube::DestinationPolicy{
      .connection_pool = {{.http = {{.http1_max_pending_requests = 2}}}},
      .outlier_detection = {
          {.consecutive_5xx_errors = 3, .base_ejection_time = std::chrono::seconds(2)}}};
  const auto subsets = subsets_of(all, host);
  ASSERT_EQ(subsets.size(), 3);
  EXPECT_EQ(subsets[1].policy.connection_pool->tcp->max_connections, 9);
  EXPECT_FALSE(subsets[2].policy.connection_pool->tcp);
  EXPECT_TRUE(subsets[1].has({{"version", "v1"}, {"app", "web"}}));
  EXPECT_FALSE(subsets[1].has({{"version", "v2"}}));

  Json cluster = {{"circuit_breakers", {{"thresholds", Json::array({{{"max_connections", 7}}})}}}};
  put_policy(cluster, subsets[2].policy);
  EXPECT_EQ(cluster.at("circuit_breakers"), Json::parse(R"({"thresholds": [
    {"max_connections": 7, "max_pending_requests": 2}]})"));
  EXPECT_EQ(cluster.at("outlier_detection"), Json::parse(R"({"enforcing_success_rate": 0,
    "consecutive_5xx": 3, "enforcing_consecutive_5xx": 100, "base_ejection_time": "2.000000000s"})"));
  EXPECT_EQ(cluster.at("common_lb_config").at("healthy_panic_threshold").at("value"), 0);
}

TEST(MeshRouting, AClusterOfASubsetHasItsPodsAndItsName) {
  ProxySpec spec{.pod = "client-0",
                 .in_namespace = "default",
                 .account = "client",
                 .address = "10.244.1.2",
                 .directory = "/run/x"};
  const auto at = [](const char* text) { return *base::Endpoint::parse(text); };
  spec.services = {{.host = std::string(host),
                    .address = at("10.96.0.11:8004"),
                    .protocol = ProxiedProtocol::http,
                    .endpoints = {{at("10.244.2.2:7004"), true, {{"version", "v1"}}},
                                  {at("10.244.2.3:7004"), true, {{"version", "v2"}}}}}};
  spec.routing = routing({split()});
  std::map<std::string, Json> clusters;
  for (const auto& one : proxy_files(spec, 1).at(std::string(clusters_file)).at("resources")) {
    clusters[one.at("name")] = one;
  }
  const auto& v2 = clusters.at("outbound|8004|v2|web.default.svc.cluster.local");
  const auto& endpoints = v2.at("load_assignment").at("endpoints").at(0).at("lb_endpoints");
  ASSERT_EQ(endpoints.size(), 1);
  EXPECT_EQ(endpoints.at(0).at("endpoint").at("address").at("socket_address").at("address"),
            "10.244.2.3");
  EXPECT_EQ(
      v2.at("transport_socket_matches").at(0).at("transport_socket").at("typed_config").at("sni"),
      "outbound_.8004_.v2_.web.default.svc.cluster.local");
  EXPECT_EQ(clusters.at("outbound|8004||web.default.svc.cluster.local")
                .at("load_assignment")
                .at("endpoints")
                .at(0)
                .at("lb_endpoints")
                .size(),
            2);
}

TEST(MeshRouting, AFaultBreaksOnePartOfWhatIsSaid) {
  HttpRoute route = split();
  route.fault = {
      {.delay = {{.fixed_delay = std::chrono::seconds(1)}}, .abort = {{.http_status = 418}}}};
  const auto all = routing({route});
  const auto first = [](const ProxyRouting& routed) {
    return routed.virtual_services[0].spec.http[0];
  };
  EXPECT_EQ(broken(all, {}), all);
  EXPECT_EQ(broken(all, {FaultKind::authorization_left_out}), all);
  const auto even = first(broken(all, {FaultKind::weights_ignored}));
  EXPECT_EQ(even.route[0].weight, even.route[1].weight);
  EXPECT_FALSE(first(broken(all, {FaultKind::abort_left_out})).fault->abort);
  EXPECT_TRUE(first(broken(all, {FaultKind::abort_left_out})).fault->delay);
  EXPECT_FALSE(first(broken(all, {FaultKind::delay_left_out})).fault->delay);
  EXPECT_TRUE(subsets_of(broken(all, {FaultKind::subsets_ignored}), host)[1].has({}));
  EXPECT_FALSE(
      subsets_of(broken(all, {FaultKind::pool_limits_left_out}), host)[1].policy.connection_pool);
}

}  // namespace
}  // namespace cluster
