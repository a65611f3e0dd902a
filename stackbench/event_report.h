// What all kept invocations together say of a scenario's events: the report's table, and the checks
// on backends that leave.
#pragma once

#include <string>
#include <vector>

#include "checks/finding.h"
#include "checks/flows_stay.h"
#include "reports/events.h"
#include "stackbench/run_loop.h"

namespace stackbench {

// One record for each arm, workload and event, in this order; empty without events or kept blocks.
[[nodiscard]] std::vector<reports::EventRecord> event_records(const Plan& plan,
                                                              const Measurements& measured);

// A check that is judged by all invocations together.
struct RunCheck {
  CheckKind kind = CheckKind::stale_backend;
  std::size_t arm = 0;
  std::size_t workload = 0;
  checks::Finding finding;
};

// The plan's checks on events, judged over the kept blocks: of arms that dial a Service, under
// workloads that can tell. One a datapath does not promise is skipped, and says what is missing.
[[nodiscard]] std::vector<RunCheck> judge_events(const Plan& plan, const Measurements& measured);

}  // namespace stackbench
