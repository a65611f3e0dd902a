// The cap on connections: what it holds, in every loop that connects for each request.
#include "bench/connection_cap.h"

#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;

TEST(ConnectionCap, HandsOutTurnsThatAreFarEnoughApart) {
  ConnectionCap cap(20'000);
  const base::MonotonicTime start{1'000'000'000};
  EXPECT_EQ(cap.take_turn(start), start);
  EXPECT_EQ(cap.take_turn(start), start + milliseconds(3));
  // In time for its own turn, and no burst makes good what nobody took.
  EXPECT_EQ(cap.take_turn(start + milliseconds(60)), start + milliseconds(60));
  EXPECT_EQ(cap.take_turn(start + milliseconds(60)), start + milliseconds(63));
}

TEST(ConnectionCap, LeavesARateBelowItAlone) {
  const ConnectionCap cap(6'000);
  EXPECT_EQ(cap.within({50}), base::RequestRate{50});
  EXPECT_EQ(cap.within({500}), base::RequestRate{100});
  EXPECT_EQ(ConnectionCap(std::nullopt).within({500}), base::RequestRate{500});
  EXPECT_EQ(ConnectionCap(std::nullopt).take_turn(base::MonotonicTime{7}), base::MonotonicTime{7});
}

struct Capped {
  WorkloadKind kind;
  int connections;
  bool open_loop;
  WaitStrategy wait;
};

class EveryCappedLoop : public ::testing::TestWithParam<Capped> {
 protected:
  static base::Result<ClientResult> run(std::optional<std::uint32_t> cap,
                                        base::RequestRate rate = {1'000}) {
    RunningServer server({.kind = GetParam().kind, .listen = {}, .server_id = 42});
    auto job = short_job(server.endpoint());
    job.workload.kind = GetParam().kind;
    if (is_http(GetParam().kind)) job.workload.keep_alive = false;
    job.workload.connections = GetParam().connections;
    job.workload.wait = GetParam().wait;
    job.workload.warm_up = milliseconds(20);
    job.workload.duration = milliseconds(200);
    if (GetParam().open_loop) job.workload.rate = rate;
    job.most_connections_per_minute = cap;
    return run_client(job, -1);
  }
};

TEST_P(EveryCappedLoop, ConnectsNoOftenerAndSaysSo) {
  // 100 a second, however long a busy machine takes for 220 ms.
  const auto begun = base::monotonic_now();
  const auto result = run(6'000);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(result->rate_capped);
  constexpr std::int64_t interval_ns = 10'000'000;
  EXPECT_LE(result->connections_opened,
            static_cast<std::uint64_t>((result->end_ns - begun.ns) / interval_ns + 1));
  EXPECT_GE(result->requests, 5U);
  // As many as were overdue when the window began may be in it beside its own.
  const auto window_ns = result->end_ns - result->start_ns;
  EXPECT_LE(result->requests,
            static_cast<std::uint64_t>(window_ns / interval_ns + 1 + GetParam().connections));
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_FALSE(result->littles_law_violated);
  // A closed loop's wait for its turn, 10 ms from the next, is no latency.
  if (!GetParam().open_loop) {
    EXPECT_LT(result->latency.quantile(0.5), 9'000'000U);
  }
}

TEST_P(EveryCappedLoop, IsNotMarkedWhereTheCapIsFarAway) {
  const auto result = run(600'000'000);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_FALSE(result->rate_capped);
  EXPECT_GT(result->requests, 100U);
}

INSTANTIATE_TEST_SUITE_P(
    Loops, EveryCappedLoop,
    ::testing::Values(Capped{WorkloadKind::tcp_crr, 1, false, WaitStrategy::block},
                      Capped{WorkloadKind::tcp_crr, 1, false, WaitStrategy::spin},
                      Capped{WorkloadKind::tcp_crr, 4, false, WaitStrategy::block},
                      Capped{WorkloadKind::tcp_crr, 4, false, WaitStrategy::spin},
                      Capped{WorkloadKind::tcp_crr, 4, true, WaitStrategy::hybrid},
                      Capped{WorkloadKind::http, 4, false, WaitStrategy::block},
                      Capped{WorkloadKind::http, 4, true, WaitStrategy::hybrid},
                      Capped{WorkloadKind::http2, 4, false, WaitStrategy::block}),
    [](const auto& it) {
      return fmt::format("{}_{}_{}_{}", base::enum_name(it.param.kind), it.param.connections,
                         it.param.open_loop ? "open" : "closed", base::enum_name(it.param.wait));
    });

TEST(ConnectionCapOfManyFlows, DoesNotKeepThemWaitingAfterTheWindow) {
  RunningServer server({.kind = WorkloadKind::tcp_crr, .listen = {}});
  auto job = short_job(server.endpoint());
  job.workload.kind = WorkloadKind::tcp_crr;
  job.workload.connections = 100;
  // A second between two turns: the hundredth is more than a minute away.
  job.most_connections_per_minute = 60;
  const auto begun = base::monotonic_now();
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_LT(base::monotonic_now() - begun, std::chrono::seconds(10));
  EXPECT_LE(result->connections_opened, 1U);
}

TEST(ConnectionCapOfKeptConnections, DoesNotTouchTheirRequests) {
  RunningServer server({.kind = WorkloadKind::tcp_rr, .listen = {}});
  auto job = short_job(server.endpoint());
  job.workload.kind = WorkloadKind::tcp_rr;
  job.workload.connections = 4;
  job.most_connections_per_minute = 60;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->connections_opened, 4U);
  EXPECT_GT(result->requests, 100U);
  EXPECT_FALSE(result->rate_capped);
}

}  // namespace
}  // namespace bench
