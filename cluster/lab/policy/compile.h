// From Kubernetes objects to the tables the policy programs look packets up in (policy_table.h).
//
// What a NetworkPolicy means is read here from the API reference (networking.k8s.io/v1 types.go,
// and "Network Policies" of the Kubernetes documentation) and from nothing else: a pod is isolated
// in a direction by the policies that select it and list that direction, and is then allowed what
// any rule of any of them allows. Where the API leaves it open: an ipBlock holds the addresses of
// pods, too; ports by name are those of the pod that is reached, and nobody outside has any; a rule
// that names ports allows no protocol without ports.
//
// Pods that the same policies select share a rule set for each direction. Everybody a rule may name
// is in a class: addresses that no selector and no ipBlock of any policy tells apart.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/address.h"
#include "base/kube/network_policy.h"
#include "cluster/lab/policy/policy_table.h"
#include "cluster/topology.h"

namespace cluster {

// A port of a pod's containers.
struct NamedPort {
  std::string name;
  base::kube::Protocol protocol = base::kube::Protocol::TCP;
  std::uint16_t port = 0;

  auto operator<=>(const NamedPort&) const = default;
};

struct PolicyPod {
  std::uint32_t number = 0;  // from 1, below 65536
  std::string name;
  std::string in_namespace;
  Labels labels;
  base::IpAddress ipv4;
  base::IpAddress ipv6;
  std::vector<NamedPort> ports;

  bool operator==(const PolicyPod&) const = default;
};

// Everything a verdict depends on. Policies are as base::kube::read_network_policy() gives them.
struct PolicyObjects {
  std::map<std::string, Labels> namespaces;  // kubernetes.io/metadata.name among the labels
  std::vector<PolicyPod> pods;
  std::vector<base::kube::NetworkPolicy> policies;

  bool operator==(const PolicyObjects&) const = default;
};

// Broken on purpose: FaultKind's policy_port_too_wide, policy_except_ignored,
// policy_udp_egress_open, policy_new_pod_open.
struct CompileFaults {
  bool port_too_wide = false;
  bool except_ignored = false;
  bool udp_egress_open = false;
  std::set<std::uint32_t> open_pods = {};  // that no policy isolates
};

// An address as a number; IPv4 in `low` alone.
struct PolicyAddressNumber {
  std::uint64_t high = 0;
  std::uint64_t low = 0;

  auto operator<=>(const PolicyAddressNumber&) const = default;
};

// Keys are protocol << 16 | port, from `first` to `last`.
struct ServiceRange {
  std::uint32_t first = 0;
  std::uint32_t last = 0;

  auto operator<=>(const ServiceRange&) const = default;
};

// One generation, before it is laid out.
struct PolicyTables {
  struct Pod {
    std::uint32_t ingress = 0;  // its rule set; 0: not isolated
    std::uint32_t egress = 0;
    std::uint32_t class_ipv4 = 0;
    std::uint32_t class_ipv6 = 0;
    PolicyAddressNumber ipv4 = {};
    PolicyAddressNumber ipv6 = {};
  };
  struct Span {
    PolicyAddressNumber first;
    std::uint32_t in_class = 0;
  };
  std::vector<Pod> pods;  // by number; that of 0 is nobody's
  std::vector<Span> spans_ipv4;
  std::vector<Span> spans_ipv6;
  // By rule set and class (POLICY_EVERYBODY: whoever it is); ascending, merged.
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<ServiceRange>> allowed;
  std::size_t policies = 0;
  std::size_t identities = 0;  // different labels (and ports) of pods in their namespaces
  std::size_t classes = 0;
  std::size_t rule_sets = 0;
};

// Any thread; the work grows with policies × pods, and with the rules of each rule set.
[[nodiscard]] PolicyTables compile_policies(const PolicyObjects& objects,
                                            const CompileFaults& faults = {});

// The table as the programs read it.
[[nodiscard]] std::vector<PolicyEntry> lay_out(const PolicyTables& tables,
                                               std::uint32_t generation);

// An address as a number.
[[nodiscard]] PolicyAddressNumber number_of(const base::IpAddress& address);

}  // namespace cluster
