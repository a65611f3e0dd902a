// The Services an environment holds beside those of its topology.
#pragma once

#include <vector>

#include "base/kube/endpoint_slice.h"
#include "base/kube/service.h"
#include "cluster/lab/layout.h"
#include "cluster/topology.h"

namespace cluster {

// The fillers of a plan, in the order of their names: ClusterIP Services of one family, each with
// the ports of the plan. Their ClusterIPs are the store's to give.
[[nodiscard]] std::vector<base::kube::Service> filler_services(const EnvironmentPlan& plan);

// Their slices, in the same order: one ready endpoint each, the layout's first pod, as rules want
// an address to translate to. A layout without pods has none.
[[nodiscard]] std::vector<base::kube::EndpointSlice> filler_slices(const EnvironmentPlan& plan,
                                                                   const Layout& layout);

}  // namespace cluster
