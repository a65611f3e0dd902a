// Changes under watch: each is done and undone a number of times while a few pairs are probed every
// millisecond and flows are held open.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "checks/finding.h"
#include "checks/policy/leak_window.h"
#include "reports/policy.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/watch.h"
#include "stackbench/policy/watch_plan.h"
#include "stackbench/session.h"

namespace stackbench {

// What one write came to in one repetition: of each flow in the order it was chosen.
struct WatchedWrite {
  cluster::WriteStamps stamps;
  std::vector<checks::FlowWindow> windows;  // of a control flow: what it lost
  // It stalled, and another repetition took its place: what cannot be told of it decides nothing.
  bool replaced = false;
};

// Everything seen of one write of a scenario's changes, done or undone.
struct WriteSeries {
  std::string change;
  std::string what;
  bool undoes = false;
  std::vector<ChosenFlow> flows = {};
  std::vector<WatchedWrite> repetitions = {};
  // Flows that were open and that it forbids, over all repetitions, with when it was written.
  struct Held {
    bench::HeldKind kind;
    bench::HeldConnection end;
    std::int64_t sent_ns = 0;
  };
  std::vector<Held> held = {};
  // It made a pod anew: its control flows have no before, and are asked nothing of their own.
  bool restarts = false;
};

// Does and undoes a change as often as the scenario says; afterwards all is as it was: after an
// error, too, a change that was made is undone and what watched is stopped, as far as the target
// and the agents still answer. A repetition that stalled is replaced, up to half as many again.
// Empty where it changes nothing for any pair that can be watched, which is known beforehand:
// nothing is written then. Errors: as PolicyWrites, FlowWatch and FlowHold; interrupted.
[[nodiscard]] base::Result<std::vector<WriteSeries>> watch_change(
    Session& session, std::size_t environment, const Scenario& scenario, const ChangeSpec& change,
    PolicyWrites& writes, const base::Interrupt& interrupt);

// What a write did to a flow.
[[nodiscard]] std::optional<checks::PolicyChange> change_of(const WriteSeries& series,
                                                            std::size_t flow);

// Whether packets contradicted a write to the end of the watch: it took longer than was seen.
[[nodiscard]] bool outlasts(const checks::FlowWindow& window);
// Marks repetitions of which not every changed flow can be told as replaced, if `wanted` others
// can.
void mark_replaced(WriteSeries& series, int wanted);

// As the report has it: a record for the flows it closes, opens and leaves.
[[nodiscard]] std::vector<reports::WindowRecord> window_records(const std::string& environment,
                                                                const WriteSeries& series,
                                                                const PolicyGrid& grid);
[[nodiscard]] std::vector<reports::EstablishedRecord> established_records(
    const std::string& environment, const WriteSeries& series,
    const std::optional<EstablishedSpec>& expected);

// The verdict over all writes that closed flows, or opened them (checks::leak_window). Of
// repetitions that were replaced, windows that cannot be told are left out and counted, but for
// those that were surely beyond the budget.
[[nodiscard]] checks::Finding judge_windows(const std::vector<WriteSeries>& all,
                                            checks::PolicyChange change, base::Duration budget);
// Whether flows ended as the scenario expects. inconclusive: of a kind that something is expected
// of no flow was open when it was forbidden, or some could not be opened. Evidence: judged,
// as_expected, not_opened, never_open (kinds), others [{what, kind, expected, became, flows}].
[[nodiscard]] checks::Finding judge_established(
    const std::vector<reports::EstablishedRecord>& records, const EstablishedSpec& expected);

}  // namespace stackbench
