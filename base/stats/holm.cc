#include "base/stats/holm.h"

#include <algorithm>
#include <cassert>
#include <numeric>

namespace base::stats {

std::vector<double> holm(std::span<const double> p_values) {
  assert(std::ranges::all_of(p_values, [](double p) { return p >= 0 && p <= 1; }));
  std::vector<std::size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return p_values[i]; });
  std::vector<double> adjusted(p_values.size());
  double least = 0;
  for (std::size_t step = 0; step < order.size(); ++step) {
    const double p = static_cast<double>(order.size() - step) * p_values[order[step]];
    least = std::max(least, std::min(1.0, p));
    adjusted[order[step]] = least;
  }
  return adjusted;
}

}  // namespace base::stats
