// The special functions we need, from Boost.Math. Its error handling is set to return NaN instead
// of throwing, so no exception leaves special.cc; the callers check their arguments.
#pragma once

namespace base::stats {

// Phi(z): the probability that a standard normal variable is at most `z`; 0 and 1 at -inf and +inf.
[[nodiscard]] double normal_at_most(double z);

// The z with Phi(z) = probability, 0 < probability < 1.
[[nodiscard]] double normal_quantile(double probability);

// The t a Student variable of `degrees` > 0 degrees of freedom exceeds with probability `tail`,
// 0 < tail <= 0.5.
[[nodiscard]] double student_quantile_above(double tail, double degrees);

// The x with I_x(a, b) = probability: the quantile of Beta(a, b); a, b > 0, 0 < probability < 1.
[[nodiscard]] double beta_quantile(double a, double b, double probability);

// The probability that a chi-square variable of `degrees` > 0 degrees of freedom is at least `x` >=
// 0.
[[nodiscard]] double chi_square_at_least(double x, double degrees);

}  // namespace base::stats
