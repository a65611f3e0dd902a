#include "base/units.h"

#include <limits>

#include <gtest/gtest.h>

namespace base {
namespace {

TEST(Units, TimesHaveThreeSignificantDigits) {
  EXPECT_EQ(format_time(0, Charset::utf8), "0.00 ns");
  EXPECT_EQ(format_time(870, Charset::utf8), "870 ns");
  EXPECT_EQ(format_time(12'345, Charset::utf8), "12.3 µs");
  EXPECT_EQ(format_time(1'204'000, Charset::utf8), "1.20 ms");
  EXPECT_EQ(format_time(41e9, Charset::utf8), "41.0 s");
  EXPECT_EQ(format_time(-2'500, Charset::utf8), "-2.50 µs");
}

TEST(Units, AsciiHasNoMicroSign) { EXPECT_EQ(format_time(12'345, Charset::ascii), "12.3 us"); }

TEST(Units, WhatWouldRoundToAThousandTakesTheNextUnit) {
  EXPECT_EQ(format_time(999.4, Charset::utf8), "999 ns");
  EXPECT_EQ(format_time(999.6, Charset::utf8), "1.00 µs");
  EXPECT_EQ(format_rate(999'700), "1.00 M/s");
  EXPECT_EQ(format_time(9'996, Charset::utf8), "10.0 µs");
  EXPECT_EQ(format_time(99'960, Charset::utf8), "100 µs");
}

TEST(Units, RatesAndSizes) {
  EXPECT_EQ(format_rate(45'102), "45.1 k/s");
  EXPECT_EQ(format_rate(870), "870 /s");
  EXPECT_EQ(format_bytes(24.68e9), "24.7 GB");
}

TEST(Units, DifferencesAlwaysCarryTheirSign) {
  EXPECT_EQ(format_difference(12.34), "+12.3 %");
  EXPECT_EQ(format_difference(-3.04), "-3.0 %");
  EXPECT_EQ(format_difference(-0.01), "+0.0 %");
  EXPECT_EQ(format_signed(0.06), "+0.1");
}

TEST(Units, WhatIsNoNumberIsADash) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(format_time(nan, Charset::utf8), "-");
  EXPECT_EQ(format_rate(infinity), "-");
  EXPECT_EQ(format_difference(nan), "-");
}

TEST(Units, CountsAgreeWithTheirNoun) {
  EXPECT_EQ(format_count(1, "block"), "1 block");
  EXPECT_EQ(format_count(0, "block"), "0 blocks");
}

TEST(Units, WaitsAreWholeSecondsRoundedUp) {
  EXPECT_EQ(format_wait(-5), "0 s");
  EXPECT_EQ(format_wait(1), "1 s");
  EXPECT_EQ(format_wait(59'000'000'001), "1 min 00 s");
  EXPECT_EQ(format_wait(200'000'000'000), "3 min 20 s");
  EXPECT_EQ(format_wait(3'900'000'000'000), "1 h 05 min");
}

}  // namespace
}  // namespace base
