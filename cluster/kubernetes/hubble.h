// What Cilium says it dropped: Hubble keeps the latest flows of each node in that node's agent, and
// the agent's image has the program that reads them (`hubble observe`,
// Documentation/observability/hubble in Cilium's source, 1.17). It is run by exec, in pods that are
// not ours: by whoever may, and only when something is to be explained.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/cilium_agents.h"
#include "cluster/target.h"

namespace cluster {

struct HubbleQuestion {
  CiliumAgents agents;               // of the nodes whose flows are asked for
  std::set<std::string> namespaces;  // of the pods they are from or to
  base::Duration age{0};             // how old they may be
};

// The program that lists those that were dropped, one a line.
[[nodiscard]] std::vector<std::string> hubble_command(const HubbleQuestion& question);

// A line of `hubble observe --output jsonpb` (observer.GetFlowsResponse, api/v1/observer in
// Cilium's source): a packet of TCP or UDP that was dropped, and why, without a stamp. Nothing of
// any other line, of one that is no JSON included.
[[nodiscard]] std::optional<DeniedPacket> read_hubble_line(std::string_view line);

// Asks the agent of each node, in order. Errors: as find_cilium_agents(), and as Agents::run()
// (Hubble is off).
[[nodiscard]] base::Result<std::vector<DeniedPacket>> ask_hubble(ApiClient& api, Agents& agents,
                                                                 const HubbleQuestion& question);

}  // namespace cluster
