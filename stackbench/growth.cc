#include "stackbench/growth.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>

#include <boost/math/statistics/linear_regression.hpp>

namespace stackbench {
namespace {

constexpr double level = 0.95;
// What a difference over the whole range may be, of the cost at its start, to be called none.
constexpr double flat_margin = 0.10;
constexpr std::size_t least_points = 3;
// How much of the points' values a line must explain to be said to rise or fall.
constexpr double least_explained = 0.9;
constexpr double thousand = 1000;

using reports::GrowthBy;

int services_of(const cluster::EnvironmentPlan& environment) {
  return environment.filler.services + static_cast<int>(environment.topology.services.size());
}

// Says all but how many there are of what grows.
std::string path_of(const Plan& plan, const PlannedArm& arm, GrowthBy by) {
  const auto& environment = plan.environments[arm.environment];
  auto path = fmt::format("{} {}", base::enum_name(environment.datapath),
                          base::StringScalar<DialTarget>::format(arm.dial));
  if (arm.from != plan.arms.front().from) path += " from " + arm.from;
  for (const auto fault : environment.faults) {
    path += fmt::format(" with {}", base::enum_name(fault));
  }
  if (arm.family != plan.scenario.family) path += fmt::format(" {}", base::enum_name(arm.family));
  const auto& filler = environment.filler;
  if (by == GrowthBy::services && filler.policies) {
    path += fmt::format(" beside {} policies", *filler.policies);
  }
  if (by == GrowthBy::policies && filler.services > 0) {
    path += fmt::format(" beside {} Services", services_of(environment));
  }
  if (filler.policies && filler.selectors != cluster::Filler{}.selectors) {
    path += fmt::format(" of {} peers", filler.selectors);
  }
  return path;
}

Metric metric_of(const bench::WorkloadSpec& workload) {
  if (workload.kind == bench::WorkloadKind::tcp_stream) return Metric::cpu_per_gb;
  if (workload.kind == bench::WorkloadKind::udp_stream) return Metric::cpu_per_request;
  return bench::keeps_connections(workload) ? Metric::latency_p50 : Metric::connect_p50;
}

std::vector<Metric> metrics_by(GrowthBy by, const bench::WorkloadSpec& workload) {
  std::vector<Metric> metrics{metric_of(workload)};
  const bool of_cpu =
      metrics.front() == Metric::cpu_per_request || metrics.front() == Metric::cpu_per_gb;
  // Who spins burns a core whatever a request costs.
  if (by == GrowthBy::policies && !of_cpu && workload.wait != bench::WaitStrategy::spin) {
    metrics.push_back(Metric::cpu_per_request);
  }
  return metrics;
}

std::string microseconds(double nanoseconds) {
  return fmt::format("{:.2f} us", nanoseconds / 1000);
}

// Law and sentence, from the slope's interval and the range it is claimed over.
void conclude(reports::Growth& growth, const base::stats::Effect& slope) {
  const auto range =
      static_cast<double>(growth.points.back().loaded - growth.points.front().loaded);
  const double start = growth.points.front().value_ns;
  const double claimed = std::abs(slope.estimate) * range;
  const auto line = fmt::format("{} of {} from {} to {} {}", growth.metric, growth.path,
                                growth.points.front().loaded, growth.points.back().loaded,
                                reports::things_of(growth.by));
  if (!slope.interval) {
    growth.law = reports::GrowthLaw::invalid;
    growth.sentence = line + ": too few blocks for an interval";
    return;
  }
  const double low = slope.interval->lower * range;
  const double high = slope.interval->upper * range;
  const auto figures = fmt::format("{:+.2f} us [{:+.2f}, {:+.2f}]", slope.estimate * range / 1000,
                                   low / 1000, high / 1000);
  const bool near = std::ranges::all_of(growth.points, [&](const reports::GrowthPoint& point) {
    return std::abs(point.value_ns - start) <= flat_margin * start;
  });
  const bool narrow = (low > 0 || high < 0) && high - low <= claimed;
  if (near && std::max(std::abs(low), std::abs(high)) <= flat_margin * start) {
    growth.law = reports::GrowthLaw::flat;
    growth.sentence = fmt::format("{}: flat, {} of {} and so within {:g} %", line, figures,
                                  microseconds(start), 100 * flat_margin);
  } else if (narrow && growth.explained >= least_explained) {
    growth.law = low > 0 ? reports::GrowthLaw::grows : reports::GrowthLaw::shrinks;
    growth.sentence = fmt::format("{}: {}, {}; a line explains {:.1f} % of it", line,
                                  base::enum_name(growth.law), figures, 100 * growth.explained);
  } else {
    growth.law = reports::GrowthLaw::invalid;
    growth.sentence = fmt::format("{}: cannot tell, {}: the interval is wider than the difference",
                                  line, figures);
  }
}

}  // namespace

std::vector<GrowthSeries> growth_series(const Plan& plan) {
  std::vector<GrowthSeries> all;
  for (const auto by : {GrowthBy::services, GrowthBy::policies}) {
    std::map<std::string, std::map<int, std::size_t>> paths;  // path -> how many -> arm
    std::vector<std::string> order;
    for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
      const auto& environment = plan.environments[plan.arms[arm].environment];
      if (by == GrowthBy::policies && !environment.filler.policies) continue;
      const auto path = path_of(plan, plan.arms[arm], by);
      if (!paths.contains(path)) order.push_back(path);
      paths[path].emplace(
          by == GrowthBy::services ? services_of(environment) : *environment.filler.policies, arm);
    }
    for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
      for (const auto metric : metrics_by(by, plan.workloads[workload].spec)) {
        for (const auto& path : order) {
          if (paths[path].size() < least_points) continue;
          GrowthSeries series{.path = path,
                              .by = by,
                              .workload = workload,
                              .metric = metric,
                              .arms = {},
                              .loaded = {}};
          for (const auto& [loaded, arm] : paths[path]) {
            series.arms.push_back(arm);
            series.loaded.push_back(loaded);
          }
          all.push_back(std::move(series));
        }
      }
    }
  }
  return all;
}

base::Result<std::optional<reports::Growth>> fit_growth(const Plan& plan,
                                                        const GrowthSeries& series,
                                                        const std::vector<Sample>& samples,
                                                        const std::vector<int>& kept_blocks) {
  using boost::math::statistics::simple_ordinary_least_squares;
  using boost::math::statistics::simple_ordinary_least_squares_with_R_squared;
  reports::Growth growth{.path = series.path,
                         .by = series.by,
                         .workload = plan.workloads[series.workload].name,
                         .metric = std::string(base::enum_name(series.metric))};
  std::map<int, std::vector<double>> by_block;  // values beside series.arms
  std::vector<double> centres;
  for (std::size_t i = 0; i < series.arms.size(); ++i) {
    const auto arm = series.arms[i];
    const auto logs = block_logs(samples, kept_blocks, arm, series.workload, series.metric);
    if (logs.logs.empty()) return std::nullopt;
    for (std::size_t k = 0; k < logs.blocks.size(); ++k) {
      by_block[logs.blocks[k]].push_back(std::exp(logs.logs[k]));
    }
    ASSIGN_OR_RETURN(const auto centre, base::stats::hodges_lehmann(logs.logs, level));
    centres.push_back(std::exp(centre.estimate));
    growth.points.push_back({.arm = plan.arms[arm].name,
                             .environment = plan.environments[plan.arms[arm].environment].name,
                             .loaded = series.loaded[i],
                             .value_ns = centres.back()});
  }
  const std::vector<double> loaded(series.loaded.begin(), series.loaded.end());
  std::vector<double> slopes;
  std::vector<double> starts;
  for (const auto& [block, values] : by_block) {
    if (values.size() != loaded.size()) continue;
    const auto [start, slope] = simple_ordinary_least_squares(loaded, values);
    starts.push_back(start);
    slopes.push_back(slope);
  }
  if (slopes.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const auto slope, base::stats::hodges_lehmann(slopes, level));
  ASSIGN_OR_RETURN(const auto start, base::stats::hodges_lehmann(starts, level));
  const auto explained = std::get<2>(simple_ordinary_least_squares_with_R_squared(loaded, centres));
  // Of points that are all the same nothing is left to explain.
  growth.explained = std::isfinite(explained) ? std::clamp(explained, 0.0, 1.0) : 1.0;
  growth.per_thousand_ns = slope.estimate * thousand;
  if (slope.interval) {
    growth.per_thousand_interval = reports::Interval{
        slope.interval->lower * thousand, slope.interval->upper * thousand, slope.interval->level};
  }
  growth.at_none_ns = start.estimate;
  growth.blocks = static_cast<int>(slopes.size());
  conclude(growth, slope);
  return growth;
}

void add_load_cost(const base::Json& facts, reports::GrowthBy by, reports::GrowthPoint& point) {
  const auto number = [](const base::Json& in, const char* name) -> std::optional<std::int64_t> {
    const auto found = in.find(name);
    if (found == in.end()) return std::nullopt;
    return found->get<std::int64_t>();
  };
  if (by == GrowthBy::services) {
    point.load_ns = number(facts, "load_ns");
    point.kernel_memory_bytes = number(facts, "kernel_memory_bytes");
    return;
  }
  const auto policies = facts.find("network_policy");
  if (policies == facts.end()) return;
  point.kernel_memory_bytes = number(*policies, "table_bytes");
  const auto compiled = number(*policies, "compile_ns");
  const auto loaded = number(*policies, "load_ns");
  if (compiled && loaded) point.load_ns = *compiled + *loaded;
  // A cluster's take as long as they are written and not yet seen to be enforced.
  const auto written = number(*policies, "written_ns");
  const auto seen = number(*policies, "seen_after_ns");
  if (written && seen) point.load_ns = *written + *seen;
}

}  // namespace stackbench
