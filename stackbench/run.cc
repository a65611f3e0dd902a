#include "stackbench/run.h"

#include <utility>

#include "base/units.h"
#include "reports/store.h"
#include "stackbench/availability.h"
#include "stackbench/plaintext/window_run.h"
#include "stackbench/policy/policy_run.h"
#include "stackbench/report_builder.h"
#include "stackbench/rotation/rotation_run.h"
#include "stackbench/run_checks.h"
#include "stackbench/run_loop.h"
#include "stackbench/session.h"
#include "stackbench/unfinished.h"

namespace stackbench {
namespace {

// What the parts of a run took, for the next plan.
class Stopwatch {
 public:
  [[nodiscard]] std::int64_t lap() {
    const auto now = base::monotonic_now();
    return (now - std::exchange(last_, now)).count();
  }

 private:
  base::MonotonicTime last_ = base::monotonic_now();
};

// Trouble of a channel is trouble of the traffic once there is some: the exit code tells the two
// apart.
base::Error of_traffic(base::Error error) {
  if (error.kind == base::ErrorKind::peer_lost || error.kind == base::ErrorKind::timed_out) {
    error.kind = base::ErrorKind::workload;
  }
  return error;
}

// What a scenario without arms asks of environments that are up.
base::Result<> answer(cluster::Target& target, Session& session, const Plan& plan,
                      const RunRequest& request, ReportBuilder& report, base::Progress& progress,
                      const base::Interrupt& interrupt, const std::function<void()>& part_done) {
  if (plan.scenario.rotation) {
    return run_rotations(target, session, plan, report, progress, interrupt, part_done);
  }
  if (plan.scenario.plaintext_window) {
    return run_windows(target, session, plan, report, progress, interrupt, part_done);
  }
  const RepeatCommand repeat{.argv = request.command_line};
  return run_policies(target, session, plan, repeat, report, progress, interrupt, part_done);
}

// Whether any of it is whole.
bool found_any(const Plan& plan, ReportBuilder& report) {
  if (plan.scenario.rotation) return !report.rotation().steps.empty();
  if (plan.scenario.plaintext_window) return report.has_plaintext_windows();
  return !report.policy().matrices.empty();
}

// What a run without arms does once its report can be written. Errors: whatever stopped it before
// anything was found out.
base::Result<FinishedRun> run_without_arms(cluster::Target& target, const Plan& plan,
                                           const RunRequest& request, base::Progress& progress,
                                           const base::Interrupt& interrupt,
                                           const ReportWatcher& watcher) {
  ReportBuilder report(plan, request.scenario_file, request.overrides, request.command_line,
                       target.name());
  progress.update(0, 1, fmt::format("bringing up what is looked at ({})", target.name()));
  ASSIGN_OR_RETURN(auto session, Session::open(target, plan, interrupt));
  RETURN_IF_ERROR(report.add_environments(session));
  progress.step_done(
      fmt::format("{} up", base::format_count(plan.environments.size(), "environment")));

  for (const auto& environment : plan.skipped_environments) {
    for (const auto check : plan.scenario.checks) {
      report.add_check(std::string(base::enum_name(check)), environment.name, {},
                       {.verdict = base::Verdict::skip,
                        .sentence = environment.reason,
                        .observed = "skipped",
                        .evidence = {}});
    }
  }
  const auto ran = answer(target, session, plan, request, report, progress, interrupt, [&] {
    if (watcher) watcher(report.so_far({}));
  });
  report.add_facts(target.facts());
  report.set_clock(session.clock());
  if (!ran) {
    auto error = of_traffic(ran.error());
    if (!found_any(plan, report) && !plan.environments.empty()) {
      if (error.kind != base::ErrorKind::interrupted) return std::unexpected(std::move(error));
      return base::fail(base::ErrorKind::interrupted,
                        "interrupted before anything was whole; no report was written");
    }
    if (error.kind == base::ErrorKind::interrupted) {
      report.set_signal(interrupt.signal());
    } else {
      report.add_error(error);
    }
  }
  progress.update(0, 1, "taking it down");
  if (const auto down = target.teardown(); !down) report.add_error(down.error());
  ASSIGN_OR_RETURN(auto record, std::move(report).finish({}, {}, ran.has_value()));
  auto saved = reports::save_report(record, request.report_file);
  progress.finish();
  return FinishedRun{std::move(record), std::move(saved)};
}

}  // namespace

base::Result<FinishedRun> run_scenario(cluster::Target& target, Plan plan,
                                       const RunRequest& request, base::Progress& progress,
                                       const base::Interrupt& interrupt,
                                       const ReportWatcher& watcher) {
  RETURN_IF_ERROR(leave_out_unavailable(plan, target));
  progress.note(fmt::format(
      "{} (about {})", plan.scenario.question,
      base::format_wait(
          estimate_duration(plan, load_overheads(target.name()), target.name()).count())));
  const auto unfinished = UnfinishedReport::note(request.report_file);
  if (!unfinished) {
    progress.note(fmt::format("were this run killed, clean would not find its report's parts: {}",
                              unfinished.error().message));
  }
  if (!has_arms(plan.scenario)) {
    return run_without_arms(target, plan, request, progress, interrupt, watcher);
  }
  // The series file comes first: a place that cannot be written to is better known now.
  std::optional<reports::SeriesWriter> series;
  if (reports::can_have_series(request.report_file)) {
    auto writer = reports::SeriesWriter::create(request.report_file);
    if (!writer) return std::unexpected(std::move(writer).error());
    series.emplace(std::move(*writer));
  }
  ReportBuilder report(plan, request.scenario_file, request.overrides, request.command_line,
                       target.name());
  if (series) report.keep_series(*series);

  Stopwatch watch;
  Overheads took;
  progress.update(0, 1, fmt::format("bringing up what is measured ({})", target.name()));
  ASSIGN_OR_RETURN(auto session, Session::open(target, plan, interrupt));
  RETURN_IF_ERROR(leave_out_unreachable(plan, session));
  leave_out_unenforced(plan, session.policies());
  RETURN_IF_ERROR(session.await_services());
  RETURN_IF_ERROR(report.add_environments(session));
  if (!plan.environments.empty()) {
    took.provision_ns = watch.lap() / static_cast<std::int64_t>(plan.environments.size());
  }
  progress.step_done(
      fmt::format("{} up", base::format_count(plan.environments.size(), "environment")));

  const bool watches_tables = watches_connection_tables(plan);
  const auto facts_before = watches_tables ? target.facts() : base::Json();
  const bool checked = !plan.scenario.checks.empty();
  took.check_ns = 0;
  std::optional<base::Error> checks_ended_by;  // where some were judged before
  if (checked) {
    if (const auto all = run_checks(plan, session, report, progress, interrupt); !all) {
      // What was judged before stands; nothing is measured.
      if (!report.has_checks()) return std::unexpected(of_traffic(all.error()));
      checks_ended_by = all.error();
    }
    const auto checking = watch.lap();
    // Some checks rest on the run itself and need no exchange; trials of routes are none, and take
    // much longer.
    const auto exchanges = check_exchanges(plan);
    if (exchanges > 0 && plan.scenario.routing.empty()) {
      took.check_ns = checking / exchanges;
    }
    progress.step_done(checks_ended_by ? "checks ended early" : "checks done");
  }

  report.add_facts(session.with_policies(target.facts()));

  // A watch for each block, so that a block in which much is dropped leaves room for the next.
  auto watching = plan.arms.empty() ? base::Result<>() : session.watch_drops();
  const auto take_drops = [&] {
    if (!watching) return report.no_drop_watch(watching.error());
    if (auto drops = session.take_drops()) {
      report.add_drops(*std::move(drops), session.drops_seen_at());
      watching = session.watch_drops();
    } else {
      watching = std::unexpected(drops.error());
    }
  };
  Measurements so_far;  // for the watcher
  base::NoiseGuard guard({plan.cores.client, plan.cores.server}, noise_limits(plan), request.noise);
  const auto measure = [&] {
    return measure_blocks(
        plan,
        [&](std::size_t arm, std::size_t workload, std::uint64_t seed) {
          return session.invoke(arm, workload, seed);
        },
        [&](const Block& block, std::span<const Sample> samples) -> base::Result<> {
          take_drops();
          RETURN_IF_ERROR(report.add_block(block, samples));
          if (watcher) {
            so_far.add(block, samples);
            watcher(report.so_far(so_far));
          }
          return {};
        },
        guard, progress, interrupt);
  };
  const auto measured = checks_ended_by
                            ? Measurements{.samples = {}, .blocks = {}, .ended_by = checks_ended_by}
                            : measure();
  if (watches_tables) check_connection_tables(plan, facts_before, target.facts(), report);
  report.set_clock(session.clock());
  const auto ended_by = measured.ended_by.transform(of_traffic);
  if (ended_by) {
    if (measured.kept_blocks().empty() && !checks_ended_by) {
      if (ended_by->kind != base::ErrorKind::interrupted) return std::unexpected(*ended_by);
      return base::fail(base::ErrorKind::interrupted,
                        "interrupted before the first block was kept; no report was written");
    }
    if (ended_by->kind == base::ErrorKind::interrupted) {
      report.set_signal(interrupt.signal());
    } else {
      report.add_error(*ended_by);
    }
  }
  const auto samples = static_cast<std::int64_t>(measured.samples.size());
  if (samples > 0) took.invocation_ns = measured.overhead_time.count() / samples;
  static_cast<void>(watch.lap());  // starts the last part

  // From here on there are figures: what goes wrong is said beside them, in their report.
  progress.update(0, 1, "taking it down");
  if (const auto down = target.teardown(); !down) report.add_error(down.error());
  if (series) {
    const bool known = series->has_failed();  // it ended the blocks, and was said then
    if (auto file = series->finish()) {
      report.add_series_file(std::move(*file));
    } else {
      // Most of what a full disk lacks may be this file: with it gone the report may find room.
      if (!known) report.add_error(file.error());
      report.drop_series();
      series.reset();
    }
  }
  ASSIGN_OR_RETURN(auto record, std::move(report).finish(measured, guard.limits(), !ended_by));
  auto saved = reports::save_report(record, request.report_file);
  if (!saved && series) series->discard();
  progress.finish();
  took.finish_ns = watch.lap();
  // What events take in an invocation is their scenario's own, and no measure for others.
  if (!ended_by && plan.scenario.events.empty()) {
    if (const auto kept = save_overheads(target.name(), took); !kept) {
      progress.note(
          fmt::format("the next plan will not know how long this took: {}", kept.error().message));
    }
  }
  return FinishedRun{std::move(record), std::move(saved)};
}

}  // namespace stackbench
