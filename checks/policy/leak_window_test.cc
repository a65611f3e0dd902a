#include "checks/policy/leak_window.h"

#include <cerrno>
#include <cstdlib>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::HasSubstr;

constexpr std::int64_t ms = 1'000'000;
constexpr std::int64_t us = 1'000;
constexpr base::Duration budget = std::chrono::milliseconds(20);

// Probes every half millisecond from 0 to 2 s, each 10 us in its sender's hands and 30 us on its
// way; the write is sent at 1 s and acknowledged 200 us later.
constexpr std::int64_t gap = ms / 2;
constexpr std::int64_t end = 2'000 * ms;
constexpr std::int64_t transit = 40 * us;
constexpr PolicyWrite write_at_1s{.sent_ns = 1'000 * ms, .acked_ns = 1'000 * ms + 200 * us};

// A flow and a control flow as planted, and who owns their stamps.
struct Planted {
  std::vector<bench::SentProbe> sent = {};
  std::vector<bench::ReceivedProbe> received = {};
  std::vector<bench::SentProbe> control_sent = {};
  std::vector<bench::ReceivedProbe> control_received = {};
  bool with_control = true;
  bool all_received = true;

  [[nodiscard]] WatchedFlow watched() const {
    WatchedFlow watched{.name = "x/a to y/b, TCP 80",
                        .flow = {.sent = sent,
                                 .received = received,
                                 .packet_bytes = 60,
                                 .all_received = all_received},
                        .until_ns = end + 100 * ms};
    if (with_control)
      watched.control = FlowStamps{.sent = control_sent, .received = control_received};
    return watched;
  }
  [[nodiscard]] FlowWindow window(PolicyChange change,
                                  const PolicyWrite& write = write_at_1s) const {
    return window_of(write, change, watched());
  }
};

using When = std::function<bool(std::int64_t sent_ns)>;

const When always = [](std::int64_t) { return true; };

// `passes`: whether a probe sent then comes through; `sends`: whether its sender is awake;
// `path_works`: whether anything gets there, the control flow's probes, too.
Planted plant(const When& passes, const When& sends = always, const When& path_works = always) {
  Planted planted;
  std::uint32_t number = 0;
  for (std::int64_t at = 0; at < end; at += gap, ++number) {
    if (!sends(at)) continue;
    planted.sent.push_back({.number = number, .before_ns = at, .after_ns = at + 10 * us});
    planted.control_sent.push_back(
        {.number = number, .before_ns = at + 100 * us, .after_ns = at + 110 * us});
    if (!path_works(at)) continue;
    planted.control_received.push_back({.number = number, .received_ns = at + 100 * us + transit});
    if (passes(at)) planted.received.push_back({.number = number, .received_ns = at + transit});
  }
  return planted;
}

When until(std::int64_t ns) {
  return [ns](std::int64_t at) { return at < ns; };
}
When from(std::int64_t ns) {
  return [ns](std::int64_t at) { return at >= ns; };
}
When but(std::int64_t begin, std::int64_t finish) {
  return [=](std::int64_t at) { return at < begin || at >= finish; };
}

TEST(LeakWindow, IsRightOfPlantedDelays) {
  for (const std::int64_t delay : {5, 50, 500}) {
    // A fifth of a gap beside the probes.
    const auto planted = plant(until(1'000 * ms + delay * ms + 100 * us));
    const auto window = planted.window(PolicyChange::to_denied);
    ASSERT_EQ(window.not_judged, "");
    EXPECT_EQ(window.edge, WindowEdge::known);
    const auto truth = delay * ms + 100 * us;  // after t_sent
    EXPECT_LE(std::abs(window.from_sent_ns - truth), ms) << delay;
    EXPECT_LE(window.at_least_ns, truth);
    EXPECT_GE(*window.at_most_ns, truth);
    // Its two probes, and the write.
    EXPECT_EQ(window.bracket_ns, gap + 10 * us + 30 * us);
    EXPECT_EQ(window.error_ns, gap + 40 * us + 200 * us);
    EXPECT_LE(window.error_ns, ms);
    EXPECT_EQ(window.packets, static_cast<std::uint64_t>(2 * delay + 1));
    EXPECT_EQ(window.bytes, window.packets * 60);
    EXPECT_EQ(window.first_ns, 1'000 * ms + transit);
    EXPECT_EQ(*window.last_ns - write_at_1s.acked_ns, window.from_ack_ns);
  }
}

TEST(LeakWindow, OfWhatIsToBeAllowedIsRightToo) {
  for (const std::int64_t delay : {5, 50, 500}) {
    const auto planted = plant(from(1'000 * ms + delay * ms + 100 * us));
    const auto window = planted.window(PolicyChange::to_allowed);
    ASSERT_EQ(window.not_judged, "");
    EXPECT_EQ(window.edge, WindowEdge::known);
    const auto truth = delay * ms + 100 * us;
    EXPECT_LE(std::abs(window.from_sent_ns - truth), ms) << delay;
    EXPECT_LE(window.at_least_ns, truth);
    EXPECT_GE(*window.at_most_ns, truth);
    EXPECT_EQ(window.packets, static_cast<std::uint64_t>(2 * delay + 1));
    EXPECT_LE(window.error_ns, ms);
  }
}

TEST(LeakWindow, MayEndBeforeTheAcknowledgement) {
  // The engine saw the write 1 ms after it was sent; the answer took 30 ms.
  const PolicyWrite slow{.sent_ns = 1'000 * ms, .acked_ns = 1'030 * ms};
  const auto window = plant(until(1'001 * ms)).window(PolicyChange::to_denied, slow);
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_LT(window.from_ack_ns, -28 * ms);
  EXPECT_EQ(window.packets, 2U);
  EXPECT_EQ(window.packets_after_ack, 0U);
  EXPECT_GE(window.error_ns, 30 * ms);
  // Within 40 ms it was surely, within 20 ms of the write, whenever that was, perhaps.
  EXPECT_EQ(leak_window(PolicyChange::to_denied, std::chrono::milliseconds(40), {window}).verdict,
            Verdict::pass);
}

TEST(LeakWindow, IsNoneWhereNoPacketContradicts) {
  // Nothing passes from the moment of the write on.
  const auto window = plant(until(1'000 * ms)).window(PolicyChange::to_denied);
  EXPECT_EQ(window.packets, 0U);
  EXPECT_EQ(window.from_sent_ns, 0);
  EXPECT_EQ(window.from_ack_ns, -200 * us);
  EXPECT_FALSE(window.last_ns);
  EXPECT_EQ(window.edge, WindowEdge::known);
  const auto finding = leak_window(PolicyChange::to_denied, budget, {window});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "at once");
}

TEST(LeakWindow, AStallNeverHidesALeak) {
  // It leaks for 60 ms, and the sender sleeps from 5 ms after the write until 80 ms after it.
  const auto planted = plant(until(1'060 * ms), but(1'005 * ms, 1'080 * ms));
  const auto window = planted.window(PolicyChange::to_denied);
  EXPECT_EQ(window.edge, WindowEdge::wide);
  EXPECT_LT(window.from_sent_ns, 5 * ms);
  EXPECT_GE(*window.at_most_ns, 80 * ms);
  const auto finding = leak_window(PolicyChange::to_denied, budget, {window});
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_EQ(finding.evidence["excluded"]["wide"], 1);
  EXPECT_FALSE(finding.evidence.contains("window"));
  EXPECT_THAT(finding.sentence, HasSubstr("may have until 80.5 ms after the write"));
  // A stall around the write itself, too: nobody saw what passed.
  const auto around = plant(until(1'060 * ms), but(990 * ms, 1'080 * ms));
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {around.window(PolicyChange::to_denied)})
                .verdict,
            Verdict::inconclusive);
  // What is allowed again while the sender sleeps.
  const auto allowed = plant(from(1'060 * ms), but(1'005 * ms, 1'080 * ms));
  const auto blocked = allowed.window(PolicyChange::to_allowed);
  EXPECT_EQ(blocked.edge, WindowEdge::wide);
  EXPECT_EQ(leak_window(PolicyChange::to_allowed, budget, {blocked}).verdict,
            Verdict::inconclusive);
  // Beyond a budget that even the stall keeps within it is no matter.
  EXPECT_EQ(leak_window(PolicyChange::to_denied, std::chrono::milliseconds(100), {window}).verdict,
            Verdict::pass);
}

TEST(LeakWindow, ALeakToTheEndOfTheWatchIsUnseen) {
  const auto window = plant(always).window(PolicyChange::to_denied);
  EXPECT_EQ(window.edge, WindowEdge::unseen);
  EXPECT_FALSE(window.at_most_ns);
  const auto finding = leak_window(PolicyChange::to_denied, budget, {window});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence, HasSubstr("nothing shows when that ended"));
  // The sender ends 3 ms after the write, when all still passed.
  const auto ended = plant(always, until(1'003 * ms)).window(PolicyChange::to_denied);
  EXPECT_EQ(ended.edge, WindowEdge::unseen);
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {ended}).verdict, Verdict::inconclusive);
}

TEST(LeakWindow, SilenceAloneIsNoDenial) {
  // The receiver is gone from 5 ms after the write: nothing of the control flow arrives either.
  const auto gone = plant(always, always, until(1'005 * ms)).window(PolicyChange::to_denied);
  EXPECT_EQ(gone.edge, WindowEdge::unproven);
  EXPECT_FALSE(gone.at_most_ns);
  EXPECT_GT(gone.unproven, 1'900U);
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {gone}).verdict, Verdict::inconclusive);
  // It comes back 100 ms later, when what leaks no more was denied for who knows how long.
  const auto back = plant(until(1'050 * ms), always, but(1'005 * ms, 1'105 * ms));
  const auto window = back.window(PolicyChange::to_denied);
  EXPECT_EQ(window.edge, WindowEdge::wide);
  EXPECT_GE(*window.at_most_ns, 105 * ms);
  // Without a control flow, or with a receiver that had no room for all: the same.
  auto alone = plant(until(1'005 * ms));
  alone.with_control = false;
  EXPECT_EQ(alone.window(PolicyChange::to_denied).edge, WindowEdge::unproven);
  auto full = plant(until(1'005 * ms));
  full.all_received = false;
  EXPECT_EQ(full.window(PolicyChange::to_denied).edge, WindowEdge::unproven);
  // Nor does a dead receiver read as a flow that is still held back.
  const auto dead = plant(from(1'002 * ms), always, but(1'001 * ms, 1'200 * ms));
  const auto blocked = dead.window(PolicyChange::to_allowed);
  EXPECT_EQ(blocked.edge, WindowEdge::unproven);
  EXPECT_LE(blocked.packets, 2U);
  EXPECT_EQ(leak_window(PolicyChange::to_allowed, budget, {blocked}).verdict,
            Verdict::inconclusive);
}

TEST(LeakWindow, LostProbesMoveTheEdgeByNoMoreThanTheyAre) {
  // Every seventh probe is lost on its way, the control flow's are not.
  auto planted = plant(until(1'050 * ms + 100 * us));
  std::erase_if(planted.received, [](const auto& one) { return one.number % 7 == 3; });
  const auto window = planted.window(PolicyChange::to_denied);
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_LE(std::abs(window.from_sent_ns - (50 * ms + 100 * us)), 2 * gap);
  EXPECT_LT(window.packets, 101U);
  EXPECT_GT(window.packets, 80U);
  // A probe the sender's kernel refused never left: no silence of its.
  auto refused = plant(until(1'005 * ms));
  for (auto& probe : refused.sent) {
    if (probe.before_ns >= 1'005 * ms && probe.before_ns < 1'007 * ms) probe.error_code = 101;
  }
  const auto wider = refused.window(PolicyChange::to_denied);
  EXPECT_GE(wider.bracket_ns, 2 * ms);
}

TEST(LeakWindow, APacketThatArrivesTwiceIsTwoPackets) {
  auto planted = plant(until(1'005 * ms));
  planted.received.push_back({.number = 2'001, .received_ns = 1'030 * ms});
  const auto window = planted.window(PolicyChange::to_denied);
  EXPECT_EQ(window.packets, 11U);
  EXPECT_EQ(window.last_ns, 1'030 * ms);
  EXPECT_EQ(window.from_sent_ns, 30 * ms);
  EXPECT_EQ(window.edge, WindowEdge::wide);
  EXPECT_GE(*window.at_most_ns, 30 * ms);
}

TEST(LeakWindow, JudgesNothingThatWasNotAsItShouldBeBefore) {
  EXPECT_EQ(plant([](std::int64_t) { return false; }).window(PolicyChange::to_denied).not_judged,
            "nothing of it arrived before the write");
  EXPECT_EQ(plant(always).window(PolicyChange::to_allowed).not_judged,
            "it arrived before the write already");
  auto alone = plant(from(1'005 * ms));
  alone.with_control = false;
  EXPECT_EQ(alone.window(PolicyChange::to_allowed).not_judged,
            "nothing shows that it was held back before the write");
  const PolicyWrite later{.sent_ns = 2'500 * ms, .acked_ns = 2'501 * ms};
  const auto unwatched = plant(always).window(PolicyChange::to_denied, later);
  EXPECT_THAT(unwatched.not_judged, HasSubstr("not watched"));
  const auto finding = leak_window(PolicyChange::to_denied, budget, {unwatched});
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("of x/a to y/b, TCP 80: it was not watched"));
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {}).verdict, Verdict::inconclusive);
  // One of two that says nothing leaves the whole undecided, and hides no late one.
  const auto good = plant(until(1'005 * ms)).window(PolicyChange::to_denied);
  const auto late = plant(until(1'050 * ms)).window(PolicyChange::to_denied);
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {good, unwatched}).verdict,
            Verdict::inconclusive);
  EXPECT_EQ(leak_window(PolicyChange::to_denied, budget, {good, unwatched, late}).verdict,
            Verdict::fail);
}

TEST(LeakWindow, WhatTheSendersOwnRulesRefuseNeedsNoControl) {
  auto planted = plant(until(1'005 * ms));
  planted.with_control = false;
  for (auto& probe : planted.sent) {
    if (probe.before_ns >= 1'005 * ms) probe.error_code = EPERM;
  }
  const auto window = planted.window(PolicyChange::to_denied);
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_EQ(window.packets, 10U);
  EXPECT_EQ(window.unproven, 0U);
}

TEST(LeakWindow, OfAPodThatCameWithTheWriteBeginsWithIt) {
  // The policy was there before the pod, which leaks from its first instant for 20 ms.
  const auto born = plant(until(1'020 * ms), from(1'000 * ms));
  auto watched = born.watched();
  watched.from_ns = 1'000 * ms + 10 * us;
  EXPECT_NE(window_of(write_at_1s, PolicyChange::to_denied, watched).not_judged, "");
  watched.was_there = false;
  const auto window = window_of(write_at_1s, PolicyChange::to_denied, watched);
  EXPECT_EQ(window.not_judged, "");
  EXPECT_EQ(window.packets, 40U);
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_NEAR(static_cast<double>(window.from_sent_ns), 20e6, 1e6);
  // One that is closed from its first packet on.
  const auto closed = plant([](std::int64_t) { return false; }, from(1'000 * ms));
  watched = closed.watched();
  watched.was_there = false;
  const auto none = window_of(write_at_1s, PolicyChange::to_denied, watched);
  EXPECT_EQ(none.packets, 0U);
  EXPECT_EQ(none.edge, WindowEdge::known);
  EXPECT_EQ(leak_window(PolicyChange::to_denied, base::Duration(0), {none}).verdict,
            Verdict::inconclusive);  // before its second probe nobody could have seen one
  // A pod that never sent anything.
  const auto mute = plant(always, until(900 * ms));
  watched = mute.watched();
  watched.was_there = false;
  EXPECT_EQ(window_of(write_at_1s, PolicyChange::to_denied, watched).not_judged,
            "nothing was sent since its pod came");
}

TEST(LeakWindow, TellsTheEnginesClaimFromWhatPacketsSaw) {
  auto write = write_at_1s;
  write.programmed_ns = 1'003 * ms;
  const auto window = plant(until(1'005 * ms)).window(PolicyChange::to_denied, write);
  EXPECT_EQ(window.after_claim_ns, 1'004 * ms + 500 * us + transit - 1'003 * ms);
  const auto finding = leak_window(PolicyChange::to_denied, budget, {window});
  EXPECT_EQ(finding.evidence["after_claim"]["max"]["ns"], *window.after_claim_ns);
  // One that was sooner than it claimed.
  const auto sooner = plant(until(1'002 * ms)).window(PolicyChange::to_denied, write);
  EXPECT_LT(*sooner.after_claim_ns, 0);
}

TEST(LeakWindow, ClocksThatDifferWidenTheBounds) {
  const auto planted = plant(until(1'005 * ms));
  auto watched = planted.watched();
  watched.clock_uncertainty = std::chrono::microseconds(300);
  const auto window = window_of(write_at_1s, PolicyChange::to_denied, watched);
  const auto exact = planted.window(PolicyChange::to_denied);
  EXPECT_EQ(window.error_ns, exact.error_ns + 300 * us);
  EXPECT_EQ(window.at_least_ns, exact.at_least_ns - 300 * us);
  EXPECT_EQ(*window.at_most_ns, *exact.at_most_ns + 300 * us);
}

TEST(LossesOf, CountsWhatIsMissingOfAFlowThatStays) {
  // What a write should not touch is cut off for 30 ms all the same.
  const auto cut = plant(but(1'010 * ms, 1'040 * ms));
  const auto window = losses_of(write_at_1s, cut.watched());
  EXPECT_EQ(window.not_judged, "");
  EXPECT_EQ(window.packets, 60U);
  EXPECT_EQ(window.packets_after_ack, 60U);
  EXPECT_EQ(window.bytes, 3'600U);
  EXPECT_EQ(window.first_ns, 1'010 * ms);
  EXPECT_EQ(window.last_ns, 1'040 * ms - gap);
  EXPECT_EQ(window.edge, WindowEdge::known);
  EXPECT_LE(window.at_least_ns, 40 * ms);
  EXPECT_GE(*window.at_most_ns, 40 * ms);
  // To the end of the watch: nothing shows that it came back.
  const auto gone = losses_of(write_at_1s, plant(until(1'010 * ms)).watched());
  EXPECT_EQ(gone.edge, WindowEdge::unseen);
  EXPECT_GT(gone.packets, 1'900U);
}

TEST(LossesOf, IsSilentWhereNothingIsMissing) {
  const auto whole = losses_of(write_at_1s, plant(always).watched());
  EXPECT_EQ(whole.not_judged, "");
  EXPECT_EQ(whole.packets, 0U);
  EXPECT_EQ(whole.edge, WindowEdge::known);
  // One that is missing before the write is none of its doing.
  EXPECT_EQ(losses_of(write_at_1s, plant(but(900 * ms, 905 * ms)).watched()).packets, 0U);
  // A sender that sleeps loses nothing.
  EXPECT_EQ(losses_of(write_at_1s, plant(always, but(1'010 * ms, 1'040 * ms)).watched()).packets,
            0U);
  // What was under way when the watch ended is not missing.
  const auto early = plant(until(1'490 * ms));
  auto ended = early.watched();
  ended.until_ns = 1'500 * ms;
  ended.flow.sent = ended.flow.sent.first(3'000);
  EXPECT_EQ(losses_of(write_at_1s, ended).packets, 0U);
}

TEST(LossesOf, JudgesNothingThatProvesNoLoss) {
  auto full = plant(but(1'010 * ms, 1'040 * ms));
  full.all_received = false;
  EXPECT_EQ(losses_of(write_at_1s, full.watched()).not_judged,
            "its receiver had no room for all that came");
  const auto never = plant([](std::int64_t) { return false; });
  EXPECT_EQ(losses_of(write_at_1s, never.watched()).not_judged,
            "nothing of it arrived before the write");
}

TEST(LeakWindow, WhatDidNotEndIsTheWorstAndNoSmallerOneHidesIt) {
  std::vector<FlowWindow> windows;
  for (int i = 0; i < 5; ++i) {
    windows.push_back(plant(until(1'001 * ms)).window(PolicyChange::to_denied));
  }
  windows.push_back(plant(always).window(PolicyChange::to_denied));
  const auto finding = leak_window(PolicyChange::to_denied, budget, windows);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  const auto& largest = finding.evidence["window"]["max"];
  EXPECT_EQ(largest["ns"], windows[5].from_ack_ns);
  EXPECT_EQ(largest["at_least"], true);
  windows.pop_back();
  EXPECT_FALSE(leak_window(PolicyChange::to_denied, budget, windows)
                   .evidence["window"]["max"]
                   .contains("at_least"));
}

TEST(LeakWindow, SaysHowManyWereReplaced) {
  const auto good = plant(until(1'005 * ms)).window(PolicyChange::to_denied);
  const auto finding = leak_window(PolicyChange::to_denied, budget, {good}, 2);
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.evidence["replaced"], 2);
  EXPECT_THAT(finding.sentence, HasSubstr("2 more stalled and were replaced by others"));
}

TEST(LeakWindow, SummarisesRepetitions) {
  std::vector<FlowWindow> windows;
  for (int i = 0; i < 20; ++i) {
    windows.push_back(plant(until(1'001 * ms + i * ms / 2)).window(PolicyChange::to_denied));
  }
  const auto finding = leak_window(PolicyChange::to_denied, budget, windows);
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.evidence["judged"], 20);
  EXPECT_EQ(finding.evidence["within_1ms"], 20);
  const auto& summary = finding.evidence["window"];
  EXPECT_EQ(summary["max"]["ns"], windows[19].from_ack_ns);
  EXPECT_EQ(summary["p50"]["ns"], windows[9].from_ack_ns);
  EXPECT_EQ(summary["p50"]["lower_ns"], windows[5].from_ack_ns);
  EXPECT_EQ(summary["p50"]["upper_ns"], windows[14].from_ack_ns);
  EXPECT_FALSE(summary.contains("p99"));
  EXPECT_EQ(finding.evidence["resolution_ns"], windows[0].error_ns);
  EXPECT_THAT(finding.sentence,
              HasSubstr("in 20 watched changes, of x/a to y/b, TCP 80 21 packets (1.26 kB) passed "
                        "until 9.84 ms after the acknowledgement (+- 740 us)"));
  const auto strict = leak_window(PolicyChange::to_denied, std::chrono::milliseconds(5), windows);
  EXPECT_EQ(strict.verdict, Verdict::fail);
  EXPECT_THAT(strict.sentence, HasSubstr("took longer than 5.00 ms"));
  EXPECT_EQ(strict.evidence["worst"]["flow"], "x/a to y/b, TCP 80");
}

}  // namespace
}  // namespace checks
