#include "stackbench/policy/policy_run.h"

#include <algorithm>
#include <set>
#include <utility>

#include "checks/policy/default_deny.h"
#include "stackbench/policy/cases.h"
#include "stackbench/policy/changes.h"
#include "stackbench/policy/drop_watches.h"
#include "stackbench/policy/new_pods.h"
#include "stackbench/policy/restarts.h"
#include "stackbench/policy/windows.h"

namespace stackbench {
namespace {

using checks::PolicyChange;

// One environment's part of a run.
class PolicyRun {
 public:
  PolicyRun(cluster::Target& target, Session& session, const Plan& plan, std::size_t environment,
            const RepeatCommand& repeat, ReportBuilder& report, const base::Interrupt& interrupt,
            std::function<void(const std::string&)> step)
      : target_(target),
        session_(session),
        scenario_(plan.scenario),
        environment_(environment),
        name_(session.environments()[environment].name),
        repeat_(repeat),
        report_(report),
        interrupt_(interrupt),
        step_(std::move(step)),
        writes_(target, session.environments()[environment], plan.scenario) {}

  base::Result<> run() {
    ASSIGN_OR_RETURN(const auto others, target_.other_policies(name_));
    writes_.mind(others);
    step_("starting listeners");
    ASSIGN_OR_RETURN(auto sweeper, Sweeper::start(session_, environment_, writes_));
    RETURN_IF_ERROR(look_at_matrix(sweeper));
    if (spec().only) {
      for (const auto kind : scenario_.checks) {
        if (kind != CheckKind::policy_matrix)
          skip(kind, "policy.only asks for a part of the matrix");
      }
      return {};
    }
    if (spec().cases != GeneratedCases::none || spec().random_cases > 0) {
      RETURN_IF_ERROR(try_cases(sweeper));
    }
    RETURN_IF_ERROR(watch_changes());
    return watch_new_pods();
  }

  // What no check can be judged for.
  void skip_all(const std::string& why) {
    for (const auto kind : scenario_.checks) skip(kind, why);
  }

 private:
  [[nodiscard]] const PolicySpec& spec() const { return *scenario_.policy; }
  [[nodiscard]] checks::PolicyStep objects() const { return {.policies = spec().objects}; }
  [[nodiscard]] bool asks_for(CheckKind kind) const {
    return std::ranges::find(scenario_.checks, kind) != scenario_.checks.end();
  }
  void add(CheckKind kind, std::optional<std::string> part, checks::Finding finding) {
    if (!asks_for(kind)) return;
    judged_.insert(kind);
    report_.add_check(std::string(base::enum_name(kind)), name_, std::move(part),
                      std::move(finding));
  }
  void skip(CheckKind kind, const std::string& why) {
    if (judged_.contains(kind)) return;
    add(kind, {},
        {.verdict = base::Verdict::skip, .sentence = why, .observed = "skipped", .evidence = {}});
  }

  base::Result<> look_at_matrix(Sweeper& sweeper) {
    step_("probing the matrix");
    // Before there is any policy, each pod is seen to have a network: later it may be wholly shut.
    RETURN_IF_ERROR(
        sweep_until_settled(sweeper.all(), writes_.world(), spec().matrix, {}, interrupt_, true));
    ASSIGN_OR_RETURN(const auto stamps, writes_.become(objects()));
    ASSIGN_OR_RETURN(const auto settled, sweep_until_settled(sweeper.all(), writes_.world(),
                                                             spec().matrix, stamps, interrupt_));
    report_.policy().matrices.push_back(matrix_record(writes_, settled, repeat_));
    add(CheckKind::policy_matrix, {}, judge_settled(writes_.world(), settled));
    add(CheckKind::default_deny_holds, {},
        when_settled(checks::default_deny_holds(writes_.world(), closed_namespaces(),
                                                settled.last.cells, settled.last.controls),
                     settled));
    return try_to_explain(sweeper, settled, report_.policy().matrices.back());
  }

  // Whatever comes of it: what differs is recorded and judged already. Errors: interrupted.
  base::Result<> try_to_explain(Sweeper& sweeper, const Settled& settled,
                                reports::MatrixRecord& record) {
    if (record.differences.empty()) return {};
    const auto explained = explain_drops(sweeper, settled, record);
    if (explained || explained.error().kind == base::ErrorKind::interrupted) return explained;
    record.unexplained.push_back(
        fmt::format("What differs was not probed again: {}", explained.error().message));
    return {};
  }

  // Those that default-deny is claimed of.
  [[nodiscard]] std::set<std::string> closed_namespaces() const {
    std::set<std::string> all(spec().closed.begin(), spec().closed.end());
    if (!all.empty()) return all;
    for (const auto& policy : spec().objects) all.insert(policy.metadata.in_namespace);
    return all;
  }

  // Probes what differs once more, with the kernels of its ends' nodes asked what they drop
  // meanwhile, and who enforces policies what it denied. Errors: as Sweeper::sweep().
  base::Result<> explain_drops(Sweeper& sweeper, const Settled& settled,
                               reports::MatrixRecord& record) {
    const auto& grid = writes_.grid();
    std::vector<std::size_t> places;
    std::set<base::Endpoint> endpoints;
    std::set<std::size_t> ends;
    for (const auto& one :
         checks::differing_cells(writes_.world(), settled.last.cells, settled.judged, cells_told)) {
      const auto& cell = grid.cells[one.cell];
      places.push_back(one.cell);
      ends.insert({cell.from, cell.to});
      endpoints.insert(
          {grid.pods[cell.to].address(writes_.family()), grid.ports[cell.port].spec.port});
    }
    // The error of one that was asked; nothing where it is ours to end by.
    const auto noted = [&](const base::Error& error, std::string_view who) -> base::Result<> {
      if (error.kind == base::ErrorKind::interrupted) return std::unexpected(error);
      record.unexplained.push_back(fmt::format("{}: {}", who, error.message));
      return {};
    };
    auto watch = DropWatches::start(session_, environment_, grid, target_.name() == "lab", ends,
                                    {.endpoints = {endpoints.begin(), endpoints.end()}});
    if (!watch) {
      report_.no_drop_watch(watch.error());
      RETURN_IF_ERROR(noted(watch.error(), "The kernel was not asked what it drops of this"));
    }
    const auto again = sweeper.sweep(spec().matrix.timeout, places);
    if (watch) {
      auto drops = watch->stop();
      if (drops) {
        join_drops(record.differences, grid, writes_.family(), drops->drops);
        report_.add_drops(*std::move(drops), watch->seen_at());
      } else {
        RETURN_IF_ERROR(noted(drops.error(), "The kernel did not tell what it dropped of this"));
      }
    }
    if (!again) return std::unexpected(again.error());
    const auto denied = target_.denied_lately(name_, again->began_ns);
    if (!denied) return noted(denied.error(), "Who enforces policies was not asked of this");
    join_verdicts(record.differences, grid, writes_.family(), *denied);
    return {};
  }

  base::Result<> try_cases(Sweeper& sweeper) {
    reports::CasesRecord record;
    const auto done = run_cases(
        sweeper.all(), writes_, scenario_, repeat_, interrupt_,
        [&] {
          step_(fmt::format("generated policies: {} of {} sets", record.systematic + record.random,
                            record.wanted));
        },
        record);
    const bool some = record.systematic + record.random > 0;
    if (some) report_.policy().cases.push_back(record);
    RETURN_IF_ERROR(done);
    add(CheckKind::policy_matrix, "generated", judge_cases(record));
    RETURN_IF_ERROR(writes_.become(objects()));
    return {};
  }

  base::Result<> watch_changes() {
    std::vector<WriteSeries> all;
    std::vector<reports::EstablishedRecord> established;
    bool any_missing = false;
    for (const auto& change : spec().changes) {
      step_("watching " + change.name);
      auto series = change.restart_pod ? watch_restart(target_, session_, environment_, scenario_,
                                                       change, writes_, interrupt_)
                                       : watch_change(session_, environment_, scenario_, change,
                                                      writes_, interrupt_);
      if (!series && series.error().kind == base::ErrorKind::missing) {
        add(CheckKind::leak_window, change.name,
            {.verdict = base::Verdict::skip,
             .sentence = series.error().message,
             .observed = "skipped",
             .evidence = {}});
        any_missing = true;
        continue;
      }
      if (!series) return std::unexpected(std::move(series).error());
      if (series->empty()) {
        add(CheckKind::leak_window, change.name,
            {.verdict = base::Verdict::inconclusive,
             .sentence = fmt::format("{} ({}) changes no pair of pods that could be watched",
                                     change.name, words_for(change)),
             .observed = "nothing to watch",
             .evidence = {}});
      }
      for (auto& one : *series) {
        for (auto& record : window_records(name_, one, writes_.grid())) {
          report_.policy().windows.push_back(std::move(record));
        }
        for (auto& record : established_records(name_, one, spec().established)) {
          established.push_back(record);
          report_.policy().established.push_back(std::move(record));
        }
        all.push_back(std::move(one));
      }
    }
    if (all.empty() && any_missing) {
      skip(CheckKind::established_connections, "no change was watched that could forbid a flow");
    }
    if (all.empty() && (any_missing || spec().changes.empty())) return {};
    for (const auto change : {PolicyChange::to_denied, PolicyChange::to_allowed}) {
      add(CheckKind::leak_window, std::string(base::enum_name(change)),
          judge_windows(all, change, spec().budget));
    }
    add(CheckKind::established_connections, {},
        judge_established(established, spec().established.value_or(EstablishedSpec{})));
    return {};
  }

  base::Result<> watch_new_pods() {
    std::vector<reports::NewPodRecord> records;
    for (const auto& pod : spec().new_pods) {
      step_("making anew " + pod);
      reports::NewPodRecord record;
      const auto watched = watch_new_pod(target_, session_, environment_, scenario_, pod, writes_,
                                         interrupt_, record);
      if (!watched && watched.error().kind == base::ErrorKind::missing) {
        skip(CheckKind::new_pod_protected, watched.error().message);
        return {};
      }
      RETURN_IF_ERROR(watched);
      report_.policy().new_pods.push_back(record);
      records.push_back(std::move(record));
    }
    if (!records.empty()) add(CheckKind::new_pod_protected, {}, judge_new_pods(records));
    return {};
  }

  cluster::Target& target_;
  Session& session_;
  const Scenario& scenario_;
  std::size_t environment_;
  std::string name_;
  const RepeatCommand& repeat_;
  ReportBuilder& report_;
  const base::Interrupt& interrupt_;
  std::function<void(const std::string&)> step_;
  PolicyWrites writes_;
  std::set<CheckKind> judged_;
};

}  // namespace

base::Result<> run_policies(cluster::Target& target, Session& session, const Plan& plan,
                            const RepeatCommand& repeat, ReportBuilder& report,
                            base::Progress& progress, const base::Interrupt& interrupt,
                            const std::function<void()>& part_done) {
  const auto environments = session.environments().size();
  for (std::size_t i = 0; i < environments; ++i) {
    const auto& name = session.environments()[i].name;
    PolicyRun run(target, session, plan, i, repeat, report, interrupt,
                  [&](const std::string& step) {
                    progress.update(i, environments, fmt::format("{} ({})", step, name));
                    part_done();
                  });
    const auto done = run.run();
    if (!done && done.error().kind == base::ErrorKind::missing) {
      // What the target lacks is nobody's failure.
      run.skip_all(done.error().message);
      continue;
    }
    RETURN_IF_ERROR(done);
    progress.step_done(fmt::format("policies looked at in {}", name));
  }
  return {};
}

}  // namespace stackbench
