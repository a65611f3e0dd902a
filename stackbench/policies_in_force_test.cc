#include "stackbench/policies_in_force.h"

#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using ::testing::HasSubstr;

// Whoever enforces policies, as looks at it see it one after the other; the last one stays.
struct Engine {
  std::vector<PoliciesSight> seen;
  std::size_t looks = 0;

  base::Result<PoliciesInForce> await() {
    const auto interrupt = base::Interrupt::never();
    return await_policies(
        [&]() -> base::Result<PoliciesSight> { return seen[std::min(looks++, seen.size() - 1)]; },
        {.without_change = base::Duration(0), .between_looks = base::Duration(0)}, interrupt);
  }
};

TEST(PoliciesInForce, AreAwaitedUntilEachIs) {
  Engine engine{.seen = {{.isolated = false, .open = 3, .of = 3},  // everything is open
                         {.isolated = true, .open = 0, .of = 3},
                         {.isolated = true, .open = 2, .of = 3},
                         {.isolated = true, .open = 3, .of = 3}}};
  const auto policies = engine.await();
  ASSERT_TRUE(policies);
  EXPECT_EQ(engine.looks, 4U);
  EXPECT_FALSE(policies->lacking());
}

TEST(PoliciesInForce, AreNotWhereEverythingIsOpen) {
  Engine engine{.seen = {{.isolated = false, .open = 3, .of = 3}}};
  const auto policies = engine.await();
  ASSERT_TRUE(policies);
  EXPECT_EQ(engine.looks, 2U);
  EXPECT_THAT(policies->lacking().value_or(""), HasSubstr("nobody enforces its NetworkPolicies"));
}

TEST(PoliciesInForce, AreNotWhereSomeNeverCome) {
  Engine engine{.seen = {{.isolated = true, .open = 1, .of = 3}}};
  const auto policies = engine.await();
  ASSERT_TRUE(policies);
  EXPECT_THAT(policies->lacking().value_or(""), HasSubstr("1 of 3 are in force"));
}

TEST(PoliciesInForce, ALookThatFailsIsAnError) {
  const auto interrupt = base::Interrupt::never();
  const auto policies = await_policies(
      []() -> base::Result<PoliciesSight> {
        return base::fail(base::ErrorKind::peer_lost, "it is gone");
      },
      {}, interrupt);
  ASSERT_FALSE(policies);
  EXPECT_EQ(policies.error().message, "it is gone");
}

}  // namespace
}  // namespace stackbench
