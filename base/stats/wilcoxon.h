// Wilcoxon's two tests with their exact null distributions, counted by dynamic programming, never
// approximated by a normal curve.
//
// Ties and zeros, the rules:
//  - Tied magnitudes share the mean of their ranks (midranks), and the p-value is exact *given* the
//    ties: the distribution is counted over the midranks at hand.
//  - A difference of zero keeps its place in the ranking but has no sign, so its rank belongs to
//    neither side (Pratt 1959, "Remarks on zeros and ties in the Wilcoxon signed rank procedures",
//    JASA 54). Dropping zeros before ranking can make the evidence for "greater" weaker when every
//    difference grows, which a test against a margin must not do.
//  - Two values are tied, and a value is zero, when they differ by no more than 2^-40 (about 1e-12)
//    of the largest magnitude in play. Differences that are equal on paper (quantised latencies do
//    tie) come out of logarithms and subtractions a few ulp apart; that must not decide a rank.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"

namespace base::stats {

// The null distribution of a rank statistic whose values are multiples of one half.
class RankDistribution {
 public:
  // Takes the probabilities of 0, 1/2, 1, 3/2 ...; they sum to 1.
  explicit RankDistribution(std::vector<double> probability_per_half);

  // P(S = s); 0 where `statistic` is no multiple of one half or out of range.
  [[nodiscard]] double exactly(double statistic) const;
  // P(S <= s) and P(S >= s). Each tail is summed from its own end, so a small one keeps its digits.
  [[nodiscard]] double at_most(double statistic) const;
  [[nodiscard]] double at_least(double statistic) const;
  // The greatest value S can take.
  [[nodiscard]] double greatest() const;
  // The greatest whole number k with P(S <= k) <= probability; -1 where there is none.
  [[nodiscard]] int critical_value(double probability) const;

 private:
  std::vector<double> exactly_;
  std::vector<double> at_most_;
  std::vector<double> at_least_;
};

// The largest samples the exact distributions are counted for. 2^-1000 is still a normal double.
inline constexpr std::size_t max_signed_ranks = 1000;
inline constexpr std::size_t max_pooled_ranks = 200;

// T+ of `n` untied non-zero differences, 1 <= n <= max_signed_ranks: the sum of a random subset of
// 1..n.
[[nodiscard]] RankDistribution signed_rank_distribution(int n);

// The Mann-Whitney U of samples of `n` and `m` untied values, n and m >= 1 and
// n + m <= max_pooled_ranks: the pairs in which the first is greater.
[[nodiscard]] RankDistribution rank_sum_distribution(int n, int m);

struct RankTest {
  double statistic = 0;  // T+ or U
  double p_greater = 1;  // one-sided, against "the location is at most the hypothesised one"
  double p_less = 1;     // one-sided, against "it is at least that"
};

// The signed-rank test that `differences` are symmetric about `location`; `p_greater` is small
// where they lie above it. All differences equal to `location`: both p are 1. Errors: input (no
// differences, more than max_signed_ranks, one that is not finite).
[[nodiscard]] Result<RankTest> signed_rank_test(std::span<const double> differences,
                                                double location);

// The rank-sum test that `second` - `shift` is distributed as `first`; `p_greater` is small where
// `second` lies further above `first` than `shift`. U counts the pairs in which the shifted second
// is greater, ties as half a pair. Errors: input (an empty sample, more than max_pooled_ranks
// values together, one that is not finite).
[[nodiscard]] Result<RankTest> rank_sum_test(std::span<const double> first,
                                             std::span<const double> second, double shift);

}  // namespace base::stats
