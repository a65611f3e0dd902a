#include "base/stats/wilcoxon.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <cstdint>
#include <numeric>

#include "base/stats/sample.h"

namespace base::stats {

namespace {

// See "ties and zeros" in the header.
constexpr double tie_tolerance = 0x1p-40;

// Ranks are doubled throughout, so that midranks stay whole numbers.
std::size_t as_size(std::int64_t value) { return static_cast<std::size_t>(value); }

// The doubled midrank of every value of `sorted`: values no further than `tolerance` from the first
// of their group share one.
std::vector<int> doubled_midranks(std::span<const double> sorted, double tolerance) {
  std::vector<int> ranks(sorted.size());
  for (std::size_t begin = 0; begin < sorted.size();) {
    std::size_t end = begin + 1;
    while (end < sorted.size() && sorted[end] - sorted[begin] <= tolerance) ++end;
    // Ranks begin + 1 .. end: twice their mean is the sum of the first and the last.
    std::fill(ranks.begin() + static_cast<std::ptrdiff_t>(begin),
              ranks.begin() + static_cast<std::ptrdiff_t>(end), static_cast<int>(begin + 1 + end));
    begin = end;
  }
  return ranks;
}

// The sum of a random subset, every rank in it with probability one half.
RankDistribution sum_of_signed(std::span<const int> doubled_ranks) {
  // Without ties every doubled rank is even; counting in their common unit saves half the work.
  int unit = 0;
  for (const int rank : doubled_ranks) unit = std::gcd(unit, rank);
  unit = std::max(unit, 1);
  const auto most = std::accumulate(doubled_ranks.begin(), doubled_ranks.end(), std::int64_t{0});
  std::vector<double> probability{1};
  probability.resize(as_size(most / unit) + 1);
  std::size_t reach = 0;
  for (const int rank : doubled_ranks) {
    const auto step = static_cast<std::size_t>(rank / unit);
    reach += step;
    // Downwards, so that every sum is still the one without this rank when it is read.
    for (std::size_t s = reach; s >= step; --s) {
      probability[s] = 0.5 * (probability[s] + probability[s - step]);
    }
    for (std::size_t s = 0; s < step; ++s) probability[s] *= 0.5;
  }
  if (unit == 1) return RankDistribution(std::move(probability));
  std::vector<double> per_half(as_size(most) + 1, 0.0);
  for (std::size_t s = 0; s < probability.size(); ++s) {
    per_half[s * static_cast<std::size_t>(unit)] = probability[s];
  }
  return RankDistribution(std::move(per_half));
}

// U of the sample of `size` values drawn at random from the pooled `doubled_ranks`: the sum of its
// ranks less the least that sum could be without ties, size (size + 1) / 2.
RankDistribution sum_of_drawn(std::span<const int> doubled_ranks, int size) {
  std::vector<int> sorted(doubled_ranks.begin(), doubled_ranks.end());
  std::ranges::sort(sorted, std::greater());
  const auto most = std::accumulate(sorted.begin(), sorted.begin() + size, std::int64_t{0});
  const auto drawn = static_cast<std::size_t>(size);
  // ways[k][s]: how many choices of k of the ranks seen so far have the doubled sum s. A count of
  // up to C(200, 100) = 9e58 is held to 53 bits; only sums of positive terms follow.
  std::vector<std::vector<double>> ways(drawn + 1, std::vector<double>(as_size(most) + 1, 0.0));
  ways[0][0] = 1;
  std::int64_t reach = 0;
  for (std::size_t seen = 0; seen < sorted.size(); ++seen) {
    const int rank = sorted[seen];
    reach = std::min(most, reach + rank);
    for (std::size_t k = std::min(seen + 1, drawn); k > 0; --k) {
      for (std::int64_t s = rank; s <= reach; ++s) {
        ways[k][as_size(s)] += ways[k - 1][as_size(s - rank)];
      }
    }
  }
  const std::int64_t least = std::int64_t{size} * (size + 1);
  std::vector<double> probability(ways[drawn].begin() + least, ways[drawn].end());
  const double all = std::accumulate(probability.begin(), probability.end(), 0.0);
  for (double& p : probability) p /= all;
  return RankDistribution(std::move(probability));
}

}  // namespace

RankDistribution::RankDistribution(std::vector<double> probability_per_half)
    : exactly_(std::move(probability_per_half)),
      at_most_(exactly_.size()),
      at_least_(exactly_.size()) {
  assert(!exactly_.empty());
  std::partial_sum(exactly_.begin(), exactly_.end(), at_most_.begin());
  std::partial_sum(exactly_.rbegin(), exactly_.rend(), at_least_.rbegin());
}

double RankDistribution::exactly(double statistic) const {
  const double half = 2 * statistic;
  if (half < 0 || half != std::floor(half) || statistic > greatest()) return 0;
  return exactly_[static_cast<std::size_t>(half)];
}

double RankDistribution::at_most(double statistic) const {
  if (statistic < 0) return 0;
  if (statistic >= greatest()) return 1;
  return std::min(1.0, at_most_[static_cast<std::size_t>(std::floor(2 * statistic))]);
}

double RankDistribution::at_least(double statistic) const {
  if (statistic <= 0) return 1;
  if (statistic > greatest()) return 0;
  return std::min(1.0, at_least_[static_cast<std::size_t>(std::ceil(2 * statistic))]);
}

double RankDistribution::greatest() const { return static_cast<double>(exactly_.size() - 1) / 2; }

int RankDistribution::critical_value(double probability) const {
  int k = -1;
  while (k + 1 <= greatest() && at_most(k + 1) <= probability) ++k;
  return k;
}

RankDistribution signed_rank_distribution(int n) {
  assert(n >= 1 && static_cast<std::size_t>(n) <= max_signed_ranks);
  std::vector<int> ranks(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) ranks[static_cast<std::size_t>(i)] = 2 * (i + 1);
  return sum_of_signed(ranks);
}

RankDistribution rank_sum_distribution(int n, int m) {
  assert(n >= 1 && m >= 1 && static_cast<std::size_t>(n + m) <= max_pooled_ranks);
  std::vector<int> ranks(static_cast<std::size_t>(n + m));
  for (int i = 0; i < n + m; ++i) ranks[static_cast<std::size_t>(i)] = 2 * (i + 1);
  return sum_of_drawn(ranks, n);
}

Result<RankTest> signed_rank_test(std::span<const double> differences, double location) {
  RETURN_IF_ERROR(require_sample(differences, "differences", max_signed_ranks));
  RETURN_IF_ERROR(require_sample(std::span(&location, 1), "location", 1));
  std::vector<double> offsets;
  double largest = std::abs(location);
  for (const double difference : differences) {
    offsets.push_back(difference - location);
    largest = std::max(largest, std::abs(difference));
  }
  const double tolerance = largest * tie_tolerance;
  std::ranges::sort(offsets, {}, [](double offset) { return std::abs(offset); });

  std::vector<double> magnitudes;
  for (const double offset : offsets) magnitudes.push_back(std::abs(offset));
  std::vector<int> ranks = doubled_midranks(magnitudes, tolerance);
  const auto zeros = std::ranges::upper_bound(magnitudes, tolerance) - magnitudes.begin();

  int doubled_sum = 0;
  for (std::size_t i = as_size(zeros); i < offsets.size(); ++i) {
    if (offsets[i] > 0) doubled_sum += ranks[i];
  }
  ranks.erase(ranks.begin(), ranks.begin() + zeros);
  const RankDistribution null = sum_of_signed(ranks);
  const double statistic = doubled_sum / 2.0;
  return RankTest{.statistic = statistic,
                  .p_greater = null.at_least(statistic),
                  .p_less = null.at_most(statistic)};
}

Result<RankTest> rank_sum_test(std::span<const double> first, std::span<const double> second,
                               double shift) {
  RETURN_IF_ERROR(require_sample(first, "first", max_pooled_ranks));
  RETURN_IF_ERROR(require_sample(second, "second", max_pooled_ranks));
  RETURN_IF_ERROR(require_sample(std::span(&shift, 1), "shift", 1));
  if (first.size() + second.size() > max_pooled_ranks) {
    return fail(ErrorKind::input, "samples: {} values together, the exact test takes at most {}",
                first.size() + second.size(), max_pooled_ranks);
  }
  struct Value {
    double value;
    bool is_second;
  };
  std::vector<Value> pooled;
  double largest = std::abs(shift);
  for (const double value : first) {
    pooled.push_back({value, false});
    largest = std::max(largest, std::abs(value));
  }
  for (const double value : second) {
    pooled.push_back({value - shift, true});
    largest = std::max(largest, std::abs(value));
  }
  std::ranges::sort(pooled, {}, &Value::value);
  std::vector<double> sorted;
  for (const Value& value : pooled) sorted.push_back(value.value);
  const std::vector<int> ranks = doubled_midranks(sorted, largest * tie_tolerance);

  int doubled_sum = 0;
  for (std::size_t i = 0; i < pooled.size(); ++i) {
    if (pooled[i].is_second) doubled_sum += ranks[i];
  }
  const int drawn = static_cast<int>(second.size());
  const RankDistribution null = sum_of_drawn(ranks, drawn);
  const double statistic = (doubled_sum - drawn * (drawn + 1)) / 2.0;
  return RankTest{.statistic = statistic,
                  .p_greater = null.at_least(statistic),
                  .p_less = null.at_most(statistic)};
}

}  // namespace base::stats
