// Whether a run can work on a cluster, and what it would find there.
#pragma once

#include <vector>

#include "cluster/feature.h"
#include "cluster/kubernetes/kubernetes_target.h"

namespace cluster {

// In the order a reader asks: kubectl, the API server, rights, nodes, who implements Services, the
// network plugin, the agents' image. It ends with the first that the next cannot do without. Makes
// nothing. Never fails; what cannot be found out is `unknown` and says why.
[[nodiscard]] std::vector<Feature> probe_cluster(const KubernetesOptions& options);

}  // namespace cluster
