#include "cluster/endpoints.h"

namespace cluster {

namespace kube = base::kube;

Readiness first_readiness(const PodHandle& pod) {
  return pod.standby ? Readiness::unready : Readiness::ready;
}

kube::Protocol kube_protocol(Protocol protocol) {
  return protocol == Protocol::UDP ? kube::Protocol::UDP : kube::Protocol::TCP;
}

std::vector<kube::SlicePort> slice_ports(const std::vector<ServicePort>& ports) {
  std::vector<kube::SlicePort> all;
  for (const auto& port : ports) {
    all.push_back(
        {.name = port.name, .protocol = kube_protocol(port.protocol), .port = port.target_port});
  }
  return all;
}

kube::EndpointSlice endpoint_slice(const std::string& service, const std::string& target,
                                   base::AddressFamily family, const std::vector<PodHandle>& pods,
                                   const std::vector<ServicePort>& ports,
                                   const std::function<Readiness(const PodHandle&)>& readiness) {
  const bool ipv4 = family == base::AddressFamily::ipv4;
  kube::EndpointSlice slice{.address_type = ipv4 ? kube::IpFamily::IPv4 : kube::IpFamily::IPv6};
  slice.metadata.name = fmt::format("{}-{}", service, ipv4 ? "ipv4" : "ipv6");
  slice.metadata.labels[std::string(kube::service_name_label)] = service;
  slice.ports = slice_ports(ports);
  for (const auto& pod : pods) {
    if (pod.group != target) continue;
    const auto state = readiness(pod);
    slice.endpoints.push_back(
        {.addresses = {pod.address(family).to_string()},
         .conditions = {.ready = state == Readiness::ready,
                        .serving = state != Readiness::unready,
                        .terminating = state == Readiness::terminating},
         .node_name = fmt::format("node{}", pod.node),
         .target_ref = kube::TargetReference{.kind = "Pod", .name = pod.name}});
  }
  return slice;
}

}  // namespace cluster
