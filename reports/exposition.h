// What the files that expose a report share: gauges, gathered by family. Of reports/ alone.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <prometheus/metric_family.h>

#include "reports/record.h"

namespace reports {

inline constexpr double ns = 1e-9;  // in seconds

using Labels = std::vector<std::pair<std::string, std::string>>;

// Families in the order they were first named.
class Exposition {
 public:
  explicit Exposition(std::string scenario) : scenario_(std::move(scenario)) {}

  // Adds a gauge to its family, in base units; the first of a family says what it is.
  void gauge(const std::string& name, const std::string& help, const Labels& labels, double value) {
    const auto [place, fresh] = index_.try_emplace(name, families_.size());
    if (fresh) {
      families_.push_back({.name = "stackbench_" + name,
                           .help = help,
                           .type = prometheus::MetricType::Gauge,
                           .metric = {}});
    }
    prometheus::ClientMetric metric;
    metric.label.push_back({.name = "scenario", .value = scenario_});
    for (const auto& [key, text] : labels) metric.label.push_back({.name = key, .value = text});
    metric.gauge.value = value;
    families_[place->second].metric.push_back(std::move(metric));
  }

  // One gauge a verdict, of which the one that is true is 1: a label that changed with the verdict
  // would leave the old series standing.
  void state(const std::string& name, const std::string& help, const Labels& labels,
             std::optional<Verdict> verdict) {
    for (const auto& [one, word] : base::EnumNames<Verdict>::names) {
      auto with_verdict = labels;
      with_verdict.emplace_back("verdict", word);
      gauge(name, help, with_verdict, verdict == one ? 1 : 0);
    }
  }

  // The ends of an interval, in `unit`s of base units.
  void bounds(const std::string& name, const std::string& help, Labels labels,
              const Interval& interval, double unit) {
    labels.emplace_back("bound", "lower");
    gauge(name, help, labels, interval.lower * unit);
    labels.back().second = "upper";
    gauge(name, help, labels, interval.upper * unit);
  }

  [[nodiscard]] std::vector<prometheus::MetricFamily> take() { return std::move(families_); }

 private:
  std::string scenario_;
  std::map<std::string, std::size_t> index_;
  std::vector<prometheus::MetricFamily> families_;
};

// What a report says of one subject each, nothing where it asked nothing of it.
void expose_mesh(Exposition& out, const Report& report);
void expose_policy(Exposition& out, const Report& report);
void expose_bgp(Exposition& out, const Report& report);

}  // namespace reports
