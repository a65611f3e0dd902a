// What NetworkPolicy v1 means: may this flow be, by the specification? A pure function of the pods,
// namespaces and policies there are; nothing here has seen a packet, and whoever enforces policies
// shares no code with it.
//
// The sources, by which each rule is cited in oracle.cc:
//   [API]   the API reference, staging/src/k8s.io/api/networking/v1/types.go
//   [CON]   kubernetes.io, Concepts, Network Policies
//   [LAB]   apimachinery pkg/labels/selector.go, how labels are compared
//   [E2E]   kubernetes test/e2e/network/netpol/network_policy.go, the upstream conformance suite
//   [CYC]   Cyclonus, github.com/mattfenwick/cyclonus, pkg/matcher
// Where they leave open what holds, the answer is `unknown`, which says why and must neither pass
// nor fail anybody.
//
// A flow is a connection or the first datagram of one; what answers it is allowed with it ("reply
// traffic for those allowed connections will also be implicitly allowed" [CON]). It is a flow to
// the address of its end, after whatever translates Services: whether policies see addresses before
// or after is "not defined" [CON].
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/address.h"
#include "base/kube/network_policy.h"
#include "base/result.h"
#include "base/scalar.h"

namespace checks {

using Labels = std::map<std::string, std::string>;

// A port that a pod's container gives a name.
struct NamedPort {
  std::string name;
  base::kube::Protocol protocol = base::kube::Protocol::TCP;
  std::uint16_t port = 0;

  bool operator==(const NamedPort&) const = default;
};

struct PolicyPod {
  std::string name;
  std::string in_namespace = "default";
  Labels labels = {};
  std::vector<base::IpAddress> addresses = {};  // of each family at most one
  std::string node = {};
  bool host_network = false;  // it has its node's addresses
  std::vector<NamedPort> named_ports = {};
};

struct PolicyNode {
  std::string name;
  std::vector<base::IpAddress> addresses = {};
};

// A policy of a kind whose meaning is not modelled here: the pods it may select are `unknown` in
// both directions.
struct UnmodelledPolicy {
  std::string kind;  // "CiliumNetworkPolicy"
  std::string name;
  std::string in_namespace = {};  // empty: of the cluster
  // Which pods it may select, as far as that can be read: absent is any.
  std::optional<base::kube::LabelSelector> pod_selector = {};
  std::optional<base::kube::LabelSelector> namespace_selector = {};
};

struct PolicyWorld {
  // By name. One that is not here has the label every namespace has, kubernetes.io/metadata.name.
  std::map<std::string, Labels> namespaces = {};
  std::vector<PolicyPod> pods = {};
  std::vector<PolicyNode> nodes = {};
  std::vector<base::kube::NetworkPolicy> policies = {};
  std::vector<UnmodelledPolicy> unmodelled = {};
};

// The ends of a flow: a pod and a node by their place in the world.
struct PodEnd {
  std::size_t pod = 0;
  bool operator==(const PodEnd&) const = default;
};
struct NodeEnd {
  std::size_t node = 0;
  // Which of its addresses the flow has; the first of the family unless said.
  std::optional<base::IpAddress> address = {};
  bool operator==(const NodeEnd&) const = default;
};
struct OutsideEnd {
  base::IpAddress address;  // as it is seen at the pod's end
  bool operator==(const OutsideEnd&) const = default;
};
using FlowEnd = std::variant<PodEnd, NodeEnd, OutsideEnd>;

struct PolicyFlow {
  FlowEnd source = {};
  FlowEnd destination = {};
  base::AddressFamily family = base::AddressFamily::ipv4;
  base::kube::Protocol protocol = base::kube::Protocol::TCP;
  std::uint16_t port = 0;  // the destination's

  bool operator==(const PolicyFlow&) const = default;
};

enum class PolicyDirection { egress, ingress };

enum class Allowance { allowed, denied, unknown };

// By which rule of oracle.cc a direction was decided.
enum class AllowanceReason {
  not_a_pod,     // allowed: the end is a node or outside, which policies do not hold for
  to_itself,     // allowed: a pod and itself
  not_isolated,  // allowed: no policy selects the pod for this direction
  own_node,      // allowed: from the node the pod runs on
  by_rule,       // allowed: a rule matches
  isolated,      // denied: policies select the pod, and no rule of theirs matches
  unmodelled,    // unknown: so does one of a kind that is not modelled
  host_network,  // unknown: the two ways to take a hostNetwork pod differ
  to_own_node,   // unknown: to the node the pod runs on, and no rule matches
  no_address,    // unknown: an end has no address of the flow's family
};

struct DirectionDecision {
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  Allowance allowance = Allowance::unknown;
  AllowanceReason reason = AllowanceReason::no_address;
  std::size_t policy = none;  // by_rule: in world.policies; unmodelled: in world.unmodelled
  std::size_t rule = none;    // by_rule: in the policy's rules of the direction, from 0
  std::size_t peer = none;    // by_rule: in the rule's peers; none where it has no peers

  bool operator==(const DirectionDecision&) const = default;
};

struct FlowDecision {
  DirectionDecision egress = {};   // of the source
  DirectionDecision ingress = {};  // of the destination
  // Of both: denied where either is, else unknown where either is.
  Allowance allowance = Allowance::unknown;

  [[nodiscard]] const DirectionDecision& of(PolicyDirection direction) const {
    return direction == PolicyDirection::egress ? egress : ingress;
  }
  bool operator==(const FlowDecision&) const = default;
};

// Whether the flow may be. The world's policies are valid (base::kube::validate) and the flow's
// ends are in it. Any thread; builds no strings.
[[nodiscard]] FlowDecision decide(const PolicyWorld& world, const PolicyFlow& flow);

// Why, in a line: "denied: egress of a/client-0 is isolated by policy a/deny-egress, none of whose
// rules matches", "allowed: egress of a/client-0: no policy selects it; ingress of b/web-0: policy
// b/web, ingress rule 1 (from podSelector app=client, TCP 80)". Rules are counted from 1. Where one
// rule fails for its ports alone, or for its peers alone, that is said.
[[nodiscard]] std::string explain(const PolicyWorld& world, const PolicyFlow& flow);
// Why, of one direction, without the verdict.
[[nodiscard]] std::string explain(const PolicyWorld& world, const PolicyFlow& flow,
                                  PolicyDirection direction);

// The policies that isolate a pod in a direction, by their places in world.policies: a pod without
// any is open. Of a hostNetwork pod they are those that select its labels, which may count for
// nothing.
[[nodiscard]] std::vector<std::size_t> isolating(const PolicyWorld& world, std::size_t pod,
                                                 PolicyDirection direction);
// Policies of other kinds that may select it, by their places in world.unmodelled.
[[nodiscard]] std::vector<std::size_t> unmodelled_of(const PolicyWorld& world, std::size_t pod);

// Whether an end is a pod with its node's network: flows of such are a category of their own.
[[nodiscard]] bool has_host_network(const PolicyWorld& world, const FlowEnd& end);

// Whether labels satisfy a selector.
[[nodiscard]] bool selects(const base::kube::LabelSelector& selector, const Labels& labels);
// Whether an address is in a block; never one of the other family.
[[nodiscard]] bool contains(const base::kube::Cidr& block, const base::IpAddress& address);

// What to make of a policy object of a kind other than NetworkPolicy; nothing where it is of none
// that is known to hold for pods: CiliumNetworkPolicy, CiliumClusterwideNetworkPolicy,
// AdminNetworkPolicy, BaselineAdminNetworkPolicy, ClusterNetworkPolicy, Calico's NetworkPolicy and
// GlobalNetworkPolicy. Which pods it selects is read where that is sure, and else taken as any.
[[nodiscard]] std::optional<UnmodelledPolicy> unmodelled_policy(const base::Json& object);

// Nothing where everything in the world is as decide() needs it: pods and nodes named once,
// policies valid. Errors: input.
[[nodiscard]] base::Result<> validate(const PolicyWorld& world);

// A pod by its name in its namespace, or nothing.
[[nodiscard]] std::optional<std::size_t> find_pod(const PolicyWorld& world,
                                                  std::string_view in_namespace,
                                                  std::string_view name);

// As sentences name them. An end: "a/client-0", "node node1", "192.0.2.7". A selector, as kubectl
// spells it: "app=web,tier notin (db)", or "all". A peer: "podSelector app=web in namespaceSelector
// team=a", "ipBlock 10.0.0.0/8 except 10.1.0.0/16". A port: "TCP 80-90", "UDP dns", "every TCP
// port". A flow: "a/client-0 to b/web-0, TCP 80 over IPv4".
[[nodiscard]] std::string describe_end(const PolicyWorld& world, const FlowEnd& end);
[[nodiscard]] std::string describe_selector(const base::kube::LabelSelector& selector);
[[nodiscard]] std::string describe_peer(const base::kube::NetworkPolicyPeer& peer);
[[nodiscard]] std::string describe_port(const base::kube::NetworkPolicyPort& port);
[[nodiscard]] std::string describe_flow(const PolicyWorld& world, const PolicyFlow& flow);

}  // namespace checks

template <>
struct base::EnumNames<checks::PolicyDirection> {
  static constexpr std::array names{
      std::pair{checks::PolicyDirection::egress, std::string_view("egress")},
      std::pair{checks::PolicyDirection::ingress, std::string_view("ingress")}};
};

template <>
struct base::EnumNames<checks::Allowance> {
  static constexpr std::array names{
      std::pair{checks::Allowance::allowed, std::string_view("allowed")},
      std::pair{checks::Allowance::denied, std::string_view("denied")},
      std::pair{checks::Allowance::unknown, std::string_view("unknown")}};
};

template <>
struct base::EnumNames<checks::AllowanceReason> {
  static constexpr std::array names{
      std::pair{checks::AllowanceReason::not_a_pod, std::string_view("not_a_pod")},
      std::pair{checks::AllowanceReason::to_itself, std::string_view("to_itself")},
      std::pair{checks::AllowanceReason::not_isolated, std::string_view("not_isolated")},
      std::pair{checks::AllowanceReason::own_node, std::string_view("own_node")},
      std::pair{checks::AllowanceReason::by_rule, std::string_view("by_rule")},
      std::pair{checks::AllowanceReason::isolated, std::string_view("isolated")},
      std::pair{checks::AllowanceReason::unmodelled, std::string_view("unmodelled")},
      std::pair{checks::AllowanceReason::host_network, std::string_view("host_network")},
      std::pair{checks::AllowanceReason::to_own_node, std::string_view("to_own_node")},
      std::pair{checks::AllowanceReason::no_address, std::string_view("no_address")}};
};
