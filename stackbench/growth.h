// How the cost of a path grows with the number of Services, or of NetworkPolicies: lines through
// arms that differ in nothing but the fillers of their environments.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/stats/hodges_lehmann.h"
#include "reports/growth.h"
#include "stackbench/analysis.h"
#include "stackbench/plan.h"

namespace stackbench {

// Arms of one datapath that dial the same from the same place in the same family, under one
// workload, ascending by how many of what grows are loaded.
struct GrowthSeries {
  std::string path;  // "iptables service/web"
  reports::GrowthBy by = reports::GrowthBy::services;
  std::size_t workload = 0;
  Metric metric = Metric::latency_p50;  // connect.p50 where the workload has it
  std::vector<std::size_t> arms;
  std::vector<int> loaded;  // beside arms: Services, the topology's own included, or policies
};

// The series of a plan with at least three numbers; two would fit any line. Policies are work
// for CPUs, so under a workload whose client waits these have a line of CPU per request, too.
[[nodiscard]] std::vector<GrowthSeries> growth_series(const Plan& plan);

// Fits a line to each kept block's values and judges the slope over blocks. Without a block that
// has every value: nothing. The points' costs of loading are the caller's to fill in.
// Errors: input (as base::stats::hodges_lehmann).
[[nodiscard]] base::Result<std::optional<reports::Growth>> fit_growth(
    const Plan& plan, const GrowthSeries& series, const std::vector<Sample>& samples,
    const std::vector<int>& kept_blocks);

// Puts what loading cost into a point, as the facts of its environment say: of Services a
// cluster says nothing, of policies how long it took until packets saw them in force.
void add_load_cost(const base::Json& facts, reports::GrowthBy by, reports::GrowthPoint& point);

}  // namespace stackbench
