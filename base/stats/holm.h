// Several claims at once: Holm's step-down adjustment (Holm 1979, Scandinavian Journal of
// Statistics 6).
#pragma once

#include <span>
#include <vector>

namespace base::stats {

// The adjusted p-values, in the order given: rejecting those at most alpha makes one or more false
// rejections with probability at most alpha, whatever the dependence between the claims. Every p is
// in 0..1; what could not be measured counts as 1, it is not left out. Empty for an empty list.
[[nodiscard]] std::vector<double> holm(std::span<const double> p_values);

}  // namespace base::stats
