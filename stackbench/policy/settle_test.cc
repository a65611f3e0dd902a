// Sweeps of a network that is slow, dead or never the same: what is believed of it, and when.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/policy/cases.h"
#include "stackbench/scenario/reader.h"
#include "tests/policy_scenario.h"

namespace stackbench {
namespace {

using base::Verdict;
using bench::ReachOutcome;
using std::chrono::milliseconds;
using testing::HasSubstr;

// Acknowledges at once, and enforces a while later.
class SlowEngine : public cluster::Target {
 public:
  base::Duration delay{0};

  // The policies that are enforced now.
  [[nodiscard]] checks::Policies enforced() const {
    const auto now = base::monotonic_now().ns;
    checks::Policies found;
    for (const auto& [from_ns, policies] : enforced_) {
      if (from_ns <= now) found = policies;
    }
    return found;
  }

  [[nodiscard]] std::string_view name() const override { return "fake"; }
  base::Result<cluster::EnvironmentHandle> provision(const cluster::EnvironmentPlan&) override {
    return cluster::EnvironmentHandle{};
  }
  base::Result<> teardown() override { return {}; }
  base::Result<cluster::WriteStamps> apply(std::string_view, const base::Json& object) override {
    ASSIGN_OR_RETURN(auto policy, base::kube::read_network_policy(object));
    base::kube::apply_defaults(policy);
    std::erase_if(written_, [&](const auto& one) { return key_of(one) == key_of(policy); });
    written_.push_back(std::move(policy));
    return wrote();
  }
  base::Result<cluster::WriteStamps> remove(std::string_view, std::string_view,
                                            std::string_view key) override {
    std::erase_if(written_, [&](const auto& one) { return key_of(one) == key; });
    return wrote();
  }
  base::Result<cluster::WriteStamps> set_readiness(
      std::string_view, base::AddressFamily,
      const std::map<std::string, cluster::Readiness>&) override {
    return cluster::WriteStamps{};
  }
  base::Result<cluster::WriteStamps> set_labels(
      std::string_view, cluster::LabelledKind, std::string_view name,
      const std::map<std::string, std::string>& labels) override {
    labelled[std::string(name)] = labels;
    return wrote();
  }
  std::map<std::string, std::map<std::string, std::string>> labelled;  // what was asked for
  base::Result<cluster::AgentStreams> agent(std::string_view, std::string_view) override {
    return cluster::AgentStreams{};
  }
  base::Result<cluster::Observer> observe(std::string_view, std::string_view) override {
    return cluster::Observer{};
  }
  [[nodiscard]] base::Json facts() const override { return {}; }

 private:
  cluster::WriteStamps wrote() {
    const auto now = base::monotonic_now().ns;
    enforced_.emplace_back(now + delay.count(), written_);
    return {.sent_ns = now, .acked_ns = now};
  }

  checks::Policies written_;
  std::vector<std::pair<std::int64_t, checks::Policies>> enforced_;  // from when on
};

cluster::EnvironmentHandle environment_for(const Scenario& scenario) {
  cluster::EnvironmentHandle environment;
  environment.name = "it";
  environment.namespaces[std::string(cluster::default_namespace)] = {};
  for (const auto& [name, spec] : scenario.topology.namespaces) {
    environment.namespaces[name].labels = spec.labels;
  }
  std::uint8_t last = 1;
  for (const auto& [name, group] : scenario.topology.pods) {
    cluster::PodHandle pod;
    pod.name = name + "-0";
    pod.group = name;
    pod.node = group.node;
    pod.id = ++last;
    pod.in_namespace = group.in_namespace;
    pod.labels = group.labels;
    pod.ipv4 = *base::IpAddress::parse(fmt::format("10.244.{}.{}", group.node, last));
    environment.pods.push_back(std::move(pod));
  }
  return environment;
}

class SettleTest : public ::testing::Test {
 protected:
  SettleTest()
      : scenario_(*parse_scenario(tests::policy_scenario("it: {datapath: direct}", "",
                                                         "  random_cases: 12\n", "policy_matrix"),
                                  "it.yaml", {})),
        writes_(engine_, environment_for(scenario_), scenario_) {}

  // All cells at once: what the engine enforces, but for what a test planted.
  base::Result<Sweep> sweep() {
    ++sweeps_;
    auto world = writes_.world();
    world.policies = engine_.enforced();
    Sweep sweep;
    sweep.began_ns = base::monotonic_now().ns;
    sweep.probed_from_ns = sweep.began_ns;
    for (const auto& cell : writes_.grid().cells) {
      checks::ObservedCell seen{.flow = writes_.flow_of(cell)};
      const bool itself = cell.from == cell.to;
      const bool open = checks::decide(world, seen.flow).allowance == checks::Allowance::allowed;
      const bool there = !servers_are_dead_ && (itself || !network_is_dead_);
      seen.outcome = open && there ? ReachOutcome::answered : ReachOutcome::timed_out;
      // Every other time.
      if (flaps_ && !itself && sweeps_ % 2 == 0) seen.outcome = ReachOutcome::timed_out;
      if (itself) sweep.controls.push_back(seen);
      if (!itself && seen.outcome == ReachOutcome::answered) {
        carried_[cell.from] = seen;
        carried_[cell.to] = seen;
      }
      sweep.cells.push_back(std::move(seen));
    }
    for (const auto& [pod, cell] : carried_) sweep.controls.push_back(cell);
    sweep.ended_ns = base::monotonic_now().ns;
    return sweep;
  }
  SweepAll all() {
    return [this](base::Duration) { return sweep(); };
  }

  Settled settle(const cluster::WriteStamps& stamps, bool first_may_be_enough = false) {
    auto settled = sweep_until_settled(all(), writes_.world(), scenario_.policy->matrix, stamps,
                                       interrupt_, first_may_be_enough);
    EXPECT_TRUE(settled);
    return settled ? *settled : Settled{};
  }
  // With the scenario's own policies.
  Settled settle() {
    settle({}, true);
    const auto stamps = writes_.become({.policies = scenario_.policy->objects});
    EXPECT_TRUE(stamps);
    return settle(*stamps);
  }
  reports::CasesRecord cases() {
    reports::CasesRecord record;
    const RepeatCommand repeat;
    const auto done = run_cases(all(), writes_, scenario_, repeat, interrupt_, [] {}, record);
    EXPECT_TRUE(done);
    return record;
  }

  SlowEngine engine_;
  Scenario scenario_;
  PolicyWrites writes_;
  base::Interrupt interrupt_ = base::Interrupt::never();
  int sweeps_ = 0;
  bool servers_are_dead_ = false;
  bool network_is_dead_ = false;
  bool flaps_ = false;
  std::map<std::size_t, checks::ObservedCell> carried_;
};

TEST_F(SettleTest, LabelsThatATargetGivesOfItsOwnAreNoneOfAStepsToWrite) {
  auto environment = environment_for(scenario_);
  for (auto& pod : environment.pods) pod.labels["run"] = "0123abcd";
  environment.namespaces["shop"].labels["kubernetes.io/metadata.name"] = "it-shop";
  PolicyWrites writes(engine_, environment, scenario_);
  // As generated cases have it: all that the world shows, and one that is new.
  checks::PolicyStep step;
  step.relabelled = {
      {.pod = "shop/web-0", .labels = {{"app", "web"}, {"run", "0123abcd"}, {"tier", "new"}}},
      {.name_space = "shop",
       .labels = {{"team", "none"}, {"kubernetes.io/metadata.name", "it-shop"}}}};
  ASSERT_TRUE(writes.become(step));
  using Labels = std::map<std::string, std::string>;
  EXPECT_EQ(engine_.labelled.at("web-0"), (Labels{{"app", "web"}, {"tier", "new"}}));
  EXPECT_EQ(engine_.labelled.at("shop"), (Labels{{"team", "none"}}));
  const auto& pods = writes.world().pods;
  EXPECT_EQ(std::ranges::find(pods, "web-0", &checks::PolicyPod::name)->labels,
            (Labels{{"app", "web"}, {"run", "0123abcd"}, {"tier", "new"}}));
  // And back.
  ASSERT_TRUE(writes.become({}));
  EXPECT_EQ(engine_.labelled.at("web-0"), (Labels{{"app", "web"}}));
}

TEST_F(SettleTest, AnEngineThatEnforcesAfterItsAcknowledgementIsWaitedFor) {
  engine_.delay = milliseconds(300);
  const auto settled = settle();
  EXPECT_TRUE(settled.agreed);
  EXPECT_EQ(settled.different(), 0U);
  EXPECT_GE(settled.settled_ns, base::Duration(milliseconds(280)).count());
  EXPECT_GE(settled.watched_ns, settled.settled_ns);
  const auto finding = judge_settled(writes_.world(), settled);
  EXPECT_EQ(finding.verdict, Verdict::pass) << finding.sentence;
  EXPECT_EQ(finding.evidence["settled"], true);
}

TEST_F(SettleTest, OneThatNeverEnforcesIsBelievedAfterTheGrace) {
  engine_.delay = std::chrono::hours(1);
  scenario_.policy->matrix.grace = milliseconds(150);
  const auto settled = settle();
  EXPECT_TRUE(settled.agreed);
  EXPECT_GT(settled.different(), 0U);
  EXPECT_GE(settled.watched_ns, base::Duration(milliseconds(150)).count());
  EXPECT_LT(settled.settled_ns, settled.watched_ns);
  const auto finding = judge_settled(writes_.world(), settled);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.evidence["watched_ns"], settled.watched_ns);
  // Where the grace is longer than all sweeps may take, these end it.
  scenario_.policy->matrix.grace = std::chrono::hours(1);
  scenario_.policy->matrix.deadline = milliseconds(100);
  const auto stamps = writes_.remove(key_of(scenario_.policy->objects.front()));
  ASSERT_TRUE(stamps);
  const auto ended = settle(*stamps);
  EXPECT_TRUE(ended.agreed);
  EXPECT_GE(ended.watched_ns, base::Duration(milliseconds(80)).count());
}

TEST_F(SettleTest, AnEngineThatSaysWhenItEnforcesIsTakenAtItsWord) {
  scenario_.policy->matrix.grace = std::chrono::hours(1);
  scenario_.policy->matrix.deadline = std::chrono::seconds(30);
  settle({}, true);
  auto stamps = writes_.become({.policies = scenario_.policy->objects});
  ASSERT_TRUE(stamps);
  // It claims, and one cell stays open.
  stamps->programmed_ns = stamps->acked_ns;
  const auto leaky = sweep_until_settled(
      [&](base::Duration) -> base::Result<Sweep> {
        ASSIGN_OR_RETURN(auto seen, sweep());
        std::ranges::find(seen.cells, ReachOutcome::timed_out, &checks::ObservedCell::outcome)
            ->outcome = ReachOutcome::answered;
        return seen;
      },
      writes_.world(), scenario_.policy->matrix, *stamps, interrupt_);
  ASSERT_TRUE(leaky);
  EXPECT_EQ(leaky->different(), 1U);
  EXPECT_EQ(leaky->sweeps, 2);
}

TEST_F(SettleTest, SweepsThatNeverAgreeProveNothing) {
  settle({}, true);
  const auto stamps = writes_.become({.policies = scenario_.policy->objects});
  ASSERT_TRUE(stamps);
  flaps_ = true;
  scenario_.policy->matrix.deadline = milliseconds(60);
  auto settled = settle(*stamps);
  EXPECT_FALSE(settled.agreed);
  // The last of them as it happens to be right.
  if (settled.different() > 0) {
    EXPECT_EQ(judge_settled(writes_.world(), settled).verdict, Verdict::fail);
    flaps_ = false;
    settled.last = *sweep();
    settled.judged =
        checks::judge_matrix(writes_.world(), settled.last.cells, settled.last.controls);
  }
  EXPECT_EQ(settled.different(), 0U);
  const auto finding = judge_settled(writes_.world(), settled);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("in a row saw the same before the deadline"));
  EXPECT_EQ(finding.evidence["settled"], false);
}

TEST_F(SettleTest, AFirstSweepIsEnoughOnlyWhereItProvesAll) {
  EXPECT_EQ(settle({}, true).sweeps, 1);
  EXPECT_EQ(settle({}, false).sweeps, 2);
  servers_are_dead_ = true;
  scenario_.policy->matrix.grace = base::Duration{0};
  const auto dead = settle({}, true);
  EXPECT_GT(dead.sweeps, 1);
  EXPECT_FALSE(dead.proven());
}

TEST_F(SettleTest, GeneratedSetsPassOnANetworkThatEnforcesThem) {
  const auto record = cases();
  EXPECT_EQ(record.random, 12);
  EXPECT_EQ(record.passed, 12);
  EXPECT_EQ(record.as_specified, record.cells);
  const auto finding = judge_cases(record);
  EXPECT_EQ(finding.verdict, Verdict::pass) << finding.sentence;
}

TEST_F(SettleTest, GeneratedSetsPassOnOneThatIsSlow) {
  engine_.delay = milliseconds(60);
  const auto record = cases();
  EXPECT_EQ(record.failed, 0);
  EXPECT_FALSE(record.nobody_enforces);
  EXPECT_EQ(judge_cases(record).verdict, Verdict::pass) << judge_cases(record).sentence;
}

TEST_F(SettleTest, GeneratedSetsAreNotPassedByDeadServers) {
  servers_are_dead_ = true;
  scenario_.policy->matrix.grace = base::Duration{0};
  const auto record = cases();
  EXPECT_EQ(record.random, 12);
  EXPECT_EQ(record.passed, 0);
  EXPECT_EQ(record.failed, 0);
  EXPECT_GT(record.unreached, 0U);
  const auto finding = judge_cases(record);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("0 of 12 sets"));
}

TEST_F(SettleTest, GeneratedSetsAreNotPassedByADeadNetwork) {
  // Each pod answers itself; sets that allow something fail, and those that do not prove nothing.
  network_is_dead_ = true;
  scenario_.policy->matrix.grace = base::Duration{0};
  scenario_.policy->random_cases = 2;
  const auto record = cases();
  EXPECT_EQ(record.passed, 0);
  EXPECT_NE(judge_cases(record).verdict, Verdict::pass);
}

TEST_F(SettleTest, GeneratedSetsThatAreNotEnforcedFail) {
  engine_.delay = std::chrono::hours(1);
  scenario_.policy->matrix.grace = base::Duration{0};
  scenario_.policy->random_cases = 3;
  const auto record = cases();
  EXPECT_GT(record.failed, 0);
  ASSERT_FALSE(record.failures.empty());
  EXPECT_EQ(record.failures.front().policies.size(), 1U) << "it is made small";
  EXPECT_EQ(judge_cases(record).verdict, Verdict::fail);
}

TEST_F(SettleTest, GeneratedSetsThatNobodyEnforcesAreNotAllTried) {
  engine_.delay = std::chrono::hours(1);
  scenario_.policy->matrix.grace = base::Duration{0};
  scenario_.policy->random_cases = 40;
  const auto record = cases();
  EXPECT_TRUE(record.nobody_enforces);
  EXPECT_LT(record.random, 20);
  EXPECT_EQ(record.wanted, 40);
  EXPECT_EQ(record.failures.size(), 1U);
  const auto finding = judge_cases(record);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence, HasSubstr("nobody enforces policies"));
  EXPECT_THAT(finding.sentence, HasSubstr("were not tried"));
}

TEST_F(SettleTest, GeneratedSetsOfANetworkThatNeverSettlesDoNotPass) {
  flaps_ = true;
  scenario_.policy->matrix.deadline = milliseconds(20);
  scenario_.policy->random_cases = 4;
  const auto record = cases();
  EXPECT_LT(record.passed, 4);
  EXPECT_GT(record.unsettled, 0);
  EXPECT_NE(judge_cases(record).verdict, Verdict::pass);
}

TEST(JudgeCases, NothingTriedIsNoPass) {
  EXPECT_EQ(judge_cases({}).verdict, Verdict::inconclusive);
  const reports::CasesRecord left_out{
      .systematic = 3, .left_out = 3, .left_out_because = "the target cannot change labels"};
  const auto finding = judge_cases(left_out);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("cannot change labels"));
}

TEST(JudgeCases, SetsThatTellNothingAreCountedAndSaid) {
  const reports::CasesRecord record{
      .random = 2, .passed = 2, .same_as_before = 1, .cells = 8, .as_specified = 8};
  const auto finding = judge_cases(record);
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_THAT(finding.sentence, HasSubstr("1 of them allow just what the one before did"));
  // One that was not proven.
  auto less = record;
  less.passed = 1;
  EXPECT_EQ(judge_cases(less).verdict, Verdict::inconclusive);
  less = record;
  less.unreached = 1;
  EXPECT_EQ(judge_cases(less).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace stackbench
