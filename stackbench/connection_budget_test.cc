#include "stackbench/connection_budget.h"

#include <gtest/gtest.h>

namespace stackbench {
namespace {

using std::chrono::seconds;

base::MonotonicTime at(int second) { return base::MonotonicTime{} + seconds(1000 + second); }

TEST(ConnectionBudget, AMinuteHoldsSoManyAndNoMore) {
  ConnectionBudget budget(100);
  EXPECT_EQ(budget.room_for(100, at(0)), at(0));
  EXPECT_EQ(budget.room_for(101, at(0)), std::nullopt);
  budget.spend(60, at(0));
  budget.spend(30, at(10));
  EXPECT_EQ(budget.room_for(10, at(11)), at(11));
  // The first sixty have to be a minute old, or all of them.
  EXPECT_EQ(budget.room_for(11, at(11)), at(60));
  EXPECT_EQ(budget.room_for(70, at(11)), at(60));
  EXPECT_EQ(budget.room_for(71, at(11)), at(70));
  EXPECT_EQ(budget.room_for(70, at(60)), at(60));
  EXPECT_EQ(budget.room_for(100, at(70)), at(70));
}

TEST(ConnectionBudget, WhatIsOldIsForgotten) {
  ConnectionBudget budget(100);
  for (int minute = 0; minute < 1000; ++minute) {
    const auto now = at(60 * minute);
    EXPECT_EQ(budget.room_for(100, now), now);
    budget.spend(100, now);
    EXPECT_EQ(budget.room_for(1, now), now + seconds(60));
  }
}

}  // namespace
}  // namespace stackbench
