#include "stackbench/policy/cases.h"

#include <algorithm>
#include <set>
#include <utility>

namespace stackbench {
namespace {

// Of how many sets that fail the report says everything: to make each small takes many tries.
constexpr std::size_t failures_told = 3;
constexpr std::uint64_t most_tries = 60;
constexpr std::size_t differences_told = 5;
// Where next to no cell that they close was ever closed, nobody enforces any: of so many sets it is
// believed, the rest would show the same, and of them one failure says all.
constexpr int sets_without_effect = 5;

enum class Effect { unknown, none, some };

// Whether what policies close is closed. A probe that is lost on a busy machine looks closed, too,
// so a few of many show nothing.
Effect effect_of(const Settled& settled) {
  std::size_t closed = 0;
  std::size_t open = 0;
  for (const auto& cell : settled.judged) {
    if (cell.expected != checks::Allowance::denied) continue;
    ++(cell.judgement == checks::CellJudgement::leaks ? open : closed);
  }
  if (closed > open) return Effect::some;
  return open > 9 * closed ? Effect::none : Effect::unknown;
}

// Their numbers.
std::vector<std::uint16_t> ports_of(const Scenario& scenario) {
  std::set<std::uint16_t> ports;
  for (const auto& [name, port] : scenario.policy->ports) ports.insert(port.port);
  return {ports.begin(), ports.end()};
}

class CaseRunner {
 public:
  CaseRunner(const SweepAll& sweep, PolicyWrites& writes, const Scenario& scenario,
             const RepeatCommand& repeat, const base::Interrupt& interrupt,
             reports::CasesRecord& record)
      : sweep_(sweep),
        writes_(writes),
        scenario_(scenario),
        repeat_(repeat),
        interrupt_(interrupt),
        record_(record) {}

  // All cells with no policy in force, and labels as the scenario has them.
  base::Result<> look_at_nothing() {
    ASSIGN_OR_RETURN(const auto open, look_at({}));
    record_.unreached =
        std::max<std::uint64_t>(record_.unreached, open.different() + open.untold());
    expected_ = expected_of(open);
    return {};
  }

  // Every step of a case in force, one after the other, and looked at.
  base::Result<> run(const checks::PolicyCase& one, std::vector<std::string> repeat) {
    for (const auto feature : checks::features_of(one)) {
      ++record_.features[std::string(base::enum_name(feature))];
    }
    checks::PolicyStep now;
    bool failed = false;
    bool proven = true;
    bool tells = false;
    for (std::size_t i = 0; i < one.steps.size() && !failed; ++i) {
      now.policies = one.steps[i].policies;
      // Labels stay as a step left them.
      now.relabelled.insert(now.relabelled.end(), one.steps[i].relabelled.begin(),
                            one.steps[i].relabelled.end());
      const auto looked = look_at(now);
      if (!looked && looked.error().kind == base::ErrorKind::missing) {
        ++record_.left_out;
        record_.left_out_because = looked.error().message;
        expected_.clear();  // only a part of it was written
        return {};
      }
      if (!looked) return std::unexpected(looked.error());
      const auto& settled = *looked;
      record_.cells += settled.judged.size();
      record_.as_specified += settled.as_specified();
      if (!settled.agreed) ++record_.unsettled;
      auto expected = expected_of(settled);
      tells = tells || expected != expected_;
      expected_ = std::move(expected);
      proven = proven && settled.agreed && settled.proven();
      note_effect(settled);
      if (settled.different() == 0) {
        if (!settled.proven()) ++record_.no_telling;
        continue;
      }
      failed = true;
      ++record_.failed;
      if (record_.failures.size() < (any_effect_ ? failures_told : 1)) {
        RETURN_IF_ERROR(tell(one, now, settled, std::move(repeat)));
      }
    }
    if (proven) ++record_.passed;
    // What was in force before would have shown the same.
    if (!tells) ++record_.same_as_before;
    return {};
  }

  // Whether no set did anything, and enough were tried to say so.
  [[nodiscard]] bool nobody_enforces() const {
    return !any_effect_ && without_effect_ >= sets_without_effect;
  }

 private:
  void note_effect(const Settled& settled) {
    const auto effect = effect_of(settled);
    any_effect_ = any_effect_ || effect == Effect::some;
    if (effect == Effect::none) ++without_effect_;
  }

  static std::vector<checks::Allowance> expected_of(const Settled& settled) {
    std::vector<checks::Allowance> expected;
    for (const auto& cell : settled.judged) expected.push_back(cell.expected);
    return expected;
  }

  base::Result<Settled> look_at(const checks::PolicyStep& step) {
    ASSIGN_OR_RETURN(const auto stamps, writes_.become(step));
    return sweep_until_settled(sweep_, writes_.world(), scenario_.policy->matrix, stamps,
                               interrupt_, true);
  }

  // The smallest set that still fails, and what fails of it.
  base::Result<> tell(const checks::PolicyCase& one, const checks::PolicyStep& step,
                      const Settled& settled, std::vector<std::string> repeat) {
    reports::FailedCase failure{.name = one.name};
    failure.repeat = repeat_.with(repeat);
    auto smallest = step.policies;
    auto last = settled;
    base::Result<> trouble;
    // Labels that changed on the way here are part of what fails: such a set stays as it is, as
    // does one that shows now this and now that.
    if (step.relabelled.empty() && one.steps.size() == 1 && settled.agreed) {
      const auto shrunk = checks::shrink(
          step.policies,
          [&](const checks::Policies& policies) {
            if (!trouble) return false;
            auto again = look_at({.policies = policies});
            if (!again) trouble = std::unexpected(std::move(again).error());
            return trouble && again->agreed && again->different() > 0;
          },
          most_tries);
      RETURN_IF_ERROR(trouble);
      ASSIGN_OR_RETURN(auto again, look_at({.policies = shrunk.policies}));
      // What fails only now and then is told as it was first seen.
      if (again.agreed && again.different() > 0) {
        smallest = shrunk.policies;
        last = std::move(again);
      } else {
        RETURN_IF_ERROR(writes_.become(step));
      }
      // What the next set finds in force.
      expected_ = expected_of(last);
    }
    for (const auto& policy : smallest) failure.policies.push_back(base::kube::manifest(policy));
    failure.differences =
        differing_records(writes_, last.last, last.judged, repeat_, differences_told);
    // A cell of a generated set is not probed again by itself: its policies are not the scenario's.
    for (auto& cell : failure.differences) cell.repeat.clear();
    record_.failures.push_back(std::move(failure));
    return {};
  }

  const SweepAll& sweep_;
  PolicyWrites& writes_;
  const Scenario& scenario_;
  const RepeatCommand& repeat_;
  const base::Interrupt& interrupt_;
  reports::CasesRecord& record_;
  std::vector<checks::Allowance> expected_;  // of the policies in force
  bool any_effect_ = false;
  int without_effect_ = 0;
};

}  // namespace

checks::PolicySpace space_of(const PolicyWrites& writes, const Scenario& scenario) {
  checks::PolicySpace space{
      .world = writes.world(), .ports = ports_of(scenario), .families = {writes.family()}};
  space.world.policies.clear();
  std::set<base::kube::Protocol> protocols;
  for (const auto& port : writes.grid().ports) {
    protocols.insert(port.spec.protocol == base::Protocol::TCP ? base::kube::Protocol::TCP
                                                               : base::kube::Protocol::UDP);
  }
  space.protocols.assign(protocols.begin(), protocols.end());
  return space;
}

std::size_t cases_wanted(const Scenario& scenario) {
  const auto& spec = *scenario.policy;
  const auto random = static_cast<std::size_t>(spec.random_cases);
  if (spec.cases == GeneratedCases::none) return random;
  // How many there are follows from which pods there are; where they are matters for none.
  cluster::EnvironmentHandle environment;
  environment.namespaces[std::string(cluster::default_namespace)] = {};
  for (const auto& [name, labels] : scenario.topology.namespaces) environment.namespaces[name] = {};
  base::IpAddress address{.family = scenario.family, .bytes = {10}};
  for (const auto& [name, group] : scenario.topology.pods) {
    for (int i = 0; i < group.replicas + group.standby; ++i) {
      ++address.bytes[3];
      cluster::PodHandle pod;
      pod.name = fmt::format("{}-{}", name, i);
      pod.group = name;
      pod.node = group.node;
      pod.in_namespace = group.in_namespace;
      pod.labels = group.labels;
      (scenario.family == base::AddressFamily::ipv4 ? pod.ipv4 : pod.ipv6) = address;
      environment.pods.push_back(std::move(pod));
    }
  }
  const checks::PolicySpace space{.world = world_of(environment, scenario),
                                  .ports = ports_of(scenario),
                                  .protocols = {base::kube::Protocol::TCP},
                                  .families = {scenario.family}};
  return random + checks::systematic_cases(space).size();
}

base::Result<> run_cases(const SweepAll& sweep, PolicyWrites& writes, const Scenario& scenario,
                         const RepeatCommand& repeat, const base::Interrupt& interrupt,
                         const std::function<void()>& progress, reports::CasesRecord& record) {
  const auto& spec = *scenario.policy;
  // Labels as the scenario has them are what policies are made for.
  RETURN_IF_ERROR(writes.become({}));
  const auto space = space_of(writes, scenario);
  record.environment = writes.environment();
  record.wanted = static_cast<int>(cases_wanted(scenario));
  record.seed = scenario.seed;
  const auto began = base::monotonic_now();
  CaseRunner runner(sweep, writes, scenario, repeat, interrupt, record);
  RETURN_IF_ERROR(runner.look_at_nothing());
  const std::string alone = "checks=[policy_matrix]";
  const auto done = [&](int& count) {
    ++count;
    record.took_ns = (base::monotonic_now() - began).count();
    progress();
  };
  if (spec.cases == GeneratedCases::systematic) {
    for (const auto& one : checks::systematic_cases(space)) {
      if (runner.nobody_enforces()) break;
      RETURN_IF_ERROR(runner.run(one, {"policy.random_cases=0", "policy.changes=[]", alone}));
      done(record.systematic);
    }
  }
  for (int i = 0; i < spec.random_cases && !runner.nobody_enforces(); ++i) {
    const auto seed = scenario.seed + static_cast<std::uint64_t>(i);
    const checks::PolicyCase one{.name = fmt::format("random set {}", seed),
                                 .steps = {{.policies = checks::random_policies(space, seed)}}};
    RETURN_IF_ERROR(runner.run(one, {fmt::format("seed={}", seed), "policy.cases=none",
                                     "policy.random_cases=1", "policy.changes=[]", alone}));
    done(record.random);
  }
  record.nobody_enforces = runner.nobody_enforces();
  return runner.look_at_nothing();
}

checks::Finding judge_cases(const reports::CasesRecord& record) {
  const int tried = record.systematic + record.random - record.left_out;
  checks::Finding finding;
  finding.evidence = {{"tried", tried},
                      {"wanted", record.wanted},
                      {"passed", record.passed},
                      {"failed", record.failed},
                      {"left_out", record.left_out},
                      {"no_telling", record.no_telling},
                      {"unsettled", record.unsettled},
                      {"same_as_before", record.same_as_before},
                      {"nobody_enforces", record.nobody_enforces},
                      {"unreached", record.unreached},
                      {"cells", record.cells},
                      {"as_specified", record.as_specified},
                      {"seed", record.seed}};
  if (record.nobody_enforces) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "not enforced";
    finding.sentence = fmt::format(
        "nobody enforces policies: of {} sets made for the purpose none closed anything, and the "
        "other {} were not tried",
        tried, record.wanted - record.systematic - record.random);
  } else if (record.failed > 0) {
    finding.verdict = base::Verdict::fail;
    finding.observed = fmt::format("{} of {} sets", record.failed, tried);
    finding.sentence = fmt::format(
        "{} of {} sets of policies made for the purpose were not enforced as specified, the first "
        "{}",
        record.failed, tried,
        record.failures.empty() ? std::string("unnamed") : record.failures.front().name);
  } else if (tried <= 0) {
    finding.observed = "nothing tried";
    finding.sentence = "cannot tell: no set of policies made for the purpose was tried";
  } else if (record.passed < tried || record.unreached > 0) {
    finding.observed = "no evidence";
    finding.sentence = fmt::format(
        "cannot tell: {} of {} sets of policies made for the purpose were seen to be enforced as "
        "specified, and none to be enforced otherwise",
        record.passed, tried);
  } else {
    finding.verdict = base::Verdict::pass;
    finding.observed = "no difference";
    finding.sentence = fmt::format(
        "{} sets of policies made for the purpose were enforced as specified, in each of {} cells",
        tried, record.as_specified);
  }
  if (record.left_out > 0) {
    finding.sentence += fmt::format("; {} left out: {}", record.left_out, record.left_out_because);
  }
  if (record.no_telling > 0) {
    finding.sentence += fmt::format(
        "; in {} of their states there is no telling of some cells, for want of a server or a "
        "network that is seen",
        record.no_telling);
  }
  if (record.unsettled > 0) {
    finding.sentence += fmt::format(
        "; in {} of their states no two sweeps in a row saw the same before the deadline",
        record.unsettled);
  }
  if (record.unreached > 0) {
    finding.sentence += fmt::format(
        "; {} not reached with no policy in force, and a network that is not there reads as denied",
        record.unreached == 1 ? std::string("1 cell was")
                              : fmt::format("{} cells were", record.unreached));
  }
  if (record.same_as_before > 0) {
    finding.sentence += fmt::format(
        "; {} of them allow just what the one before did, so that nothing tells whether they took "
        "force",
        record.same_as_before);
  }
  return finding;
}

}  // namespace stackbench
