// Held connections over loopback: those that live, and those whose server goes.
#include "bench/reach/hold.h"

#include <future>

#include <gtest/gtest.h>

#include "bench/reach/testing/on_loopback.h"

namespace bench::testing {
namespace {

using base::Protocol;

class TestHold : public RunsUntilStopped<base::Result<HoldResult>> {
 public:
  explicit TestHold(HoldJob job)
      : RunsUntilStopped([job = std::move(job)](int stop_fd, const std::function<void()>& ready) {
          return run_hold(job, stop_fd, ready);
        }) {}
};

HoldJob one_of_each(std::uint16_t port) {
  HoldJob job{.interval = std::chrono::milliseconds(1),
              .stall_after = std::chrono::milliseconds(500)};
  for (const auto kind : {HeldKind::busy_tcp, HeldKind::idle_tcp, HeldKind::udp}) {
    job.connections.push_back({.kind = kind, .to = on_loopback(port)});
  }
  return job;
}

TEST(Hold, ReportsWhatSurvives) {
  const auto port = free_port();
  TestListener listener({.server_id = 1, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  const auto began = base::monotonic_now();
  TestHold hold(one_of_each(port));
  const auto stopped = base::monotonic_now();
  const auto& result = hold.stop();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->connections.size(), 3U);
  for (const auto& held : result->connections) {
    EXPECT_EQ(held.end, HeldEnd::surviving);
    EXPECT_EQ(held.replies, held.requests);
    EXPECT_EQ(held.first_unanswered_ns, 0);
    EXPECT_GT(held.opened_ns, began.ns);
    EXPECT_GE(held.local_port, 60'000);
    EXPECT_EQ(held.ended_ns, 0);
    EXPECT_TRUE(held.stalls.empty());
  }
  EXPECT_EQ(result->connections[1].requests, 2U);  // at the start, and at the stop
  for (const auto& held : result->connections) {
    EXPECT_GE(held.requests, 2U);
    EXPECT_GE(held.last_reply_ns, stopped.ns);
  }
}

TEST(Hold, NoticesThatItsServerIsGone) {
  const auto port = free_port();
  TestListener listener({.server_id = 1, .ports = {{port, Protocol::TCP}, {port, Protocol::UDP}}});
  TestHold hold(one_of_each(port));
  const auto gone_from = base::monotonic_now();
  ASSERT_TRUE(listener.stop());
  const auto gone_at = base::monotonic_now();
  const auto& result = hold.stop();
  ASSERT_TRUE(result) << result.error().message;
  const auto& [busy, idle, udp] =
      std::tie(result->connections[0], result->connections[1], result->connections[2]);
  // Closed with a request unread it is reset, else closed (RFC 9293, 3.6.1).
  EXPECT_THAT(busy.end, ::testing::AnyOf(HeldEnd::closed, HeldEnd::reset));
  EXPECT_EQ(idle.end, HeldEnd::closed);
  EXPECT_EQ(udp.end, HeldEnd::refused);
  EXPECT_EQ(udp.error_code, ECONNREFUSED);
  for (const auto& held : result->connections) {
    EXPECT_GE(held.ended_ns, gone_from.ns);
    EXPECT_LE(held.last_reply_ns, gone_at.ns);
  }
}

TEST(Hold, ReportsWhatNeverOpened) {
  HoldJob job = one_of_each(free_port());
  const auto deaf = bind_udp(on_loopback(0));
  ASSERT_TRUE(deaf);
  job.connections.push_back({.kind = HeldKind::udp, .to = local_endpoint(deaf->get()).value()});
  job.connect_timeout = std::chrono::milliseconds(30);
  TestHold hold(job);
  const auto& result = hold.stop();
  ASSERT_TRUE(result) << result.error().message;
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(result->connections[i].end, HeldEnd::not_opened) << i;
    EXPECT_EQ(result->connections[i].error_code, i < 3 ? ECONNREFUSED : 0) << i;
    EXPECT_EQ(result->connections[i].opened_ns, 0) << i;
  }
}

TEST(Hold, CallsAServerThatFellSilentStalled) {
  const auto deaf = listen_tcp(on_loopback(0));
  ASSERT_TRUE(deaf);
  const auto to = local_endpoint(deaf->get()).value();
  HoldJob job{.connections = {{.kind = HeldKind::busy_tcp, .to = to}},
              .interval = std::chrono::milliseconds(1),
              .stall_after = std::chrono::milliseconds(20)};
  // Answers three times, and then no more.
  std::promise<void> fell_silent;
  std::jthread server([&] {
    const base::UniqueFd fd(::accept4(deaf->get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::array<char, 16> bytes{};
    for (int i = 0; ::recv(fd.get(), bytes.data(), bytes.size(), MSG_WAITALL) == 16; ++i) {
      bytes[0] = 'A';  // from question to answer: "SBRQ" to "SBRA", little-endian
      if (i < 3) ::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (i == 3) fell_silent.set_value();
    }
  });
  TestHold hold(job);
  ASSERT_EQ(fell_silent.get_future().wait_for(std::chrono::seconds(10)), std::future_status::ready);
  const auto& result = hold.stop();
  ASSERT_TRUE(result) << result.error().message;
  const auto& held = result->connections[0];
  EXPECT_EQ(held.end, HeldEnd::stalled);
  EXPECT_EQ(held.replies, 3U);
  EXPECT_EQ(held.requests, 4U);  // none follows one that was not answered
  EXPECT_GT(held.first_unanswered_ns, held.last_reply_ns);
}

}  // namespace
}  // namespace bench::testing
