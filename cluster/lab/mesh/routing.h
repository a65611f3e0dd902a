// VirtualService and DestinationRule in Envoy's words: the routes of a client's proxy, and the
// clusters they lead to. Pure functions. Sources: istio/pilot/pkg/networking/core/route/route.go
// (translateRoute, TranslateFault, applyHTTPRouteDestination), and of
// istio/pilot/pkg/networking/core/cluster_traffic_policy.go applyConnectionPool and
// applyOutlierDetection.
//
// What differs from Istio: a route that says nothing of retries has none, where Istio's default
// sends a request again whose connection could not be made (retryOn connect-failure and others);
// and a host of which there are two VirtualServices, or two DestinationRules, is refused, where
// Istio takes the older one or merges them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/kube/destination_rule.h"
#include "base/kube/virtual_service.h"
#include "cluster/topology.h"

namespace cluster {

// What there is of either.
struct ProxyRouting {
  std::vector<base::kube::VirtualService> virtual_services = {};
  std::vector<base::kube::DestinationRule> destination_rules = {};

  bool operator==(const ProxyRouting&) const = default;
};

// The same with something broken on purpose: what of `faults` is about routing.
[[nodiscard]] ProxyRouting broken(ProxyRouting routing, const std::vector<FaultKind>& faults);

// Some of a host's pods, or all of them, as a proxy dials them.
struct RoutedSubset {
  std::string name = {};  // empty: all
  std::map<std::string, std::string> labels = {};
  base::kube::DestinationPolicy policy = {};

  [[nodiscard]] bool has(const std::map<std::string, std::string>& labels_of_pod) const;
};

// All of a host's pods first, then every subset. `host` is whole: "web.default.svc.cluster.local".
[[nodiscard]] std::vector<RoutedSubset> subsets_of(const ProxyRouting& routing,
                                                   std::string_view host);

// "outbound|8004|v1|web.default.svc.cluster.local".
[[nodiscard]] std::string outbound_name(std::uint16_t port, std::string_view subset,
                                        std::string_view host);

// The routes (envoy.config.route.v3.Route) of requests to that port of a host.
[[nodiscard]] base::Json http_routes(const ProxyRouting& routing, std::string_view host,
                                     std::uint16_t port);

// Filters of HTTP that these need before the router: none where no route has a fault.
[[nodiscard]] base::Json http_fault_filters(const ProxyRouting& routing, std::string_view host);

// Has a cluster (envoy.config.cluster.v3.Cluster) keep to a policy.
void put_policy(base::Json& cluster, const base::kube::DestinationPolicy& policy);

}  // namespace cluster
