#include "base/stats/sample.h"

#include <algorithm>
#include <cassert>
#include <cmath>
#include <numeric>

namespace base::stats {

Result<> require_sample(std::span<const double> values, std::string_view what, std::size_t most) {
  if (values.empty()) return fail(ErrorKind::input, "{}: there are none", what);
  if (values.size() > most) {
    return fail(ErrorKind::input, "{}: {} values, exact statistics are made of at most {}", what,
                values.size(), most);
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return fail(ErrorKind::input, "{}[{}]: expected a finite number, got {}", what, i, values[i]);
    }
  }
  return {};
}

Result<> require_probability(double probability, std::string_view what) {
  if (probability > 0 && probability < 1) return {};
  return fail(ErrorKind::input, "{}: expected a number between 0 and 1, got {}", what, probability);
}

double median(std::vector<double> values) {
  assert(!values.empty());
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  if (values.size() % 2 == 1) return *middle;
  return std::midpoint(*std::max_element(values.begin(), middle), *middle);
}

}  // namespace base::stats
