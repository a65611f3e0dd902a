#include "cluster/fabric/cgroup.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cluster {
namespace {

using testing::Eq;

TEST(RunId, ReadsBackTheNameItWrites) {
  const RunId id{.pid = 4711, .start_ticks = 123456789, .serial = 2};
  EXPECT_EQ(id.to_string(), "stackbench-4711-123456789-2");
  EXPECT_THAT(RunId::parse(id.to_string()), Eq(id));
}

TEST(RunId, IsNotReadFromNamesOfOthers) {
  for (const auto* name :
       {"stackbench", "stackbench-", "stackbench-1", "stackbench-1-2", "stackbench-1-2-3-4",
        "stackbench-x-2-3", "stackbench-1-2-", "stackbench--1-2-3", "stackbench-0-2-3",
        "kubepods-1-2-3", "stackbench-1-2-3 ", "my-stackbench-1-2-3"}) {
    EXPECT_EQ(RunId::parse(name), std::nullopt) << name;
  }
}

TEST(StartTicks, AreReadBehindAnyCommandName) {
  const std::string tail =
      " S 1 2 3 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 98765 1000 200 18446744073709551615\n";
  EXPECT_THAT(parse_start_ticks("12 (bash)" + tail), Eq(98765U));
  EXPECT_THAT(parse_start_ticks("12 (a) S (b c)" + tail), Eq(98765U));
  EXPECT_EQ(parse_start_ticks("12 (bash"), std::nullopt);
  EXPECT_EQ(parse_start_ticks("12 (bash)"), std::nullopt);
  EXPECT_EQ(parse_start_ticks("12 (bash) S 1 2"), std::nullopt);
}

TEST(Process, IsEndingAsAZombieAndAsSoonAsTheKernelTakesItDown) {
  EXPECT_FALSE(is_ending("12 (init) S 1 12 12 0 -1 4194560 0"));
  EXPECT_TRUE(is_ending("12 (init) Z 1 12 12 0 -1 4194560 0"));
  EXPECT_TRUE(is_ending("12 (init) S 1 12 12 0 -1 4194564 0"));
  EXPECT_FALSE(is_ending("12 (a) Z (b) S 1 12 12 0 -1 4194560 0"));
  EXPECT_FALSE(is_ending(""));
}

TEST(StartTicks, TellALivingProcessFromNone) {
  EXPECT_TRUE(start_ticks_of(::getpid()));
  EXPECT_FALSE(start_ticks_of(0x3fffffff));
}

TEST(FindCgroup2, FindsItWhereverItIsMounted) {
  const auto hybrid = find_cgroup2(
      "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(hybrid);
  EXPECT_EQ(*hybrid, "/sys/fs/cgroup/unified");
  const auto spaced = find_cgroup2("41 31 0:38 / /mnt/my\\040groups rw - cgroup2 none rw\n");
  ASSERT_TRUE(spaced);
  EXPECT_EQ(*spaced, "/mnt/my groups");
}

TEST(FindCgroup2, PrefersTheWholeHierarchyToABoundPartOfIt) {
  const auto found = find_cgroup2(
      "40 31 0:38 /user.slice /srv/box rw - cgroup2 cgroup2 rw\n"
      "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(*found, "/sys/fs/cgroup");
}

TEST(FindCgroup2, SaysWhatToDoWithoutOne) {
  const auto found = find_cgroup2("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, base::ErrorKind::missing);
  EXPECT_NE(found.error().mend, "");
}

// Clean removes only what is abandoned, so each of these but the last two is a tree it must spare.
TEST(IsAbandoned, OnlyWhereNobodyHoldsTheLockAndTheOwnerIsGone) {
  const RunId owner{.pid = 100, .start_ticks = 5000, .serial = 0};
  EXPECT_FALSE(is_abandoned(owner, 5000, true));
  // Its owner is in a PID namespace that we do not see into.
  EXPECT_FALSE(is_abandoned(owner, std::nullopt, true));
  EXPECT_FALSE(is_abandoned(owner, 6000, true));
  // Just made, not locked yet.
  EXPECT_FALSE(is_abandoned(owner, 5000, false));
  EXPECT_TRUE(is_abandoned(owner, std::nullopt, false));
  // The pid is another process's now.
  EXPECT_TRUE(is_abandoned(owner, 6000, false));
}

}  // namespace
}  // namespace cluster
