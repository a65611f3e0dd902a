// A sound scenario for tests, one line of which each of them changes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "stackbench/scenario/reader.h"

namespace stackbench {

inline constexpr std::string_view sound =
    R"(question: Does it hold?
topology:
  pods: {client: {node: 1}, web: {node: 2, replicas: 3}}
  services: {web: {target: web}}
environments:
  rules: {datapath: iptables}
  socket: {datapath: ebpf_socket}
arms:
  - {name: direct, dial: pod/web}
  - {name: pod_ip, in: socket, dial: pod/web}
  - {name: cluster_ip, in: socket, dial: service/web}
workloads:
  - {kind: tcp_rr}
  - {kind: tcp_crr, rate: 500/s}
blocks: 12
checks: [translated_at]
expect:
  - {metric: rate, workload: tcp_rr, arm: direct, at_least: 100/s}
faults: []
)";

// The sound scenario with one line replaced (from 1).
inline std::string with_line(int number, std::string_view replacement) {
  std::string text;
  std::string_view rest = sound;
  for (int line = 1; !rest.empty(); ++line) {
    const auto end = rest.find('\n') + 1;
    text += line == number ? std::string(replacement) + "\n" : std::string(rest.substr(0, end));
    rest.remove_prefix(end);
  }
  return text;
}

// What the reader says of it, or "no fault".
inline std::string message_of(std::string_view text,
                              const std::vector<std::string>& overrides = {}) {
  const auto scenario = parse_scenario(text, "s.yaml", overrides);
  return scenario ? "no fault" : base::describe_error(scenario.error());
}

}  // namespace stackbench
