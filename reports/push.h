// A report's figures pushed to a Pushgateway (https://github.com/prometheus/pushgateway, "API"),
// which holds them for Prometheus to scrape.
#pragma once

#include <string>

#include "base/result.h"
#include "reports/record.h"

namespace reports {

// Puts the report's exposition in place of what the gateway holds of this scenario, the group
// {job="stackbench", scenario=...}. `gateway`: "http://host:9091", with a path where it is served
// under one. Any thread; at most ten seconds. Errors: input, system, timed_out, as
// base::http::exchange; system with the gateway's words where it refuses.
[[nodiscard]] base::Result<> push_to_gateway(const Report& report, const std::string& gateway);

}  // namespace reports
