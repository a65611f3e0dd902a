// A quantile of what a sample was drawn from, with an interval that assumes nothing of its shape:
// its ends are values of the sample, chosen by the binomial distribution of how many lie below
// (Conover, Practical Nonparametric Statistics, 3.2).
#pragma once

#include <span>

#include "base/result.h"
#include "base/stats/hodges_lehmann.h"

namespace base::stats {

// The least value that at least `share` of the sample do not exceed, and a two-sided interval for
// the quantile. The interval is absent where the sample is too small for the level: at 95 % a
// median needs 6 values, a 99th percentile 368. Its level is the one achieved, at least the one
// asked for. Errors: input (no values, one that is not finite, a share or level outside 0..1).
[[nodiscard]] Result<Effect> quantile(std::span<const double> values, double share, double level);

}  // namespace base::stats
