#include "base/stats/holm.h"

#include <gtest/gtest.h>

#include "base/stats/golden.h"

namespace base::stats {
namespace {

TEST(Holm, AgreesWithStatsmodels) {
  for (const auto& row : golden::holm_lists) {
    const std::vector<double> adjusted = holm(row.p_values);
    ASSERT_EQ(adjusted.size(), row.adjusted.size());
    for (std::size_t i = 0; i < adjusted.size(); ++i) {
      EXPECT_NEAR(adjusted[i], row.adjusted[i], 1e-14) << testing::PrintToString(row.p_values);
    }
  }
}

TEST(Holm, LeavesNothingOfNothing) { EXPECT_TRUE(holm({}).empty()); }

// What could not be measured is a 1 in the list: leaving it out would lower the hurdle for the
// rest.
TEST(Holm, CountsAMissingMetricAgainstTheOthers) {
  EXPECT_DOUBLE_EQ(holm(std::vector{0.03}).front(), 0.03);
  EXPECT_DOUBLE_EQ(holm(std::vector{0.03, 1.0}).front(), 0.06);
}

}  // namespace
}  // namespace base::stats
