// The lab's address plan: one place. Every environment has the same one, because environments are
// isolated from each other; node and pod numbers start at 1.
//
//   what                         IPv4                  IPv6
//   pods of node N               10.244.N.0/24         fd00:10:244:N::/64
//     pod number P on it         10.244.N.(P+1)        fd00:10:244:N::(P+1)
//   nodes                        172.18.0.(N+1)        fd00:172:18::(N+1)
//   the top-of-rack router       172.18.0.1            fd00:172:18::1
//   the external client          172.19.0.2            fd00:172:19::2
//   Services, the I-th (from 1)  10.96.0.0/16, +10+I   fd00:10:96::/112, +10+I
//   load balancers, the I-th     172.20.0.0/16, I       fd00:172:20::I
//   gateway on every link        169.254.1.1           fe80::1
//
// N and P appear in hexadecimal in IPv6, as addresses are written. The gateway is never assigned to
// anything: a permanent neighbour entry leads to the other end of the link, as Calico does it.
// Service addresses .1 (kubernetes) and .10 (cluster DNS) stay free, as on a cluster.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>

#include "base/address.h"

namespace cluster::addresses {

inline constexpr int most_pods_per_node = 200;
// Of pods, those that restarted counted each time: an octet's, but for the first and the last two.
inline constexpr int most_addresses_per_node = 253;
inline constexpr int most_services = 60'000;
inline constexpr int mtu = 1500;
// kube-apiserver's --service-node-port-range, where it is not set.
inline constexpr int first_node_port = 30'000;
inline constexpr int last_node_port = 32'767;

inline constexpr std::string_view gateway_ipv4 = "169.254.1.1";
inline constexpr std::string_view gateway_ipv6 = "fe80::1";
inline constexpr std::string_view cluster_cidr_ipv4 = "10.244.0.0/16";
inline constexpr std::string_view cluster_cidr_ipv6 = "fd00:10:244::/48";
inline constexpr std::string_view service_cidr_ipv4 = "10.96.0.0/16";
inline constexpr std::string_view service_cidr_ipv6 = "fd00:10:96::/112";

// The parent's end of every link (Calico's): links are separate, so it may repeat.
inline constexpr std::string_view parent_mac = "ee:ee:ee:ee:ee:ee";

// Four bytes as an IPv4 address.
inline base::IpAddress ipv4(int a, int b, int c, int d) {
  base::IpAddress address{.family = base::AddressFamily::ipv4};
  std::size_t at = 0;
  for (const int byte : {a, b, c, d}) address.bytes[at++] = static_cast<std::uint8_t>(byte);
  return address;
}

// fd00:B:C:D::TAIL.
inline base::IpAddress ipv6(int b, int c, int d, int tail) {
  base::IpAddress address{.family = base::AddressFamily::ipv6};
  std::size_t at = 0;
  for (const int group : {0xfd00, b, c, d, 0, 0, 0, tail}) {
    address.bytes[at++] = static_cast<std::uint8_t>(group >> 8);
    address.bytes[at++] = static_cast<std::uint8_t>(group);
  }
  return address;
}

inline base::IpAddress pod_ipv4(int node, int number) { return ipv4(10, 244, node, number + 1); }
inline base::IpAddress pod_ipv6(int node, int number) {
  return ipv6(0x10, 0x244, node, number + 1);
}
inline base::IpAddress node_ipv4(int node) { return ipv4(172, 18, 0, node + 1); }
inline base::IpAddress node_ipv6(int node) { return ipv6(0x172, 0x18, 0, node + 1); }
inline base::IpAddress router_ipv4() { return ipv4(172, 18, 0, 1); }
inline base::IpAddress router_ipv6() { return ipv6(0x172, 0x18, 0, 1); }
inline base::IpAddress external_ipv4() { return ipv4(172, 19, 0, 2); }
inline base::IpAddress external_ipv6() { return ipv6(0x172, 0x19, 0, 2); }
inline base::IpAddress service_ipv4(int index) {
  return ipv4(10, 96, (index + 10) >> 8, (index + 10) & 0xff);
}
inline base::IpAddress service_ipv6(int index) { return ipv6(0x10, 0x96, 0, index + 10); }

inline base::IpAddress load_balancer_ipv4(int index) {
  return ipv4(172, 20, index >> 8, index & 0xff);
}
inline base::IpAddress load_balancer_ipv6(int index) { return ipv6(0x172, 0x20, 0, index); }

inline std::string pod_cidr_ipv4(int node) { return fmt::format("10.244.{}.0/24", node); }
inline std::string pod_cidr_ipv6(int node) { return fmt::format("fd00:10:244:{:x}::/64", node); }

// The child's end of a link: 02: locally administered, then where it is.
inline std::string child_mac(int node, int number) {
  return fmt::format("02:5b:00:00:{:02x}:{:02x}", node, number);
}

}  // namespace cluster::addresses
