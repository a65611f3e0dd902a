// The cluster's DNS: CoreDNS beside the control plane, at the address that kubelets tell their
// pods. It comes with a mesh, whose proxies look their control plane up by its name. Pure
// functions.
#pragma once

#include <string>
#include <vector>

#include "cluster/processes/api_object.h"
#include "cluster/processes/components.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// Where its configuration goes, and what that says.
[[nodiscard]] std::string corefile_path(const Directory& directory);
[[nodiscard]] std::string corefile(const Directory& directory);

[[nodiscard]] ComponentPlan coredns_component(const Directory& directory, const Tools& tools);

// The Service kube-dns, and the EndpointSlice that leads it to the process.
[[nodiscard]] std::vector<ApiObject> coredns_objects();

}  // namespace cluster::processes
