#include "stackbench/policy/restarts.h"

#include <set>

#include <gtest/gtest.h>

namespace stackbench {
namespace {

using checks::Allowance;
using checks::PolicyChange;
using checks::WindowEdge;

constexpr std::int64_t ms = 1'000'000;

// Pods that all probe each other at a TCP and a UDP port; pod 1 is made anew. Pod 0 may not dial
// it, nor it pod 2; the rest is allowed.
PolicyGrid three_pods() {
  PolicyGrid grid;
  for (int i = 0; i < 3; ++i) {
    cluster::PodHandle pod;
    pod.name = "pod-" + std::to_string(i);
    pod.node = 1;
    grid.pods.push_back(std::move(pod));
  }
  grid.ports = {{"tcp", {base::Protocol::TCP, 80}}, {"udp", {base::Protocol::UDP, 80}}};
  for (std::size_t from = 0; from < 3; ++from) {
    for (std::size_t to = 0; to < 3; ++to) {
      for (std::size_t port = 0; port < 2; ++port) grid.cells.push_back({from, to, port});
    }
  }
  return grid;
}
std::vector<Allowance> truth_of_three(const PolicyGrid& grid) {
  std::vector<Allowance> truth;
  for (const auto& cell : grid.cells) {
    const bool denied = (cell.from == 0 && cell.to == 1) || (cell.from == 1 && cell.to == 2);
    truth.push_back(denied ? Allowance::denied : Allowance::allowed);
  }
  return truth;
}
constexpr std::size_t made_anew = 1;

TEST(ChooseRestartFlows, AreOfEachKindAndEachHasItsControl) {
  const auto grid = three_pods();
  const auto flows = choose_restart_flows(grid, truth_of_three(grid), made_anew, 5, true);
  std::set<std::string> kinds;
  for (const auto& flow : flows) {
    EXPECT_EQ(flows[flow.control].cell.to, flow.cell.to);
    EXPECT_FALSE(flows[flow.control].change);
    if (flow.cell.to == made_anew && !flow.change) EXPECT_TRUE(flow.from_node);
    if (!flow.change) continue;
    kinds.insert(fmt::format("{} {}{}", base::enum_name(*flow.change),
                             flow.cell.to == made_anew ? "to" : "from",
                             flow.to_old_address ? " old" : ""));
  }
  EXPECT_EQ(kinds, (std::set<std::string>{"to_denied to", "to_denied from", "to_denied to old",
                                          "to_allowed to", "to_allowed from"}));
}

TEST(ChooseRestartFlows, NobodySeesAnOldAddressWhoseReceiverEndedWithIt) {
  const auto grid = three_pods();
  for (const auto most : {2U, 8U}) {
    const auto flows = choose_restart_flows(grid, truth_of_three(grid), made_anew, most, false);
    std::size_t watched = 0;
    for (const auto& flow : flows) {
      EXPECT_FALSE(flow.to_old_address);
      if (flow.change) ++watched;
    }
    EXPECT_EQ(watched, most);
  }
}

// A probe a millisecond, of which those that were sent within a span arrive 100 us later.
SeenFlow seen_of(std::int64_t from, std::int64_t to, std::int64_t first = 50) {
  SeenFlow seen;
  seen.packet_bytes = 40;
  seen.from_ns = first * ms;
  seen.until_ns = 300 * ms;
  for (std::int64_t at = first; at < 300; ++at) {
    const auto number = static_cast<std::uint32_t>(at);
    seen.sent.push_back({.number = number, .before_ns = at * ms, .after_ns = at * ms + 1000});
    if (at >= from && at < to) {
      seen.received.push_back({.number = number, .received_ns = at * ms + 100'000});
    }
  }
  return seen;
}

// The node reaches the pod from 106 ms on; the write was at 100, and it was there at 105.
class JudgeRestart : public ::testing::Test {
 protected:
  JudgeRestart() : grid_(three_pods()), truth_(truth_of_three(grid_)) {
    remade_.stamps = {.sent_ns = 100 * ms, .acked_ns = 100 * ms, .there_ns = 105 * ms};
    remade_.there_ns = 105 * ms;
  }
  checks::FlowWindow judge(PolicyChange change, const SeenFlow& seen, bool old_address = false) {
    const GridCell cell{change == PolicyChange::to_denied && !old_address ? 0U : 2U, made_anew, 0};
    const std::vector<ChosenFlow> flows{
        {.cell = {made_anew, made_anew, 0}, .from_node = true},
        {.cell = cell, .change = change, .control = 0, .to_old_address = old_address}};
    remade_.seen = {seen_of(106, 300), seen};
    const auto& now = truth_now_ ? *truth_now_ : truth_;
    return judge_restart(remade_, made_anew, flows, grid_, truth_, now).windows.at(1);
  }

  PolicyGrid grid_;
  std::vector<Allowance> truth_;
  std::optional<std::vector<Allowance>> truth_now_;
  Remade remade_;
};

TEST_F(JudgeRestart, WhatIsDeniedNeverPassesAtTheNewAddress) {
  const auto clean = judge(PolicyChange::to_denied, seen_of(0, 0));
  EXPECT_EQ(clean.not_judged, "");
  EXPECT_EQ(clean.edge, WindowEdge::known);
  EXPECT_EQ(clean.packets, 0U);
  EXPECT_EQ(clean.from_sent_ns, 0);
  // Open for 20 ms from when it was there.
  const auto open = judge(PolicyChange::to_denied, seen_of(105, 125));
  EXPECT_EQ(open.edge, WindowEdge::known);
  EXPECT_EQ(open.packets, 20U);
  EXPECT_NEAR(static_cast<double>(open.from_ack_ns), 19.1 * ms, 1.0 * ms);
  EXPECT_LE(open.error_ns, 8 * ms) << "what is known of its first instant, and its last probes";
}

TEST_F(JudgeRestart, WhatIsAllowedIsHeldBackFromWhenItIsThere) {
  const auto at_once = judge(PolicyChange::to_allowed, seen_of(105, 300));
  EXPECT_EQ(at_once.edge, WindowEdge::known);
  EXPECT_EQ(at_once.packets, 0U);
  const auto late = judge(PolicyChange::to_allowed, seen_of(130, 300));
  EXPECT_EQ(late.edge, WindowEdge::known);
  EXPECT_NEAR(static_cast<double>(late.from_sent_ns), 24.0 * ms, 1.0 * ms);
}

TEST_F(JudgeRestart, NothingComesToTheOldAddressAnyMore) {
  const auto clean = judge(PolicyChange::to_denied, seen_of(0, 103), true);
  EXPECT_EQ(clean.not_judged, "");
  EXPECT_EQ(clean.edge, WindowEdge::known);
  EXPECT_NEAR(static_cast<double>(clean.from_sent_ns), 2.1 * ms, 0.2 * ms);
  const auto kept = judge(PolicyChange::to_denied, seen_of(0, 300), true);
  EXPECT_TRUE(outlasts(kept));
  EXPECT_GT(kept.at_least_ns, 150 * ms);
  // One that did not arrive before says nothing.
  EXPECT_NE(judge(PolicyChange::to_denied, seen_of(0, 0), true).not_judged, "");
}

TEST_F(JudgeRestart, OneWhoseTruthIsAnotherAtTheNewAddressIsNotJudged) {
  truth_now_ = std::vector<Allowance>(truth_.size(), Allowance::allowed);
  EXPECT_NE(judge(PolicyChange::to_denied, seen_of(105, 300)).not_judged, "");
}

TEST_F(JudgeRestart, WhereTheAddressIsToldLateTimesAreFromTheFirstThatWasSent) {
  remade_.stamps.there_ns.reset();
  remade_.there_ns = 60 * ms;
  const auto window = judge(PolicyChange::to_denied, seen_of(0, 0, 120));
  EXPECT_EQ(window.not_judged, "");
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_EQ(window.packets, 0U);
  EXPECT_LE(window.at_most_ns.value_or(1'000 * ms), 5 * ms);
}

}  // namespace
}  // namespace stackbench
