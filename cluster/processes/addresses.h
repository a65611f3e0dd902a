// The address plan of a cluster of processes: one place. Each cluster is in a root namespace of its
// own, so all have the same one. Node numbers start at 1; where the lab has the same thing, it has
// the same address (cluster/lab/addresses.h).
//
//   what                 address
//   pods of node N       10.244.N.0/24; where a bridge connects them, it is at .1
//   the router           172.18.0.1/16, the bridge that nodes and control plane are on; also the
//                        address their BGP speakers peer with
//   nodes                172.18.0.(N+1)/16
//   the control plane    172.18.1.1/16
//   the external client  172.19.0.2/24, behind the router at 172.19.0.1
//   Services             10.96.0.0/16: .0.1 the API server, .0.10 the cluster's DNS
//   load balancers       172.20.0.0/16, which nobody has a route to but those who learn it
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace cluster::processes::addresses {

inline constexpr std::string_view router = "172.18.0.1";
inline constexpr std::string_view control_plane = "172.18.1.1";
inline constexpr int fabric_prefix = 16;
inline constexpr std::string_view external_router = "172.19.0.1";
inline constexpr std::string_view external = "172.19.0.2";
inline constexpr int external_prefix = 24;

inline constexpr std::string_view pod_cidr = "10.244.0.0/16";
inline constexpr std::string_view service_cidr = "10.96.0.0/16";
inline constexpr std::string_view kubernetes_service = "10.96.0.1";
inline constexpr std::string_view cluster_dns = "10.96.0.10";
inline constexpr std::string_view load_balancers = "172.20.0.1-172.20.255.254";

// Of BGP, both for private use (RFC 6996).
inline constexpr int node_asn = 64512;
inline constexpr int router_asn = 64513;

inline constexpr int api_server_port = 6443;
inline constexpr int etcd_port = 2379;
inline constexpr int etcd_peer_port = 2380;
inline constexpr int proxy_metrics_port = 10249;
inline constexpr int felix_health_port = 9099;
inline constexpr int metallb_metrics_port = 7472;
inline constexpr int dns_ready_port = 8181;

inline std::string node(int number) { return fmt::format("172.18.0.{}", number + 1); }
inline std::string pod_cidr_of(int node) { return fmt::format("10.244.{}.0/24", node); }

}  // namespace cluster::processes::addresses
