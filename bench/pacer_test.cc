#include "bench/pacer.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/server_choice.h"

namespace bench {
namespace {

using base::Duration;
using base::MonotonicTime;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// The clock of these tests: it moves when told to.
struct FakeClock {
  MonotonicTime now{1'000'000'000};
  void advance(Duration span) { now = now + span; }
};

TEST(ArrivalSchedule, HoldsExactlyTheRateAsked) {
  const auto schedule = arrival_schedule({5'000}, seconds(3), 1);
  ASSERT_TRUE(schedule);
  EXPECT_EQ(schedule->size(), 15'000U);
  EXPECT_TRUE(std::is_sorted(schedule->begin(), schedule->end()));
  EXPECT_GE(schedule->front().count(), 0);
  EXPECT_LT(schedule->back(), seconds(3));
}

TEST(ArrivalSchedule, PutsOneRequestIntoEverySlot) {
  const auto schedule = arrival_schedule({1'000}, seconds(2), 7);
  ASSERT_TRUE(schedule);
  for (std::size_t i = 0; i < schedule->size(); ++i) {
    ASSERT_EQ((*schedule)[i] / milliseconds(1), static_cast<std::int64_t>(i));
  }
}

TEST(ArrivalSchedule, SpreadsRequestsOverTheirSlots) {
  const auto schedule = arrival_schedule({1'000}, seconds(4), 3);
  ASSERT_TRUE(schedule);
  std::array<int, 4> quarters{};
  for (const auto offset : *schedule) {
    ++quarters[static_cast<std::size_t>(offset % milliseconds(1) / microseconds(250))];
  }
  // 4,000 draws: a quarter holds 1,000 +- 27; five deviations leave no room for chance.
  for (const int quarter : quarters) EXPECT_NEAR(quarter, 1'000, 137);
}

TEST(ArrivalSchedule, IsTheSeedsAndOnlyTheSeeds) {
  EXPECT_EQ(*arrival_schedule({500}, seconds(1), 9), *arrival_schedule({500}, seconds(1), 9));
  EXPECT_NE(*arrival_schedule({500}, seconds(1), 9), *arrival_schedule({500}, seconds(1), 10));
}

TEST(ArrivalSchedule, RefusesWhatItCannotHold) {
  EXPECT_THAT(arrival_schedule({0}, seconds(1), 1).error().message, HasSubstr("more than 0/s"));
  const auto endless = arrival_schedule({1e9}, seconds(60), 1);
  ASSERT_FALSE(endless);
  EXPECT_EQ(endless.error().kind, base::ErrorKind::input);
}

TEST(OpenLoopPacer, DueTimesIgnoreHowLateTheCallerIs) {
  const std::vector<Duration> schedule{milliseconds(1), milliseconds(2), milliseconds(3)};
  FakeClock clock;
  const auto start = clock.now;
  OpenLoopPacer punctual(schedule, start);
  OpenLoopPacer stalled(schedule, start);

  std::vector<MonotonicTime> expected;
  for (int i = 0; i < 3; ++i) {
    clock.advance(milliseconds(1));
    if (const auto due = punctual.take_due(clock.now)) expected.push_back(*due);
  }
  clock.advance(seconds(10));
  std::vector<MonotonicTime> after_stall;
  while (const auto due = stalled.take_due(clock.now)) after_stall.push_back(*due);
  ASSERT_EQ(expected.size(), 3U);
  EXPECT_EQ(after_stall, expected);
  EXPECT_EQ(expected.front(), start + milliseconds(1));
}

TEST(OpenLoopPacer, HandsOutNothingBeforeItIsDue) {
  FakeClock clock;
  OpenLoopPacer pacer({microseconds(100)}, clock.now);
  EXPECT_EQ(pacer.take_due(clock.now), std::nullopt);
  clock.advance(microseconds(100) - Duration(1));
  EXPECT_EQ(pacer.take_due(clock.now), std::nullopt);
  EXPECT_FALSE(pacer.exhausted());
  clock.advance(Duration(1));
  EXPECT_EQ(pacer.take_due(clock.now), clock.now);
  EXPECT_TRUE(pacer.exhausted());
  EXPECT_EQ(pacer.next_due(), std::nullopt);
}

TEST(SleepBudget, HybridWakesAMarginBeforeTheDueTimeAndThenSpins) {
  FakeClock clock;
  const auto due = clock.now + milliseconds(1);
  const auto budget = [&] {
    return sleep_budget<WaitStrategy::hybrid>(clock.now, due, true, MonotonicTime{});
  };
  EXPECT_EQ(budget(), milliseconds(1) - spin_margin);
  clock.advance(milliseconds(1) - spin_margin);
  EXPECT_EQ(budget(), Duration(0));
  clock.advance(milliseconds(5));
  EXPECT_EQ(budget(), Duration(0));
}

TEST(SleepBudget, HybridWithoutADueTimeSpinsAMarginLongAfterTheLastEvent) {
  FakeClock clock;
  const auto active = clock.now;
  const auto until = clock.now + milliseconds(10);
  const auto budget = [&] {
    return sleep_budget<WaitStrategy::hybrid>(clock.now, until, false, active);
  };
  EXPECT_EQ(budget(), Duration(0));
  clock.advance(spin_margin - Duration(1));
  EXPECT_EQ(budget(), Duration(0));
  clock.advance(Duration(1));
  EXPECT_EQ(budget(), milliseconds(10) - spin_margin);
}

TEST(SleepBudget, BlockSleepsToTheDueTimeAndSpinNever) {
  const MonotonicTime now{1'000};
  const auto due = now + milliseconds(1);
  EXPECT_EQ(sleep_budget<WaitStrategy::block>(now, due, true, now), milliseconds(1));
  EXPECT_EQ(sleep_budget<WaitStrategy::block>(due, now, true, now), Duration(0));
  EXPECT_EQ(sleep_budget<WaitStrategy::spin>(now, due, true, now), Duration(0));
}

// Both come from the invocation's seed. Were they one stream, requests due early in their slot
// would all go to the first server, and no two close together to the same one.
TEST(ServerChoice, DoesNotFollowFromWhenARequestIsDue) {
  const std::vector<base::Endpoint> servers{base::Endpoint::parse("10.0.0.1:1").value(),
                                            base::Endpoint::parse("10.0.0.2:1").value()};
  constexpr int requests = 2000;
  constexpr int half = requests / 2;
  const auto schedule =
      arrival_schedule(base::RequestRate{1000}, std::chrono::seconds(2), 7).value();
  ASSERT_EQ(schedule.size(), static_cast<std::size_t>(requests));
  ServerChoice choice(servers, 7);
  int early_and_first = 0;
  int first = 0;
  for (int i = 0; i < requests; ++i) {
    const auto offset = schedule[static_cast<std::size_t>(i)] - std::chrono::milliseconds(i);
    const bool is_first = choice.next().endpoint == servers[0];
    first += is_first ? 1 : 0;
    early_and_first += is_first == (offset < std::chrono::microseconds(500)) ? 1 : 0;
  }
  // Half each, within six standard deviations of a fair coin.
  EXPECT_NEAR(first, half, 135);
  EXPECT_NEAR(early_and_first, half, 135);
}

}  // namespace
}  // namespace bench
