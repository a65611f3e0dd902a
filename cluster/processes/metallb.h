// MetalLB as a cluster of processes runs it: its controller beside the control plane, and on each
// node its speaker, which speaks BGP to whoever is at the router. It gives Services of type
// LoadBalancer addresses of the plan (addresses.h). Pure functions.
#pragma once

#include <string_view>
#include <vector>

#include "cluster/processes/api_object.h"
#include "cluster/processes/components.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

inline constexpr std::string_view metallb_namespace = "metallb-system";

[[nodiscard]] ComponentPlan metallb_controller_component(const Directory& directory,
                                                         const Tools& tools);
[[nodiscard]] ComponentPlan metallb_speaker_component(const Directory& directory,
                                                      const Tools& tools, int node);

// What both find when they start, in the order in which it can be made once their definitions are
// there: an IPAddressPool, a BGPAdvertisement and a BGPPeer, and, for each speaker, a Pod.
[[nodiscard]] std::vector<ApiObject> metallb_objects(const Shape& shape);

// Whether a controller's or a speaker's metrics say that it has read its configuration.
[[nodiscard]] bool metallb_has_loaded(std::string_view metrics);

}  // namespace cluster::processes
