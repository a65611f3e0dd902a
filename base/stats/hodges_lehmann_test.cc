#include "base/stats/hodges_lehmann.h"

#include <cmath>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/stats/golden.h"
#include "base/stats/sample.h"
#include "base/stats/wilcoxon.h"

namespace base::stats {
namespace {

void expect_effect(const Result<Effect>& got, double estimate,
                   const std::optional<Interval>& interval) {
  ASSERT_TRUE(got.has_value());
  EXPECT_NEAR(got->estimate, estimate, 1e-11);
  ASSERT_EQ(got->interval.has_value(), interval.has_value());
  if (!interval) return;
  EXPECT_NEAR(got->interval->lower, interval->lower, 1e-11);
  EXPECT_NEAR(got->interval->upper, interval->upper, 1e-11);
  EXPECT_NEAR(got->interval->level, interval->level, 1e-11);
}

TEST(HodgesLehmann, IntervalHoldsTheCentresScipyDoesNotReject) {
  for (const auto& row : golden::one_sample_effects) {
    SCOPED_TRACE(testing::PrintToString(row.differences));
    expect_effect(hodges_lehmann(row.differences, row.level), row.estimate, row.interval);
  }
}

// Hollander and Wolfe (1973), 3.2 and 3.3: estimate 0.46, interval 0.010 .. 0.786 at 96.1 %.
TEST(HodgesLehmann, AgreesWithHollanderAndWolfe) {
  const std::vector<double> before_less_after{0.952, -0.147, 1.022,  0.430, 0.620,
                                              0.590, 0.490,  -0.080, 0.010};
  expect_effect(hodges_lehmann(before_less_after, 0.95), 0.46,
                Interval{0.010, 0.786, 1 - 20.0 / 512});
}

// The least n for which an exact two-sided interval exists: 2^(1 - n) <= 1 - level.
TEST(HodgesLehmann, HasNoIntervalWhereTheSampleIsTooSmall) {
  struct Row {
    double level;
    std::size_t least;
  };
  for (const Row& row : {Row{0.90, 5}, Row{0.95, 6}, Row{0.99, 8}, Row{0.999, 11}}) {
    std::vector<double> differences;
    for (std::size_t n = 1; n <= 12; ++n) {
      differences.push_back(static_cast<double>(n * n));
      const auto effect = hodges_lehmann(differences, row.level);
      ASSERT_TRUE(effect.has_value());
      EXPECT_EQ(effect->interval.has_value(), n >= row.least) << row.level << ", n " << n;
    }
  }
}

TEST(HodgesLehmann, ShiftIntervalHoldsTheShiftsScipyDoesNotReject) {
  for (const auto& row : golden::two_sample_effects) {
    SCOPED_TRACE(testing::PrintToString(row.second));
    expect_effect(hodges_lehmann_shift(row.first, row.second, row.level), row.estimate,
                  row.interval);
  }
}

TEST(HodgesLehmann, RefusesWhatItCannotEstimate) {
  const std::vector<double> sample{1, 2, 3, 4, 5, 6};
  EXPECT_FALSE(hodges_lehmann({}, 0.95).has_value());
  EXPECT_FALSE(hodges_lehmann(std::vector{1.0, std::nan("")}, 0.95).has_value());
  for (const double level : {0.0, 1.0, -0.5, 95.0, std::nan("")}) {
    EXPECT_FALSE(hodges_lehmann(sample, level).has_value()) << level;
    EXPECT_FALSE(hodges_lehmann_shift(sample, sample, level).has_value()) << level;
  }
  EXPECT_FALSE(hodges_lehmann_shift({}, sample, 0.95).has_value());
  EXPECT_FALSE(hodges_lehmann_shift(sample, {}, 0.95).has_value());
  EXPECT_FALSE(
      hodges_lehmann_shift(sample, std::vector<double>(max_pooled_ranks), 0.95).has_value());
}

TEST(Median, TakesTheMiddleOrTheMeanOfTheTwo) {
  EXPECT_EQ(median({3}), 3);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({9, 1, 5, 7}), 6);
}

// The properties that follow from the definition, on samples of every size and shape: continuous,
// heavy-tailed, and quantised so that most values tie.
class HodgesLehmannProperty : public testing::Test {
 protected:
  template <typename Property>
  void for_all_samples(Property property) {
    for (std::size_t n = 1; n <= 40; ++n) {
      for (int shape = 0; shape < 3; ++shape) {
        std::vector<double> sample;
        for (std::size_t i = 0; i < n; ++i) sample.push_back(draw(shape));
        SCOPED_TRACE(testing::PrintToString(sample));
        property(sample);
        if (HasFailure()) return;
      }
    }
  }

  double draw(int shape) {
    if (shape == 0) return normal_(random_);
    if (shape == 1) return cauchy_(random_);
    return std::round(3 * normal_(random_)) / 8;
  }

  static Effect effect_of(const std::vector<double>& sample, double level = 0.95) {
    const auto effect = hodges_lehmann(sample, level);
    EXPECT_TRUE(effect.has_value());
    return effect.value_or(Effect{});
  }

  std::mt19937_64 random_{20240611};
  std::normal_distribution<double> normal_{0.01, 1};
  std::cauchy_distribution<double> cauchy_{0, 0.1};
};

TEST_F(HodgesLehmannProperty, MovesWithTheSample) {
  for_all_samples([](const std::vector<double>& sample) {
    std::vector<double> moved = sample;
    for (double& value : moved) value += 2.5;
    const Effect effect = effect_of(sample);
    const Effect after = effect_of(moved);
    const double rounding = 1e-12 * (std::abs(effect.estimate) + 1000);
    EXPECT_NEAR(after.estimate, effect.estimate + 2.5, rounding);
    ASSERT_EQ(after.interval.has_value(), effect.interval.has_value());
    if (!effect.interval) return;
    EXPECT_NEAR(after.interval->lower, effect.interval->lower + 2.5, rounding);
    EXPECT_NEAR(after.interval->upper, effect.interval->upper + 2.5, rounding);
    EXPECT_EQ(after.interval->level, effect.interval->level);
  });
}

TEST_F(HodgesLehmannProperty, ScalesWithTheSampleAndTurnsWithItsSign) {
  for_all_samples([](const std::vector<double>& sample) {
    std::vector<double> scaled = sample;
    for (double& value : scaled) value *= -4;  // a power of two: no rounding at all
    const Effect effect = effect_of(sample);
    const Effect after = effect_of(scaled);
    EXPECT_EQ(after.estimate, -4 * effect.estimate);
    ASSERT_EQ(after.interval.has_value(), effect.interval.has_value());
    if (!effect.interval) return;
    EXPECT_EQ(after.interval->lower, -4 * effect.interval->upper);
    EXPECT_EQ(after.interval->upper, -4 * effect.interval->lower);
  });
}

TEST_F(HodgesLehmannProperty, IntervalHoldsTheEstimateAndWidensWithTheLevel) {
  for_all_samples([](const std::vector<double>& sample) {
    std::optional<Interval> narrower;
    for (const double level : {0.3, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999}) {
      const Effect effect = effect_of(sample, level);
      if (!effect.interval) {
        narrower.reset();
        continue;
      }
      EXPECT_GE(effect.interval->level, level);
      EXPECT_LE(effect.interval->lower, effect.estimate);
      EXPECT_GE(effect.interval->upper, effect.estimate);
      if (narrower) {
        EXPECT_LE(effect.interval->lower, narrower->lower);
        EXPECT_GE(effect.interval->upper, narrower->upper);
        EXPECT_GE(effect.interval->level, narrower->level);
      }
      narrower = effect.interval;
    }
  });
}

// The interval and the test are two sides of one thing: without ties, a centre lies inside exactly
// where neither tail rejects it.
TEST_F(HodgesLehmannProperty, IntervalHoldsExactlyTheCentresTheTestKeeps) {
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> sample;
    for (int i = 0; i < 6 + trial % 15; ++i) sample.push_back(draw(0));
    const Effect effect = effect_of(sample, 0.9);
    ASSERT_TRUE(effect.interval.has_value());
    for (int sixteenths = -24; sixteenths <= 24; ++sixteenths) {
      const double centre = sixteenths / 16.0;
      const auto test = signed_rank_test(sample, centre);
      ASSERT_TRUE(test.has_value());
      const bool kept = test->p_greater > 0.05 && test->p_less > 0.05;
      const bool inside = effect.interval->lower <= centre && centre <= effect.interval->upper;
      EXPECT_EQ(inside, kept) << centre;
    }
  }
}

TEST_F(HodgesLehmannProperty, ShiftMovesWithTheSecondSampleAndTurnsWhenTheyAreExchanged) {
  for (int trial = 0; trial < 60; ++trial) {
    std::vector<double> first;
    std::vector<double> second;
    for (int i = 0; i < 4 + trial % 9; ++i) first.push_back(draw(trial % 3));
    for (int i = 0; i < 4 + trial % 7; ++i) second.push_back(draw(trial % 3));
    const auto effect = hodges_lehmann_shift(first, second, 0.9);
    const auto exchanged = hodges_lehmann_shift(second, first, 0.9);
    for (double& value : second) value += 2;
    const auto moved = hodges_lehmann_shift(first, second, 0.9);
    ASSERT_TRUE(effect.has_value() && exchanged.has_value() && moved.has_value());
    const double rounding = 1e-12 * (std::abs(effect->estimate) + 1000);
    EXPECT_EQ(exchanged->estimate, -effect->estimate);
    EXPECT_NEAR(moved->estimate, effect->estimate + 2, rounding);
    ASSERT_TRUE(effect->interval && exchanged->interval && moved->interval);
    EXPECT_EQ(exchanged->interval->lower, -effect->interval->upper);
    EXPECT_NEAR(moved->interval->upper, effect->interval->upper + 2, rounding);
    EXPECT_LE(effect->interval->lower, effect->estimate);
    EXPECT_GE(effect->interval->upper, effect->estimate);
  }
}

}  // namespace
}  // namespace base::stats
