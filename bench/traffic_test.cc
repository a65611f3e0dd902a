// Both ends together, over loopback: what one counts the other counts, in every combination of
// workload, loop, wait strategy and number of connections.
#include <numeric>
#include <set>
#include <string>
#include <tuple>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

std::uint64_t answered(const ClientResult& result) {
  return std::accumulate(result.answered_by.begin(), result.answered_by.end(), std::uint64_t{0},
                         [](std::uint64_t sum, const auto& entry) { return sum + entry.second; });
}

// A kind of workload, where it has a choice with its connections kept or not.
struct Sort {
  WorkloadKind kind;
  std::optional<bool> keep_alive = {};
};

std::string name_of(const Sort& sort) {
  return fmt::format("{}{}", base::enum_name(sort.kind),
                     sort.keep_alive == std::optional(false) ? "_close" : "");
}

class EveryCombination
    : public ::testing::TestWithParam<std::tuple<Sort, bool, WaitStrategy, WaitStrategy, int>> {};

TEST_P(EveryCombination, ClientAndServerCountTheSame) {
  const auto [sort, open_loop, client_wait, server_wait, connections] = GetParam();
  const auto kind = sort.kind;
  RunningServer server({.kind = kind, .wait = server_wait, .listen = {}, .server_id = 42});
  auto job = short_job(server.endpoint());
  job.workload.kind = kind;
  job.workload.keep_alive = sort.keep_alive;
  job.workload.wait = client_wait;
  job.workload.connections = connections;
  if (open_loop) job.workload.rate = base::RequestRate{2'000};

  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  const auto seen = server.result();

  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_EQ(result->latency.count(), result->requests);
  EXPECT_THAT(result->answered_by, ElementsAre(Pair("42", result->requests)));
  EXPECT_EQ(result->loop, open_loop ? "open" : "closed");
  EXPECT_EQ(result->wait, client_wait);
  EXPECT_EQ(result->tcp_retransmits, 0U);
  EXPECT_EQ(seen.connections, result->connections_opened);
  EXPECT_EQ(seen.bad_requests, 0U);
  // What opens a flow of datagrams is answered as well.
  const auto of_requests =
      seen.requests - (protocol_of(kind) == base::Protocol::UDP ? result->connections_opened : 0);
  if (open_loop) {
    EXPECT_EQ(result->requests, 120U);  // 2,000/s for 60 ms
    EXPECT_EQ(of_requests, result->requests);
    EXPECT_EQ(result->lateness.count(), result->requests);
  } else {
    // A closed loop's last request per connection ends after the window.
    EXPECT_GE(of_requests, result->requests);
    EXPECT_LE(of_requests, result->requests + static_cast<std::uint64_t>(connections));
    EXPECT_EQ(result->lateness.count(), 0U);
  }
  const bool kept = keeps_connections(job.workload);
  const auto opened = kept ? static_cast<std::uint64_t>(connections) : of_requests;
  if (kept) {
    EXPECT_EQ(result->connect.count(), opened);
  }
  EXPECT_EQ(result->connections_opened, opened);
  EXPECT_EQ(result->local_ports.size(), std::min<std::uint64_t>(opened, 16));
}

std::string combination_name(const ::testing::TestParamInfo<EveryCombination::ParamType>& info) {
  return fmt::format("{}_{}_{}_{}_{}", name_of(std::get<0>(info.param)),
                     std::get<1>(info.param) ? "open" : "closed",
                     base::enum_name(std::get<2>(info.param)),
                     base::enum_name(std::get<3>(info.param)), std::get<4>(info.param));
}

INSTANTIATE_TEST_SUITE_P(
    Traffic, EveryCombination,
    ::testing::Combine(
        ::testing::Values(Sort{WorkloadKind::tcp_rr}, Sort{WorkloadKind::tcp_crr},
                          Sort{WorkloadKind::udp_rr}),
        ::testing::Bool(),
        ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid, WaitStrategy::spin),
        ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid, WaitStrategy::spin),
        ::testing::Values(1, 4)),
    combination_name);

// Its server's strategies have their tests in http_test.cc.
INSTANTIATE_TEST_SUITE_P(
    Http, EveryCombination,
    ::testing::Combine(::testing::Values(Sort{WorkloadKind::http}, Sort{WorkloadKind::http, false}),
                       ::testing::Bool(),
                       ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid,
                                         WaitStrategy::spin),
                       ::testing::Values(WaitStrategy::block), ::testing::Values(1, 4)),
    combination_name);

class EverySize : public ::testing::TestWithParam<std::tuple<WorkloadKind, WaitStrategy, int>> {};

TEST_P(EverySize, MessagesOfOneHeaderAndOfManySegmentsBothWork) {
  const auto [kind, wait, connections] = GetParam();
  const auto most =
      static_cast<unsigned>(std::min<std::uint64_t>(message_bounds(kind).most, 1U << 20));
  for (const auto& [request, response] :
       {std::pair{16U, 16U}, {60'000U, 16U}, {16U, 60'000U}, {most, most}}) {
    RunningServer server({.kind = kind, .wait = wait, .listen = {}});
    auto job = short_job(server.endpoint());
    job.workload.kind = kind;
    job.workload.wait = wait;
    job.workload.connections = connections;
    job.workload.request = base::Bytes{request};
    job.workload.response = base::Bytes{response};
    const auto result = run_client(job, -1);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_GT(result->requests, 0U) << request << " " << response;
    EXPECT_EQ(result->errors.total(), 0U) << request << " " << response;
    EXPECT_EQ(server.result().bad_requests, 0U);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Traffic, EverySize,
    ::testing::Combine(::testing::Values(WorkloadKind::tcp_rr, WorkloadKind::tcp_crr,
                                         WorkloadKind::udp_rr, WorkloadKind::http),
                       ::testing::Values(WaitStrategy::block, WaitStrategy::spin),
                       ::testing::Values(1, 3)));

TEST(Traffic, SixtyFourConnectionsAllWork) {
  RunningServer server({.listen = {}});
  auto job = short_job(server.endpoint());
  job.workload.connections = 64;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->connections_opened, 64U);
  EXPECT_EQ(result->connect.count(), 64U);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_EQ(server.result().connections, 64U);
}

TEST(Traffic, MoreConnectionsThanTheSoftDescriptorLimitWork) {
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  if (before.rlim_max < 512) GTEST_SKIP() << "the hard limit of descriptors is under 512";
  rlimit low = before;
  low.rlim_cur = 128;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  {
    RunningServer server({.listen = {}});
    auto job = short_job(server.endpoint());
    job.workload.connections = 200;  // both ends of each are descriptors of this process
    const auto result = run_client(job, -1);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->connections_opened, 200U);
    EXPECT_EQ(result->errors.total(), 0U);
  }
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
}

TEST(Traffic, OneServerListensOnBothFamilies) {
  for (const auto kind : {WorkloadKind::tcp_rr, WorkloadKind::udp_rr}) {
    RunningServer server({.kind = kind, .listen = {any_port("::1"), any_port("127.0.0.1")}});
    for (const std::size_t family : {0U, 1U}) {
      auto job = short_job(server.endpoint(family));
      job.workload.kind = kind;
      const auto result = run_client(job, -1);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_GT(result->requests, 0U);
      EXPECT_EQ(result->errors.total(), 0U);
    }
  }
}

TEST(Traffic, TheWarmUpIsNotCounted) {
  RunningServer server({.listen = {}});
  auto job = short_job(server.endpoint());
  job.workload.warm_up = milliseconds(60);
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  // As much warm-up as window: the server answered more than the client counts.
  EXPECT_GT(server.result().requests, result->requests + 1);
  EXPECT_GE(result->end_ns - result->start_ns, 60'000'000);
}

TEST(Traffic, AClosedLoopOfOneLosesLittleTimeBetweenRequests) {
  for (const auto kind :
       {WorkloadKind::tcp_rr, WorkloadKind::tcp_crr, WorkloadKind::udp_rr, WorkloadKind::http}) {
    RunningServer server({.kind = kind, .listen = {}});
    auto job = short_job(server.endpoint());
    job.workload.kind = kind;
    const auto result = run_client(job, -1);
    ASSERT_TRUE(result) << result.error().message;
    // Some is always lost, or the residual would be zero by construction and flag nothing; how
    // much is the machine's affair, but never half of it.
    EXPECT_GT(result->littles_law_residual, 0);
    EXPECT_LT(result->littles_law_residual, 0.5);
    EXPECT_EQ(result->littles_law_violated, result->littles_law_residual > 0.02);
  }
}

TEST(Traffic, ConnectTimeIsPartOfAShortConnectionsLatency) {
  for (const auto& sort : {Sort{WorkloadKind::tcp_crr}, Sort{WorkloadKind::http, false}}) {
    RunningServer server({.kind = sort.kind, .listen = {}});
    auto job = short_job(server.endpoint());
    job.workload.kind = sort.kind;
    job.workload.keep_alive = sort.keep_alive;
    const auto result = run_client(job, -1);
    ASSERT_TRUE(result) << result.error().message;
    // The last connection's request may be answered after the window.
    EXPECT_GE(result->connect.count(), result->requests);
    EXPECT_LE(result->connect.count(), result->requests + 1);
    EXPECT_LT(result->connect.min(), result->latency.min());
    EXPECT_LT(result->connect.mean(), result->latency.mean());
  }
}

TEST(Traffic, CpuTimeStaysWithinTheWindow) {
  RunningServer server({.listen = {}});
  const auto result = run_client(short_job(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  const auto cpu_ns = result->cpu_user_ns + result->cpu_system_ns;
  EXPECT_GT(cpu_ns, 0);
  EXPECT_GE(result->cpu_user_ns, 0);
  EXPECT_GE(result->cpu_system_ns, 0);
  EXPECT_LE(cpu_ns, result->end_ns - result->start_ns + 1'000'000);
  EXPECT_EQ(result->cpu_per_request_ns, cpu_ns / static_cast<std::int64_t>(result->requests));
  const auto seen = server.result();
  EXPECT_GT(seen.cpu_user_ns + seen.cpu_system_ns, 0);
}

TEST(Traffic, AResultSurvivesItsJson) {
  RunningServer server({.listen = {}, .server_id = 5});
  const auto result = run_client(short_job(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  const auto json = base::to_json(*result);
  const auto read = base::from_json<ClientResult>(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->latency, result->latency);
  EXPECT_EQ(answered(*read), result->requests);
  EXPECT_EQ(base::dump_json(base::to_json(*read)), base::dump_json(json));
}

TEST(Traffic, RepliesComeFromTheConnectionsTheResultNames) {
  ScriptedServer server([](int fd, const RequestHeader& request) {
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
  });
  auto job = short_job(server.endpoint());
  job.workload.connections = 3;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(server.client_ports(), ::testing::UnorderedElementsAreArray(result->local_ports));
}

TEST(Traffic, EveryServerThatAnswersIsCountedByItsIdentity) {
  ScriptedServer server([](int fd, const RequestHeader& request) {
    const std::uint32_t id = request.sequence % 3 == 0 ? 30 : 10;
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request, id));
  });
  const auto result = run_client(short_job(server.endpoint()), -1);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->answered_by.size(), 2U);
  EXPECT_NEAR(static_cast<double>(result->answered_by.at("30")),
              static_cast<double>(result->requests) / 3, 1);
  EXPECT_EQ(answered(*result), result->requests);
}

class EveryLoop : public ::testing::TestWithParam<std::tuple<WorkloadKind, int>> {};

TEST_P(EveryLoop, ConnectionsSpreadOverTheServersOfTheJob) {
  const auto [kind, connections] = GetParam();
  RunningServer first({.kind = kind, .listen = {}, .server_id = 1});
  RunningServer second({.kind = kind, .listen = {}, .server_id = 2});
  auto job = short_job(first.endpoint());
  job.servers.push_back(second.endpoint());
  job.workload.kind = kind;
  job.workload.connections = connections;
  std::set<std::string> answered_by;
  // One kept connection meets one server an invocation: the seed says which.
  for (job.seed = 1; job.seed <= 16 && answered_by.size() < 2; ++job.seed) {
    const auto result = run_client(job, -1);
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->errors.total(), 0U);
    for (const auto& [id, requests] : result->answered_by) answered_by.insert(id);
    if (kind == WorkloadKind::tcp_crr) {
      EXPECT_EQ(result->answered_by.size(), 2U);
    }
  }
  EXPECT_EQ(answered_by, (std::set<std::string>{"1", "2"}));
}

INSTANTIATE_TEST_SUITE_P(
    , EveryLoop,
    ::testing::Combine(::testing::Values(WorkloadKind::tcp_rr, WorkloadKind::tcp_crr,
                                         WorkloadKind::udp_rr, WorkloadKind::http),
                       ::testing::Values(1, 4)));

TEST(OpenLoop, AStallIsSeenByEveryRequestThatWasDueMeanwhile) {
  std::atomic<int> requests = 0;
  std::atomic<std::int64_t> stalled_until = 0;
  ScriptedServer server([&](int fd, const RequestHeader& request) {
    if (++requests == 200) stalled_until = base::monotonic_now().ns + 200'000'000;
    const auto left = stalled_until - base::monotonic_now().ns;
    if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
  });
  auto job = short_job(server.endpoint());
  job.workload.duration = milliseconds(600);
  job.workload.rate = base::RequestRate{1'000};
  job.workload.connections = 4;
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->requests, 600U);
  EXPECT_GE(result->latency.max(), 190'000'000U);
  // 1,000/s x 200 ms were due during the stall; half of them had more than 100 ms of it left. A
  // loop that waited with its sends would show four slow requests, one per connection.
  const auto share_below = [&](double q) { return result->latency.quantile(q); };
  EXPECT_GE(share_below(1 - 90.0 / 600), 95'000'000U);
  // The generator could not send for want of an idle connection, and says so.
  EXPECT_GE(result->lateness.max(), 150'000'000U);
  EXPECT_TRUE(result->generator_limited);
}

TEST(OpenLoop, SendsNothingBeforeItIsDue) {
  std::mutex mutex;
  std::vector<std::int64_t> arrivals;
  ScriptedServer server([&](int fd, const RequestHeader& request) {
    {
      const std::lock_guard lock(mutex);
      arrivals.push_back(base::monotonic_now().ns);
    }
    return ScriptedServer::send_text(fd, ScriptedServer::reply_to(request));
  });
  auto job = short_job(server.endpoint());
  job.workload.duration = milliseconds(200);
  job.workload.rate = base::RequestRate{500};
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(arrivals.size(), 100U);
  for (std::size_t i = 0; i < arrivals.size(); ++i) {
    // Request i is due in the i-th slot of 2 ms.
    ASSERT_GE(arrivals[i] - result->start_ns, static_cast<std::int64_t>(i) * 2'000'000);
  }
}

TEST(RunClient, RefusesJobsThatMakeNoSense) {
  auto job = short_job(any_port("127.0.0.1"));
  job.workload.request = base::Bytes{15};
  EXPECT_THAT(run_client(job, -1).error().message, HasSubstr("request: expected 16 to"));
  job = short_job(any_port("127.0.0.1"));
  job.workload.kind = WorkloadKind::udp_rr;
  job.workload.response = base::Bytes{65'508};
  EXPECT_THAT(run_client(job, -1).error().message,
              HasSubstr("response: expected 16 to 65507 bytes, got 65508"));
  job = short_job(any_port("127.0.0.1"));
  job.workload.keep_alive = false;
  EXPECT_THAT(run_client(job, -1).error().message,
              HasSubstr("keep_alive: only http and http2 have it"));
  job = short_job(any_port("127.0.0.1"));
  job.workload.connections = 0;
  EXPECT_EQ(run_client(job, -1).error().kind, base::ErrorKind::input);
  job = short_job(any_port("127.0.0.1"));
  job.cpu = 4'000;
  EXPECT_THAT(run_client(job, -1).error().message, HasSubstr("no core 4000"));
}

}  // namespace
}  // namespace bench
