// One run of a scenario in the lab, from a plan to a report.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "base/terminal.h"
#include "reports/record.h"
#include "stackbench/plan.h"

namespace stackbench {

struct RunRequest {
  std::string scenario_file;
  std::vector<std::string> overrides;
  std::vector<std::string> command_line;
  std::string report_file;
};

// Provisions, checks, measures, takes everything down again and writes the report. A run that ends
// early (Ctrl-C, a failed invocation) still writes what it had, labelled incomplete. Errors:
// whatever stopped it before any traffic, and a report that cannot be written.
[[nodiscard]] base::Result<reports::Report> run_in_lab(const Plan& plan, const RunRequest& request,
                                                       base::Progress& progress,
                                                       const base::Interrupt& interrupt);

}  // namespace stackbench
