// Knocks over loopback: at a door that answers, at one that opens and shuts, and at those that do
// something else.
#include "bench/reach/knock.h"

#include <map>

#include <gtest/gtest.h>

#include "bench/reach/testing/on_loopback.h"
#include "bench/test_servers.h"

namespace bench::testing {
namespace {

const std::string token(32, 'c');

class TestKnocks : public RunsUntilStopped<base::Result<KnockResult>> {
 public:
  explicit TestKnocks(KnockJob job)
      : RunsUntilStopped([job = std::move(job)](int stop_fd, const std::function<void()>& ready) {
          return run_knocks(job, stop_fd, ready);
        }) {}
};

// So many, one a millisecond.
base::Result<KnockResult> knock(KnockJob job, int times) {
  job.duration = std::chrono::milliseconds(times);
  return run_knocks(job, -1, [] {});
}

std::map<ReachOutcome, std::size_t> counted(const KnockResult& result) {
  std::map<ReachOutcome, std::size_t> counts;
  for (const auto& one : result.knocks.list) ++counts[one.outcome];
  return counts;
}

TEST(Knock, IsAConnectionOfItsOwnInEitherProtocol) {
  for (const auto kind : {WorkloadKind::http, WorkloadKind::tcp_crr}) {
    RunningServer server({.kind = kind, .listen = {}, .server_id = 5});
    const auto result = knock({.kind = kind, .to = server.endpoint(), .canary = token}, 40);
    ASSERT_TRUE(result) << result.error().message;
    const auto& knocks = result->knocks.list;
    ASSERT_FALSE(knocks.empty());
    EXPECT_EQ(knocks.size() + result->skipped, 40U);
    EXPECT_EQ(counted(*result)[ReachOutcome::answered], knocks.size());
    EXPECT_EQ(server.result().connections, knocks.size());
    for (std::size_t i = 0; i < knocks.size(); ++i) {
      // Never before it is due.
      EXPECT_GE(knocks[i].before_ns, result->began_ns + std::int64_t{knocks[i].number} * 1'000'000);
      EXPECT_GT(knocks[i].after_ns, knocks[i].before_ns);
      if (i > 0) EXPECT_GT(knocks[i].number, knocks[i - 1].number);
    }
  }
}

TEST(Knock, TellsWhenADoorOpensAndShuts) {
  const auto port = free_port();
  TestKnocks knocks({.to = on_loopback(port), .rate = base::RequestRate{2'000}});
  std::int64_t opened_ns = 0;
  std::int64_t shut_from_ns = 0;
  std::int64_t shut_ns = 0;
  {
    RunningServer server(
        {.kind = WorkloadKind::http, .listen = {on_loopback(port)}, .server_id = 1});
    opened_ns = base::monotonic_now().ns;
    // One that was begun after it opened has been answered.
    ASSERT_TRUE(knock({.to = on_loopback(port)}, 50));
    shut_from_ns = base::monotonic_now().ns;
    server.result();
    shut_ns = base::monotonic_now().ns;
  }
  const auto& result = knocks.stop();
  ASSERT_TRUE(result) << result.error().message;
  std::size_t answered = 0;
  for (const auto& one : result->knocks.list) {
    if (one.outcome != ReachOutcome::answered) continue;
    ++answered;
    EXPECT_LT(one.before_ns, shut_ns);
  }
  EXPECT_GT(answered, 0U);
  for (const auto& one : result->knocks.list) {
    if (one.before_ns <= opened_ns || one.after_ns >= shut_from_ns) continue;
    EXPECT_EQ(one.outcome, ReachOutcome::answered);
  }
}

TEST(Knock, TellsWhoHungUpFromWhoSaidNothingOfItsOwn) {
  {
    ScriptedServer server(
        [](int fd, const RequestHeader&) {
          ScriptedServer::reset_on_close(fd);
          return false;
        },
        WorkloadKind::http);
    const auto result = knock({.to = server.endpoint(), .canary = token}, 10);
    ASSERT_TRUE(result);
    EXPECT_EQ(counted(*result)[ReachOutcome::cut], result->knocks.list.size());
  }
  {
    // As a proxy whose application is away.
    ScriptedServer server(
        [](int fd, const RequestHeader&) {
          return ScriptedServer::send_text(
              fd, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        },
        WorkloadKind::http);
    const auto result = knock({.to = server.endpoint()}, 10);
    ASSERT_TRUE(result);
    EXPECT_EQ(counted(*result)[ReachOutcome::answered_by_other], result->knocks.list.size());
  }
  {
    ScriptedServer server([](int, const RequestHeader&) { return true; }, WorkloadKind::http);
    const auto result =
        knock({.to = server.endpoint(), .timeout = std::chrono::milliseconds(10)}, 10);
    ASSERT_TRUE(result);
    EXPECT_EQ(counted(*result)[ReachOutcome::silent], result->knocks.list.size());
    for (const auto& one : result->knocks.list) {
      EXPECT_GE(one.after_ns - one.before_ns, 10'000'000);
    }
  }
  const auto result = knock({.to = on_loopback(free_port())}, 10);
  ASSERT_TRUE(result);
  EXPECT_EQ(counted(*result)[ReachOutcome::refused], result->knocks.list.size());
}

}  // namespace
}  // namespace bench::testing
