// One run of a scenario with `bgp:`, in the lab or on a cluster, from the scenario to a report.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "reports/record.h"
#include "stackbench/bgp/router_place.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench::bgp {

struct Request {
  std::string scenario_file;
  std::vector<std::string> overrides;
  std::vector<std::string> command_line;
  std::string report_file;
  // Told of a long run: how much is done, of how much, and what comes. Empty: nobody is.
  std::function<void(std::size_t done, std::size_t total, const std::string& doing)> progress = {};
};

// Brings the lab up, measures, takes it down and judges. Where a check fails, what BGP said is kept
// beside the report, as report_file with .node<N>.pcap for .json. The report is not written. One
// that the user interrupted is of the rounds before, and says so. Errors: whatever stopped it:
// missing (gobgpd), not_permitted, interrupted (before the first round was whole), system.
[[nodiscard]] base::Result<reports::Report> run(const Scenario& scenario, const Request& request,
                                                const base::Interrupt& interrupt);

// The same on a cluster, whose datapath is the one it has. The target is taken down, too. Where the
// kernel of the router is out of reach there are no captures. `progress` is told what is waited
// for. Errors: as above and as ClusterGround::begin().
[[nodiscard]] base::Result<reports::Report> run_on_cluster(
    cluster::KubernetesTarget& target, const Scenario& scenario, RouterPlace place,
    const Request& request, const base::Interrupt& interrupt,
    std::function<void(std::string_view)> progress);

// What it would do, for `stackbench plan`.
[[nodiscard]] std::string plan_text(const Scenario& scenario);

}  // namespace stackbench::bgp
