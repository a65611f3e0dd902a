#include "base/stats/proportion.h"

#include <cmath>

#include <gtest/gtest.h>

#include "base/stats/golden.h"

namespace base::stats {
namespace {

TEST(ClopperPearson, AgreesWithScipy) {
  for (const auto& row : golden::proportions) {
    SCOPED_TRACE(testing::Message() << row.successes << " of " << row.trials);
    const auto interval = clopper_pearson(row.successes, row.trials, row.level);
    const auto upper = clopper_pearson_upper(row.successes, row.trials, row.level);
    ASSERT_TRUE(interval.has_value() && upper.has_value());
    EXPECT_NEAR(interval->lower, row.lower, 1e-10 * row.lower);
    EXPECT_NEAR(interval->upper, row.upper, 1e-10 * row.upper);
    EXPECT_NEAR(*upper, row.one_sided_upper, 1e-10 * row.one_sided_upper);
  }
}

// Hald's textbook case without a table: no success in n trials leaves 1 - (tail)^(1/n).
TEST(ClopperPearson, HasTheClosedFormWhereNothingSucceeded) {
  for (const std::uint64_t n : {1U, 59U, 60U, 299U, 1000000U}) {
    const auto upper = clopper_pearson_upper(0, n, 0.95);
    ASSERT_TRUE(upper.has_value());
    const double expected = -std::expm1(std::log(0.05) / static_cast<double>(n));
    EXPECT_NEAR(*upper, expected, 1e-10 * expected);
  }
}

TEST(ClopperPearson, AllowsFourAlarmsInTwoHundredWindowsAndNotFive) {
  const auto four = clopper_pearson_upper(4, 200, 0.95);
  const auto five = clopper_pearson_upper(5, 200, 0.95);
  ASSERT_TRUE(four.has_value() && five.has_value());
  EXPECT_LE(*four, 0.05);
  EXPECT_GT(*five, 0.05);
}

TEST(ClopperPearson, RefusesWhatIsNoProportion) {
  for (const auto& [successes, trials, level] :
       {std::tuple{0U, 0U, 0.95}, std::tuple{5U, 4U, 0.95}, std::tuple{1U, 4U, 1.0},
        std::tuple{1U, 4U, 0.0}}) {
    EXPECT_FALSE(clopper_pearson(successes, trials, level).has_value());
    EXPECT_FALSE(clopper_pearson_upper(successes, trials, level).has_value());
  }
}

}  // namespace
}  // namespace base::stats
