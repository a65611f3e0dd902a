#include "cluster/lab/layout.h"

#include <algorithm>
#include <map>
#include <set>

#include "cluster/endpoints.h"
#include "cluster/lab/addresses.h"

namespace cluster {
namespace {

namespace kube = base::kube;
using base::ErrorKind;
using base::Result;

Result<> check_name(std::string_view what, const std::string& name) {
  if (kube::is_dns_label(name)) return {};
  return base::fail(ErrorKind::input, "{}: expected 1 to 63 of a-z, 0-9 and -, got \"{}\"", what,
                    name);
}

// An environment's name becomes part of file names; it has its own alphabet (cluster/topology.h).
Result<> check_environment_name(const std::string& name) {
  const bool fits =
      !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char letter) {
        return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9') ||
               letter == '_';
      });
  if (fits) return {};
  return base::fail(ErrorKind::input, "environment: expected 1 to 63 of a-z, 0-9 and _, got \"{}\"",
                    name);
}

Result<> check_ports(const std::vector<ServicePort>& ports) {
  std::set<std::string> names;
  std::set<std::pair<Protocol, std::uint16_t>> offered;
  for (const auto& port : ports) {
    RETURN_IF_ERROR(check_name("ports", port.name));
    if (port.port == 0 || port.target_port == 0) {
      return base::fail(ErrorKind::input, "ports: {}: expected 1 to 65535, got 0", port.name);
    }
    if (!names.insert(port.name).second || !offered.insert({port.protocol, port.port}).second) {
      return base::fail(ErrorKind::input, "ports: {} {} appears twice", port.name, port.port);
    }
  }
  return {};
}

Result<> check_services(const EnvironmentPlan& plan) {
  for (const auto& [name, service] : plan.topology.services) {
    RETURN_IF_ERROR(check_name("topology.services", name));
    if (!plan.topology.pods.contains(service.target)) {
      return base::fail(ErrorKind::input, "topology.services.{}.target: there are no pods \"{}\"",
                        name, service.target);
    }
  }
  if (!plan.topology.services.empty() && plan.ports.empty()) {
    return base::fail(ErrorKind::input, "topology.services: a Service needs at least one port");
  }
  return {};
}

kube::ServiceType kube_type(ServiceType type) {
  switch (type) {
    case ServiceType::ClusterIP:
      return kube::ServiceType::ClusterIP;
    case ServiceType::NodePort:
      return kube::ServiceType::NodePort;
    case ServiceType::LoadBalancer:
      return kube::ServiceType::LoadBalancer;
  }
  return kube::ServiceType::ClusterIP;
}

LaidOutBalancer balancer_of(const Layout& layout, const std::string& name,
                            const ServiceSpec& spec) {
  const int index = static_cast<int>(layout.balancers.size()) + 1;
  LaidOutBalancer balancer{.service = name,
                           .ipv4 = addresses::load_balancer_ipv4(index),
                           .ipv6 = addresses::load_balancer_ipv6(index),
                           .nodes = {}};
  std::set<int> with_pods;
  for (const auto& pod : layout.pods) {
    if (pod.handle.group == spec.target) with_pods.insert(pod.handle.node);
  }
  for (int node = 1; node <= layout.nodes; ++node) {
    if (spec.external_traffic_policy == kube::TrafficPolicy::Cluster || with_pods.contains(node)) {
      balancer.nodes.push_back(node);
    }
  }
  return balancer;
}

}  // namespace

Result<Layout> lay_out(const EnvironmentPlan& plan) {
  RETURN_IF_ERROR(check_environment_name(plan.name));
  RETURN_IF_ERROR(check_ports(plan.ports));
  const auto& topology = plan.topology;
  if (topology.nodes < 1 || topology.nodes > addresses::most_nodes) {
    return base::fail(ErrorKind::input, "topology.nodes: expected 1 to {}, got {}",
                      addresses::most_nodes, topology.nodes);
  }
  if (topology.pods.empty()) return base::fail(ErrorKind::input, "topology.pods: expected some");
  RETURN_IF_ERROR(check_services(plan));

  Layout layout{.nodes = topology.nodes};
  std::map<int, int> pods_on;
  for (const auto& [group, spec] : topology.pods) {
    RETURN_IF_ERROR(check_name("topology.pods", group));
    if (group == external_client) {
      return base::fail(ErrorKind::input,
                        "topology.pods.{}: this name is kept for the client outside", group);
    }
    if (spec.node < 1 || spec.node > topology.nodes) {
      return base::fail(ErrorKind::input, "topology.pods.{}.node: expected 1 to {}, got {}", group,
                        topology.nodes, spec.node);
    }
    for (int replica = 0; replica < spec.replicas + spec.standby; ++replica) {
      const int number = ++pods_on[spec.node];
      if (number > addresses::most_pods_per_node) {
        return base::fail(ErrorKind::input, "topology.pods: more than {} pods on node {}",
                          addresses::most_pods_per_node, spec.node);
      }
      layout.pods.push_back({.handle = {.name = fmt::format("{}-{}", group, replica),
                                        .group = group,
                                        .node = spec.node,
                                        .ipv4 = addresses::pod_ipv4(spec.node, number),
                                        .ipv6 = addresses::pod_ipv6(spec.node, number),
                                        .id = static_cast<std::uint32_t>(layout.pods.size() + 1),
                                        .standby = replica >= spec.replicas},
                             .number = number});
    }
  }
  for (const auto& [name, spec] : topology.services) {
    if (spec.type == ServiceType::LoadBalancer)
      layout.balancers.push_back(balancer_of(layout, name, spec));
  }
  return layout;
}

std::vector<kube::ServicePort> service_ports(const EnvironmentPlan& plan) {
  std::vector<kube::ServicePort> ports;
  for (const auto& port : plan.ports) {
    ports.push_back({.name = port.name,
                     .protocol = kube_protocol(port.protocol),
                     .port = port.port,
                     .target_port = kube::IntOrString{port.target_port}});
  }
  return ports;
}

std::vector<kube::Service> services_of(const EnvironmentPlan& plan, const Layout& layout) {
  std::vector<kube::Service> services;
  for (const auto& [name, spec] : plan.topology.services) {
    kube::Service service;
    service.metadata.name = name;
    service.spec.selector = {{"app", spec.target}};
    service.spec.type = kube_type(spec.type);
    service.spec.session_affinity = spec.session_affinity;
    service.spec.external_traffic_policy = spec.external_traffic_policy;
    const auto balancer = std::ranges::find(layout.balancers, name, &LaidOutBalancer::service);
    if (balancer != layout.balancers.end()) {
      service.status.load_balancer.ingress = {{balancer->ipv4.to_string()},
                                              {balancer->ipv6.to_string()}};
    }
    service.spec.ports = service_ports(plan);
    services.push_back(std::move(service));
  }
  return services;
}

std::vector<kube::EndpointSlice> slices_of(const EnvironmentPlan& plan, const Layout& layout) {
  std::vector<kube::EndpointSlice> slices;
  std::vector<PodHandle> pods;
  for (const auto& pod : layout.pods) pods.push_back(pod.handle);
  for (const auto& [name, spec] : plan.topology.services) {
    for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
      slices.push_back(endpoint_slice(name, spec.target, family, pods, plan.ports));
    }
  }
  return slices;
}

}  // namespace cluster
