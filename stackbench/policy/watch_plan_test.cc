#include "stackbench/policy/watch_plan.h"

#include <cerrno>
#include <set>

#include <gtest/gtest.h>

#include "stackbench/policy/new_pods.h"

namespace stackbench {
namespace {

using checks::Allowance;
using checks::PolicyChange;

// Pods that all probe each other at a TCP and a UDP port.
PolicyGrid grid_of_pods(std::size_t pods) {
  PolicyGrid grid;
  for (std::size_t i = 0; i < pods; ++i) {
    cluster::PodHandle pod;
    pod.name = "pod-" + std::to_string(i);
    grid.pods.push_back(std::move(pod));
  }
  grid.ports = {{"tcp", {base::Protocol::TCP, 80}}, {"udp", {base::Protocol::UDP, 80}}};
  for (std::size_t from = 0; from < pods; ++from) {
    for (std::size_t to = 0; to < pods; ++to) {
      for (std::size_t port = 0; port < 2; ++port) grid.cells.push_back({from, to, port});
    }
  }
  return grid;
}

std::vector<Allowance> all(const PolicyGrid& grid, Allowance allowance) {
  return std::vector<Allowance>(grid.cells.size(), allowance);
}

// What cells to one pod become, other than from itself.
void set_to(const PolicyGrid& grid, std::vector<Allowance>& truth, std::size_t to,
            Allowance allowance) {
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    if (grid.cells[i].to == to && grid.cells[i].from != to) truth[i] = allowance;
  }
}

TEST(ChooseFlows, NothingIsWatchedWhereNothingChanges) {
  const auto grid = grid_of_pods(3);
  const auto truth = all(grid, Allowance::allowed);
  EXPECT_TRUE(choose_flows(grid, truth, truth, 8).empty());
}

TEST(ChooseFlows, BothProtocolsAreThereAndAControlThatIsAlwaysAllowed) {
  const auto grid = grid_of_pods(3);
  const auto before = all(grid, Allowance::allowed);
  auto after = before;
  // Pod 0 may not dial pod 1 any more; pod 2 still may.
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    if (grid.cells[i].from == 0 && grid.cells[i].to == 1) after[i] = Allowance::denied;
  }
  const auto flows = choose_flows(grid, before, after, 4);
  ASSERT_EQ(flows.size(), 3u);
  EXPECT_FALSE(flows[0].change);
  EXPECT_FALSE(flows[0].from_node);
  EXPECT_EQ(flows[0].cell.from, 2u);
  EXPECT_EQ(flows[0].cell.to, 1u);
  std::set<std::size_t> ports;
  for (const auto i : {1u, 2u}) {
    EXPECT_EQ(flows[i].change, PolicyChange::to_denied);
    EXPECT_EQ(flows[i].control, 0u);
    ports.insert(flows[i].cell.port);
  }
  EXPECT_EQ(ports.size(), 2u);
}

TEST(ChooseFlows, WhereNobodyMayAlwaysDialTheNodeDoes) {
  const auto grid = grid_of_pods(3);
  const auto before = all(grid, Allowance::allowed);
  auto after = before;
  set_to(grid, after, 1, Allowance::denied);
  const auto flows = choose_flows(grid, before, after, 4);
  ASSERT_EQ(flows.size(), 4u);
  EXPECT_TRUE(flows[0].from_node);
  EXPECT_EQ(flows[0].cell.to, 1u);
}

TEST(ChooseFlows, BothDirectionsAreThereWithinTheBound) {
  const auto grid = grid_of_pods(4);
  auto before = all(grid, Allowance::allowed);
  set_to(grid, before, 1, Allowance::denied);
  auto after = all(grid, Allowance::allowed);
  set_to(grid, after, 2, Allowance::denied);
  for (const std::size_t most : {2u, 4u, 8u}) {
    const auto flows = choose_flows(grid, before, after, most);
    EXPECT_LE(flows.size(), most);
    std::set<PolicyChange> changes;
    for (const auto& flow : flows) {
      if (!flow.change) continue;
      changes.insert(*flow.change);
      EXPECT_EQ(flows[flow.control].cell.to, flow.cell.to);
      EXPECT_FALSE(flows[flow.control].change);
    }
    EXPECT_EQ(changes.size(), most == 2 ? 1u : 2u) << most;
  }
}

TEST(ChooseFlows, APodAndItselfIsNeverWatched) {
  const auto grid = grid_of_pods(1);
  EXPECT_TRUE(
      choose_flows(grid, all(grid, Allowance::allowed), all(grid, Allowance::denied), 8).empty());
}

TEST(ChooseFlows, WhatIsUnknownIsNotWatched) {
  const auto grid = grid_of_pods(2);
  EXPECT_TRUE(
      choose_flows(grid, all(grid, Allowance::unknown), all(grid, Allowance::denied), 8).empty());
}

TEST(NewPodFlows, AreForbiddenOnesToItWithOneOfItsNode) {
  const auto grid = grid_of_pods(3);
  auto truth = all(grid, Allowance::allowed);
  set_to(grid, truth, 1, Allowance::denied);
  const auto flows = choose_new_pod_flows(grid, truth, 1, 4);
  // What leaves pod 1 is allowed everywhere, so there is nothing to watch on that side.
  ASSERT_EQ(flows.size(), 3u);
  EXPECT_TRUE(flows[0].from_node);
  EXPECT_FALSE(flows[0].change);
  EXPECT_EQ(flows[0].cell.to, 1u);
  for (const auto i : {1u, 2u}) {
    EXPECT_EQ(flows[i].change, PolicyChange::to_denied);
    EXPECT_EQ(flows[i].cell.to, 1u);
    EXPECT_EQ(flows[i].control, 0u);
  }
  EXPECT_TRUE(choose_new_pod_flows(grid, all(grid, Allowance::allowed), 1, 4).empty());
}

// Pod 1 may dial pod 2 and not pod 0, and everybody may dial it.
std::vector<ChosenFlow> outgoing_flows(const PolicyGrid& grid) {
  auto truth = all(grid, Allowance::allowed);
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    if (grid.cells[i].from == 1 && grid.cells[i].to == 0) truth[i] = Allowance::denied;
  }
  return choose_new_pod_flows(grid, truth, 1, 2);
}

TEST(NewPodFlows, OfEachReceiverOneIsAllowedAndOneFromThePodItself) {
  const auto flows = outgoing_flows(grid_of_pods(3));
  ASSERT_EQ(flows.size(), 4u);
  EXPECT_EQ(flows[0].cell.to, 1u) << "shows that the pod is there";
  EXPECT_FALSE(flows[0].from_node);
  EXPECT_EQ(flows[1].cell.from, 1u) << "shows that it can send";
  EXPECT_EQ(flows[1].cell.to, 2u);
  EXPECT_EQ(flows[2].cell.to, 0u) << "shows that the receiver receives";
  EXPECT_EQ(flows[2].cell.from, 2u);
  EXPECT_EQ(flows[3].change, PolicyChange::to_denied);
  EXPECT_EQ(flows[3].control, 2u);
}

// Each flow sent a packet at 90 and one at 110; the ones of `arrive` arrived, at 120.
std::vector<SeenFlow> seen_of(std::size_t flows, const std::set<std::size_t>& arrive,
                              std::uint32_t number) {
  std::vector<SeenFlow> seen(flows);
  for (std::size_t i = 0; i < flows; ++i) {
    seen[i].sent = {{.number = 1, .before_ns = 90, .after_ns = 91},
                    {.number = 2, .before_ns = 110, .after_ns = 111}};
    if (arrive.contains(i)) seen[i].received = {{.number = number, .received_ns = 120}};
  }
  return seen;
}

TEST(WouldBeSeen, TakesAPacketOfTheNewPodAndOneAtTheReceiver) {
  const auto flows = outgoing_flows(grid_of_pods(3));
  ASSERT_EQ(flows.size(), 4u);
  constexpr std::int64_t there = 100;
  EXPECT_TRUE(would_be_seen(flows, seen_of(4, {1, 2}, 2), 3, 1, there));
  // The old pod's packets, still on their way.
  EXPECT_FALSE(would_be_seen(flows, seen_of(4, {1, 2}, 1), 3, 1, there));
  // The receiver is deaf, or the pod is mute.
  EXPECT_FALSE(would_be_seen(flows, seen_of(4, {0, 1}, 2), 3, 1, there));
  EXPECT_FALSE(would_be_seen(flows, seen_of(4, {0, 2}, 2), 3, 1, there));
  for (const std::size_t flow : {1u, 2u, 3u}) {
    auto lossy = seen_of(4, {1, 2}, 2);
    lossy[flow].all_received = false;
    EXPECT_FALSE(would_be_seen(flows, lossy, 3, 1, there)) << flow;
  }
  auto unsent = seen_of(4, {1, 2}, 2);
  unsent[3].sent[1].error_code = ENETUNREACH;
  EXPECT_FALSE(would_be_seen(flows, unsent, 3, 1, there));
}

TEST(WouldBeSeen, OfAPodThatMaySendToNobodyItIsReachedAtItsNewAddress) {
  const auto grid = grid_of_pods(2);
  const auto flows = choose_new_pod_flows(grid, all(grid, Allowance::denied), 1, 2);
  ASSERT_EQ(flows.size(), 4u);
  EXPECT_EQ(flows[0].cell.to, 1u);
  EXPECT_EQ(flows[1].cell.to, 0u);
  ASSERT_EQ(flows[2].cell.from, 1u);
  ASSERT_EQ(flows[3].cell.to, 1u);
  EXPECT_TRUE(would_be_seen(flows, seen_of(4, {0, 1}, 2), 2, 1, 100));
  EXPECT_FALSE(would_be_seen(flows, seen_of(4, {1}, 2), 2, 1, 100));
  EXPECT_TRUE(would_be_seen(flows, seen_of(4, {0}, 2), 3, 1, 100));
  EXPECT_FALSE(would_be_seen(flows, seen_of(4, {1}, 2), 3, 1, 100));
}

// A packet a millisecond until 300 ms, those of a span left out.
SeenFlow steady(bool arrives, std::int64_t pause_from = 0, std::int64_t pause_to = 0) {
  constexpr std::int64_t ms = 1'000'000;
  SeenFlow seen;
  seen.until_ns = 300 * ms;
  for (std::uint32_t i = 50; i < 300; ++i) {
    if (i >= pause_from && i < pause_to) continue;
    seen.sent.push_back({.number = i, .before_ns = i * ms, .after_ns = i * ms + 1000});
    if (arrives) seen.received.push_back({.number = i, .received_ns = i * ms + 50'000});
  }
  return seen;
}

TEST(LongestPause, IsOfTheSenderOrOfWhatTheReceiverSaw) {
  using std::chrono::milliseconds;
  constexpr std::int64_t there = 100'000'000;
  const auto pause = [](const SeenFlow& forbidden, const SeenFlow& control) {
    return longest_pause(forbidden, control, there) / milliseconds(1);
  };
  EXPECT_EQ(pause(steady(false), steady(true)), 1);
  EXPECT_EQ(pause(steady(false, 60, 95), steady(true)), 1) << "before it was there";
  EXPECT_EQ(pause(steady(false, 110, 120), steady(true)), 11);
  // In its first instants, later, and to the end.
  EXPECT_EQ(pause(steady(false, 95, 125), steady(true)), 25);
  EXPECT_EQ(pause(steady(false, 200, 225), steady(true)), 26);
  EXPECT_EQ(pause(steady(false, 270, 300), steady(true)), 31);
  EXPECT_EQ(pause(steady(false), steady(true, 200, 225)), 26);
  // Nobody is told of the pod before 250 ms.
  EXPECT_EQ(pause(steady(false, 50, 250), steady(true, 50, 250)), 1);
  EXPECT_EQ(longest_pause(steady(false), steady(false), there), base::Duration::max());
}

reports::NewPodRecord new_pod(int unseen, int elsewhere, std::uint64_t packets) {
  return {.pod = "pod-1",
          .repetitions = 3,
          .unseen = unseen,
          .elsewhere = elsewhere,
          .packets = packets,
          .last_ns = 20'000'000,
          .flows = {{.from = "pod-0", .to = "pod-1", .port = "tcp"}}};
}

TEST(JudgeNewPods, PassesOnlyWhereEachWouldHaveBeenSeen) {
  using base::Verdict;
  EXPECT_EQ(judge_new_pods({new_pod(0, 0, 0)}).verdict, Verdict::pass);
  EXPECT_EQ(judge_new_pods({new_pod(1, 0, 0)}).verdict, Verdict::inconclusive);
  EXPECT_EQ(judge_new_pods({new_pod(3, 0, 0)}).observed, "no telling");
  EXPECT_EQ(judge_new_pods({new_pod(3, 3, 5)}).verdict, Verdict::fail);
  auto stalled = new_pod(0, 0, 0);
  stalled.replaced = 1;
  EXPECT_EQ(judge_new_pods({stalled}).verdict, Verdict::pass);
  EXPECT_EQ(judge_new_pods({stalled}).evidence["replaced"], 1);
  const auto elsewhere = judge_new_pods({new_pod(1, 1, 0)});
  EXPECT_EQ(elsewhere.verdict, Verdict::inconclusive);
  EXPECT_EQ(elsewhere.evidence["elsewhere"], 1);
  EXPECT_NE(elsewhere.sentence.find("another address"), std::string::npos);
  // One with nothing forbidden proves nothing, and the other does not stand for it.
  const reports::NewPodRecord open{.pod = "pod-2"};
  const auto both = judge_new_pods({new_pod(0, 0, 0), open});
  EXPECT_EQ(both.verdict, Verdict::inconclusive);
  EXPECT_NE(both.sentence.find("pod-2"), std::string::npos);
}

TEST(NextAddress, IsOneAboveTheHighest) {
  const auto address = [](std::string_view text) { return *base::IpAddress::parse(text); };
  EXPECT_EQ(next_address({address("10.244.1.3"), address("10.244.1.9"), address("10.244.1.4")}),
            address("10.244.1.10"));
  EXPECT_EQ(next_address({address("10.244.1.255")}), address("10.244.2.0"));
  EXPECT_EQ(next_address({address("fd00::ff")}), address("fd00::100"));
}

}  // namespace
}  // namespace stackbench
