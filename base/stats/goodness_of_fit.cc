#include "base/stats/goodness_of_fit.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/stats/special.h"

namespace base::stats {

Result<ChiSquareTest> chi_square_test(std::span<const std::uint64_t> observed,
                                      std::span<const double> expected, int fitted) {
  if (observed.size() != expected.size()) {
    return fail(ErrorKind::input, "{} observed cells, {} expected ones", observed.size(),
                expected.size());
  }
  const int degrees = static_cast<int>(observed.size()) - 1 - fitted;
  if (degrees < 1) {
    return fail(ErrorKind::input, "{} cells less {} fitted parameters leave nothing to test",
                observed.size(), fitted);
  }
  const double shares = std::accumulate(expected.begin(), expected.end(), 0.0);
  const bool positive = std::ranges::all_of(expected, [](double share) { return share > 0; });
  if (!positive || !(std::abs(shares - 1) <= 1e-9)) {
    return fail(ErrorKind::input, "expected shares must be positive and sum to 1, they sum to {}",
                shares);
  }
  const auto total =
      static_cast<double>(std::accumulate(observed.begin(), observed.end(), std::uint64_t{0}));
  ChiSquareTest test{.statistic = 0, .degrees_of_freedom = degrees, .p = 1};
  for (std::size_t i = 0; i < observed.size(); ++i) {
    const double count = total * expected[i];
    if (count < 5) {
      return fail(ErrorKind::input, "cell {} expects {:.3g} counts, chi-square needs at least 5", i,
                  count);
    }
    const double off = static_cast<double>(observed[i]) - count;
    test.statistic += off * off / count;
  }
  test.p = chi_square_at_least(test.statistic, degrees);
  return test;
}

}  // namespace base::stats
