#include "stackbench/verify/probing.h"

#include <gtest/gtest.h>

namespace stackbench {
namespace {

using std::chrono::seconds;

std::vector<JudgedCell> judged(CellVerdict verdict) {
  JudgedCell cell{.cell = {.destination = "it", .target = {}}, .note = {}};
  cell.verdict = verdict;
  return {cell};
}

// The first two sweeps may both come before rules reach a node: what they agree on is asked again.
TEST(Sweeps, GoOnWhileRulesMayBeOnTheirWay) {
  const ProbingOptions options;
  const auto again = [&](bool agree, CellVerdict verdict, base::Duration since) {
    return sweeps_again(agree, judged(verdict), since, options);
  };
  EXPECT_FALSE(again(true, CellVerdict::as_policies_say, seconds(0)));
  EXPECT_FALSE(again(true, CellVerdict::unknown, seconds(0)));
  for (const auto verdict : {CellVerdict::open_though_denied, CellVerdict::closed_though_allowed,
                             CellVerdict::not_judged}) {
    EXPECT_TRUE(again(true, verdict, seconds(1)));
    EXPECT_FALSE(again(true, verdict, options.enforced_within));
  }
  EXPECT_TRUE(again(false, CellVerdict::as_policies_say, options.enforced_within));
  EXPECT_FALSE(again(false, CellVerdict::as_policies_say, options.settle_within));
}

}  // namespace
}  // namespace stackbench
