#include "base/stats/hodges_lehmann.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/stats/sample.h"
#include "base/stats/wilcoxon.h"

namespace base::stats {

namespace {

// The statistic at a hypothesised centre counts the elementary estimates above it, so the interval
// runs between two of them: with k the critical value of one tail, the (k + 1)th from either end.
Effect invert(std::vector<double> estimates, const RankDistribution& null, double level) {
  std::ranges::sort(estimates);
  Effect effect{.estimate = median(estimates), .interval = std::nullopt};
  const int k = null.critical_value((1 - level) / 2);
  if (k < 0) return effect;
  const auto skipped = static_cast<std::size_t>(k);
  effect.interval = Interval{.lower = estimates[skipped],
                             .upper = estimates[estimates.size() - 1 - skipped],
                             .level = 1 - 2 * null.at_most(k)};
  return effect;
}

}  // namespace

Result<Effect> hodges_lehmann(std::span<const double> differences, double level) {
  RETURN_IF_ERROR(require_sample(differences, "differences", max_signed_ranks));
  RETURN_IF_ERROR(require_probability(level, "level"));
  std::vector<double> walsh_averages;
  walsh_averages.reserve(differences.size() * (differences.size() + 1) / 2);
  for (std::size_t i = 0; i < differences.size(); ++i) {
    for (std::size_t j = i; j < differences.size(); ++j) {
      walsh_averages.push_back(std::midpoint(differences[i], differences[j]));
    }
  }
  return invert(std::move(walsh_averages),
                signed_rank_distribution(static_cast<int>(differences.size())), level);
}

Result<Effect> hodges_lehmann_shift(std::span<const double> first, std::span<const double> second,
                                    double level) {
  RETURN_IF_ERROR(require_sample(first, "first", max_pooled_ranks));
  RETURN_IF_ERROR(require_sample(second, "second", max_pooled_ranks));
  RETURN_IF_ERROR(require_probability(level, "level"));
  if (first.size() + second.size() > max_pooled_ranks) {
    return fail(ErrorKind::input,
                "samples: {} values together, the exact interval takes at most {}",
                first.size() + second.size(), max_pooled_ranks);
  }
  std::vector<double> differences;
  differences.reserve(first.size() * second.size());
  for (const double a : first) {
    for (const double b : second) differences.push_back(b - a);
  }
  return invert(
      std::move(differences),
      rank_sum_distribution(static_cast<int>(first.size()), static_cast<int>(second.size())),
      level);
}

}  // namespace base::stats
