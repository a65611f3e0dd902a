// How sure a measured proportion is: exact binomial bounds (Clopper and Pearson 1934, Biometrika
// 26).
#pragma once

#include <cstdint>

#include "base/result.h"
#include "base/stats/hodges_lehmann.h"

namespace base::stats {

// The two-sided interval: each end excludes proportions under which so few, or so many, successes
// have a probability below (1 - level) / 2. Its `level` is the one asked for, a lower bound of the
// coverage. Errors: input (no trials, more successes than trials, a level outside 0..1).
[[nodiscard]] Result<Interval> clopper_pearson(std::uint64_t successes, std::uint64_t trials,
                                               double level);

// The one-sided upper bound: "with this confidence the proportion is at most". 4 alarms in 200
// windows bound the false-alarm rate below 5 % at 95 %, 5 do not. Errors: as above.
[[nodiscard]] Result<double> clopper_pearson_upper(std::uint64_t successes, std::uint64_t trials,
                                                   double level);

}  // namespace base::stats
