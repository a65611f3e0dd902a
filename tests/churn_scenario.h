// The scenarios of tests of events: one Service with three pods under an open loop.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace tests {

// `events`, `checks`, `faults`: as a scenario lists them.
inline std::string churn_scenario(std::string_view datapath, std::string_view workload,
                                  std::string_view events, std::string_view checks,
                                  std::string_view faults) {
  return fmt::format(
      "question: What do clients notice?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 3}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{it: {{datapath: {}}}}}\n"
      "arms: [{{name: service, in: it, dial: service/web}}]\n"
      "workloads: [{{{}, rate: 1000/s, warm_up: 50ms, timeout: 200ms}}]\n"
      "blocks: 6\n"
      "events: [{}]\n"
      "checks: [{}]\n"
      "faults: [{}]\n",
      datapath, workload, events, checks, faults);
}

inline constexpr std::string_view connects = "kind: tcp_crr, connections: 16, duration: 500ms";
inline constexpr std::string_view datagrams = "kind: udp_rr, connections: 60, duration: 400ms";
inline constexpr std::string_view web_0_leaves = "{at: 100ms, kind: unready, pod: web-0}";

}  // namespace tests
