// The cables of an environment, as text for `ip -batch` and sysctls: what every namespace holds and
// how it is linked. Pure functions of the layout.
//
//   external ── router ── node1 ── client-0, web-0, ...
//                     └── node2 ── web-1, ...
//
// Every link is a veth pair made by the parent (the end nearer the router); the child's end is
// eth0. Addresses are /32 and /128 and everything is routed. Neighbours are permanent on both ends,
// so that no ARP or neighbour discovery expires in the middle of a measurement, and no interface
// has a link-local address, so that nothing speaks unasked.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cluster/lab/layout.h"

namespace cluster {

// What the lab's TCP uses, whatever the machine's default is.
inline constexpr std::string_view congestion_control = "cubic";

// A node's, pod's or external client's own end of its link.
inline constexpr std::string_view child_interface = "eth0";

struct NamespacePlan {
  std::string name;      // "iptables.node1", unique in a sandbox
  std::string ip_batch;  // run in it, in the order of the list: parents before children
  std::map<std::string, std::string> sysctls;  // written before
};

// "iptables.router", "iptables.node1", "iptables.web-0".
[[nodiscard]] std::string router_name(std::string_view environment);
[[nodiscard]] std::string external_name(std::string_view environment);
[[nodiscard]] std::string node_name(std::string_view environment, int node);
[[nodiscard]] std::string pod_namespace_name(std::string_view environment, std::string_view pod);

// A node's interface in the router's namespace: "node2".
[[nodiscard]] std::string node_interface(int node);
// For the router: its end of a node's link up, with what the kernel forgets when it goes down, the
// neighbours and routes. What BGP makes is BGP's.
[[nodiscard]] std::string node_link_batch(int node);

// The host-side interface of a pod, in its node's namespace: "pod3", by its id.
[[nodiscard]] std::string pod_interface(const PodHandle& pod);

// Every namespace of an environment: the router, the nodes, the pods, the external client.
[[nodiscard]] std::vector<NamespacePlan> wire(std::string_view environment, const Layout& layout);

}  // namespace cluster
