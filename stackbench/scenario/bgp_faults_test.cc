// `bgp.faults`: what is refused, and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;

std::string asking(std::string_view faults, std::string_view more = "", int nodes = 2) {
  return fmt::format(
      "question: What is lost?\n"
      "topology:\n"
      "  nodes: {}\n"
      "  pods: {{web: {{}}}}\n"
      "  services: {{web: {{target: web, type: LoadBalancer}}}}\n"
      "bgp:\n"
      "  service: web\n"
      "  faults: [{}]\n{}",
      nodes, faults, more);
}

std::string refusals_of(const std::string& text) {
  const auto scenario = parse_scenario(text, "x.yaml", {});
  return scenario ? "" : scenario.error().message;
}

TEST(BgpFaults, AreReadWithTheirBudgets) {
  const auto scenario = parse_scenario(
      asking("{kind: speaker_lost, node: 2, budget: {stale: 5.1s}}, {kind: rollout}",
             "  restart_time_s: 5\n"),
      "x.yaml", {"bgp.faults.0.budget.loss=1ms", "bgp.repetitions=1", "bgp.fault=route_kept"});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  const auto& faults = scenario->bgp->faults;
  ASSERT_EQ(faults.size(), 2U);
  EXPECT_EQ(faults[0].kind, bgp::FaultKind::speaker_lost);
  EXPECT_EQ(faults[0].budget.stale, std::chrono::milliseconds(5100));
  EXPECT_EQ(faults[0].budget.loss, std::chrono::milliseconds(1));
  EXPECT_EQ(faults[1].budget, bgp::FaultBudget());
}

TEST(BgpFaults, AreRefusedAtTheirPlace) {
  const auto refused = refusals_of(asking("{kind: speaker_kiled}"));
  EXPECT_THAT(refused, HasSubstr("x.yaml:8:19: bgp.faults[0].kind"));
  EXPECT_THAT(refused, HasSubstr("did you mean \"speaker_killed\"?"));
  EXPECT_THAT(refusals_of(asking("{kind: speaker_killed, node: 3}")),
              HasSubstr("bgp.faults[0].node: there is no node 3: the topology has 2"));
  EXPECT_THAT(refusals_of(asking("{kind: speaker_lost}")), HasSubstr("needs a restart time"));
  EXPECT_THAT(refusals_of(asking("{kind: tcp_reset, restart_time_s: 5}")),
              HasSubstr("tcp_reset is without graceful restart"));
  EXPECT_THAT(refusals_of(asking("{kind: node_silent}", "  hold_time_s: 0\n")),
              HasSubstr("bgp.hold_time_s must be from 3 to 30"));
  EXPECT_THAT(refusals_of(asking("{kind: wrong_password}")), HasSubstr("bgp.password"));
  EXPECT_THAT(refusals_of(asking("{kind: max_prefix_exceeded}")), HasSubstr("bgp.max_prefixes"));
  EXPECT_THAT(refusals_of(asking("{kind: rollout, budget: {downtime: 1s}}")),
              HasSubstr("bgp.faults[0].budget.downtime: rollout has no downtime to judge"));
  EXPECT_THAT(refusals_of(asking("{kind: tcp_reset}, {kind: tcp_reset}")),
              HasSubstr("bgp.faults[1]: tcp_reset of node 1 is listed twice"));
  EXPECT_THAT(refusals_of(asking("{kind: tcp_reset}", "", 1)), HasSubstr("needs two nodes"));
}

TEST(BgpFaults, HavePlantedFaultsOfTheirOwn) {
  EXPECT_EQ(refusals_of(asking("{kind: speaker_killed}", "  fault: never_restarted\n")), "");
  EXPECT_THAT(refusals_of(asking("{kind: tcp_reset}", "  fault: never_restarted\n")),
              HasSubstr("bgp.fault: never_restarted shows in none of bgp.faults"));
  EXPECT_THAT(refusals_of(asking("{kind: tcp_reset}", "  fault: withdrawal_delayed\n")),
              HasSubstr("withdrawal_delayed is planted in a scenario without bgp.faults"));
  EXPECT_THAT(refusals_of(asking("", "  fault: route_kept\n")),
              HasSubstr("route_kept is planted in a scenario with bgp.faults"));
}

}  // namespace
}  // namespace stackbench
