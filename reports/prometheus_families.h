// A report's figures as prometheus-cpp holds them: what its text and its server are made of.
#pragma once

#include <vector>

#include <prometheus/metric_family.h>

#include "reports/record.h"

namespace reports {

// All of them, each with the label `scenario`. Any thread.
[[nodiscard]] std::vector<prometheus::MetricFamily> prometheus_families(const Report& report);

}  // namespace reports
