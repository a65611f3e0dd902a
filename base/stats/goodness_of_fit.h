// Do counts follow a stated distribution: Pearson's chi-square test. For checks such as "a Service
// spreads its connections evenly" and for tests of our own arrival schedules.
#pragma once

#include <cstdint>
#include <span>

#include "base/result.h"

namespace base::stats {

struct ChiSquareTest {
  double statistic = 0;
  int degrees_of_freedom = 0;
  double p = 1;  // small where the counts do not follow the distribution
};

// Tests `observed` counts against the `expected` share of each cell. `fitted` parameters that were
// estimated from the same counts each cost a degree of freedom. Errors: input, when the lists
// differ in length, the shares are not positive or do not sum to 1 (within 1e-9), no degree of
// freedom is left, or a cell expects fewer than 5 counts: there the chi-square curve does not hold,
// and the caller must merge cells or count longer.
[[nodiscard]] Result<ChiSquareTest> chi_square_test(std::span<const std::uint64_t> observed,
                                                    std::span<const double> expected,
                                                    int fitted = 0);

}  // namespace base::stats
