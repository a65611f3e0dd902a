// Sweeps in the lab where a server is down: what nobody answers must not read as what policies
// deny. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/policy/sweep.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/session.h"
#include "tests/policy_scenario.h"

namespace tests {
namespace {

using checks::CellJudgement;

TEST(PolicySweep, ADeadServerIsNotReadAsDenied) {
  if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  cluster::LabTarget lab({.agent = STACKBENCH_BINARY_DIR "/stackbench-agent"});
  const auto scenario = stackbench::parse_scenario(
      policy_scenario("clean: {datapath: direct}", "", "", "policy_matrix"), "it.yaml", {});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  const auto plan = stackbench::make_plan(*scenario, {0, 1});
  ASSERT_TRUE(plan);
  const auto interrupt = base::Interrupt::never();
  auto session = stackbench::Session::open(lab, *plan, interrupt);
  ASSERT_TRUE(session) << base::describe_error(session.error());
  stackbench::PolicyWrites writes(lab, session->environments()[0], *scenario);
  auto sweeper = stackbench::Sweeper::start(*session, 0, writes);
  ASSERT_TRUE(sweeper) << base::describe_error(sweeper.error());
  const auto stamps = writes.become({.policies = scenario->policy->objects});
  ASSERT_TRUE(stamps) << base::describe_error(stamps.error());

  const auto& pods = writes.grid().pods;
  const auto web = static_cast<std::size_t>(
      std::ranges::find(pods, "web-0", &cluster::PodHandle::name) - pods.begin());
  ASSERT_LT(web, pods.size());
  ASSERT_TRUE(sweeper->stop(web));
  const auto settled = stackbench::sweep_until_settled(
      sweeper->all(), writes.world(), scenario->policy->matrix, *stamps, interrupt);
  ASSERT_TRUE(settled) << base::describe_error(settled.error());
  for (std::size_t i = 0; i < settled->judged.size(); ++i) {
    const auto& cell = writes.grid().cells[i];
    EXPECT_EQ(settled->judged[i].judgement,
              cell.to == web ? CellJudgement::no_evidence : CellJudgement::as_specified)
        << pods[cell.from].name << " to " << pods[cell.to].name;
  }
  const auto finding =
      checks::policy_matrix(writes.world(), settled->last.cells, settled->last.controls);
  EXPECT_EQ(finding.verdict, base::Verdict::inconclusive) << finding.sentence;

  // It is back, and so is what can be said.
  ASSERT_TRUE(sweeper->listen(web));
  const auto again = stackbench::sweep_until_settled(sweeper->all(), writes.world(),
                                                     scenario->policy->matrix, *stamps, interrupt);
  ASSERT_TRUE(again);
  EXPECT_EQ(checks::policy_matrix(writes.world(), again->last.cells, again->last.controls).verdict,
            base::Verdict::pass);
}

}  // namespace
}  // namespace tests
