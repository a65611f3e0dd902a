// An agent whose clock is not ours: in a time namespace, as a node's in a cluster of processes is.
// It has our boot id and its own time namespace, which is all that tells the two apart.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include "base/testing/lab.h"
#include "bench/agent/testing/agent_process.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x00000080
#endif

namespace bench::testing {
namespace {

constexpr base::Duration ahead = std::chrono::milliseconds(50);

// Moves the calling process, which has one thread, to a time namespace whose CLOCK_MONOTONIC is
// ahead of ours.
base::Result<> enter_time_namespace() {
  if (::unshare(CLONE_NEWTIME) < 0) return base::system_error(errno, "unshare");
  const base::UniqueFd offsets(::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC));
  const std::string line = fmt::format("monotonic 0 {}\n", ahead.count());
  if (::write(offsets.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size())) {
    return base::system_error(errno, "timens_offsets");
  }
  const base::UniqueFd ours(::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC));
  if (::setns(ours.get(), CLONE_NEWTIME) < 0) return base::system_error(errno, "setns");
  return {};
}

TEST(AgentInATimeNamespace, HasItsOffsetMeasuredThoughItsBootIsOurs) {
  if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  auto process = base::Process::spawn({.argv = {AGENT},
                                       .in = base::Stdio::pipe(),
                                       .out = base::Stdio::pipe(),
                                       .before_exec = enter_time_namespace});
  ASSERT_TRUE(process) << process.error().message;
  auto client =
      AgentClient::connect(std::move(process->in), std::move(process->out), "agent far-0");
  ASSERT_TRUE(client) << client.error().message;
  EXPECT_EQ(client->hello().boot_id, own_hello({}).boot_id);
  EXPECT_NE(client->hello().time_namespace, own_hello({}).time_namespace);
  const auto clock = client->measure_clock();
  ASSERT_TRUE(clock) << clock.error().message;
  EXPECT_GT(clock->uncertainty, base::Duration::zero());
  EXPECT_LT(clock->uncertainty, ahead / 2);
  EXPECT_GE(clock->offset + clock->uncertainty, ahead);
  EXPECT_LE(clock->offset - clock->uncertainty, ahead);
}

}  // namespace
}  // namespace bench::testing
