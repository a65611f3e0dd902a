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

std::string asking_nodes(std::string_view bgp, std::string_view more = "", int nodes = 4) {
  auto text = asking(bgp, "Cluster", more);
  const std::string_view begin = "topology:\n";
  return text.insert(text.find(begin) + begin.size(), fmt::format("  nodes: {}\n", nodes));
}

TEST(BgpScenario, MayAskOfManyServices) {
  const auto scenario = parse_scenario(
      asking("{service: web, scale: {services: [10, 10000]}, rounds: 3}"), "x.yaml", {});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  EXPECT_THAT(scenario->bgp->scale->services, ::testing::ElementsAre(10, 10'000));
  const auto refused = [](std::string_view scale) {
    return refusals_of(asking(fmt::format("{{service: web, scale: {}}}", scale)));
  };
  EXPECT_EQ(refused("{services: [62], pool: 172.20.8.0/26}"), "");
  EXPECT_THAT(refused("{services: [10, 63], pool: 172.20.8.0/26}"),
              HasSubstr("bgp.scale.pool: the pool 172.20.8.0/26 has 62 addresses to give, and 63 "
                        "Services need one each: it must be larger"));
  EXPECT_THAT(refused("{services: [1], pool: 10.0.0.0/16}"),
              HasSubstr("expected a part of 172.20.0.0/16"));
  // One Service of the topology has the first of them.
  EXPECT_THAT(refused("{services: [6], pool: 172.20.0.0/29}"), HasSubstr("has 5 addresses"));
  EXPECT_THAT(refused("{services: [10, 0]}"),
              HasSubstr("bgp.scale.services[1]: expected 1 to 20000, got 0"));
  EXPECT_THAT(refused("{services: []}"), HasSubstr("expected how many, such as [10, 1000]"));
}

TEST(BgpScenario, MayAskOfFlows) {
  EXPECT_EQ(
      refusals_of(asking_nodes("{service: web, flows: 3000, next_hops: [resilient]}", "seed: 7\n")),
      "");
  const auto refused = [](std::string_view kinds, std::string_view flows = "flows: 3000, ") {
    return refusals_of(
        asking_nodes(fmt::format("{{service: web, {}next_hops: {}}}", flows, kinds)));
  };
  EXPECT_EQ(refused("[hash_threshold, resilient]"), "");
  const auto unsaid = parse_scenario(asking("{service: web}"), "x.yaml", {});
  ASSERT_TRUE(unsaid) << base::describe_error(unsaid.error());
  EXPECT_THAT(unsaid->bgp->next_hops,
              ::testing::ElementsAre(bgp_peer::NextHopKind::hash_threshold));
  EXPECT_THAT(refused("[resilient, resilient]"),
              HasSubstr("bgp.next_hops: resilient is listed twice"));
  EXPECT_THAT(refused("[hash_threshold, resilient]", ""),
              HasSubstr("bgp.next_hops: only bgp.flows asks of several kinds; name one"));
  EXPECT_THAT(refusals_of(asking("{service: web, flows: 3000}")),
              HasSubstr("under externalTrafficPolicy Local only nodes with a pod announce"));
  EXPECT_THAT(refusals_of(asking_nodes("{service: web, flows: 3000}", "", 2)),
              HasSubstr("expected topology.nodes to be 3 or more"));
}

TEST(BgpScenario, AsksOneQuestion) {
  EXPECT_THAT(refusals_of(asking_nodes("{service: web, flows: 300, scale: {services: [1]}}")),
              HasSubstr("bgp.scale asks another question"));
  EXPECT_THAT(refusals_of(asking_nodes("{service: web, flows: 300, budget: {announce: 1s}}")),
              HasSubstr("bgp.budget: bgp.flows has no use for it"));
  EXPECT_THAT(refusals_of(asking("{service: web, scale: {services: [1]}, write: readiness}")),
              HasSubstr("bgp.write: bgp.scale has no use for it"));
  EXPECT_THAT(refusals_of(asking("{service: web, fault: peer_slowed}")),
              HasSubstr("bgp.fault: peer_slowed is a fault of bgp.scale"));
  EXPECT_THAT(
      refusals_of(asking("{service: web, scale: {services: [1]}, fault: next_hop_missing}")),
      HasSubstr("next_hop_missing is a fault of bgp.flows"));
  EXPECT_THAT(refusals_of(asking("{service: web, scale: {services: [1]}, fault: wrong_community}")),
              HasSubstr("without bgp.scale and bgp.flows"));
}

TEST(BgpScenario, RefusesWhatItWouldNotUse) {
  const auto beside = [](std::string_view more) {
    return refusals_of(asking("{service: web}", "Local", more));
  };
  EXPECT_THAT(beside("blocks: 20\n"), HasSubstr("x.yaml:8:1: blocks: a scenario with bgp has no "
                                                "blocks: how often it measures is bgp.rounds"));
  EXPECT_THAT(beside("seed: 7\n"), HasSubstr("seed: nothing in this scenario is random"));
  EXPECT_THAT(beside("stale_budget: 1s\n"), HasSubstr("stale_budget: a scenario with bgp"));
}

}  // namespace
}  // namespace stackbench
