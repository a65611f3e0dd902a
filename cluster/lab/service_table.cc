#include "cluster/lab/service_table.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>
#include <utility>

namespace cluster {
namespace {

namespace kube = base::kube;

bool is_ready(const kube::EndpointConditions& conditions) {
  return conditions.ready.value_or(true);
}

// Unknown serving is taken as ready is (discovery/v1 types.go).
bool serves_while_terminating(const kube::EndpointConditions& conditions) {
  return conditions.serving.value_or(is_ready(conditions)) &&
         conditions.terminating.value_or(false);
}

// Slices by the namespace and name of their Service.
using SlicesOf =
    std::map<std::pair<std::string, std::string>, std::vector<const kube::EndpointSlice*>>;

SlicesOf by_service(const std::vector<kube::EndpointSlice>& slices) {
  SlicesOf found;
  for (const auto& slice : slices) {
    const auto label = slice.metadata.labels.find(std::string(kube::service_name_label));
    if (label == slice.metadata.labels.end()) continue;
    found[{slice.metadata.in_namespace, label->second}].push_back(&slice);
  }
  return found;
}

base::AddressFamily family_of(kube::IpFamily family) {
  return family == kube::IpFamily::IPv4 ? base::AddressFamily::ipv4 : base::AddressFamily::ipv6;
}

// The endpoints of one slice that `wanted` picks, at the slice's port of that name and protocol.
template <typename Wanted>
void add_backends(const kube::EndpointSlice& slice, const kube::ServicePort& port, Wanted wanted,
                  std::vector<Backend>& backends) {
  for (const auto& offered : slice.ports) {
    if (offered.name != port.name || offered.protocol != port.protocol || !offered.port) continue;
    const auto number = static_cast<std::uint16_t>(*offered.port);
    for (const auto& endpoint : slice.endpoints) {
      if (endpoint.addresses.empty() || !wanted(endpoint.conditions)) continue;
      const auto address = base::IpAddress::parse(endpoint.addresses.front());
      if (!address) continue;
      const bool is_pod = endpoint.target_ref && endpoint.target_ref->kind == "Pod";
      backends.push_back({.endpoint = {*address, number},
                          .pod = is_pod ? endpoint.target_ref->name : std::string(),
                          .node = endpoint.node_name.value_or("")});
    }
  }
}

std::vector<Backend> backends_of(const kube::ServicePort& port, base::AddressFamily family,
                                 const std::vector<const kube::EndpointSlice*>& slices) {
  const auto collect = [&](auto wanted) {
    std::vector<Backend> backends;
    for (const auto* slice : slices) {
      if (family_of(slice->address_type) == family) add_backends(*slice, port, wanted, backends);
    }
    // An endpoint may be in two slices while it moves from one to the other: it counts once.
    std::sort(backends.begin(), backends.end(), [](const Backend& a, const Backend& b) {
      return std::tie(a.endpoint, a.pod) < std::tie(b.endpoint, b.pod);
    });
    const auto same = [](const Backend& a, const Backend& b) { return a.endpoint == b.endpoint; };
    backends.erase(std::unique(backends.begin(), backends.end(), same), backends.end());
    return backends;
  };
  auto ready = collect(is_ready);
  return ready.empty() ? collect(serves_while_terminating) : ready;
}

}  // namespace

ServiceTable make_service_table(const std::vector<kube::Service>& services,
                                const std::vector<kube::EndpointSlice>& slices) {
  ServiceTable table;
  auto slices_of = by_service(slices);
  for (const auto& service : services) {
    const auto& own = slices_of[{service.metadata.in_namespace, service.metadata.name}];
    for (const auto& text : service.spec.cluster_ips) {
      const auto address = base::IpAddress::parse(text);
      if (!address) continue;  // "None"
      std::vector<base::IpAddress> load_balancer_ips;
      for (const auto& ingress : service.status.load_balancer.ingress) {
        const auto given = base::IpAddress::parse(ingress.ip);
        if (given && given->family == address->family) load_balancer_ips.push_back(*given);
      }
      const bool affinity = service.spec.session_affinity == kube::SessionAffinity::ClientIP;
      for (const auto& port : service.spec.ports) {
        table.entries.push_back(
            {.service = service.metadata.name,
             .port_name = port.name,
             .protocol = port.protocol == kube::Protocol::UDP ? Protocol::UDP : Protocol::TCP,
             .cluster = {*address, static_cast<std::uint16_t>(port.port)},
             .backends = backends_of(port, address->family, own),
             .in_namespace = service.metadata.in_namespace,
             .node_port = static_cast<std::uint16_t>(port.node_port.value_or(0)),
             .load_balancer_ips = load_balancer_ips,
             .external_local = service.spec.external_traffic_policy == kube::TrafficPolicy::Local,
             .affinity = std::chrono::seconds(
                 affinity ? service.spec.session_affinity_config.client_ip.timeout_seconds : 0)});
      }
    }
  }
  const auto key = [](const ServiceEntry& entry) {
    return std::tie(entry.in_namespace, entry.service, entry.port_name, entry.protocol,
                    entry.cluster);
  };
  std::sort(table.entries.begin(), table.entries.end(),
            [&](const ServiceEntry& a, const ServiceEntry& b) { return key(a) < key(b); });
  return table;
}

}  // namespace cluster
