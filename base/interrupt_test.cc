// Each test installs in a thread of its own: the signal mask and the pending signals go with it.
#include "base/interrupt.h"

#include <thread>

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

namespace base {
namespace {

bool readable(const Interrupt& interrupt) {
  pollfd watched{.fd = interrupt.fd(), .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

TEST(Interrupt, IsReadableForGoodOnceASignalHasArrived) {
  std::thread([] {
    const auto interrupt = Interrupt::install();
    ASSERT_TRUE(interrupt) << interrupt.error().message;
    EXPECT_FALSE(interrupt->requested());
    EXPECT_FALSE(readable(*interrupt));
    // Caught: that is what is tested.
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGTERM), 0);
    for (int look = 0; look < 3; ++look) {
      EXPECT_TRUE(readable(*interrupt));
      EXPECT_TRUE(interrupt->requested());
      EXPECT_EQ(interrupt->signal(), SIGTERM);
    }
  }).join();
}

TEST(Interrupt, WaitsUntilATimeAndNoLonger) {
  const auto interrupt = Interrupt::never();
  const auto due = monotonic_now() + std::chrono::milliseconds(2);
  EXPECT_TRUE(interrupt.wait_until(due));
  EXPECT_GE(monotonic_now().ns, due.ns);
  EXPECT_TRUE(interrupt.wait_until(due)) << "a time that has passed";
}

TEST(Interrupt, EndsAWait) {
  std::thread([] {
    const auto interrupt = Interrupt::install();
    ASSERT_TRUE(interrupt) << interrupt.error().message;
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): caught, that is what is tested
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGINT), 0);
    const auto waited = interrupt->wait_until(monotonic_now() + std::chrono::hours(1));
    ASSERT_FALSE(waited);
    EXPECT_EQ(waited.error().kind, ErrorKind::interrupted);
  }).join();
}

TEST(Interrupt, LeavesAnIgnoredSignalIgnored) {
  const auto before = ::signal(SIGHUP, SIG_IGN);
  std::thread([] {
    const auto interrupt = Interrupt::install();
    ASSERT_TRUE(interrupt) << interrupt.error().message;
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGHUP), 0);
    EXPECT_FALSE(interrupt->requested());
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGINT), 0);
    EXPECT_EQ(interrupt->signal(), SIGINT);
  }).join();
  ::signal(SIGHUP, before);
}

TEST(Interrupt, NeverFiresWhereNobodyCanInterrupt) {
  const Interrupt interrupt = Interrupt::never();
  EXPECT_EQ(interrupt.fd(), -1);
  EXPECT_FALSE(interrupt.requested());
}

}  // namespace
}  // namespace base
