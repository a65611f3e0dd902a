// What a pod's network looks like from inside, as its agent tells it (`stackbench-agent network`).
#pragma once

#include <string>

#include "base/pod_network.h"
#include "base/result.h"
#include "cluster/kubernetes/agents.h"

namespace cluster {

// Errors: as Agents::run(), input.
[[nodiscard]] base::Result<base::PodNetwork> read_pod_network(Agents& agents,
                                                              const std::string& in_namespace,
                                                              const std::string& pod);

}  // namespace cluster
