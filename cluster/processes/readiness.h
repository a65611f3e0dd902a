// How far a cluster's parts say they are. Pure functions of what they answer.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace cluster::processes {

// Why a NodeList does not have `nodes` nodes that pods can be scheduled on, or nothing when it has:
// "node2: not Ready: container runtime network not ready".
[[nodiscard]] std::string what_nodes_lack(const base::Json& list, int nodes);

// Whether a kube-proxy's metrics say that it has written its rules, for each family it serves.
[[nodiscard]] bool proxy_has_synced(std::string_view metrics);

}  // namespace cluster::processes
