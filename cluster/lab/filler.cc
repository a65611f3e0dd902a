#include "cluster/lab/filler.h"

#include <string>

#include <fmt/format.h>

#include "cluster/check_plan.h"
#include "cluster/endpoints.h"

namespace cluster {
namespace {

namespace kube = base::kube;

kube::IpFamily family_of(const Filler& filler) {
  return filler.family == base::AddressFamily::ipv4 ? kube::IpFamily::IPv4 : kube::IpFamily::IPv6;
}

}  // namespace

std::vector<kube::Service> filler_services(const EnvironmentPlan& plan) {
  kube::Service service;
  service.spec.ip_families = {family_of(plan.filler)};
  service.spec.ports = service_ports(plan);
  std::vector<kube::Service> services;
  for (int number = 1; number <= plan.filler.services; ++number) {
    service.metadata.name = filler_name(plan.filler, number);
    services.push_back(service);
  }
  return services;
}

std::vector<kube::EndpointSlice> filler_slices(const EnvironmentPlan& plan, const Layout& layout) {
  if (layout.pods.empty()) return {};
  const auto& pod = layout.pods.front().handle;
  kube::EndpointSlice slice{.address_type = family_of(plan.filler)};
  slice.endpoints = {{.addresses = {pod.address(plan.filler.family).to_string()},
                      .conditions = {.ready = true, .serving = true, .terminating = false},
                      .node_name = fmt::format("node{}", pod.node),
                      .target_ref = kube::TargetReference{.kind = "Pod", .name = pod.name}}};
  slice.ports = slice_ports(plan.ports);
  std::vector<kube::EndpointSlice> slices;
  for (int number = 1; number <= plan.filler.services; ++number) {
    slice.metadata.name = filler_name(plan.filler, number);
    slice.metadata.labels[std::string(kube::service_name_label)] = slice.metadata.name;
    slices.push_back(slice);
  }
  return slices;
}

}  // namespace cluster
