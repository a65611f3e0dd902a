#include "base/stats/wilcoxon.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/stats/golden.h"

namespace base::stats {
namespace {

// Golden values and ours are both sums of exact products of one half; only rounding lies between.
constexpr double relative = 1e-12;

void expect_close(double got, double want) { EXPECT_NEAR(got, want, relative * std::abs(want)); }

TEST(SignedRankDistribution, HasTheTailsScipyCounts) {
  for (const auto& row : golden::signed_rank_tails) {
    SCOPED_TRACE(testing::Message() << "n " << row.n << ", T+ " << row.statistic);
    const RankDistribution null = signed_rank_distribution(row.n);
    expect_close(null.at_least(row.statistic), row.at_least);
    expect_close(null.at_most(row.statistic), row.at_most);
  }
}

// Wilcoxon and Wilcox (1964), Some Rapid Approximate Statistical Procedures: the largest T that is
// significant at 5 % two-sided, for n = 6 .. 25.
TEST(SignedRankDistribution, HasThePublishedCriticalValues) {
  const std::vector<int> published{0,  2,  3,  5,  8,  10, 13, 17, 21, 25,
                                   29, 34, 40, 46, 52, 58, 65, 73, 81, 89};
  for (std::size_t i = 0; i < published.size(); ++i) {
    const int n = static_cast<int>(i) + 6;
    EXPECT_EQ(signed_rank_distribution(n).critical_value(0.025), published[i]) << "n " << n;
  }
  EXPECT_EQ(signed_rank_distribution(5).critical_value(0.025), -1)
      << "below 6 no two-sided 95 % interval exists";
}

// The counts of subsets of {1, 2, 3, 4} by sum, written out.
TEST(SignedRankDistribution, CountsSubsetsBySum) {
  const RankDistribution null = signed_rank_distribution(4);
  const std::vector<double> sixteenths{1, 1, 1, 2, 2, 2, 2, 2, 1, 1, 1};
  ASSERT_EQ(null.greatest(), 10);
  for (std::size_t s = 0; s < sixteenths.size(); ++s) {
    EXPECT_EQ(null.exactly(static_cast<double>(s)), sixteenths[s] / 16);
    EXPECT_EQ(null.exactly(static_cast<double>(s) + 0.5), 0);
  }
  EXPECT_EQ(null.at_most(-0.5), 0);
  EXPECT_EQ(null.at_most(2.5), 3.0 / 16);
  EXPECT_EQ(null.at_least(2.5), 13.0 / 16);
  EXPECT_EQ(null.at_least(10.5), 0);
}

TEST(SignedRankDistribution, KeepsTheDigitsOfItsSmallestTail) {
  for (const int n : {300, 1000}) {
    const RankDistribution null = signed_rank_distribution(n);
    EXPECT_EQ(null.at_least(null.greatest()), std::ldexp(1.0, -n));
    EXPECT_EQ(null.at_most(0), std::ldexp(1.0, -n));
    EXPECT_NEAR(null.at_most(null.greatest() / 2) + null.at_least(null.greatest() / 2 + 0.5), 1,
                1e-12);
  }
}

// Mann and Whitney (1947), as extended in the usual tables: the largest U significant at 5 %
// two-sided.
TEST(RankSumDistribution, HasThePublishedCriticalValues) {
  struct Row {
    int n, m, critical;
  };
  for (const Row& row :
       {Row{3, 3, -1}, Row{4, 4, 0}, Row{5, 5, 2}, Row{6, 6, 5}, Row{8, 8, 13}, Row{8, 10, 17},
        Row{10, 10, 23}, Row{12, 12, 37}, Row{5, 20, 20}, Row{15, 15, 64}, Row{20, 20, 127}}) {
    EXPECT_EQ(rank_sum_distribution(row.n, row.m).critical_value(0.025), row.critical)
        << row.n << ", " << row.m;
    EXPECT_EQ(rank_sum_distribution(row.m, row.n).critical_value(0.025), row.critical)
        << row.m << ", " << row.n;
  }
}

TEST(RankSumDistribution, IsSymmetricAndSumsToOneAtItsLargest) {
  const RankDistribution null = rank_sum_distribution(60, 140);
  ASSERT_EQ(null.greatest(), 60 * 140);
  EXPECT_NEAR(null.at_most(4200) + null.at_least(4200.5), 1, 1e-12);
  for (const double u : {0.0, 3000.0, 4100.0}) {
    EXPECT_NEAR(null.at_most(u) / null.at_least(60 * 140 - u), 1, 1e-12);
  }
}

TEST(SignedRankTest, AgreesWithScipyWithAndWithoutTiesAndZeros) {
  for (const auto& row : golden::signed_rank_tests) {
    SCOPED_TRACE(testing::PrintToString(row.differences));
    const auto test = signed_rank_test(row.differences, row.location);
    ASSERT_TRUE(test.has_value());
    EXPECT_EQ(test->statistic, row.statistic);
    expect_close(test->p_greater, row.p_greater);
    expect_close(test->p_less, row.p_less);
  }
}

// R's documentation of wilcox.test gives V = 40, p-value = 0.01953 for Hollander and Wolfe's
// depression scores.
TEST(SignedRankTest, AgreesWithHollanderAndWolfe) {
  const std::vector<double> before_less_after{0.952, -0.147, 1.022,  0.430, 0.620,
                                              0.590, 0.490,  -0.080, 0.010};
  const auto test = signed_rank_test(before_less_after, 0);
  ASSERT_TRUE(test.has_value());
  EXPECT_EQ(test->statistic, 40);
  EXPECT_EQ(test->p_greater, 10.0 / 512);
}

TEST(SignedRankTest, MirrorsItsTailsWhenTheSignTurns) {
  const std::vector<double> differences{1, 2, 2, -3, 0, 5, -5, 8};
  std::vector<double> negated;
  for (const double difference : differences) negated.push_back(-difference);
  const auto test = signed_rank_test(differences, 1);
  const auto mirrored = signed_rank_test(negated, -1);
  ASSERT_TRUE(test.has_value() && mirrored.has_value());
  EXPECT_DOUBLE_EQ(test->p_greater, mirrored->p_less);
  EXPECT_DOUBLE_EQ(test->p_less, mirrored->p_greater);
}

TEST(SignedRankTest, SaysNothingWhereEveryDifferenceIsTheHypothesisedOne) {
  const std::vector<double> differences(12, 0.03);
  const auto test = signed_rank_test(differences, 0.03);
  ASSERT_TRUE(test.has_value());
  EXPECT_EQ(test->p_greater, 1);
  EXPECT_EQ(test->p_less, 1);
}

// 0.1 + 0.2 and 0.3 are the same number on paper; the last bit must not decide a rank or a sign.
TEST(SignedRankTest, TiesWhatOnlyRoundingTellsApart) {
  const std::vector<double> rounded{0.1 + 0.2, -0.3, 0.3 - (0.1 + 0.2), 0.7, 0.5};
  const std::vector<double> exact{0.3, -0.3, 0, 0.7, 0.5};
  ASSERT_NE(rounded[0], exact[0]);
  ASSERT_NE(rounded[2], exact[2]);
  const auto test = signed_rank_test(rounded, 0);
  const auto twin = signed_rank_test(exact, 0);
  ASSERT_TRUE(test.has_value() && twin.has_value());
  EXPECT_EQ(test->statistic, twin->statistic);
  EXPECT_EQ(test->p_greater, twin->p_greater);
}

TEST(SignedRankTest, TellsApartWhatDiffersByMoreThanRounding) {
  const auto test = signed_rank_test(std::vector{0.3 + 1e-9, -0.3, 0.7}, 0);
  ASSERT_TRUE(test.has_value());
  EXPECT_EQ(test->statistic, 5) << "ranks 2 and 3; a tie would give 4.5";
}

// Pratt's reason for ranking zeros: evidence for "greater" must not weaken as the centre tested
// falls.
TEST(SignedRankTest, GrowsMoreCertainAsTheHypothesisedCentreFalls) {
  const std::vector<double> pratt{0, 2, 3, 4, 6, 7, 8, 9, 11, 14, 15, 17, -18};
  double before = 2;
  for (int quarter = 80; quarter >= -80; --quarter) {
    const auto test = signed_rank_test(pratt, quarter / 4.0);
    ASSERT_TRUE(test.has_value());
    EXPECT_LE(test->p_greater, before * (1 + 1e-12)) << quarter / 4.0;
    before = test->p_greater;
  }
}

TEST(SignedRankTest, RefusesWhatHasNoRank) {
  const auto none = signed_rank_test({}, 0);
  const auto infinite =
      signed_rank_test(std::vector{0.1, -std::numeric_limits<double>::infinity(), 0.2}, 0);
  const auto missing = signed_rank_test(std::vector{std::nan("")}, 0);
  const auto nowhere = signed_rank_test(std::vector{0.1}, std::nan(""));
  const auto too_many = signed_rank_test(std::vector<double>(max_signed_ranks + 1, 0.1), 0);
  for (const auto& refused : {none, infinite, missing, nowhere, too_many}) {
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().kind, ErrorKind::input);
  }
  EXPECT_EQ(infinite.error().message, "differences[1]: expected a finite number, got -inf");
}

TEST(RankSumTest, AgreesWithScipyWithAndWithoutTies) {
  for (const auto& row : golden::rank_sum_tests) {
    SCOPED_TRACE(testing::PrintToString(row.second));
    const auto test = rank_sum_test(row.first, row.second, row.shift);
    ASSERT_TRUE(test.has_value());
    EXPECT_EQ(test->statistic, row.statistic);
    expect_close(test->p_greater, row.p_greater);
    expect_close(test->p_less, row.p_less);
  }
}

TEST(RankSumTest, RefusesWhatHasNoRank) {
  const std::vector<double> sample{1, 2, 3};
  EXPECT_FALSE(rank_sum_test({}, sample, 0).has_value());
  EXPECT_FALSE(rank_sum_test(sample, {}, 0).has_value());
  EXPECT_FALSE(rank_sum_test(sample, std::vector{std::nan("")}, 0).has_value());
  EXPECT_FALSE(rank_sum_test(sample, sample, std::nan("")).has_value());
  const std::vector<double> large(max_pooled_ranks - 2, 1.0);
  const auto refused = rank_sum_test(sample, large, 0);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().message,
            "samples: 201 values together, the exact test takes at most 200");
}

}  // namespace
}  // namespace base::stats
