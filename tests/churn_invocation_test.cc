// Single invocations in the lab with events, judged as a run judges its blocks: what clients notice
// when a backend leaves, under every datapath. Whole runs: churn_run_test.cc. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/event_report.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/session.h"
#include "tests/churn_scenario.h"

namespace tests {
namespace {

using base::Verdict;
using stackbench::CheckKind;
using testing::HasSubstr;

// What a run's one kept block would have come to.
struct Judged {
  stackbench::Sample sample;
  std::vector<stackbench::RunCheck> checks;

  [[nodiscard]] const checks::Finding& finding(CheckKind kind) const {
    static const checks::Finding none;
    for (const auto& one : checks) {
      if (one.kind == kind) return one.finding;
    }
    ADD_FAILURE() << "not judged: " << base::enum_name(kind);
    return none;
  }
};

Judged judge(const std::string& text) {
  cluster::LabTarget lab({.agent = STACKBENCH_BINARY_DIR "/stackbench-agent"});
  const auto scenario = stackbench::parse_scenario(text, "it.yaml", {});
  if (!scenario) {
    ADD_FAILURE() << base::describe_error(scenario.error());
    return {};
  }
  const auto plan = stackbench::make_plan(*scenario, {0, 1});
  if (!plan) {
    ADD_FAILURE() << base::describe_error(plan.error());
    return {};
  }
  const auto interrupt = base::Interrupt::never();
  auto session = stackbench::Session::open(lab, *plan, interrupt);
  auto sample = session ? session->invoke(0, 0, 1)
                        : base::Result<stackbench::Sample>(std::unexpected(session.error()));
  if (!sample) {
    ADD_FAILURE() << base::describe_error(sample.error());
    return {};
  }
  stackbench::Measurements measured;
  measured.blocks.resize(1);
  measured.blocks[0].kept = true;
  measured.samples = {*sample};
  return {std::move(*sample), stackbench::judge_events(*plan, measured)};
}

class ChurnInvocation : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }
};

TEST_P(ChurnInvocation, ABackendThatLeftIsFoundStaleThoughEveryRequestSucceeds) {
  const auto clean = judge(churn_scenario(GetParam(), connects, web_0_leaves, "stale_backend", ""));
  EXPECT_EQ(clean.finding(CheckKind::stale_backend).verdict, Verdict::pass)
      << clean.finding(CheckKind::stale_backend).sentence;
  EXPECT_EQ(clean.sample.client.errors.total(), 0U);
  EXPECT_GT(clean.sample.client.requests, 0U);

  const auto broken = judge(churn_scenario(GetParam(), connects, web_0_leaves, "stale_backend",
                                           "{kind: stale_backend, environment: it}"));
  EXPECT_EQ(broken.finding(CheckKind::stale_backend).verdict, Verdict::fail)
      << broken.finding(CheckKind::stale_backend).sentence;
  EXPECT_EQ(broken.sample.client.errors.total(), 0U);
  ASSERT_EQ(broken.sample.outcomes.events.size(), 1U);
  ASSERT_TRUE(broken.sample.outcomes.events[0].stale);
  EXPECT_GE(broken.sample.outcomes.events[0].stale->ns, 250'000'000);
}

INSTANTIATE_TEST_SUITE_P(, ChurnInvocation,
                         testing::Values("iptables", "nftables", "ebpf_socket", "ebpf_tc"),
                         [](const auto& instance) { return instance.param; });

class FlowsOfAnInvocation : public ChurnInvocation {};

TEST_P(FlowsOfAnInvocation, OfABackendThatLeavesMoveAndOthersStay) {
  const auto judged =
      judge(churn_scenario(GetParam(), datagrams, web_0_leaves, "stale_backend, flows_stay", ""));
  for (const auto kind : {CheckKind::stale_backend, CheckKind::flows_stay}) {
    EXPECT_EQ(judged.finding(kind).verdict, Verdict::pass) << judged.finding(kind).sentence;
  }
  ASSERT_EQ(judged.sample.outcomes.events.size(), 1U);
  const auto& event = judged.sample.outcomes.events[0];
  EXPECT_GT(event.flows_held, 0U);
  // Each flow sends something every 60 ms, so the backend's have moved by the end, all but one that
  // waits for a lost reply.
  EXPECT_GE(event.flows_moved + 1, event.flows_held);
}

INSTANTIATE_TEST_SUITE_P(, FlowsOfAnInvocation, testing::Values("iptables", "ebpf_tc"),
                         [](const auto& instance) { return instance.param; });

TEST(SocketsOfEbpf, StayWithABackendThatLeft) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  const auto judged = judge(
      churn_scenario("ebpf_socket", datagrams, web_0_leaves, "stale_backend, flows_stay", ""));
  EXPECT_EQ(judged.finding(CheckKind::stale_backend).verdict, Verdict::skip);
  EXPECT_THAT(judged.finding(CheckKind::stale_backend).sentence, HasSubstr("bpf_sock_destroy"));
  EXPECT_EQ(judged.finding(CheckKind::flows_stay).verdict, Verdict::pass);
}

}  // namespace
}  // namespace tests
