// From objects to what a datapath implements, as kube-proxy reads them (pkg/proxy/
// endpointslicecache.go, servicechangetracker.go, topology.go).
#pragma once

#include <vector>

#include "base/kube/endpoint_slice.h"
#include "base/kube/service.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// An entry per Service port and address; a headless Service has none. Its backends are the ready
// endpoints of the Service's slices of that family and port name; where none is ready, those that
// still serve while they terminate. Objects are as ObjectStore takes them: addresses parse.
[[nodiscard]] ServiceTable make_service_table(const std::vector<base::kube::Service>& services,
                                              const std::vector<base::kube::EndpointSlice>& slices);

}  // namespace cluster
