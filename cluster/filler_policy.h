// The NetworkPolicies an environment holds beside a scenario's own, for what many of them cost: as
// objects, so that a lab and a cluster are given the same.
//
// They are in the namespace `default`, called filler-00001 and on, the last of them filler-last.
// Every other one selects all pods there, in both directions, so that its rule is among those their
// packets are judged by; the rest select nobody. None of these allows what pods say to each other
// under a workload; filler-last, which comes after them where policies are walked in order of
// their names, allows it, port by port.
//
// A rule of theirs has a port of its own and `Filler::selectors` peers: the first are the pods that
// are there, of the others every second is an address set aside for benchmarks (RFC 2544, RFC
// 5180), the rest are selectors of pods there are none of.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/kube/network_policy.h"
#include "cluster/topology.h"

namespace cluster {

// Of the policy of this number, from 1 to filler.policies.
[[nodiscard]] std::string filler_policy_name(const Filler& filler, int number);
[[nodiscard]] base::kube::NetworkPolicy filler_policy(const EnvironmentPlan& plan, int number);

// By which it can be told from packets whether they are in force: the TCP ports that those which
// select all pods open to each other, one each, and one that none of them opens. Of filler-last the
// workload itself tells.
[[nodiscard]] std::vector<std::uint16_t> filler_ports(const Filler& filler);
inline constexpr std::uint16_t closed_filler_port = 20'000;

}  // namespace cluster
