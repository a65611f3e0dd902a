// The agent that ships, with real traffic over loopback.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "bench/agent/testing/agent_process.h"

namespace bench::testing {
namespace {

using base::ErrorKind;
using std::chrono::milliseconds;

const std::string executable = AGENT;

base::Endpoint loopback(std::uint16_t port = 0) {
  return {base::IpAddress::parse("127.0.0.1").value(), port};
}

ClientJob client_job(WorkloadKind kind, const base::Endpoint& server, base::Duration duration) {
  return {.workload = {.kind = kind, .duration = duration, .warm_up = milliseconds(5)},
          .servers = {server}};
}

class AgentTraffic : public ::testing::TestWithParam<WorkloadKind> {};

TEST_P(AgentTraffic, RunsBetweenTwoAgentsAndBothCountTheSame) {
  auto server_agent = start_agent(executable);
  auto client_agent = start_agent(executable);
  ASSERT_TRUE(server_agent) << server_agent.error().message;
  ASSERT_TRUE(client_agent) << client_agent.error().message;
  AgentClient& server = server_agent->client;
  AgentClient& client = client_agent->client;

  const auto running =
      server.start_server({.kind = GetParam(), .listen = {loopback()}, .server_id = 5});
  ASSERT_TRUE(running) << running.error().message;
  ASSERT_EQ(running->endpoints.size(), 1U);
  ASSERT_NE(running->endpoints.front().port, 0);

  const auto before = base::monotonic_now();
  const auto result =
      client.run(client_job(GetParam(), running->endpoints.front(), milliseconds(50)));
  const auto after = base::monotonic_now();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->kind, GetParam());
  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->latency.count(), result->requests);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_EQ(result->answered_by.count("5"), 1U);
  // Its stamps are on our clock: that is what an offset of exactly 0 means.
  EXPECT_EQ(client.measure_clock().value().uncertainty, base::Duration::zero());
  EXPECT_GT(result->start_ns, before.ns);
  EXPECT_LT(result->end_ns, after.ns);

  const auto served = server.stop_server(running->id);
  ASSERT_TRUE(served) << served.error().message;
  EXPECT_GE(served->requests, result->requests);
  EXPECT_GT(served->connections, 0U);
}

INSTANTIATE_TEST_SUITE_P(Workloads, AgentTraffic,
                         ::testing::Values(WorkloadKind::tcp_rr, WorkloadKind::tcp_crr,
                                           WorkloadKind::http, WorkloadKind::http2),
                         [](const auto& test) { return std::string(base::enum_name(test.param)); });

TEST(AgentTrafficFailures, SaysThatNobodyListens) {
  auto agent = start_agent(executable);
  ASSERT_TRUE(agent) << agent.error().message;
  AgentClient& client = agent->client;
  // A port that was free a moment ago.
  const auto running = client.start_server({.listen = {loopback()}});
  ASSERT_TRUE(running) << running.error().message;
  ASSERT_TRUE(client.stop_server(running->id));
  const auto result =
      client.run(client_job(WorkloadKind::tcp_rr, running->endpoints.front(), milliseconds(50)));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::workload);
}

TEST(AgentTrafficFailures, GivesItsPortBackWithTheResult) {
  auto agent = start_agent(executable);
  ASSERT_TRUE(agent) << agent.error().message;
  AgentClient& client = agent->client;
  auto running = client.start_server({.listen = {loopback()}});
  ASSERT_TRUE(running) << running.error().message;
  const auto endpoint = running->endpoints.front();
  const auto taken = client.start_server({.listen = {endpoint}});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, EADDRINUSE);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(client.stop_server(running->id));
    running = client.start_server({.listen = {endpoint}});
    ASSERT_TRUE(running) << running.error().message;
  }
}

TEST(AgentTrafficFailures, SurvivesAServerThatIsKilledDuringARun) {
  auto agent = start_agent(executable);
  ASSERT_TRUE(agent) << agent.error().message;
  AgentClient& client = agent->client;
  const auto running = client.start_server({.listen = {loopback()}});
  ASSERT_TRUE(running) << running.error().message;
  auto job = client_job(WorkloadKind::tcp_rr, running->endpoints.front(), milliseconds(300));
  job.workload.timeout = milliseconds(100);
  const auto id = client.send_run(job);
  ASSERT_TRUE(id);
  ASSERT_TRUE(client.await_worker_pid(*id));
  ASSERT_EQ(::kill(running->worker_pid, SIGKILL), 0);
  const auto result = client.await_run(*id);
  // Depending on how far the client was: it never connected, or its requests failed from there on.
  if (result) {
    EXPECT_GT(result->errors.total(), 0U);
  } else {
    EXPECT_EQ(result.error().kind, ErrorKind::workload) << result.error().message;
  }
  EXPECT_THAT(client.stop_server(running->id).error().message,
              ::testing::HasSubstr("worker ended by signal 9 (Killed)"));
}

TEST(AgentTrafficFailures, EndsALongRunWhenItIsStopped) {
  auto agent = start_agent(executable);
  ASSERT_TRUE(agent) << agent.error().message;
  AgentClient& client = agent->client;
  const auto running = client.start_server({.listen = {loopback()}});
  ASSERT_TRUE(running) << running.error().message;
  const auto start = base::monotonic_now();
  const auto id = client.send_run(
      client_job(WorkloadKind::tcp_rr, running->endpoints.front(), std::chrono::hours(1)));
  ASSERT_TRUE(id);
  ASSERT_TRUE(client.await_worker_pid(*id));
  ASSERT_TRUE(client.send_stop(*id));
  const auto result = client.await_run(*id);
  EXPECT_LT(base::monotonic_now() - start, std::chrono::seconds(10));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::interrupted) << result.error().message;
}

}  // namespace
}  // namespace bench::testing
