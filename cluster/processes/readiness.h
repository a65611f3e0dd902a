// How far a cluster's parts say they are. Pure functions of what they answer.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"

namespace cluster::processes {

// Why a NodeList does not have `nodes` nodes that pods can be scheduled on, or nothing when it has:
// "node2: not Ready: container runtime network not ready".
[[nodiscard]] std::string what_nodes_lack(const base::Json& list, int nodes);

// Why a CustomResourceDefinitionList has one whose objects cannot be made yet, or nothing when it
// has none: "ippools.crd.projectcalico.org: not Established".
[[nodiscard]] std::string what_definitions_lack(const base::Json& list);

// Whether a server's metrics, as text, have one or more of this name, and all are above 0.
[[nodiscard]] bool every_metric_is_positive(std::string_view metrics, std::string_view name);

// Whether a kube-proxy's metrics say that it has written its rules, for each family it serves.
[[nodiscard]] bool proxy_has_synced(std::string_view metrics);

}  // namespace cluster::processes
