// A report's figures in Prometheus' text format: gauges in base units, named by its conventions
// (https://prometheus.io/docs/practices/naming/), every one with the label `scenario`. They are
// gauges throughout: a run is over, and what it found does not grow.
#pragma once

#include <string>

#include "reports/record.h"

namespace reports {

// What the label `scenario` says: the name of the scenario's file without its folder and ending,
// other characters than A-Z, a-z, 0-9, dot, dash and underscore replaced by an underscore.
[[nodiscard]] std::string prometheus_scenario(const Report& report);

// The whole exposition, ending in a line feed. Any thread.
[[nodiscard]] std::string render_prometheus(const Report& report);

}  // namespace reports
