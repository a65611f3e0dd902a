#include "base/process_cost.h"

#include <ctime>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "base/clock.h"

namespace base {
namespace {

std::int64_t own_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

TEST(ProcessCost, CpuTimeIsWhatTheKernelSaysElsewhere) {
  const auto before = cpu_time_of(::getpid());
  ASSERT_TRUE(before);
  const auto begin = own_cpu_ns();
  while (own_cpu_ns() - begin < 20'000'000) {
  }
  // What runs is accounted when the scheduler has a look at it.
  ::sched_yield();
  const auto after = cpu_time_of(::getpid());
  ASSERT_TRUE(after);
  EXPECT_GE(*after - *before, 19'000'000);
  EXPECT_LE(*after, own_cpu_ns());
}

TEST(ProcessCost, MemoryGrowsByWhatIsTouched) {
  const auto before = pss_of(::getpid());
  ASSERT_TRUE(before);
  const std::vector<char> touched(32 << 20, 'x');
  const auto after = pss_of(::getpid());
  ASSERT_TRUE(after);
  EXPECT_NEAR(static_cast<double>(*after - *before), static_cast<double>(touched.size()), 2 << 20);
}

TEST(ProcessCost, AProcessThatIsGoneIsSaidSo) {
  constexpr pid_t nobody = 4'194'305;  // beyond the kernel's largest pid
  ASSERT_FALSE(cpu_time_of(nobody));
  EXPECT_EQ(cpu_time_of(nobody).error().kind, ErrorKind::missing);
  EXPECT_FALSE(pss_of(nobody));
}

}  // namespace
}  // namespace base
