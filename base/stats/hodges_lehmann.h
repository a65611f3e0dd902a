// How large is the effect: Hodges-Lehmann estimates with the intervals that invert Wilcoxon's exact
// tests (Hodges and Lehmann 1963; Hollander, Wolfe and Chicken, Nonparametric Statistical Methods,
// 3.2-3.3 and 4.2-4.3).
#pragma once

#include <optional>
#include <span>

#include "base/result.h"

namespace base::stats {

struct Interval {
  double lower = 0;
  double upper = 0;
  double level = 0;  // the confidence it achieves: at least what was asked for

  bool operator==(const Interval&) const = default;
};

struct Effect {
  double estimate = 0;
  std::optional<Interval> interval;  // absent where the sample is too small for the level
};

// The centre of symmetric differences: the median of the Walsh averages (d_i + d_j) / 2, i <= j.
// The interval is two-sided, closed, and holds every centre the signed-rank test does not reject;
// an exact one at 95 % needs 6 differences, at 99 % 8. With ties the level is a lower bound.
// Errors: input (no differences, more than max_signed_ranks, one that is not finite, a level
// outside 0..1).
[[nodiscard]] Result<Effect> hodges_lehmann(std::span<const double> differences, double level);

// How far `second` lies above `first`: the median of all differences between one of each, with the
// interval that inverts the rank-sum test. For samples measured one after the other; interleaved
// blocks are judged by their differences. Errors: input (an empty sample, more than
// max_pooled_ranks values together, one that is not finite, a level outside 0..1).
[[nodiscard]] Result<Effect> hodges_lehmann_shift(std::span<const double> first,
                                                  std::span<const double> second, double level);

}  // namespace base::stats
