// The EndpointSlices behind a Service, as the EndpointSlice controller writes them: for targets
// that have none, and for events that do its work.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/kube/endpoint_slice.h"
#include "cluster/target.h"
#include "cluster/topology.h"

namespace cluster {

// As a pod is before any event.
[[nodiscard]] Readiness first_readiness(const PodHandle& pod);

// A Kubernetes object's protocol.
[[nodiscard]] base::kube::Protocol kube_protocol(Protocol protocol);

// The ports of an environment as a slice writes them.
[[nodiscard]] std::vector<base::kube::SlicePort> slice_ports(const std::vector<ServicePort>& ports);

// The slice of one family of Service `service`: those of `pods` that are of the group `target`,
// ready as `readiness` says. Named as the controller would (<service>-ipv4).
[[nodiscard]] base::kube::EndpointSlice endpoint_slice(
    const std::string& service, const std::string& target, base::AddressFamily family,
    const std::vector<PodHandle>& pods, const std::vector<ServicePort>& ports,
    const std::function<Readiness(const PodHandle&)>& readiness = first_readiness);

}  // namespace cluster
