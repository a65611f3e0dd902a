#include "checks/mesh/routing_oracle.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Json;
using ::testing::ElementsAre;

Json route_to(const std::string& http) {
  return {{"apiVersion", "networking.istio.io/v1"},
          {"kind", "VirtualService"},
          {"metadata", {{"name", "web"}}},
          {"spec", {{"hosts", {"web"}}, {"http", Json::parse(http)}}}};
}

Json rule() {
  return Json::parse(R"({"apiVersion": "networking.istio.io/v1", "kind": "DestinationRule",
    "metadata": {"name": "web"}, "spec": {"host": "web",
      "trafficPolicy": {"connectionPool": {"tcp": {"maxConnections": 5}}},
      "subsets": [{"name": "v1", "labels": {"version": "v1"}},
                  {"name": "v2", "labels": {"version": "v2"}, "trafficPolicy": {
                    "outlierDetection": {"consecutive5xxErrors": 3}}},
                  {"name": "nobody", "labels": {"version": "v9"}},
                  {"name": "all"}]}})");
}

const std::vector<RoutedPod> pods{
    {"web-0", "web.default.svc.cluster.local", {{"version", "v1"}}},
    {"web-1", "web.default.svc.cluster.local", {{"version", "v1"}}},
    {"web-2", "web.default.svc.cluster.local", {{"version", "v2"}}},
    {"other-0", "other.default.svc.cluster.local", {{"version", "v1"}}}};

RoutedAs of(const std::vector<Json>& manifests, RoutedRequest request = {}) {
  RoutingObjects objects;
  const auto read = add_objects(manifests, objects);
  EXPECT_TRUE(read) << read.error().message;
  request.host = "web.default.svc.cluster.local";
  return routed_as(objects, pods, request);
}

RoutedAs of_http(const std::string& http, RoutedRequest request = {}) {
  return of({rule(), route_to(http)}, std::move(request));
}

TEST(RoutingOracle, WithoutAnObjectAnyPodOfTheServiceAnswers) {
  const auto said = of({});
  ASSERT_EQ(said.ends.size(), 1);
  EXPECT_THAT(said.ends[0].pods, ElementsAre("web-0", "web-1", "web-2"));
  EXPECT_FALSE(said.delay);
  EXPECT_FALSE(said.said);
  EXPECT_TRUE(of({rule()}).said);
}

TEST(RoutingOracle, WeightsAreSharesOfSubsets) {
  const auto said = of_http(R"([{"route": [
    {"destination": {"host": "web", "subset": "v1"}, "weight": 3},
    {"destination": {"host": "web", "subset": "v2"}, "weight": 1}]}])");
  ASSERT_EQ(said.ends.size(), 2);
  EXPECT_DOUBLE_EQ(said.ends[0].share, 0.75);
  EXPECT_THAT(said.ends[0].pods, ElementsAre("web-0", "web-1"));
  EXPECT_DOUBLE_EQ(said.ends[1].share, 0.25);
  EXPECT_FALSE(said.policy) << "it is of one destination";
  EXPECT_FALSE(said.ambiguous);
  EXPECT_TRUE(of_http(R"([{"route": [
    {"destination": {"host": "web", "subset": "v1"}, "weight": 1},
    {"destination": {"host": "web", "subset": "all"}, "weight": 1}]}])")
                  .ambiguous);
}

TEST(RoutingOracle, TheFirstRouteThatMatchesIsTaken) {
  const std::string http = R"([
    {"match": [{"headers": {"end-user": {"exact": "jason"}}, "uri": {"prefix": "/a"}},
               {"method": {"exact": "POST"}}],
     "route": [{"destination": {"host": "web", "subset": "v2"}}]},
    {"match": [{"uri": {"exact": "/a"}}],
     "route": [{"destination": {"host": "web", "subset": "v1"}}]}])";
  const auto pods_of = [&](RoutedRequest request) {
    const auto said = of_http(http, std::move(request));
    return said.ends.at(0).pods;
  };
  EXPECT_THAT(pods_of({.path = "/ab", .headers = {{"end-user", "jason"}}}), ElementsAre("web-2"));
  EXPECT_THAT(pods_of({.method = "POST", .path = "/x"}), ElementsAre("web-2"));
  EXPECT_THAT(pods_of({.path = "/a"}), ElementsAre("web-0", "web-1"));
  EXPECT_THAT(pods_of({.path = "/a", .headers = {{"end-user", "jasmin"}}}),
              ElementsAre("web-0", "web-1"));
  EXPECT_EQ(of_http(http, {.path = "/b"}).ends.at(0).status, 404);
}

TEST(RoutingOracle, FaultsAreOfSoManyAndIndependentOfEachOther) {
  const auto said = of_http(R"([{"fault": {
      "abort": {"httpStatus": 418, "percentage": {"value": 30}},
      "delay": {"fixedDelay": "100ms", "percentage": {"value": 50}}},
    "route": [{"destination": {"host": "web", "subset": "v2"}}]}])");
  ASSERT_EQ(said.ends.size(), 2);
  EXPECT_EQ(said.ends[0].status, 418);
  EXPECT_TRUE(said.ends[0].aborted);
  EXPECT_DOUBLE_EQ(said.ends[0].share, 0.3);
  EXPECT_DOUBLE_EQ(said.ends[1].share, 0.7);
  EXPECT_EQ(said.delay->delay, std::chrono::milliseconds(100));
  EXPECT_DOUBLE_EQ(said.delay->share, 0.5);
  const auto never = of_http(R"([{"fault": {"abort": {"httpStatus": 418}},
    "route": [{"destination": {"host": "web"}}]}])");
  EXPECT_EQ(never.ends.size(), 1) << "without a percentage none is aborted";
}

TEST(RoutingOracle, NobodyToSendItToIsTheProxysOwn503) {
  for (const char* subset : {"nobody", "unheard-of"}) {
    const auto said = of_http(fmt::format(
        R"([{{"route": [{{"destination": {{"host": "web", "subset": "{}"}}}}]}}])", subset));
    ASSERT_EQ(said.ends.size(), 1);
    EXPECT_EQ(said.ends[0].status, 503);
  }
}

TEST(RoutingOracle, ASubsetsPolicyIsItsHostsButForTheParts) {
  const auto v1 = of_http(R"([{"route": [{"destination": {"host": "web", "subset": "v1"}}]}])");
  EXPECT_EQ(v1.policy->connection_pool->tcp->max_connections, 5);
  EXPECT_FALSE(v1.policy->outlier_detection);
  const auto v2 = of_http(R"([{"route": [{"destination": {"host": "web", "subset": "v2"}}]}])");
  EXPECT_EQ(v2.policy->connection_pool->tcp->max_connections, 5);
  EXPECT_EQ(v2.policy->outlier_detection->consecutive_5xx_errors, 3);
}

TEST(RoutingOracle, AnObjectStandsInPlaceOfOneOfItsName) {
  const auto said =
      of({route_to(R"([{"fault": {"abort": {"httpStatus": 500, "percentage": {"value": 100}}},
                        "route": [{"destination": {"host": "web"}}]}])"),
          route_to(R"([{"route": [{"destination": {"host": "web"}}]}])"),
          Json{{"apiVersion", "security.istio.io/v1"}, {"kind", "PeerAuthentication"}}});
  EXPECT_FALSE(said.ends.at(0).status);
}

}  // namespace
}  // namespace checks
