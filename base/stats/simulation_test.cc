// What the statistics promise of repeated runs, on simulated ones with a fixed seed. A rate may
// exceed its bound by three standard errors of the simulation, never more.
#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "base/stats/judge.h"
#include "base/stats/proportion.h"
#include "base/stats/wilcoxon.h"

namespace base::stats {
namespace {

using Noise = std::function<double(std::mt19937_64&)>;

struct NamedNoise {
  const char* name;
  Noise draw;  // symmetric about 0
};

double standard_error(double rate, int trials) { return std::sqrt(rate * (1 - rate) / trials); }

// Shapes that blocks have been seen to have: calm, with outliers, and quantised by the histogram so
// that differences tie and vanish.
std::vector<NamedNoise> noises() {
  return {
      {"normal", [](auto& random) { return std::normal_distribution<double>(0, 0.02)(random); }},
      {"laplace",
       [](auto& random) {
         const double size = std::exponential_distribution<double>(1 / 0.014)(random);
         return random() % 2 == 0 ? size : -size;
       }},
      {"contaminated",
       [](auto& random) {
         const double scale = random() % 10 == 0 ? 0.1 : 0.015;
         return std::normal_distribution<double>(0, scale)(random);
       }},
      {"quantised", [](auto& random) {
         return std::round(std::normal_distribution<double>(0, 2)(random)) / 128;
       }}};
}

class Simulation : public testing::Test {
 protected:
  std::vector<double> blocks(int n, double centre, const Noise& noise) {
    std::vector<double> differences;
    for (int i = 0; i < n; ++i) differences.push_back(centre + noise(random_));
    return differences;
  }

  std::mt19937_64 random_{7};
};

// Exact, not simulated: given the magnitudes, every pattern of signs is equally likely, and of all
// of them at most a share u may have p <= u, whatever ties and zeros there are.
TEST(SignedRankNull, PValuesAreSuperUniformOverEveryPatternOfSigns) {
  for (const std::vector<double>& magnitudes :
       {std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
        std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
        std::vector<double>{0, 0, 0, 2, 2, 3, 5, 5, 5, 8, 9}, std::vector<double>{0, 0, 4}}) {
    std::vector<double> p_values;
    const unsigned patterns = 1U << magnitudes.size();
    for (unsigned pattern = 0; pattern < patterns; ++pattern) {
      std::vector<double> differences = magnitudes;
      for (std::size_t i = 0; i < differences.size(); ++i) {
        if ((pattern >> i) % 2 == 1) differences[i] = -differences[i];
      }
      const auto test = signed_rank_test(differences, 0);
      ASSERT_TRUE(test.has_value());
      p_values.push_back(test->p_greater);
    }
    std::ranges::sort(p_values);
    for (std::size_t i = 0; i < p_values.size(); ++i) {
      EXPECT_LE(static_cast<double>(i + 1) / patterns, p_values[i] * (1 + 1e-12));
    }
  }
}

// The same for the rank-sum: every split of the pooled values is equally likely.
TEST(RankSumNull, PValuesAreSuperUniformOverEverySplit) {
  for (const std::vector<double>& pooled : {std::vector<double>{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
                                            std::vector<double>{1, 1, 2, 2, 2, 2, 5, 6, 6, 6}}) {
    std::vector<double> p_values;
    for (unsigned split = 0; split < 1U << pooled.size(); ++split) {
      if (std::popcount(split) != 4) continue;
      std::vector<double> first;
      std::vector<double> second;
      for (std::size_t i = 0; i < pooled.size(); ++i) {
        ((split >> i) % 2 == 1 ? first : second).push_back(pooled[i]);
      }
      const auto test = rank_sum_test(first, second, 0);
      ASSERT_TRUE(test.has_value());
      p_values.push_back(test->p_greater);
    }
    std::ranges::sort(p_values);
    for (std::size_t i = 0; i < p_values.size(); ++i) {
      EXPECT_LE(static_cast<double>(i + 1) / static_cast<double>(p_values.size()),
                p_values[i] * (1 + 1e-9));
    }
  }
}

TEST_F(Simulation, NullPValuesAreSuperUniform) {
  constexpr int trials = 3000;
  for (const auto& [name, noise] : noises()) {
    std::vector<int> at_most(101);
    for (int trial = 0; trial < trials; ++trial) {
      const auto test = signed_rank_test(blocks(12, 0.03125, noise), 0.03125);
      ASSERT_TRUE(test.has_value());
      ++at_most[static_cast<std::size_t>(std::ceil(100 * test->p_greater - 1e-9))];
    }
    int seen = 0;
    for (std::size_t percent = 0; percent < 100; ++percent) {
      seen += at_most[percent];
      const double u = static_cast<double>(percent) / 100;
      EXPECT_LE(static_cast<double>(seen) / trials, u + 3.3 * standard_error(u, trials))
          << name << ", u " << u;
    }
  }
}

TEST_F(Simulation, IntervalsCoverTheTruthAsOftenAsTheySay) {
  constexpr int trials = 2000;
  for (const auto& [name, noise] : noises()) {
    for (const double level : {0.8, 0.95}) {
      int covered = 0;
      double achieved = 0;
      for (int trial = 0; trial < trials; ++trial) {
        const auto effect = hodges_lehmann(blocks(12, 0.03125, noise), level);
        ASSERT_TRUE(effect.has_value() && effect->interval);
        covered += effect->interval->lower <= 0.03125 && 0.03125 <= effect->interval->upper;
        achieved = effect->interval->level;
      }
      const double rate = static_cast<double>(covered) / trials;
      EXPECT_GE(rate, achieved - 3 * standard_error(achieved, trials)) << name << " " << level;
      if (std::string_view(name) != "quantised") {
        EXPECT_LE(rate, achieved + 3 * standard_error(achieved, trials)) << name << " " << level;
      }
    }
  }
}

TEST_F(Simulation, ShiftIntervalsCoverTheTruthAsOftenAsTheySay) {
  constexpr int trials = 2000;
  for (const auto& [name, noise] : noises()) {
    int covered = 0;
    for (int trial = 0; trial < trials; ++trial) {
      const auto effect = hodges_lehmann_shift(blocks(8, 0, noise), blocks(10, 0.0625, noise), 0.9);
      ASSERT_TRUE(effect.has_value() && effect->interval);
      covered += effect->interval->lower <= 0.0625 && 0.0625 <= effect->interval->upper;
    }
    EXPECT_GE(static_cast<double>(covered) / trials, 0.9 - 3 * standard_error(0.9, trials)) << name;
  }
}

// The three false claims, each where it is easiest to make: on the margin.
TEST_F(Simulation, EachFalseClaimIsMadeNoMoreOftenThanAlpha) {
  constexpr int trials = 1200;
  constexpr double alpha = 0.05;
  constexpr double margin = 0.03125;
  const double most = alpha + 3 * standard_error(alpha, trials);
  for (const auto& [name, noise] : noises()) {
    int regressions = 0;
    int passes = 0;
    for (int trial = 0; trial < trials; ++trial) {
      const auto judgement = judge(blocks(12, margin, noise), margin, alpha);
      ASSERT_TRUE(judgement.has_value());
      regressions += judgement->verdict == Verdict::regression;
      passes += judgement->verdict == Verdict::pass;
      EXPECT_NE(judgement->verdict, Verdict::improvement);
    }
    EXPECT_LE(static_cast<double>(regressions) / trials, most) << name;
    EXPECT_LE(static_cast<double>(passes) / trials, most) << name;
    EXPECT_GE(regressions + passes, trials / 40) << name << ": a test that never speaks is no test";
  }
}

TEST_F(Simulation, AFamilyOnTheMarginRaisesOneFalseRegressionNoMoreOftenThanAlpha) {
  constexpr int trials = 800;
  constexpr double alpha = 0.05;
  constexpr double margin = 0.03;
  int alarms = 0;
  for (int trial = 0; trial < trials; ++trial) {
    std::vector<std::vector<double>> metrics;
    for (const auto& named : noises()) metrics.push_back(blocks(20, margin, named.draw));
    std::vector<Question> questions;
    for (const auto& metric : metrics) questions.push_back({metric, Band::within(margin)});
    const auto judgements = judge_family(questions, alpha);
    ASSERT_TRUE(judgements.has_value());
    alarms += std::ranges::any_of(
        *judgements, [](const Judgement& one) { return one.verdict == Verdict::regression; });
  }
  const double rate = static_cast<double>(alarms) / trials;
  EXPECT_LE(rate, alpha + 3 * standard_error(alpha, trials));
  EXPECT_GE(rate, 0.01);
}

// Power. Normal noise of 2 % a block, 12 blocks, margin 3 %: the standard error of the centre is
// 0.0059, so an unchanged arm passes (0.03 / 0.0059 - 1.65 = 3.4 standard errors to spare at either
// end) and one 6 % slower is a regression as surely; with 6 % of noise neither can be seen.
TEST_F(Simulation, TheVerdictIsFoundWhereTheNoiseAllowsAndWithheldWhereItDoesNot) {
  constexpr int trials = 500;
  const auto share = [&](double centre, double noise, Verdict verdict) {
    int found = 0;
    for (int trial = 0; trial < trials; ++trial) {
      const auto judgement = judge(
          blocks(12, centre,
                 [&](auto& random) { return std::normal_distribution<double>(0, noise)(random); }),
          0.03, 0.05);
      EXPECT_TRUE(judgement.has_value());
      found += judgement.has_value() && judgement->verdict == verdict;
    }
    return static_cast<double>(found) / trials;
  };
  EXPECT_GE(share(0, 0.02, Verdict::pass), 0.98);
  EXPECT_GE(share(0.06, 0.02, Verdict::regression), 0.98);
  EXPECT_GE(share(-0.06, 0.02, Verdict::improvement), 0.98);
  EXPECT_GE(share(0, 0.06, Verdict::inconclusive), 0.90);
}

// `detectable` is a promise: of runs whose true difference is that large, four in five are called.
// It is made from each run's own noise, so its mean is what is held to.
TEST_F(Simulation, TheDetectableEffectIsDetectedFourTimesInFive) {
  constexpr int trials = 700;
  struct Row {
    int blocks;
    double alpha;
  };
  for (const auto& [name, noise] : noises()) {
    for (const Row& row : {Row{12, 0.03}, Row{12, 0.01}, Row{20, 0.02}}) {
      double mean = 0;
      for (int trial = 0; trial < trials; ++trial) {
        const auto judgement = judge(blocks(row.blocks, 0, noise), 0.03, row.alpha);
        ASSERT_TRUE(judgement.has_value() && judgement->detectable);
        mean += *judgement->detectable / trials;
      }
      int detected = 0;
      for (int trial = 0; trial < trials; ++trial) {
        const auto judgement = judge(blocks(row.blocks, mean, noise), 0.03, row.alpha);
        ASSERT_TRUE(judgement.has_value());
        detected += judgement->verdict == Verdict::regression;
      }
      EXPECT_NEAR(static_cast<double>(detected) / trials, planned_power, 0.1)
          << name << ", " << row.blocks << " blocks";
    }
  }
}

TEST_F(Simulation, ClopperPearsonCoversEveryProportion) {
  constexpr int trials = 2000;
  for (const double truth : {0.01, 0.05, 0.5}) {
    std::binomial_distribution<unsigned> alarms(60, truth);
    int covered = 0;
    int bounded = 0;
    for (int trial = 0; trial < trials; ++trial) {
      const unsigned seen = alarms(random_);
      const auto interval = clopper_pearson(seen, 60, 0.95);
      const auto upper = clopper_pearson_upper(seen, 60, 0.95);
      ASSERT_TRUE(interval.has_value() && upper.has_value());
      covered += interval->lower <= truth && truth <= interval->upper;
      bounded += truth <= *upper;
    }
    const double least = 0.95 - 3 * standard_error(0.95, trials);
    EXPECT_GE(static_cast<double>(covered) / trials, least) << truth;
    EXPECT_GE(static_cast<double>(bounded) / trials, least) << truth;
  }
}

}  // namespace
}  // namespace base::stats
