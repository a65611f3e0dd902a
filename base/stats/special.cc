#include "base/stats/special.h"

#include <cmath>
#include <numbers>

#include <boost/math/special_functions/beta.hpp>
#include <boost/math/special_functions/erf.hpp>
#include <boost/math/special_functions/gamma.hpp>

namespace base::stats {

namespace {

namespace policies = boost::math::policies;

using NoThrow = policies::policy<policies::domain_error<policies::ignore_error>,
                                 policies::pole_error<policies::ignore_error>,
                                 policies::overflow_error<policies::ignore_error>,
                                 policies::underflow_error<policies::ignore_error>,
                                 policies::rounding_error<policies::ignore_error>,
                                 policies::evaluation_error<policies::ignore_error>,
                                 policies::indeterminate_result_error<policies::ignore_error>>;

}  // namespace

double normal_at_most(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }

double normal_quantile(double probability) {
  return -std::numbers::sqrt2 * boost::math::erfc_inv(2 * probability, NoThrow());
}

double student_quantile_above(double tail, double degrees) {
  // t^2 / (degrees + t^2) is Beta(1/2, degrees/2); taken from its other side to keep a small tail.
  const double x = beta_quantile(degrees / 2, 0.5, 2 * tail);
  return std::sqrt(degrees * (1 - x) / x);
}

double beta_quantile(double a, double b, double probability) {
  return boost::math::ibeta_inv(a, b, probability, NoThrow());
}

double chi_square_at_least(double x, double degrees) {
  return boost::math::gamma_q(degrees / 2, x / 2, NoThrow());
}

}  // namespace base::stats
