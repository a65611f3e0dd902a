#include "bench/pacer.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace bench
