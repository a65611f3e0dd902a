// A server that stands still for a fifth of a second inside an open loop's window: the shipped
// agent's latencies must say so of every request that was due meanwhile, not only of those on their
// way (measurement.md, row 9; G. Tene, "How NOT to Measure Latency", calls what hides it
// coordinated omission). A claim about time, so it runs alone on the machine and has eight tries.
#include <csignal>
#include <thread>

#include <gtest/gtest.h>

#include "base/clock.h"
#include "bench/agent/testing/agent_process.h"

namespace bench::testing {
namespace {

const std::string executable = AGENT;

using std::chrono::milliseconds;

constexpr base::RequestRate rate{5'000};
constexpr auto window = milliseconds(3'000);
constexpr auto stall = milliseconds(200);
constexpr int connections = 16;
constexpr double tolerance = 0.02;
constexpr int tries = 8;

struct Stalled {
  ClientResult result;
  double stalled_ms = 0;  // as it turned out
};

class Stall : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = start_agent(executable);
    auto client = start_agent(executable);
    ASSERT_TRUE(server) << server.error().message;
    ASSERT_TRUE(client) << client.error().message;
    server_.emplace(std::move(*server));
    client_.emplace(std::move(*client));
    const auto running = server_->client.start_server(
        {.listen = {base::Endpoint::parse("127.0.0.1:0").value()}, .cpu = server_cpu()});
    ASSERT_TRUE(running) << running.error().message;
    running_ = *running;
  }

  // Where there are two cores, as a run has it: the client on the first, the server on the second.
  static std::optional<int> server_cpu() {
    return std::thread::hardware_concurrency() > 1 ? std::optional(1) : std::nullopt;
  }

  ClientJob job(std::optional<base::RequestRate> paced, base::Duration duration) const {
    ClientJob job{.workload = {}, .servers = running_.endpoints, .cpu = 0};
    job.workload.connections = connections;
    job.workload.rate = paced;
    job.workload.duration = duration;
    job.workload.warm_up = milliseconds(100);
    return job;
  }

  // Requests a millisecond that the server answers when they are all there at once.
  double drain_rate() {
    const auto result = client_->client.run(job({}, milliseconds(300)));
    EXPECT_TRUE(result) << result.error().message;
    return result ? result->rate_per_second / 1'000 : 1;
  }

  // Runs the client, and in the middle of its window stops the server's worker.
  Stalled run_stalled(std::optional<base::RequestRate> paced) {
    Stalled stalled;
    const auto id = client_->client.send_run(job(paced, window));
    EXPECT_TRUE(id);
    std::this_thread::sleep_for(window / 2);
    const auto begin = base::monotonic_now();
    EXPECT_EQ(::kill(running_.worker_pid, SIGSTOP), 0);
    std::this_thread::sleep_for(stall);
    EXPECT_EQ(::kill(running_.worker_pid, SIGCONT), 0);
    stalled.stalled_ms =
        std::chrono::duration<double, std::milli>(base::monotonic_now() - begin).count();
    auto result = client_->client.await_run(*id);
    EXPECT_TRUE(result) << result.error().message;
    if (result) stalled.result = std::move(*result);
    return stalled;
  }

  std::optional<Agent> server_;
  std::optional<Agent> client_;
  RunningJob running_;
};

double p99_ms(const ClientResult& result) {
  return static_cast<double>(result.latency.quantile(0.99)) / 1e6;
}

// One request in a hundred waited longer than the k-th of those due in the stall, k of them being
// 1 % of all: it was due k/r after the stall began, and answered k/C after it ended.
double expected_p99_ms(const Stalled& stalled, double drain_per_ms) {
  const double k = 0.01 * static_cast<double>(stalled.result.requests);
  return stalled.stalled_ms - k * (1'000 / rate.per_second - 1 / drain_per_ms);
}

TEST_F(Stall, EveryRequestDueMeanwhileIsChargedItsWait) {
  const double drain_per_ms = drain_rate();
  double closest = 1;
  for (int attempt = 0; attempt < tries && closest > tolerance; ++attempt) {
    const auto stalled = run_stalled(rate);
    ASSERT_EQ(stalled.result.errors.total(), 0U);
    const double expected = expected_p99_ms(stalled, drain_per_ms);
    const double off = std::abs(p99_ms(stalled.result) / expected - 1);
    RecordProperty(fmt::format("attempt_{}", attempt),
                   fmt::format("p99 {:.2f} ms, expected {:.2f} ms, drain {:.1f}/ms",
                               p99_ms(stalled.result), expected, drain_per_ms));
    closest = std::min(closest, off);
  }
  EXPECT_LE(closest, tolerance);
}

// The planted fault: a loop that waits for its replies sends nothing meanwhile, and its p99 knows
// nothing of the stall.
TEST_F(Stall, AClosedLoopHidesIt) {
  const auto stalled = run_stalled({});
  EXPECT_LT(p99_ms(stalled.result), 0.1 * stalled.stalled_ms);
  EXPECT_GE(static_cast<double>(stalled.result.latency.quantile(1)) / 1e6,
            0.9 * stalled.stalled_ms);
}

}  // namespace
}  // namespace bench::testing
