// What every statistic asks of its numbers, and the median they share.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace base::stats {

// Nothing when `values` holds between 1 and `most` finite numbers. Errors: input, led by `what`
// ("differences"), naming the place of the first number that is not finite: a rate of zero has no
// logarithm, and must not become a rank.
[[nodiscard]] Result<> require_sample(std::span<const double> values, std::string_view what,
                                      std::size_t most);

// Nothing when 0 < `probability` < 1. Errors: input, led by `what`.
[[nodiscard]] Result<> require_probability(double probability, std::string_view what);

// The middle value, or the mean of the two middle ones. `values` is not empty.
[[nodiscard]] double median(std::vector<double> values);

}  // namespace base::stats
