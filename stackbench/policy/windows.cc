#include "stackbench/policy/windows.h"

#include <algorithm>
#include <utility>

#include "stackbench/policy/changes.h"

namespace stackbench {
namespace {

using checks::PolicyChange;

// Probes before the first write: that flows were as they should be is seen, too.
constexpr base::Duration lead = std::chrono::milliseconds(50);
// A stalled repetition is replaced, up to half as many again.
constexpr int replaced_of = 2;

bool is_control(const std::vector<ChosenFlow>& flows, std::size_t flow) {
  return !flows[flow].change.has_value();
}

// Undoes a change, unless that was done already.
class Undo {
 public:
  Undo(const ChangeSpec& change, const Scenario& scenario, PolicyWrites& writes)
      : change_(change), scenario_(scenario), writes_(writes) {}
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    // Of two errors the first is told.
    if (due_) static_cast<void>(undo_change(change_, scenario_, writes_));
  }

  // Of a write that failed nobody knows whether it was made, so it is due from before it.
  void make_due() { due_ = true; }
  base::Result<cluster::WriteStamps> now() {
    ASSIGN_OR_RETURN(const auto stamps, undo_change(change_, scenario_, writes_));
    due_ = false;
    return stamps;
  }

 private:
  const ChangeSpec& change_;
  const Scenario& scenario_;
  PolicyWrites& writes_;
  bool due_ = false;
};

// Those that a write forbids: of TCP one with traffic and an idle one.
std::vector<HeldFlow> held_flows(const std::vector<ChosenFlow>& flows, const PolicyGrid& grid,
                                 bool undoes) {
  std::vector<HeldFlow> held;
  for (const auto& flow : flows) {
    if (!flow.change) continue;
    const auto change = undoes ? undone(*flow.change) : *flow.change;
    if (change != PolicyChange::to_denied) continue;
    if (grid.ports[flow.cell.port].spec.protocol == base::Protocol::TCP) {
      held.push_back({flow.cell, bench::HeldKind::busy_tcp});
      held.push_back({flow.cell, bench::HeldKind::idle_tcp});
    } else {
      held.push_back({flow.cell, bench::HeldKind::udp});
    }
  }
  return held;
}

// One repetition of a change: done, watched, undone and watched.
class Repetition {
 public:
  Repetition(Session& session, std::size_t environment, const Scenario& scenario,
             const ChangeSpec& change, PolicyWrites& writes, const base::Interrupt& interrupt,
             const std::vector<ChosenFlow>& flows)
      : session_(session),
        environment_(environment),
        scenario_(scenario),
        change_(change),
        writes_(writes),
        interrupt_(interrupt),
        flows_(flows) {}

  base::Result<> run(WriteSeries& doing, WriteSeries& undoing) {
    const auto& grid = writes_.grid();
    ASSIGN_OR_RETURN(auto watch,
                     FlowWatch::start(session_, environment_, grid, writes_.family(), flows_));
    Undo undo(change_, scenario_, writes_);
    ASSIGN_OR_RETURN(const auto done, write(undo, false, doing));
    ASSIGN_OR_RETURN(const auto undone_at, write(undo, true, undoing));
    ASSIGN_OR_RETURN(const auto seen, watch.stop());
    doing.repetitions.push_back(judge(seen, done, false, undone_at.sent_ns));
    undoing.repetitions.push_back(judge(seen, undone_at, true, seen_until(seen)));
    return {};
  }

 private:
  base::Result<cluster::WriteStamps> make(Undo& undo) {
    undo.make_due();
    return make_change(change_, writes_);
  }

  base::Result<cluster::WriteStamps> write(Undo& undo, bool undoes, WriteSeries& series) {
    std::optional<FlowHold> hold;
    if (scenario_.policy->established) {
      ASSIGN_OR_RETURN(hold,
                       FlowHold::start(session_, environment_, writes_.grid(), writes_.family(),
                                       held_flows(flows_, writes_.grid(), undoes)));
    }
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + lead));
    ASSIGN_OR_RETURN(const auto stamps, undoes ? undo.now() : make(undo));
    // A target that says when it had it may have had it long after it took it.
    const auto since = std::max(stamps.acked_ns, stamps.programmed_ns.value_or(0));
    RETURN_IF_ERROR(interrupt_.wait_until(base::MonotonicTime{since} + scenario_.policy->window));
    if (!hold) return stamps;
    ASSIGN_OR_RETURN(const auto ends, hold->stop());
    for (std::size_t i = 0; i < ends.size(); ++i) {
      series.held.push_back({hold->flows()[i].kind, ends[i], stamps.sent_ns});
    }
    return stamps;
  }

  static std::int64_t seen_until(const std::vector<SeenFlow>& seen) {
    std::int64_t until = 0;
    for (const auto& flow : seen) until = std::max(until, flow.until_ns);
    return until;
  }

  WatchedWrite judge(const std::vector<SeenFlow>& seen, const cluster::WriteStamps& stamps,
                     bool undoes, std::int64_t until_ns) const {
    WatchedWrite result{.stamps = stamps, .windows = {}};
    const checks::PolicyWrite write{.sent_ns = stamps.sent_ns,
                                    .acked_ns = stamps.acked_ns,
                                    .programmed_ns = stamps.programmed_ns};
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      const auto& flow = flows_[i];
      checks::WatchedFlow watched{.name = name_of(flow, writes_.grid()),
                                  .flow = seen[i].stamps(until_ns),
                                  .from_ns = seen[i].from_ns,
                                  .until_ns = std::min(until_ns, seen[i].until_ns),
                                  .clock_uncertainty = seen[i].clock_uncertainty};
      // A control flow is always allowed: what of it does not arrive is lost.
      if (!flow.change) {
        result.windows.push_back(checks::losses_of(write, watched));
        continue;
      }
      watched.control = seen[flow.control].stamps(until_ns);
      const auto now = undoes ? undone(*flow.change) : *flow.change;
      result.windows.push_back(checks::window_of(write, now, watched));
    }
    return result;
  }

  Session& session_;
  std::size_t environment_;
  const Scenario& scenario_;
  const ChangeSpec& change_;
  PolicyWrites& writes_;
  const base::Interrupt& interrupt_;
  const std::vector<ChosenFlow>& flows_;
};

// Whether it can be told of a flow for how long it contradicted a write, or that it did to the end.
bool told(const checks::FlowWindow& window) {
  return (window.not_judged.empty() && window.edge == checks::WindowEdge::known) ||
         outlasts(window);
}

// Whether it can of every flow that a write changed.
bool told(const WriteSeries& series, const WatchedWrite& repetition) {
  for (std::size_t i = 0; i < repetition.windows.size(); ++i) {
    if (!is_control(series.flows, i) && !told(repetition.windows[i])) return false;
  }
  return true;
}

}  // namespace

bool outlasts(const checks::FlowWindow& window) {
  return window.not_judged.empty() && window.edge == checks::WindowEdge::unseen &&
         window.packets > 0;
}

void mark_replaced(WriteSeries& series, int wanted) {
  const auto is_told = [&](const WatchedWrite& repetition) { return told(series, repetition); };
  if (std::ranges::count_if(series.repetitions, is_told) < wanted) return;
  for (auto& repetition : series.repetitions) repetition.replaced = !is_told(repetition);
}

std::optional<PolicyChange> change_of(const WriteSeries& series, std::size_t flow) {
  const auto& change = series.flows[flow].change;
  if (!change) return std::nullopt;
  return series.undoes ? undone(*change) : *change;
}

base::Result<std::vector<WriteSeries>> watch_change(Session& session, std::size_t environment,
                                                    const Scenario& scenario,
                                                    const ChangeSpec& change, PolicyWrites& writes,
                                                    const base::Interrupt& interrupt) {
  const auto before = truth_of(writes, writes.world());
  const auto after = truth_of(writes, world_after(change, scenario, writes.world()));
  const auto flows = choose_flows(writes.grid(), before, after,
                                  static_cast<std::size_t>(scenario.policy->watched_flows));
  std::vector<WriteSeries> series;
  if (flows.empty()) return series;
  series.push_back({.change = change.name, .what = words_for(change), .flows = flows});
  series.push_back({.change = change.name,
                    .what = words_for_undoing(change, scenario),
                    .undoes = true,
                    .flows = flows});
  Repetition repetition(session, environment, scenario, change, writes, interrupt, flows);
  const int wanted = scenario.policy->repetitions;
  int counted = 0;
  for (int i = 0; counted < wanted && i < wanted + wanted / replaced_of; ++i) {
    RETURN_IF_ERROR(repetition.run(series[0], series[1]));
    const auto last_is_told = [](const WriteSeries& one) {
      return told(one, one.repetitions.back());
    };
    if (std::ranges::all_of(series, last_is_told)) ++counted;
  }
  for (auto& one : series) mark_replaced(one, wanted);
  return series;
}

checks::Finding judge_windows(const std::vector<WriteSeries>& all, PolicyChange change,
                              base::Duration budget) {
  std::vector<checks::FlowWindow> windows;
  std::uint64_t replaced = 0;
  for (const auto& series : all) {
    for (const auto& repetition : series.repetitions) {
      for (std::size_t i = 0; i < repetition.windows.size(); ++i) {
        if (change_of(series, i) != change) continue;
        const auto& window = repetition.windows[i];
        if (repetition.replaced && !told(window) && window.at_least_ns <= budget.count()) {
          ++replaced;
          continue;
        }
        windows.push_back(window);
        windows.back().flow = fmt::format("{} ({})", windows.back().flow, series.what);
      }
    }
  }
  return checks::leak_window(change, budget, windows, replaced);
}

}  // namespace stackbench
