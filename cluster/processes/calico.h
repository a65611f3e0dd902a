// Calico as a cluster of processes runs it: on each node its CNI plugin, which containerd calls for
// every pod, and Felix, which writes the rules that NetworkPolicies ask for. Both keep what they
// know in the API server; routes between nodes are the fabric's (wiring.h), so there is neither
// BIRD nor a tunnel. Felix ends when a FelixConfiguration changes, and nobody restarts it. Pure
// functions.
#pragma once

#include <string>

#include "base/json.h"
#include "cluster/processes/api_object.h"
#include "cluster/processes/components.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// The network configuration list, for one node's pods.
[[nodiscard]] base::Json calico_cni_config(const Directory& directory, int node);

[[nodiscard]] ComponentPlan felix_component(const Directory& directory, const Tools& tools,
                                            int node);

// What tells both that the API server has what they need, and everybody the version ("v3.28.5").
[[nodiscard]] ApiObject calico_cluster_information(const std::string& version);

}  // namespace cluster::processes
