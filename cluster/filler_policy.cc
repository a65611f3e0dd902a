#include "cluster/filler_policy.h"

#include <fmt/format.h>

#include "cluster/endpoints.h"

namespace cluster {
namespace {

namespace kube = base::kube;

// With one between any two, so that no two rules' ports are one range; most_filler_policies fit.
constexpr int first_port = 20'001;
static_assert(first_port > closed_filler_port);
// Of pods there are none of.
constexpr const char* nobodys_label = "stackbench-filler";

// The others select nobody.
bool selects_all(int number) { return number % 2 != 0; }

std::uint16_t port_of(int number) { return static_cast<std::uint16_t>(first_port + 2 * number); }

// The first of 198.18.0.0/15 or 2001:2::/48, and as many further.
base::IpAddress benchmark_address(base::AddressFamily family, std::uint32_t number) {
  const bool ipv4 = family == base::AddressFamily::ipv4;
  base::IpAddress address{.family = family, .bytes = {}};
  if (ipv4) {
    address.bytes = {198, 18};
  } else {
    address.bytes = {0x20, 0x01, 0x00, 0x02};
  }
  std::size_t at = ipv4 ? 3 : 15;
  for (auto rest = number; rest > 0; rest >>= 8) {
    address.bytes[at] = static_cast<std::uint8_t>(address.bytes[at] + (rest & 0xff));
    --at;
  }
  return address;
}

std::vector<kube::NetworkPolicyPeer> peers_of(const Filler& filler, int number) {
  std::vector<kube::NetworkPolicyPeer> peers{{.pod_selector = kube::LabelSelector{}}};
  for (int peer = 1; peer < filler.selectors; ++peer) {
    const auto unique = (number - 1) * most_filler_selectors + peer;
    if (peer % 2 == 0) {
      peers.push_back({.pod_selector = kube::LabelSelector{
                           .match_labels = {{nobodys_label, fmt::format("p{}", unique)}}}});
      continue;
    }
    const auto address = benchmark_address(filler.family, static_cast<std::uint32_t>(unique) / 2);
    peers.push_back({.ip_block = kube::IpBlock{.cidr = {address, address.host_prefix()}}});
  }
  return peers;
}

}  // namespace

std::string filler_policy_name(const Filler& filler, int number) {
  if (number == filler.policies) return std::string(first_filler_prefix) + "last";
  return fmt::format("{}{:05}", first_filler_prefix, number);
}

std::vector<std::uint16_t> filler_ports(const Filler& filler) {
  std::vector<std::uint16_t> ports;
  for (int number = 1; number < filler.policies.value_or(0); ++number) {
    if (selects_all(number)) ports.push_back(port_of(number));
  }
  return ports;
}

kube::NetworkPolicy filler_policy(const EnvironmentPlan& plan, int number) {
  const auto& filler = plan.filler;
  kube::NetworkPolicy policy;
  policy.metadata.name = filler_policy_name(filler, number);
  policy.metadata.in_namespace = default_namespace;
  policy.spec.policy_types = {kube::PolicyType::Ingress, kube::PolicyType::Egress};
  if (number == filler.policies) {
    const std::vector<kube::NetworkPolicyPeer> everybody{{.pod_selector = kube::LabelSelector{}}};
    std::vector<kube::NetworkPolicyPort> own;
    for (const auto& port : plan.ports) {
      own.push_back({.protocol = kube_protocol(port.protocol),
                     .port = kube::IntOrString{std::int32_t{port.target_port}}});
    }
    policy.spec.ingress = {{.ports = own, .from = everybody}};
    policy.spec.egress = {{.ports = own, .to = everybody}};
    return policy;
  }
  if (!selects_all(number)) policy.spec.pod_selector.match_labels = {{nobodys_label, "none"}};
  const auto peers = peers_of(filler, number);
  const std::vector<kube::NetworkPolicyPort> ports{
      {.protocol = kube::Protocol::TCP, .port = kube::IntOrString{std::int32_t{port_of(number)}}}};
  policy.spec.ingress = {{.ports = ports, .from = peers}};
  policy.spec.egress = {{.ports = ports, .to = peers}};
  return policy;
}

}  // namespace cluster
