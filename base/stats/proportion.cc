#include "base/stats/proportion.h"

#include "base/stats/sample.h"
#include "base/stats/special.h"

namespace base::stats {

namespace {

Result<> require_count(std::uint64_t successes, std::uint64_t trials) {
  if (trials == 0) return fail(ErrorKind::input, "trials: a proportion needs at least one");
  if (successes > trials) {
    return fail(ErrorKind::input, "successes: {} of {} trials", successes, trials);
  }
  return {};
}

// The proportion under which at most `successes` have probability `tail`.
double upper_end(std::uint64_t successes, std::uint64_t trials, double tail) {
  if (successes == trials) return 1;
  return beta_quantile(static_cast<double>(successes) + 1, static_cast<double>(trials - successes),
                       1 - tail);
}

}  // namespace

Result<Interval> clopper_pearson(std::uint64_t successes, std::uint64_t trials, double level) {
  RETURN_IF_ERROR(require_count(successes, trials));
  RETURN_IF_ERROR(require_probability(level, "level"));
  const double tail = (1 - level) / 2;
  const double lower = successes == 0
                           ? 0
                           : beta_quantile(static_cast<double>(successes),
                                           static_cast<double>(trials - successes) + 1, tail);
  return Interval{.lower = lower, .upper = upper_end(successes, trials, tail), .level = level};
}

Result<double> clopper_pearson_upper(std::uint64_t successes, std::uint64_t trials, double level) {
  RETURN_IF_ERROR(require_count(successes, trials));
  RETURN_IF_ERROR(require_probability(level, "level"));
  return upper_end(successes, trials, 1 - level);
}

}  // namespace base::stats
