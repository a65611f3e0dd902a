#include "stackbench/analysis.h"

#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

Plan two_arm_plan() {
  Plan plan;
  plan.scenario.workloads.resize(1);
  plan.workloads = {{.name = "tcp_rr", .spec = {}}};
  plan.arms.resize(2);
  plan.arms[0].name = "base";
  plan.arms[1].name = "head";
  plan.cores = {.client = 0, .server = 1};
  return plan;
}

// An invocation whose every latency lies at `p50_ns`.
Sample sample_of(std::size_t arm, int block, std::uint64_t p50_ns) {
  Sample sample;
  sample.arm = arm;
  sample.block = block;
  for (int i = 0; i < 100; ++i) sample.client.latency.record(p50_ns);
  sample.client.requests = 100;
  sample.client.rate_per_second = 1e9 / static_cast<double>(p50_ns);
  summarise(sample, {});
  return sample;
}

// `blocks` blocks in which head takes `ratio` times base, with a drift that hits both alike and a
// jitter that changes sign from block to block.
std::vector<Sample> run_of(int blocks, double ratio, double jitter) {
  std::vector<Sample> samples;
  for (int block = 1; block <= blocks; ++block) {
    const double drift = 1 + 0.1 * block;
    const double shake = 1 + jitter * (block % 2 == 0 ? 1 : -1) * (1 + 0.1 * block);
    for (int pass = 0; pass < 2; ++pass) {
      samples.push_back(sample_of(0, block, static_cast<std::uint64_t>(20000 * drift)));
      samples.push_back(
          sample_of(1, block, static_cast<std::uint64_t>(20000 * drift * ratio * shake)));
    }
  }
  return samples;
}

std::vector<int> blocks_to(int last) {
  std::vector<int> blocks;
  for (int block = 1; block <= last; ++block) blocks.push_back(block);
  return blocks;
}

ExpectSpec at_most(double fraction) {
  ExpectSpec expectation;
  expectation.arm = "head";
  expectation.relative_to = "base";
  expectation.at_most = base::Percent{fraction};
  return expectation;
}

std::string verdict_of(const ExpectSpec& expectation, const std::vector<Sample>& samples,
                       int blocks) {
  auto plan = two_arm_plan();
  plan.scenario.expect = {expectation};
  const auto judged = judge_expectations(plan, samples, blocks_to(blocks));
  return judged ? std::string(base::enum_name(judged->front().verdict))
                : base::describe_error(judged.error());
}

std::string sentence_of(const ExpectSpec& expectation, const std::vector<Sample>& samples,
                        Cores cores = {.client = 0, .server = 1}) {
  auto plan = two_arm_plan();
  plan.scenario.expect = {expectation};
  plan.cores = cores;
  const auto judged = judge_expectations(plan, samples, blocks_to(12));
  return judged ? judged->front().sentence : base::describe_error(judged.error());
}

TEST(BlockLogs, ABlocksValueIsTheMeanOfItsTwoLogarithms) {
  std::vector<Sample> samples{sample_of(0, 1, 1000), sample_of(0, 1, 1500)};
  const auto series = block_logs(samples, {1}, 0, 0, Metric::latency_p50);
  ASSERT_EQ(series.logs.size(), 1u);
  EXPECT_NEAR(series.logs[0], (std::log(1000) + std::log(1500)) / 2, 1e-3);
}

TEST(BlockLogs, LeavesOutBlocksThatWereNotKeptOrHaveASampleWithoutAValue) {
  std::vector<Sample> samples{sample_of(0, 1, 1000), sample_of(0, 2, 1000), sample_of(0, 3, 1000)};
  samples.push_back(Sample{});  // no requests at all
  samples.back().block = 3;
  EXPECT_EQ(block_logs(samples, {2, 3}, 0, 0, Metric::latency_p50).blocks, std::vector<int>{2});
}

TEST(BlockLogs, APercentileWithoutEnoughSamplesBehindItIsNoValue) {
  const std::vector<Sample> samples{sample_of(0, 1, 1000)};  // 100 requests; p99 needs 299
  EXPECT_TRUE(block_logs(samples, {1}, 0, 0, Metric::latency_p99).logs.empty());
  EXPECT_FALSE(block_logs(samples, {1}, 0, 0, Metric::latency_p50).logs.empty());
}

TEST(PairedDifferences, DriftOfTheMachineCancels) {
  const auto samples = run_of(12, 1.10, 0);
  const auto kept = blocks_to(12);
  const auto differences = paired_differences(block_logs(samples, kept, 1, 0, Metric::latency_p50),
                                              block_logs(samples, kept, 0, 0, Metric::latency_p50));
  ASSERT_EQ(differences.size(), 12u);
  for (const double difference : differences) EXPECT_NEAR(difference, std::log(1.10), 2e-3);
}

TEST(JudgeExpectations, FindsAPlantedTenPercentAndStaysSilentOnItsCleanTwin) {
  EXPECT_EQ(verdict_of(at_most(0.03), run_of(12, 1.10, 0.005), 12), "fail");
  EXPECT_EQ(verdict_of(at_most(0.03), run_of(12, 1.00, 0.005), 12), "pass");
}

TEST(JudgeExpectations, SaysSoWhenTheDataCannotTell) {
  EXPECT_EQ(verdict_of(at_most(0.03), run_of(12, 1.03, 0.02), 12), "inconclusive");
}

TEST(JudgeExpectations, EquivalenceFailsOnEitherSide) {
  ExpectSpec within;
  within.arm = "head";
  within.relative_to = "base";
  within.within = base::Percent{0.03};
  EXPECT_EQ(verdict_of(within, run_of(12, 1.00, 0.005), 12), "pass");
  EXPECT_EQ(verdict_of(within, run_of(12, 1.10, 0.005), 12), "fail");
  EXPECT_EQ(verdict_of(within, run_of(12, 0.90, 0.005), 12), "fail");
}

TEST(JudgeExpectations, AtLeastTurnsTheSign) {
  ExpectSpec fast;
  fast.arm = "head";
  fast.relative_to = "base";
  fast.metric = Metric::rate;
  fast.at_least = base::Percent{-0.05};
  EXPECT_EQ(verdict_of(fast, run_of(12, 1.00, 0.005), 12), "pass");
  EXPECT_EQ(verdict_of(fast, run_of(12, 1.20, 0.005), 12), "fail");
}

TEST(JudgeExpectations, AnAbsoluteBoundIsHeldAgainstTheValueItself) {
  ExpectSpec bounded;
  bounded.arm = "base";
  bounded.at_most = Bound(base::Duration(std::chrono::microseconds(100)));
  EXPECT_EQ(verdict_of(bounded, run_of(12, 1.00, 0), 12), "pass");
  bounded.at_most = Bound(base::Duration(std::chrono::microseconds(10)));
  EXPECT_EQ(verdict_of(bounded, run_of(12, 1.00, 0), 12), "fail");
}

TEST(JudgeExpectations, WhatItCouldHaveSeenIsInTheUnitAndDirectionOfTheBound) {
  ExpectSpec bounded;
  bounded.arm = "base";
  bounded.at_most = Bound(base::Duration(std::chrono::microseconds(33)));
  EXPECT_THAT(sentence_of(bounded, run_of(12, 1.00, 0.05)),
              ::testing::ContainsRegex("could have seen [3-9][0-9][.][0-9]+ us"));
  ExpectSpec fast;
  fast.arm = "head";
  fast.relative_to = "base";
  fast.metric = Metric::rate;
  fast.at_least = base::Percent{-0.05};
  EXPECT_THAT(sentence_of(fast, run_of(12, 1.05, 0.05)),
              ::testing::ContainsRegex("could have seen -[0-9.]+ %"));
}

TEST(JudgeExpectations, LatencyOnASharedCoreDoesNotGate) {
  EXPECT_EQ(
      sentence_of(at_most(0.03), run_of(12, 1.10, 0.005), {.client = 3, .server = 3}),
      "cannot tell: client and server share CPU 3, so latency is mostly the scheduler's; give "
      "the run two cores");
}

TEST(JudgeExpectations, NoDataIsInconclusiveNeverAPass) {
  EXPECT_EQ(verdict_of(at_most(0.03), {}, 12), "inconclusive");
}

TEST(JudgeExpectations, TheSentenceNamesEstimateIntervalAndBlocks) {
  auto plan = two_arm_plan();
  plan.scenario.expect = {at_most(0.03)};
  const auto judged = judge_expectations(plan, run_of(12, 1.10, 0), blocks_to(12));
  ASSERT_TRUE(judged);
  EXPECT_EQ(judged->front().text, "latency.p50 of head (tcp_rr) at most +3% of base");
  EXPECT_TRUE(judged->front().sentence.starts_with("does not hold: +10.0 % [+"))
      << judged->front().sentence;
  EXPECT_TRUE(judged->front().sentence.ends_with(" over 12 blocks")) << judged->front().sentence;
}

TEST(ConnectTime, IsAMetricWhereEveryRequestHasAConnectionOfItsOwn) {
  using bench::WorkloadKind;
  Sample sample;
  for (int i = 0; i < 100; ++i) sample.client.connect.record(5'000);
  for (const auto& [workload, has] :
       {std::pair{bench::WorkloadSpec{.kind = WorkloadKind::tcp_rr}, false},
        std::pair{bench::WorkloadSpec{.kind = WorkloadKind::tcp_crr}, true},
        std::pair{bench::WorkloadSpec{.kind = WorkloadKind::http}, false},
        std::pair{bench::WorkloadSpec{.kind = WorkloadKind::http, .keep_alive = false}, true}}) {
    sample.values.clear();
    summarise(sample, workload);
    EXPECT_EQ(sample.values.contains(Metric::connect_p50), has);
    EXPECT_EQ(std::ranges::count(metrics_of(workload), Metric::connect_p50), has ? 1 : 0);
  }
}

TEST(CpuPerRequest, AddsClientAndServersEachPerItsOwnRequests) {
  Sample sample;
  sample.client.requests = 100;
  sample.client.cpu_user_ns = 100'000;
  sample.client.cpu_system_ns = 200'000;
  sample.servers = {{.requests = 150,
                     .connections = 1,
                     .bad_requests = 0,
                     .cpu_user_ns = 150'000,
                     .cpu_system_ns = 150'000}};
  summarise(sample, {});
  EXPECT_DOUBLE_EQ(sample.values.at(Metric::cpu_per_request), 3000 + 2000);

  Sample without_servers;
  without_servers.client = sample.client;
  summarise(without_servers, {});
  EXPECT_FALSE(without_servers.values.contains(Metric::cpu_per_request));
}

TEST(Summarise, OfATcpStreamSharesTheCpuOutOverTheBytes) {
  Sample sample;
  sample.client.kind = bench::WorkloadKind::tcp_stream;
  sample.client.requests = 10;
  sample.client.rate_per_second = 100;
  sample.client.cpu_user_ns = 10'000'000;
  sample.client.cpu_system_ns = 90'000'000;
  sample.client.stream.emplace();
  sample.client.stream->bytes = 500'000'000;
  sample.client.stream->bytes_per_second = 2e9;
  sample.servers.resize(2);
  sample.servers[0].requests = 2;
  sample.servers[0].received = 1'000'000'000;
  sample.servers[0].cpu_system_ns = 300'000'000;
  summarise(sample, {});
  // 100 ms for half a GB, and 300 ms for a whole one.
  EXPECT_THAT(sample.values,
              ::testing::UnorderedElementsAre(::testing::Pair(Metric::throughput, 2e9),
                                              ::testing::Pair(Metric::cpu_per_gb, 500'000'000.0)));
  sample.values.clear();
  sample.client.wait = bench::WaitStrategy::spin;
  summarise(sample, {});
  EXPECT_THAT(sample.values, ::testing::ElementsAre(::testing::Pair(Metric::throughput, 2e9)));
}

TEST(Summarise, OfAUdpStreamLeavesOutWhatWasSpunBetweenDatagrams) {
  Sample sample;
  sample.client.kind = bench::WorkloadKind::udp_stream;
  sample.client.requests = 1'000;
  sample.client.rate_per_second = 20'000;
  sample.client.cpu_user_ns = 9'000'000;
  sample.client.cpu_system_ns = 1'000'000;
  sample.client.datagrams =
      bench::DatagramFigures{.sent = 1'000, .jitter_mean_ns = 700, .idle_spin_ns = 8'000'000};
  sample.servers.resize(1);
  sample.servers[0].requests = 2;
  sample.servers[0].received = 1'000;
  sample.servers[0].cpu_user_ns = 3'000'000;
  summarise(sample, {});
  EXPECT_THAT(sample.values,
              ::testing::UnorderedElementsAre(::testing::Pair(Metric::rate, 20'000.0),
                                              ::testing::Pair(Metric::cpu_per_request, 5'000.0),
                                              ::testing::Pair(Metric::jitter, 700.0)));
  // More wall time than the thread had CPU: it was not running all along.
  sample.client.datagrams->idle_spin_ns = 20'000'000;
  EXPECT_EQ(client_cpu_per_request(sample), 0.0);
}

TEST(JudgeExpectations, HoldsAThroughputToADataRate) {
  auto plan = two_arm_plan();
  plan.workloads[0].spec.kind = bench::WorkloadKind::tcp_stream;
  ExpectSpec expectation;
  expectation.metric = Metric::throughput;
  expectation.arm = "head";
  expectation.at_least = base::DataRate{1e9};
  plan.scenario.expect = {expectation};
  std::vector<Sample> samples;
  for (int block = 1; block <= 8; ++block) {
    for (int pass = 0; pass < 2; ++pass) {
      Sample sample;
      sample.arm = 1;
      sample.block = block;
      sample.client.stream.emplace();
      sample.client.stream->bytes_per_second = 2e9 + 1e6 * block;
      summarise(sample, {});
      samples.push_back(sample);
    }
  }
  const auto judged = judge_expectations(plan, samples, blocks_to(8));
  ASSERT_TRUE(judged) << judged.error().message;
  EXPECT_EQ(judged->front().verdict, base::Verdict::pass);
  EXPECT_EQ(judged->front().text, "throughput of head (tcp_rr) at least 1GB/s");
  EXPECT_THAT(judged->front().sentence, ::testing::HasSubstr("MB/s"));
}

TEST(Summarise, CpuOfARequestIsThatOfProxiesToo) {
  Sample sample;
  sample.client.requests = 100;
  sample.client.cpu_user_ns = 100 * 3000;
  sample.servers.resize(1);
  sample.servers[0].requests = 100;
  sample.servers[0].cpu_user_ns = 100 * 2000;
  sample.proxies = {{.pod = "client-0", .of_client = true, .cpu_ns = 100 * 40'000},
                    {.pod = "web-0", .cpu_ns = 100 * 50'000}};
  summarise(sample, {});
  EXPECT_DOUBLE_EQ(sample.values.at(Metric::proxy_cpu_per_request), 90'000);
  EXPECT_DOUBLE_EQ(sample.values.at(Metric::cpu_per_request), 95'000);
  sample.values.clear();
  sample.proxies[1].cpu_ns.reset();
  summarise(sample, {});
  EXPECT_FALSE(sample.values.contains(Metric::cpu_per_request)) << "never without a part of it";
}

TEST(JudgeExpectations, LatencyIsNotJudgedWhereProxiesShareCores) {
  auto plan = two_arm_plan();
  plan.environments.resize(1);
  plan.environments[0].mesh = cluster::MeshPlan{};
  plan.cores = {.client = 0, .server = 1, .client_proxy = 0, .server_proxy = 1};
  plan.scenario.expect = {at_most(0.05)};
  const auto judged = judge_expectations(plan, run_of(12, 1, 0.001), blocks_to(12));
  ASSERT_TRUE(judged);
  EXPECT_EQ(judged->front().verdict, base::Verdict::inconclusive);
  EXPECT_NE(judged->front().sentence.find("proxies share the cores"), std::string::npos);
}

}  // namespace
}  // namespace stackbench
