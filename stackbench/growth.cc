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

std::string path_of(const Plan& plan, const PlannedArm& arm) {
  const auto& environment = plan.environments[arm.environment];
  auto path = fmt::format("{} {}", base::enum_name(environment.datapath),
                          base::StringScalar<DialTarget>::format(arm.dial));
  if (arm.from != plan.arms.front().from) path += " from " + arm.from;
  for (const auto fault : environment.faults) {
    path += fmt::format(" with {}", base::enum_name(fault));
  }
  if (arm.family != plan.scenario.family) path += fmt::format(" {}", base::enum_name(arm.family));
  return path;
}

Metric metric_of(const bench::WorkloadSpec& workload) {
  if (workload.kind == bench::WorkloadKind::tcp_stream) return Metric::cpu_per_gb;
  if (workload.kind == bench::WorkloadKind::udp_stream) return Metric::cpu_per_request;
  return bench::keeps_connections(workload) ? Metric::latency_p50 : Metric::connect_p50;
}

std::string microseconds(double nanoseconds) {
  return fmt::format("{:.2f} us", nanoseconds / 1000);
}

// Law and sentence, from the slope's interval and the range it is claimed over.
void conclude(reports::Growth& growth, const base::stats::Effect& slope) {
  const auto range =
      static_cast<double>(growth.points.back().services - growth.points.front().services);
  const double start = growth.points.front().value_ns;
  const double claimed = std::abs(slope.estimate) * range;
  const auto line = fmt::format("{} of {} from {} to {} Services", growth.metric, growth.path,
                                growth.points.front().services, growth.points.back().services);
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
  for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
    std::map<std::string, std::map<int, std::size_t>> paths;  // path -> Services -> arm
    std::vector<std::string> order;
    for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
      const auto& environment = plan.environments[plan.arms[arm].environment];
      const auto path = path_of(plan, plan.arms[arm]);
      if (!paths.contains(path)) order.push_back(path);
      const auto services =
          environment.filler.services + static_cast<int>(environment.topology.services.size());
      paths[path].emplace(services, arm);
    }
    for (const auto& path : order) {
      if (paths[path].size() < least_points) continue;
      GrowthSeries series{.path = path,
                          .workload = workload,
                          .metric = metric_of(plan.workloads[workload].spec),
                          .arms = {},
                          .services = {}};
      for (const auto& [services, arm] : paths[path]) {
        series.arms.push_back(arm);
        series.services.push_back(services);
      }
      all.push_back(std::move(series));
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
                             .services = series.services[i],
                             .value_ns = centres.back()});
  }
  const std::vector<double> services(series.services.begin(), series.services.end());
  std::vector<double> slopes;
  std::vector<double> starts;
  for (const auto& [block, values] : by_block) {
    if (values.size() != services.size()) continue;
    const auto [start, slope] = simple_ordinary_least_squares(services, values);
    starts.push_back(start);
    slopes.push_back(slope);
  }
  if (slopes.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const auto slope, base::stats::hodges_lehmann(slopes, level));
  ASSIGN_OR_RETURN(const auto start, base::stats::hodges_lehmann(starts, level));
  const auto explained =
      std::get<2>(simple_ordinary_least_squares_with_R_squared(services, centres));
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

}  // namespace stackbench
