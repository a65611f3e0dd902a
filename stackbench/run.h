// One run of a scenario on a target, from a plan to a report.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/noise.h"
#include "base/result.h"
#include "base/terminal.h"
#include "cluster/target.h"
#include "reports/record.h"
#include "stackbench/plan.h"

namespace stackbench {

struct RunRequest {
  std::string scenario_file;
  std::vector<std::string> overrides;
  std::vector<std::string> command_line;
  std::string report_file;
  // Where the noise guard looks: on this machine, or where a test has it look.
  base::NoiseSources noise = base::system_noise_sources();
};

// Takes the report as it stands after a block: estimates so far, nothing judged.
using ReportWatcher = std::function<void(const reports::Report&)>;

struct FinishedRun {
  reports::Report report;
  // Whether it is in the file that was asked for. Errors: as reports::save_report.
  base::Result<> saved;
};

// Provisions, checks, measures, takes everything down again and writes the report. What the target
// lacks is left out of the plan, and the report says why. A run that ends
// early (Ctrl-C, a lost agent, a disk that fills up) keeps the blocks that were whole by then, and
// the checks that were judged: the report says what ended it and that it is incomplete. Errors:
// whatever stopped it before a block was kept or a check judged; of kind workload where traffic had
// begun. `watcher` is called from the same thread,
// between blocks.
[[nodiscard]] base::Result<FinishedRun> run_scenario(cluster::Target& target, Plan plan,
                                                     const RunRequest& request,
                                                     base::Progress& progress,
                                                     const base::Interrupt& interrupt,
                                                     const ReportWatcher& watcher = {});

}  // namespace stackbench
