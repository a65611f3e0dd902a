// VirtualService and DestinationRule as they are read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/kube/destination_rule.h"
#include "base/kube/virtual_service.h"

namespace base::kube {
namespace {

using ::testing::HasSubstr;

Json object(std::string_view kind, Json spec) {
  return {{"apiVersion", networking_api_version},
          {"kind", kind},
          {"metadata", {{"name", "web"}}},
          {"spec", std::move(spec)}};
}

Json routed(const std::string& route) {
  return object(virtual_service_kind,
                {{"hosts", {"web"}}, {"http", Json::array({Json::parse(route)})}});
}

std::string refusal(const Json& service) {
  const auto read = read_virtual_service(service);
  return read ? "taken" : std::string(read.error().message);
}

std::string rule_refusal(const std::string& spec) {
  const auto read = read_destination_rule(object(destination_rule_kind, Json::parse(spec)));
  return read ? "taken" : std::string(read.error().message);
}

TEST(VirtualService, ReadsWhatARouteSays) {
  const auto read = read_virtual_service(routed(
      R"({"match": [{"uri": {"prefix": "/a"}, "headers": {"end-user": {"exact": "jason"}}}],
          "fault": {"delay": {"fixedDelay": "100ms", "percentage": {"value": 12.5}}},
          "route": [{"destination": {"host": "web", "subset": "v1"}, "weight": 80},
                    {"destination": {"host": "web", "subset": "v2"}, "weight": 20}],
          "retries": {"attempts": 0}})"));
  ASSERT_TRUE(read) << read.error().message;
  const auto& route = read->spec.http.at(0);
  EXPECT_EQ(route.match.at(0).headers.at("end-user").exact, "jason");
  EXPECT_EQ(route.fault->delay->fixed_delay, std::chrono::milliseconds(100));
  EXPECT_EQ(route.fault->delay->percentage->value, 12.5);
  EXPECT_EQ(route.route.at(1).weight, 20);
}

TEST(VirtualService, WhatItDoesNotModelIsRefusedByItsField) {
  const std::string to = R"("route": [{"destination": {"host": "web"}}])";
  EXPECT_EQ(refusal(routed("{" + to + R"(, "rewrite": {"uri": "/"}})")),
            "VirtualService default/web: spec.http[0].rewrite: this field is not implemented here");
  EXPECT_EQ(
      refusal(routed("{" + to + R"(, "match": [{"headers": {"cookie": {"regex": ".*"}}}]})")),
      "VirtualService default/web: spec.http[0].match[0].headers.cookie.regex: this field is not "
      "implemented here");
  EXPECT_THAT(refusal(routed("{" + to + R"(, "retries": {"attempts": 3}})")),
              HasSubstr("spec.http[0].retries.attempts: retries are not implemented here"));
  EXPECT_THAT(refusal(routed("{" + to + R"(, "match": [{"headers": {"cookie": {}}}]})")),
              HasSubstr("headers.cookie: that it is there at all is not implemented here"));
  auto of_gateway = routed("{" + to + "}");
  of_gateway["spec"]["gateways"] = {"mesh", "ingress"};
  EXPECT_THAT(refusal(of_gateway), HasSubstr("spec.gateways[1]: gateways but mesh"));
  auto wild = routed("{" + to + "}");
  wild["spec"]["hosts"] = {"*.example.com"};
  EXPECT_THAT(refusal(wild), HasSubstr("spec.hosts[0]: wildcards"));
}

TEST(VirtualService, WhatIstioWouldRefuseIsBadInput) {
  const std::string to = R"("route": [{"destination": {"host": "web"}}])";
  EXPECT_THAT(refusal(routed("{" + to + R"(, "match": [{"uri": {}}]})")),
              HasSubstr("spec.http[0].match[0].uri: expected one of exact and prefix"));
  EXPECT_THAT(refusal(routed("{" + to + R"(, "fault": {}})")),
              HasSubstr("expected a delay, an abort or both"));
  EXPECT_THAT(refusal(routed("{" + to + R"(, "fault": {"abort": {"httpStatus": 99}}})")),
              HasSubstr("spec.http[0].fault.abort.httpStatus: expected 200 to 599"));
  EXPECT_THAT(refusal(routed("{" + to +
                             R"(, "fault": {"abort": {"httpStatus": 500,
                                 "percentage": {"value": 101}}}})")),
              HasSubstr("fault.abort.percentage.value: expected 0 to 100"));
  EXPECT_THAT(refusal(routed(R"({"route": [{"destination": {"host": "a"}},
                                           {"destination": {"host": "b"}}]})")),
              HasSubstr("weights of which one at least is above 0"));
  EXPECT_THAT(refusal(routed("{" + to + R"(, "match": [{"headers": {"X-Big": {"exact": "a"}}}]})")),
              HasSubstr("in small letters"));
  auto old = routed("{" + to + "}");
  old["apiVersion"] = "security.istio.io/v1";
  EXPECT_THAT(refusal(old), HasSubstr("apiVersion: expected networking.istio.io/v1"));
}

TEST(DestinationRule, ReadsSubsetsAndPolicies) {
  const auto read = read_destination_rule(object(destination_rule_kind, Json::parse(R"({
    "host": "web", "subsets": [{"name": "v1", "labels": {"version": "v1"}, "trafficPolicy": {
      "connectionPool": {"tcp": {"maxConnections": 1}, "http": {"http1MaxPendingRequests": 2}},
      "outlierDetection": {"consecutive5xxErrors": 3, "baseEjectionTime": "2s"}}}]})")));
  ASSERT_TRUE(read) << read.error().message;
  const auto& policy = *read->spec.subsets.at(0).traffic_policy;
  EXPECT_EQ(policy.connection_pool->tcp->max_connections, 1);
  EXPECT_EQ(policy.outlier_detection->base_ejection_time, std::chrono::seconds(2));
}

TEST(DestinationRule, WhatItDoesNotModelOrIstioRefusesIsRefusedByItsField) {
  EXPECT_EQ(rule_refusal(R"({"host": "web", "trafficPolicy": {"tls": {"mode": "DISABLE"}}})"),
            "DestinationRule default/web: spec.trafficPolicy.tls: this field is not implemented "
            "here");
  EXPECT_THAT(rule_refusal(R"({"host": "web", "subsets": [{"name": "a"}, {"name": "a"}]})"),
              HasSubstr("spec.subsets[1].name: expected a name of its own"));
  EXPECT_THAT(rule_refusal(R"({"host": "web", "trafficPolicy":
                               {"outlierDetection": {"interval": "10us"}}})"),
              HasSubstr("spec.trafficPolicy.outlierDetection.interval: expected 1ms or more"));
  EXPECT_THAT(rule_refusal(R"({"host": "web", "trafficPolicy":
                               {"connectionPool": {"tcp": {"maxConnections": -1}}}})"),
              HasSubstr("connectionPool.tcp.maxConnections: expected 0 or more"));
}

TEST(VirtualService, AShortHostIsOfItsOwnNamespace) {
  EXPECT_EQ(whole_host("web", "shop"), "web.shop.svc.cluster.local");
  EXPECT_EQ(whole_host("web.other.svc.cluster.local", "shop"), "web.other.svc.cluster.local");
}

}  // namespace
}  // namespace base::kube
