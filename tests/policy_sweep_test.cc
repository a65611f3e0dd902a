// Sweeps in the lab where a server is down, or a pod's network: what nobody answers must not read
// as what policies deny; and how quick they are. Needs root.
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/testing/calm.h"
#include "cluster/lab/lab_target.h"
#include "cluster/lab/wiring.h"
#include "stackbench/policy/sweep.h"
#include "stackbench/scenario/reader.h"
#include "stackbench/session.h"
#include "tests/policy_scenario.h"

namespace tests {
namespace {

using checks::CellJudgement;

// A scenario's pods, up, each with its listeners, and no policy in force.
class PolicySweep : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root";
  }

  void bring_up(base::Result<stackbench::Scenario> read) {
    ASSERT_TRUE(read) << base::describe_error(read.error());
    scenario_ = *std::move(read);
    auto plan = stackbench::make_plan(scenario_, {0, 1});
    ASSERT_TRUE(plan);
    plan_ = *std::move(plan);
    auto session = stackbench::Session::open(lab_, plan_, interrupt_);
    ASSERT_TRUE(session) << base::describe_error(session.error());
    session_.emplace(*std::move(session));
    writes_.emplace(lab_, session_->environments()[0], scenario_);
    auto sweeper = stackbench::Sweeper::start(*session_, 0, *writes_);
    ASSERT_TRUE(sweeper) << base::describe_error(sweeper.error());
    sweeper_.emplace(*std::move(sweeper));
  }
  void bring_up_small() {
    bring_up(stackbench::parse_scenario(
        policy_scenario("clean: {datapath: direct}", "", "", "policy_matrix"), "it.yaml", {}));
  }
  // The objects in force, and until two sweeps agreed.
  stackbench::Settled settle(const checks::PolicyStep& objects) {
    const auto stamps = writes_->become(objects);
    EXPECT_TRUE(stamps) << base::describe_error(stamps.error());
    return settle_since(stamps.value_or(cluster::WriteStamps{}));
  }
  stackbench::Settled settle_since(const cluster::WriteStamps& stamps, bool first = false) {
    const auto settled = stackbench::sweep_until_settled(
        sweeper_->all(), writes_->world(), scenario_.policy->matrix, stamps, interrupt_, first);
    EXPECT_TRUE(settled) << base::describe_error(settled.error());
    return settled.value_or(stackbench::Settled{});
  }
  [[nodiscard]] base::Verdict verdict_of(const stackbench::Settled& settled) const {
    return checks::policy_matrix(writes_->world(), settled.last.cells, settled.last.controls)
        .verdict;
  }
  [[nodiscard]] std::size_t place_of(std::string_view pod) const {
    const auto& pods = writes_->grid().pods;
    return static_cast<std::size_t>(std::ranges::find(pods, pod, &cluster::PodHandle::name) -
                                    pods.begin());
  }
  // That cells are as specified, but for those that prove nothing.
  template <typename ProvesNothing>
  void expect_judged(const stackbench::Settled& settled, const ProvesNothing& proves_nothing) {
    const auto& grid = writes_->grid();
    ASSERT_EQ(settled.judged.size(), grid.cells.size());
    for (std::size_t i = 0; i < settled.judged.size(); ++i) {
      const auto& cell = grid.cells[i];
      EXPECT_EQ(settled.judged[i].judgement,
                proves_nothing(cell) ? CellJudgement::no_evidence : CellJudgement::as_specified)
          << grid.pods[cell.from].name << " to " << grid.pods[cell.to].name;
    }
  }

  const base::Interrupt interrupt_ = base::Interrupt::never();
  cluster::LabTarget lab_{{.agent = STACKBENCH_BINARY_DIR "/stackbench-agent"}};
  stackbench::Scenario scenario_;
  stackbench::Plan plan_;
  std::optional<stackbench::Session> session_;
  std::optional<stackbench::PolicyWrites> writes_;
  std::optional<stackbench::Sweeper> sweeper_;
};

TEST_F(PolicySweep, ADeadServerIsNotReadAsDenied) {
  ASSERT_NO_FATAL_FAILURE(bring_up_small());
  const auto web = place_of("web-0");
  ASSERT_TRUE(sweeper_->stop(web));
  const auto settled = settle({.policies = scenario_.policy->objects});
  expect_judged(settled, [&](const auto& cell) { return cell.to == web; });
  EXPECT_EQ(verdict_of(settled), base::Verdict::inconclusive);

  // It is back, and so is what can be said.
  ASSERT_TRUE(sweeper_->listen(web));
  EXPECT_EQ(verdict_of(settle({.policies = scenario_.policy->objects})), base::Verdict::pass);
}

TEST_F(PolicySweep, APodWhoseNetworkDiesIsNotReadAsDenied) {
  ASSERT_NO_FATAL_FAILURE(bring_up_small());
  // With nothing in force every pod is seen, web among them.
  EXPECT_TRUE(settle_since({}, true).proven());

  // From now on nobody may reach web, nor web anybody: its node shows that it is there.
  base::kube::NetworkPolicy shut;
  shut.metadata.name = "shut";
  shut.metadata.in_namespace = "shop";
  shut.spec.pod_selector.match_labels = {{"app", "web"}};
  shut.spec.policy_types = {base::kube::PolicyType::Ingress, base::kube::PolicyType::Egress};
  const auto alive = settle({.policies = {shut}});
  EXPECT_TRUE(alive.proven());
  EXPECT_EQ(alive.last.node_unasked, "");
  EXPECT_EQ(std::ranges::count_if(alive.judged, checks::rests_on_earlier), 0);

  const auto web = place_of("web-0");
  const auto interface = cluster::pod_interface(writes_->grid().pods[web]);
  const auto cut = lab_.sandbox()->ip({.netns = lab_.environment("clean")->netns("node2")},
                                      "link set dev " + interface + " down\n");
  ASSERT_TRUE(cut) << base::describe_error(cut.error());
  const auto dead = settle({.policies = {shut}});
  // Itself it still reaches.
  expect_judged(dead, [&](const auto& cell) { return (cell.from == web) != (cell.to == web); });
  EXPECT_EQ(verdict_of(dead), base::Verdict::inconclusive);
}

// Of the shipped scenario's nine pods at six ports.
TEST_F(PolicySweep, TheShippedMatrixTakesLessThanASecond) {
  ASSERT_NO_FATAL_FAILURE(
      bring_up(stackbench::load_scenario(STACKBENCH_SOURCE_DIR "/scenarios/policy.yaml", {})));
  constexpr double second = 1e9;
  // What any machine does; how much more this one does is printed.
  constexpr double wanted_per_second = 3'000;
  constexpr int most_tries = 30;
  std::optional<double> took_ns;
  // How many a second answer.
  const auto sweep = [&] {
    const auto swept = sweeper_->sweep(scenario_.policy->matrix.timeout);
    EXPECT_TRUE(swept) << base::describe_error(swept.error());
    if (!swept) return 0.0;
    EXPECT_EQ(swept->cells.size(), 486U);
    const auto span = static_cast<double>(swept->ended_ns - swept->began_ns);
    took_ns = std::min(took_ns.value_or(span), span);
    const auto answered = std::ranges::count(swept->cells, bench::ReachOutcome::answered,
                                             &checks::ObservedCell::outcome);
    return static_cast<double>(answered) * second / span;
  };
  const auto best = base::testing::best_rate(wanted_per_second, most_tries, sweep);
  EXPECT_TRUE(settle({.policies = scenario_.policy->objects}).proven());
  took_ns.reset();
  // A whole matrix a second: with what is closed, that is the bound.
  const auto whole = base::testing::best_rate(1, most_tries, [&] {
    sweep();
    return second / took_ns.value_or(second);
  });
  fmt::print(
      "486 cells: {:.0f} results a second where all answer, {:.0f} ms with policies in force\n",
      best.per_second, took_ns.value_or(0) / 1e6);
  if (!best.is_known(wanted_per_second) || !whole.is_known(1)) {
    GTEST_SKIP() << "others use this machine: no more than " << best.per_second
                 << " results a second";
  }
  EXPECT_GE(best.per_second, wanted_per_second);
  EXPECT_GE(whole.per_second, 1);
}

}  // namespace
}  // namespace tests
