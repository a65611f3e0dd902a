// What a sidecar of Istio counts, by the page that its Envoy shows to Prometheus (port 15090),
// which interception leaves alone. Names are Envoy's with the tags of Istio's bootstrap
// (tools/packaging/common/envoy_bootstrap.json). Pure functions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cluster/mesh.h"

namespace cluster {

inline constexpr int proxy_stats_port = 15090;

// The page's path, and the query by which Envoy leaves out what nobody here reads: all of it is
// half a megabyte where there are some dozens of Services.
[[nodiscard]] std::string proxy_stats_path();

// What the virtual inbound listener took, and what all outbound ones did; the pod's name is the
// caller's to say, and memory is not in it.
[[nodiscard]] ProxyCounters read_proxy_counters(std::string_view metrics);

// How many connections to and from other proxies are open.
[[nodiscard]] std::uint64_t read_open_proxy_connections(std::string_view metrics);

}  // namespace cluster
