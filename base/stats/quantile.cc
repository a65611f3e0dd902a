#include "base/stats/quantile.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "base/stats/sample.h"

namespace base::stats {
namespace {

// P(at most k of n), for k = 0 .. n, where each is below with probability `share`.
std::vector<double> at_most_below(std::size_t n, double share) {
  std::vector<double> at_most;
  at_most.reserve(n + 1);
  const auto count = static_cast<double>(n);
  double sum = 0;
  for (std::size_t i = 0; i <= n; ++i) {
    const auto k = static_cast<double>(i);
    sum += std::exp(std::lgamma(count + 1) - std::lgamma(k + 1) - std::lgamma(count - k + 1) +
                    k * std::log(share) + (count - k) * std::log1p(-share));
    at_most.push_back(std::min(sum, 1.0));
  }
  return at_most;
}

}  // namespace

Result<Effect> quantile(std::span<const double> values, double share, double level) {
  RETURN_IF_ERROR(require_sample(values, "values", std::numeric_limits<std::size_t>::max()));
  RETURN_IF_ERROR(require_probability(share, "share"));
  RETURN_IF_ERROR(require_probability(level, "level"));
  std::vector<double> sorted(values.begin(), values.end());
  std::ranges::sort(sorted);
  const auto n = sorted.size();
  // A hair less, so that 0.95 of 20 is the 19th although their product is a little more in binary.
  const auto rank = std::ceil(share * static_cast<double>(n) - 1e-9);
  Effect effect{.estimate = sorted[static_cast<std::size_t>(std::max(rank, 1.0)) - 1],
                .interval = {}};
  const auto at_most = at_most_below(n, share);
  const double tail = (1 - level) / 2;
  // The lower end is the value of rank l with P(fewer than l below) <= tail, the upper one that of
  // rank u with P(u or more below) <= tail.
  const auto lower = static_cast<std::size_t>(
      std::ranges::partition_point(at_most, [&](double p) { return p <= tail; }) - at_most.begin());
  const auto upper = static_cast<std::size_t>(
      std::ranges::partition_point(at_most, [&](double p) { return p < 1 - tail; }) -
      at_most.begin());
  if (lower == 0 || upper >= n) return effect;
  effect.interval = Interval{.lower = sorted[lower - 1],
                             .upper = sorted[upper],
                             .level = at_most[upper] - at_most[lower - 1]};
  return effect;
}

}  // namespace base::stats
