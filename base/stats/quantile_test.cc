#include "base/stats/quantile.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include <gtest/gtest.h>

namespace base::stats {
namespace {

// 1, 2, ..., n: a value is its rank.
std::vector<double> ranks(std::size_t n) {
  std::vector<double> values(n);
  std::iota(values.begin(), values.end(), 1.0);
  return values;
}

TEST(Quantile, OfAMedianHasTheSignTestsInterval) {
  const auto six = quantile(ranks(6), 0.5, 0.95);
  ASSERT_TRUE(six.has_value() && six->interval.has_value());
  EXPECT_EQ(six->estimate, 3);
  EXPECT_EQ(six->interval->lower, 1);
  EXPECT_EQ(six->interval->upper, 6);
  EXPECT_NEAR(six->interval->level, 1 - 2.0 / 64, 1e-12);
  // Conover's table of the binomial distribution: P(at most 5 of 20) = 0.0207, of 6 0.0577.
  const auto twenty = quantile(ranks(20), 0.5, 0.95);
  ASSERT_TRUE(twenty.has_value() && twenty->interval.has_value());
  EXPECT_EQ(twenty->interval->lower, 6);
  EXPECT_EQ(twenty->interval->upper, 15);
  EXPECT_NEAR(twenty->interval->level, 1 - 2 * 0.020695, 1e-5);
}

TEST(Quantile, HasNoIntervalWhereTheSampleIsTooSmall) {
  const auto five = quantile(ranks(5), 0.5, 0.95);
  ASSERT_TRUE(five.has_value());
  EXPECT_FALSE(five->interval);
  // 1 - 0.99^n reaches 0.975 at 368.
  EXPECT_FALSE(quantile(ranks(367), 0.99, 0.95)->interval);
  const auto enough = quantile(ranks(368), 0.99, 0.95);
  ASSERT_TRUE(enough->interval);
  EXPECT_EQ(enough->estimate, 365);
  EXPECT_EQ(enough->interval->upper, 368);
}

TEST(Quantile, TakesTheNearestRankAndAnyOrder) {
  EXPECT_EQ(quantile(std::vector<double>{5, 1, 4, 2, 3}, 0.2, 0.95)->estimate, 1);
  EXPECT_EQ(quantile(ranks(20), 0.95, 0.95)->estimate, 19);
  EXPECT_EQ(quantile(ranks(1), 0.99, 0.95)->estimate, 1);
  EXPECT_EQ(quantile(ranks(100), 0.99, 0.95)->estimate, 99);
}

TEST(Quantile, RefusesWhatIsNoSample) {
  EXPECT_FALSE(quantile(std::vector<double>{}, 0.5, 0.95));
  EXPECT_FALSE(quantile(std::vector<double>{std::nan("")}, 0.5, 0.95));
  EXPECT_FALSE(quantile(ranks(6), 1, 0.95));
  EXPECT_FALSE(quantile(ranks(6), 0.5, 0));
}

}  // namespace
}  // namespace base::stats
