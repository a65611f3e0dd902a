#include "stackbench/event_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using base::Verdict;
using cluster::DatapathKind;
using cluster::EventKind;

constexpr std::int64_t ms = 1'000'000;

// One arm by a Service and one by its pods, tcp_crr and udp_rr, and one pod that leaves.
Plan plan_of(DatapathKind datapath) {
  Plan plan;
  plan.scenario.events = {{.at = std::chrono::milliseconds(100), .pod = "web-0"}};
  plan.scenario.checks = {CheckKind::stale_backend, CheckKind::flows_stay};
  plan.environments.resize(1);
  plan.environments[0].datapath = datapath;
  plan.arms.resize(2);
  plan.arms[0].name = "pod";
  plan.arms[1].name = "service";
  plan.arms[1].dial.kind = DialTarget::Kind::service;
  plan.workloads = {{.name = "tcp_crr", .spec = {.kind = bench::WorkloadKind::tcp_crr}},
                    {.name = "udp_rr", .spec = {.kind = bench::WorkloadKind::udp_rr}}};
  return plan;
}

// One sample of the Service's arm.
Sample sample_of(int block, std::size_t workload, std::int64_t stale_ms, std::uint64_t refused) {
  Sample sample;
  sample.arm = 1;
  sample.workload = workload;
  sample.block = block;
  checks::EventOutcome event;
  event.what = {.kind = EventKind::unready, .pod = "web-0", .programmed_ns = 20 * ms};
  if (refused > 0) event.failed["refused"] = refused;
  event.stale = checks::Stale{.ns = stale_ms * ms, .error_ns = 2 * ms};
  event.flows_held = 10;
  sample.outcomes.events = {event};
  return sample;
}

Measurements measured(const std::vector<Sample>& samples) {
  Measurements all;
  all.samples = samples;
  all.blocks.resize(4);
  for (int i = 0; i < 4; ++i) {
    all.blocks[static_cast<std::size_t>(i)].index = i;
    all.blocks[static_cast<std::size_t>(i)].kept = i == 1 || i == 2;
  }
  return all;
}

TEST(EventReport, SumsUpTheKeptBlocksOfEachArmAndWorkload) {
  const auto records = event_records(
      plan_of(DatapathKind::nftables),
      measured({sample_of(0, 0, 900, 900), sample_of(1, 0, 10, 3), sample_of(1, 0, 30, 4),
                sample_of(2, 0, 20, 0), sample_of(3, 0, 900, 900)}));
  ASSERT_EQ(records.size(), 1U);
  const auto& record = records.front();
  EXPECT_EQ(record.arm, "service");
  EXPECT_EQ(record.workload, "tcp_crr");
  EXPECT_EQ(record.kind, "unready");
  EXPECT_EQ(record.at_ns, 100 * ms);
  EXPECT_EQ(record.invocations, 3);
  EXPECT_EQ(record.failed, (std::map<std::string, std::uint64_t>{{"refused", 7}}));
  EXPECT_EQ(record.stale_median_ns, 20 * ms);
  EXPECT_EQ(record.stale_max_ns, 30 * ms);
  EXPECT_EQ(record.stale_error_ns, 2 * ms);
  EXPECT_EQ(record.programmed_max_ns, 20 * ms);
  EXPECT_EQ(record.judged_by, "receiver");
  EXPECT_EQ(record.flows_held, 30U);
}

TEST(EventReport, WithoutEventsThereAreNoRecords) {
  auto plan = plan_of(DatapathKind::nftables);
  plan.scenario.events.clear();
  EXPECT_TRUE(event_records(plan, measured({sample_of(1, 0, 10, 0)})).empty());
}

TEST(EventReport, JudgesServiceArmsUnderWorkloadsThatCanTell) {
  const auto judged = judge_events(plan_of(DatapathKind::nftables),
                                   measured({sample_of(1, 0, 10, 0), sample_of(1, 1, 300, 0)}));
  ASSERT_EQ(judged.size(), 3U);
  EXPECT_EQ(judged[0].kind, CheckKind::stale_backend);
  EXPECT_EQ(judged[0].workload, 0U);
  EXPECT_EQ(judged[0].finding.verdict, Verdict::pass);
  EXPECT_EQ(judged[1].workload, 1U);
  EXPECT_EQ(judged[1].finding.verdict, Verdict::fail);
  EXPECT_EQ(judged[2].kind, CheckKind::flows_stay);
  EXPECT_EQ(judged[2].workload, 1U);
  for (const auto& one : judged) EXPECT_EQ(one.arm, 1U);
}

TEST(EventReport, SaysWhatADatapathLacksInsteadOfBlamingIt) {
  const auto judged =
      judge_events(plan_of(DatapathKind::ebpf_socket), measured({sample_of(1, 1, 300, 0)}));
  ASSERT_EQ(judged.size(), 3U);
  EXPECT_EQ(judged[1].finding.verdict, Verdict::skip);
  EXPECT_THAT(judged[1].finding.sentence, ::testing::HasSubstr("bpf_sock_destroy"));
  EXPECT_THAT(judged[1].finding.sentence, ::testing::HasSubstr("300 ms"));
  // None of its flows moved, as it promises.
  EXPECT_EQ(judged[2].finding.verdict, Verdict::pass);
}

TEST(EventReport, PromisesNothingOfADatapathNobodyKnows) {
  const auto judged =
      judge_events(plan_of(DatapathKind::installed), measured({sample_of(1, 1, 300, 0)}));
  ASSERT_EQ(judged.size(), 3U);
  EXPECT_EQ(judged[1].finding.verdict, Verdict::skip);
  EXPECT_EQ(judged[2].finding.verdict, Verdict::skip);
  for (const auto& one : {judged[1], judged[2]}) {
    EXPECT_THAT(one.finding.sentence, ::testing::HasSubstr("could not be found out"));
  }
}

TEST(EventReport, TellsTheLatencyOfProgrammingFromTheSlicesEvent) {
  auto sample = sample_of(1, 0, 300, 0);
  sample.outcomes.events[0].what.published_ns = sample.outcomes.events[0].what.sent_ns + 40 * ms;
  const auto records = event_records(plan_of(DatapathKind::iptables), measured({sample}));
  const auto record = std::ranges::find_if(
      records, [](const auto& one) { return one.published_median_ns.has_value(); });
  ASSERT_NE(record, records.end());
  EXPECT_EQ(record->published_median_ns, 40 * ms);
  EXPECT_EQ(record->followed_median_ns, 260 * ms);
}

}  // namespace
}  // namespace stackbench
