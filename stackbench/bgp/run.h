// One run of a scenario with `bgp:` in the lab, from the scenario to a report.
#pragma once

#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "reports/record.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench::bgp {

struct Request {
  std::string scenario_file;
  std::vector<std::string> overrides;
  std::vector<std::string> command_line;
  std::string report_file;
};

// Brings the lab up, measures, takes it down and judges. Where a check fails, what BGP said is kept
// beside the report, as report_file with .node<N>.pcap for .json. The report is not written. One
// that the user interrupted is of the rounds before, and says so. Errors: whatever stopped it:
// missing (gobgpd), not_permitted, interrupted (before the first round was whole), system.
[[nodiscard]] base::Result<reports::Report> run(const Scenario& scenario, const Request& request,
                                                const base::Interrupt& interrupt);

// What it would do, for `stackbench plan`.
[[nodiscard]] std::string plan_text(const Scenario& scenario);

}  // namespace stackbench::bgp
