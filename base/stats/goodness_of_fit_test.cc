#include "base/stats/goodness_of_fit.h"

#include <gtest/gtest.h>

#include "base/stats/golden.h"

namespace base::stats {
namespace {

TEST(ChiSquareTest, AgreesWithScipy) {
  for (const auto& row : golden::chi_squares) {
    SCOPED_TRACE(testing::PrintToString(row.observed));
    const auto test = chi_square_test(row.observed, row.expected, row.fitted);
    ASSERT_TRUE(test.has_value());
    EXPECT_NEAR(test->statistic, row.statistic, 1e-12 * row.statistic);
    EXPECT_NEAR(test->p, row.p, 1e-10 * row.p);
    EXPECT_EQ(test->degrees_of_freedom, static_cast<int>(row.observed.size()) - 1 - row.fitted);
  }
}

TEST(ChiSquareTest, RefusesWhatTheCurveDoesNotHoldFor) {
  using Counts = std::vector<std::uint64_t>;
  using Shares = std::vector<double>;
  const auto rare = chi_square_test(Counts{95, 5}, Shares{0.96, 0.04});
  ASSERT_FALSE(rare.has_value());
  EXPECT_EQ(rare.error().message, "cell 1 expects 4 counts, chi-square needs at least 5");
  EXPECT_FALSE(chi_square_test(Counts{50, 50, 50}, Shares{0.5, 0.5}).has_value());
  EXPECT_FALSE(chi_square_test(Counts{50, 50}, Shares{0.5, 0.6}).has_value());
  EXPECT_FALSE(chi_square_test(Counts{50, 50}, Shares{1.5, -0.5}).has_value());
  EXPECT_FALSE(chi_square_test(Counts{50, 50}, Shares{0.5, 0.5}, 1).has_value());
  EXPECT_FALSE(chi_square_test(Counts{}, Shares{}).has_value());
}

}  // namespace
}  // namespace base::stats
