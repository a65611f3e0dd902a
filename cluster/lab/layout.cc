#include "cluster/lab/layout.h"

#include <algorithm>
#include <map>
#include <set>

#include "cluster/check_plan.h"
#include "cluster/endpoints.h"
#include "cluster/lab/addresses.h"

namespace cluster {
namespace {

namespace kube = base::kube;
using base::ErrorKind;
using base::Result;

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
  RETURN_IF_ERROR(check_plan(plan));
  const auto& topology = plan.topology;
  Layout layout{.nodes = topology.nodes, .external_addresses = plan.external_addresses};
  std::map<int, int> pods_on;
  for (auto& handle : pods_of(plan)) {
    const int number = ++pods_on[handle.node];
    if (number > addresses::most_pods_per_node) {
      return base::fail(ErrorKind::input, "topology.pods: more than {} pods on node {}",
                        addresses::most_pods_per_node, handle.node);
    }
    handle.ipv4 = addresses::pod_ipv4(handle.node, number);
    handle.ipv6 = addresses::pod_ipv6(handle.node, number);
    layout.pods.push_back({.handle = std::move(handle), .number = number});
  }
  for (const auto& [name, spec] : topology.services) {
    if (spec.type == ServiceType::LoadBalancer)
      layout.balancers.push_back(balancer_of(layout, name, spec));
  }
  return layout;
}

bool has_fault(const EnvironmentPlan& plan, FaultKind fault) {
  return std::ranges::find(plan.faults, fault) != plan.faults.end();
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
