// `bgp:` in place of arms and workloads.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;

std::string asking(std::string_view bgp, std::string_view policy = "Local",
                   std::string_view more = "") {
  return fmt::format(
      "question: Is it announced?\n"
      "topology:\n"
      "  pods: {{web: {{node: 2}}}}\n"
      "  services:\n"
      "    web: {{target: web, type: LoadBalancer, external_traffic_policy: {}}}\n"
      "    inside: {{target: web}}\n"
      "bgp: {}\n{}",
      policy, bgp, more);
}

std::string refusals_of(const std::string& text) {
  const auto scenario = parse_scenario(text, "x.yaml", {});
  return scenario ? "" : scenario.error().message;
}

TEST(BgpScenario, NeedsNeitherArmsNorWorkloads) {
  const auto scenario =
      parse_scenario(asking("{service: web, communities: [\"65000:99\"], write: readiness}"),
                     "x.yaml", {"bgp.rounds=3", "bgp.fault=withdrawal_delayed"});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  ASSERT_TRUE(scenario->bgp);
  EXPECT_EQ(scenario->bgp->rounds, 3);
  EXPECT_EQ(scenario->bgp->fault, bgp::Fault::withdrawal_delayed);
  EXPECT_EQ(scenario->bgp->communities.at(0).to_string(), "65000:99");
}

TEST(BgpScenario, IsRefusedAtItsPlace) {
  EXPECT_THAT(refusals_of(asking("{service: wep}")), HasSubstr("did you mean \"web\"?"));
  EXPECT_THAT(refusals_of(asking("{service: inside}")),
              HasSubstr("Service inside is a ClusterIP, and only a LoadBalancer's"));
  EXPECT_THAT(refusals_of(asking("{service: web, write: readiness}", "Cluster")),
              HasSubstr("under externalTrafficPolicy Cluster every node announces"));
  EXPECT_THAT(refusals_of(asking("{service: web, hold_time_s: 2}")), HasSubstr("0, or 3 and more"));
  EXPECT_THAT(refusals_of(asking("{service: web, datapath: installed}")), HasSubstr("name one"));
  EXPECT_THAT(refusals_of(asking("{service: web, communities: [7]}")),
              HasSubstr("expected a community such as 65000:99"));
}

TEST(BgpScenario, StandsAlone) {
  const auto beside = [](std::string_view more) {
    return refusals_of(asking("{service: web}", "Local", more));
  };
  EXPECT_EQ(beside(""), "");
  EXPECT_THAT(beside("arms: [{name: a, dial: pod/web}]\n"),
              HasSubstr("x.yaml:8:1: arms: a scenario with bgp asks of BGP alone"));
  EXPECT_THAT(beside("workloads: [{kind: tcp_rr, duration: 1s}]\n"),
              HasSubstr("x.yaml:8:1: workloads: a scenario with bgp asks of BGP alone"));
  EXPECT_THAT(beside("environments: {nftables: {datapath: nftables}}\n"),
              HasSubstr("environments: a scenario with bgp has one environment"));
  EXPECT_THAT(beside("checks: [translated_at]\n"),
              HasSubstr("checks: a scenario with bgp has checks of its own"));
  EXPECT_THAT(beside("expect: [{metric: rate, arm: a, at_least: 5/s}]\n"),
              HasSubstr("expect: a scenario with bgp asks of BGP alone"));
}

TEST(BgpScenario, AndAPolicyAreToldApartInOneError) {
  const auto refused = refusals_of(asking("{service: web}", "Local", "policy: {objects: []}\n"));
  EXPECT_THAT(refused, HasSubstr("x.yaml:7:1: bgp: a scenario has arms and workloads, or a policy, "
                                 "or bgp, and this one has a policy, too"));
  EXPECT_EQ(refused.find("x.yaml:"), refused.rfind("x.yaml:")) << refused;
}

TEST(BgpScenario, IsNoWayRoundArmsForOthers) {
  EXPECT_THAT(refusals_of("question: What?\ntopology: {pods: {web: {}}}\n"),
              HasSubstr("arms: missing"));
}

}  // namespace
}  // namespace stackbench
