#include "cluster/fabric/controller_trees.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cluster {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(Controllers, AreEnabledWhereTheyAreThereAndNotYetOn) {
  EXPECT_THAT(controllers_to_enable("cpuset cpu io memory hugetlb pids rdma misc\n", "cpu pids\n"),
              ElementsAre("cpuset", "hugetlb", "memory", "io"));
  EXPECT_THAT(controllers_to_enable("hugetlb\n", "hugetlb\n"), IsEmpty());
  EXPECT_THAT(controllers_to_enable("\n", "\n"), IsEmpty());
}

TEST(Hierarchies, OfBothVersionsAreFoundOnceEach) {
  EXPECT_THAT(
      find_hierarchies(
          "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
          "32 31 0:29 /docker/1 /sys/fs/cgroup/cpu rw shared:4 - cgroup cgroup rw,cpu\n"
          "33 31 0:30 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
          "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
          "50 23 0:29 / /mnt/the\\040cpu rw - cgroup cgroup rw,cpu\n"),
      ElementsAre(CgroupHierarchy{"/mnt/the cpu", 1}, CgroupHierarchy{"/sys/fs/cgroup/memory", 1},
                  CgroupHierarchy{"/sys/fs/cgroup/unified", 2}));
  EXPECT_THAT(find_hierarchies(""), IsEmpty());
}

}  // namespace
}  // namespace cluster
