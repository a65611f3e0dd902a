// What a pod's status says to somebody who waits for it.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/target.h"

namespace cluster {

// Whether its containers run; false while they may still come to that. Errors, each with its mend:
// missing (the image is not there and cannot be had), input (a name that is no image's), system (it
// cannot be created, or ended).
[[nodiscard]] base::Result<bool> pod_runs(const base::Json& pod);

// Why it is where it is, for a wait that ran out: "not scheduled: 0/3 nodes are available", "its
// container is ContainerCreating"; empty where nothing is known.
[[nodiscard]] std::string pod_stage(const base::Json& pod);

// Whether the scheduler found no place for it.
[[nodiscard]] bool is_unschedulable(const base::Json& pod);

// Its addresses of both families, from status.podIPs.
void read_pod_addresses(const base::Json& pod, PodHandle& handle);

}  // namespace cluster
