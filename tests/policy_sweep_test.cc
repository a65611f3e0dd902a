// Sweeps in the lab where a server is down, or a pod's network: what nobody answers must not read
// as what policies deny. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "cluster/lab/lab_target.h"
#include "cluster/lab/wiring.h"
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

TEST(PolicySweep, APodWhoseNetworkDiesIsNotReadAsDenied) {
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
  const auto& spec = scenario->policy->matrix;
  // With nothing in force every pod is seen, web among them.
  const auto open =
      stackbench::sweep_until_settled(sweeper->all(), writes.world(), spec, {}, interrupt, true);
  ASSERT_TRUE(open) << base::describe_error(open.error());
  ASSERT_TRUE(open->proven());

  // From now on nobody may reach web, nor web anybody: its node shows that it is there.
  base::kube::NetworkPolicy shut;
  shut.metadata.name = "shut";
  shut.metadata.in_namespace = "shop";
  shut.spec.pod_selector.match_labels = {{"app", "web"}};
  shut.spec.policy_types = {base::kube::PolicyType::Ingress, base::kube::PolicyType::Egress};
  const auto stamps = writes.become({.policies = {shut}});
  ASSERT_TRUE(stamps) << base::describe_error(stamps.error());
  const auto alive =
      stackbench::sweep_until_settled(sweeper->all(), writes.world(), spec, *stamps, interrupt);
  ASSERT_TRUE(alive) << base::describe_error(alive.error());
  EXPECT_TRUE(alive->proven());
  EXPECT_EQ(alive->last.node_unasked, "");
  EXPECT_EQ(std::ranges::count_if(alive->judged, checks::rests_on_earlier), 0);

  const auto& pods = writes.grid().pods;
  const auto web = std::ranges::find(pods, "web-0", &cluster::PodHandle::name);
  ASSERT_NE(web, pods.end());
  const auto cut = lab.sandbox()->ip({.netns = lab.environment("clean")->netns("node2")},
                                     "link set dev " + cluster::pod_interface(*web) + " down\n");
  ASSERT_TRUE(cut) << base::describe_error(cut.error());
  const auto dead =
      stackbench::sweep_until_settled(sweeper->all(), writes.world(), spec, *stamps, interrupt);
  ASSERT_TRUE(dead) << base::describe_error(dead.error());
  const auto place = static_cast<std::size_t>(web - pods.begin());
  for (std::size_t i = 0; i < dead->judged.size(); ++i) {
    const auto& cell = writes.grid().cells[i];
    const bool of_web = (cell.from == place) != (cell.to == place);  // itself it still reaches
    EXPECT_EQ(dead->judged[i].judgement,
              of_web ? CellJudgement::no_evidence : CellJudgement::as_specified)
        << pods[cell.from].name << " to " << pods[cell.to].name;
  }
  const auto finding = checks::policy_matrix(writes.world(), dead->last.cells, dead->last.controls);
  EXPECT_EQ(finding.verdict, base::Verdict::inconclusive) << finding.sentence;
}

}  // namespace
}  // namespace tests
