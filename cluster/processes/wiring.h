// The cables of a cluster of processes, as text for `ip -batch` and sysctls. Pure functions.
//
//   external ── router ──┬── control-plane
//                        ├── node1 ── pods, by the CNI
//                        └── node2 ── pods
//
// Nodes and control plane share one Ethernet, the bridge `br0` of the router, as nodes of a rack do
// (and as a BGP speaker on them expects). Routes to pods lead to their nodes.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/processes/shape.h"

namespace cluster::processes {

inline constexpr std::string_view router_netns = "router";
inline constexpr std::string_view control_plane_netns = "control-plane";
inline constexpr std::string_view external_netns = "external";

struct NamespacePlan {
  std::string name;
  std::string ip_batch;                        // run in it, in the order of the list
  std::map<std::string, std::string> sysctls;  // written before
};

// Every namespace of a cluster, the router first.
[[nodiscard]] std::vector<NamespacePlan> wire(const Shape& shape);

// Whether the kernel has what the nodes' sysctls switch on (br_netfilter).
[[nodiscard]] bool filters_bridged_packets();

}  // namespace cluster::processes
