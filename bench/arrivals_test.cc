#include "bench/arrivals.h"

#include <vector>

#include <gtest/gtest.h>

namespace bench {
namespace {

Arrivals after(const std::vector<std::uint64_t>& sequences) {
  Arrivals arrivals;
  for (const auto sequence : sequences) arrivals.arrived(sequence, 0, 0, true);
  return arrivals;
}

TEST(Arrivals, InOrderAreNeitherReorderedNorDuplicates) {
  const auto arrivals = after({1, 2, 3, 4});
  EXPECT_EQ(arrivals.received(), 4U);
  EXPECT_EQ(arrivals.reordered(), 0U);
  EXPECT_EQ(arrivals.duplicates(), 0U);
}

TEST(Arrivals, AGapIsNoReordering) {
  const auto arrivals = after({1, 4, 5, 9});
  EXPECT_EQ(arrivals.received(), 4U);
  EXPECT_EQ(arrivals.reordered(), 0U);
}

// The examples of RFC 4737, section 3.3: what comes with a number below the next expected one is
// reordered, what overtook it is not.
TEST(Arrivals, WhatWasOvertakenIsReordered) {
  EXPECT_EQ(after({1, 2, 3, 7, 8, 9, 10, 4, 5, 6, 11}).reordered(), 3U);
  EXPECT_EQ(after({2, 1, 4, 3}).reordered(), 2U);
}

TEST(Arrivals, ASecondOneIsADuplicateAndNotReordered) {
  const auto arrivals = after({1, 2, 2, 3, 1});
  EXPECT_EQ(arrivals.received(), 3U);
  EXPECT_EQ(arrivals.duplicates(), 2U);
  EXPECT_EQ(arrivals.reordered(), 0U);
}

TEST(Arrivals, ADuplicateOfOneThatCameLateIsBothOnce) {
  const auto arrivals = after({1, 3, 2, 2});
  EXPECT_EQ(arrivals.received(), 3U);
  EXPECT_EQ(arrivals.reordered(), 1U);
  EXPECT_EQ(arrivals.duplicates(), 1U);
}

TEST(Arrivals, PlacesOfNumbersLongGoneAreUsedAgain) {
  Arrivals arrivals;
  for (std::uint64_t i = 1; i <= 3 * Arrivals::remembered; ++i) arrivals.arrived(i, 0, 0, true);
  EXPECT_EQ(arrivals.received(), 3 * Arrivals::remembered);
  EXPECT_EQ(arrivals.duplicates(), 0U);
  // Skips of less and of more than what is remembered leave no traces of what was there before.
  const auto skipped = 3 * Arrivals::remembered + Arrivals::remembered / 2;
  arrivals.arrived(skipped, 0, 0, true);
  arrivals.arrived(skipped - 1, 0, 0, true);
  arrivals.arrived(skipped + 2 * Arrivals::remembered, 0, 0, true);
  arrivals.arrived(skipped + 2 * Arrivals::remembered - 1, 0, 0, true);
  EXPECT_EQ(arrivals.duplicates(), 0U);
  EXPECT_EQ(arrivals.reordered(), 2U);
  arrivals.arrived(skipped + 2 * Arrivals::remembered - 1, 0, 0, true);
  EXPECT_EQ(arrivals.duplicates(), 1U);
}

TEST(Arrivals, OnlyThoseOfTheWindowAreCounted) {
  Arrivals arrivals;
  arrivals.arrived(1, 0, 0, false);
  arrivals.arrived(2, 0, 0, true);
  arrivals.arrived(2, 0, 0, true);
  EXPECT_EQ(arrivals.received(), 2U);
  EXPECT_EQ(arrivals.counted(), 1U);
}

// RFC 3550, section 6.4.1, by hand: transits 100, 116, 84, 84 give |D| = 16, 32, 0, and
// J = 0 + (16 - 0) / 16 = 1, then 1 + (32 - 1) / 16 = 2.9375, then 2.9375 - 2.9375 / 16.
TEST(Arrivals, JitterIsRfc3550s) {
  Arrivals arrivals;
  arrivals.arrived(1, 1'000, 1'100, true);
  EXPECT_EQ(arrivals.jitter_ns(), 0);
  arrivals.arrived(2, 2'000, 2'116, true);
  EXPECT_DOUBLE_EQ(arrivals.jitter_ns(), 1);
  arrivals.arrived(3, 3'000, 3'084, true);
  EXPECT_DOUBLE_EQ(arrivals.jitter_ns(), 2.9375);
  arrivals.arrived(4, 4'000, 4'084, true);
  EXPECT_DOUBLE_EQ(arrivals.jitter_ns(), 2.75390625);
}

TEST(Arrivals, JitterLeavesOutDuplicatesAndMindsNoOffsetBetweenTheClocks) {
  Arrivals arrivals;
  constexpr std::int64_t offset = -5'000'000'000;
  arrivals.arrived(1, 1'000, offset + 1'100, true);
  arrivals.arrived(1, 1'000, offset + 900'000, true);
  arrivals.arrived(2, 2'000, offset + 2'116, true);
  EXPECT_DOUBLE_EQ(arrivals.jitter_ns(), 1);
}

}  // namespace
}  // namespace bench
