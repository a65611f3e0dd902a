#include "checks/policy/oracle.h"

#include <algorithm>
#include <set>

namespace checks {
namespace {

using base::kube::NetworkPolicy;
using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;
using base::kube::PolicyType;
using base::kube::Protocol;

// An end of a flow as policies see it.
struct Party {
  const PolicyPod* pod = nullptr;     // nothing where it is no pod, or taken for its node
  const std::string* node = nullptr;  // that it is on, or is
  std::optional<base::IpAddress> address = {};
};

// How policies take a pod with its node's network. [CON]: what NetworkPolicy does to hostNetwork
// pods is undefined, but should be one of two: a plugin tells their traffic from others' and they
// are as other pods; or it does not, and their traffic is that of their node.
enum class HostNetwork { as_pods, as_their_nodes };

std::optional<base::IpAddress> of_family(const std::vector<base::IpAddress>& addresses,
                                         base::AddressFamily family) {
  const auto found = std::ranges::find(addresses, family, &base::IpAddress::family);
  return found == addresses.end() ? std::nullopt : std::optional(*found);
}

Party party_of(const PolicyWorld& world, const FlowEnd& end, base::AddressFamily family,
               HostNetwork taken) {
  if (const auto* outside = std::get_if<OutsideEnd>(&end)) {
    const bool fits = outside->address.family == family;
    return {.address = fits ? std::optional(outside->address) : std::nullopt};
  }
  if (const auto* at = std::get_if<NodeEnd>(&end)) {
    const auto& node = world.nodes[at->node];
    return {.node = &node.name,
            .address = of_family(at->address ? std::vector{*at->address} : node.addresses, family)};
  }
  const auto& pod = world.pods[std::get<PodEnd>(end).pod];
  Party party{.pod = &pod, .node = &pod.node, .address = of_family(pod.addresses, family)};
  if (!pod.host_network) return party;
  if (!party.address) {
    const auto node = std::ranges::find(world.nodes, pod.node, &PolicyNode::name);
    if (node != world.nodes.end()) party.address = of_family(node->addresses, family);
  }
  if (taken == HostNetwork::as_their_nodes) party.pod = nullptr;
  return party;
}

// "NetworkPolicySpec.policyTypes: if this field is not specified, it will default based on the
// existence of ingress or egress rules; policies that contain an egress section are assumed to
// affect egress, and all policies (whether or not they contain an ingress section) are assumed to
// affect ingress" [API].
bool affects(const NetworkPolicy& policy, PolicyDirection direction) {
  const auto& types = policy.spec.policy_types;
  if (types.empty()) {
    return direction == PolicyDirection::ingress || !policy.spec.egress.empty();
  }
  const auto type =
      direction == PolicyDirection::ingress ? PolicyType::Ingress : PolicyType::Egress;
  return std::ranges::find(types, type) != types.end();
}

// "podSelector selects the pods to which this NetworkPolicy object applies [...]. An empty selector
// matches all pods in the policy's namespace" [API].
bool applies_to(const NetworkPolicy& policy, const PolicyPod& pod) {
  return policy.metadata.in_namespace == pod.in_namespace &&
         selects(policy.spec.pod_selector, pod.labels);
}

bool isolates(const NetworkPolicy& policy, const PolicyPod& pod, PolicyDirection direction) {
  return affects(policy, direction) && applies_to(policy, pod);
}

bool selects_namespace(const PolicyWorld& world, const base::kube::LabelSelector& selector,
                       const std::string& name) {
  const auto found = world.namespaces.find(name);
  if (found != world.namespaces.end()) return selects(selector, found->second);
  return selects(selector, Labels{{"kubernetes.io/metadata.name", name}});
}

bool may_select(const PolicyWorld& world, const UnmodelledPolicy& policy, const PolicyPod& pod) {
  if (!policy.in_namespace.empty() && policy.in_namespace != pod.in_namespace) return false;
  if (policy.namespace_selector &&
      !selects_namespace(world, *policy.namespace_selector, pod.in_namespace)) {
    return false;
  }
  return !policy.pod_selector || selects(*policy.pod_selector, pod.labels);
}

// "ipBlock describes a particular CIDR that is allowed to the pods [...]. The except entry
// describes CIDRs that should not be included within this rule" [API]. It is a matter of addresses
// alone: "should be cluster-external IPs, since Pod IPs are ephemeral and unpredictable" [CON] is
// advice, and the suite does match pods by their addresses ("should enforce except clause while
// egress access to server in CIDR block" [E2E]), as does [CYC]. What one block excepts, another may
// allow ("should ensure an IP overlapping both IPBlock.CIDR and IPBlock.Except is allowed" [E2E]).
bool matches_block(const base::kube::IpBlock& block, const Party& peer) {
  if (!peer.address || !contains(block.cidr, *peer.address)) return false;
  return std::ranges::none_of(block.except, [&](const base::kube::Cidr& except) {
    return contains(except, *peer.address);
  });
}

// "podSelector [...] if present but empty, it selects all pods. If namespaceSelector is also set,
// then the NetworkPolicyPeer as a whole selects the pods matching podSelector in the Namespaces
// selected by NamespaceSelector. Otherwise it selects the pods matching podSelector in the policy's
// own namespace." "namespaceSelector [...] if present but empty, it selects all namespaces. [...]
// Otherwise it selects all pods in the namespaces" [API]. Selectors select pods: neither nodes nor
// what is outside.
bool matches_peer(const PolicyWorld& world, const NetworkPolicy& policy,
                  const NetworkPolicyPeer& rule_peer, const Party& peer) {
  if (rule_peer.ip_block) return matches_block(*rule_peer.ip_block, peer);
  if (peer.pod == nullptr) return false;
  const bool in_namespace =
      rule_peer.namespace_selector
          ? selects_namespace(world, *rule_peer.namespace_selector, peer.pod->in_namespace)
          : policy.metadata.in_namespace == peer.pod->in_namespace;
  return in_namespace &&
         (!rule_peer.pod_selector || selects(*rule_peer.pod_selector, peer.pod->labels));
}

// "protocol [...] If not specified, this field defaults to TCP." "port [...] can either be a
// numerical or named port on a pod. If this field is not provided, this matches all port names and
// numbers. If present, only traffic on the specified protocol AND port will be matched." "endPort
// indicates that the range of ports from port to endPort if set, inclusive, should be allowed"
// [API]. A name is one of the destination's, in both directions: at anything but a pod it matches
// nothing.
bool matches_port(const NetworkPolicyPort& port, const PolicyFlow& flow, const Party& destination) {
  if (port.protocol.value_or(Protocol::TCP) != flow.protocol) return false;
  if (!port.port) return true;
  if (const auto* number = std::get_if<std::int32_t>(&port.port->value)) {
    return flow.port >= *number && flow.port <= port.end_port.value_or(*number);
  }
  const auto& name = std::get<std::string>(port.port->value);
  return destination.pod != nullptr &&
         std::ranges::any_of(destination.pod->named_ports, [&](const NamedPort& named) {
           return named.name == name && named.protocol == flow.protocol && named.port == flow.port;
         });
}

// "The traffic must match both ports and from." "ports [...] Each item in this list is combined
// using a logical OR. If this field is empty or missing, this rule matches all ports." "from [...]
// If this field is empty or missing, this rule matches all sources" [API]. Writes which rule and
// peer it was.
template <typename Rules, typename PeersOf>
bool any_rule_matches(const PolicyWorld& world, const NetworkPolicy& policy, const Rules& rules,
                      PeersOf peers_of, const PolicyFlow& flow, const Party& peer,
                      const Party& destination, DirectionDecision& decision) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const auto& ports = rules[i].ports;
    const bool port_matches = ports.empty() || std::ranges::any_of(ports, [&](const auto& port) {
                                return matches_port(port, flow, destination);
                              });
    if (!port_matches) continue;
    const std::vector<NetworkPolicyPeer>& peers = peers_of(rules[i]);
    const auto matching = std::ranges::find_if(peers, [&](const NetworkPolicyPeer& one) {
      return matches_peer(world, policy, one, peer);
    });
    if (!peers.empty() && matching == peers.end()) continue;
    decision.rule = i;
    if (!peers.empty()) decision.peer = static_cast<std::size_t>(matching - peers.begin());
    return true;
  }
  return false;
}

bool allows(const PolicyWorld& world, std::size_t policy, PolicyDirection direction,
            const PolicyFlow& flow, const Party& peer, const Party& destination,
            DirectionDecision& decision) {
  const auto& of = world.policies[policy];
  const bool found =
      direction == PolicyDirection::ingress
          ? any_rule_matches(
                world, of, of.spec.ingress, [](const auto& rule) -> auto& { return rule.from; },
                flow, peer, destination, decision)
          : any_rule_matches(
                world, of, of.spec.egress, [](const auto& rule) -> auto& { return rule.to; }, flow,
                peer, destination, decision);
  if (found) decision.policy = policy;
  return found;
}

DirectionDecision decide_direction(const PolicyWorld& world, const PolicyFlow& flow,
                                   PolicyDirection direction, HostNetwork taken) {
  using enum AllowanceReason;
  const bool ingress = direction == PolicyDirection::ingress;
  const Party source = party_of(world, flow.source, flow.family, taken);
  const Party destination = party_of(world, flow.destination, flow.family, taken);
  const Party& subject = ingress ? destination : source;
  const Party& peer = ingress ? source : destination;

  // A flow needs an address at either end.
  if (!source.address || !destination.address) return {Allowance::unknown, no_address};

  // "NetworkPolicies apply to a connection with a pod on one or both ends, and are not relevant to
  // other connections" [CON]; to the end that is no pod they do not apply.
  if (subject.pod == nullptr) return {Allowance::allowed, not_a_pod};

  // "A pod cannot block access to itself" [CON]. To its own address a packet never leaves the pod,
  // so no plugin sees it. (The suite leaves such cells out, kubernetes issue 95879: it is unclear
  // of the way by a Service, which is another flow.)
  if (subject.pod == peer.pod) return {Allowance::allowed, to_itself};

  for (std::size_t i = 0; i < world.unmodelled.size(); ++i) {
    if (may_select(world, world.unmodelled[i], *subject.pod)) {
      return {Allowance::unknown, unmodelled, i};
    }
  }

  // "If any policy or policies select a pod, the pod is restricted to what is allowed by the union
  // of those policies' ingress/egress rules. Thus, order of evaluation does not affect the policy
  // result" [CON], and for each direction by itself: "a pod is isolated for egress if there is any
  // NetworkPolicy that both selects the pod and has "Egress" in its policyTypes", and so for
  // ingress.
  DirectionDecision decision{Allowance::allowed, by_rule};
  bool isolated_at_all = false;
  for (std::size_t i = 0; i < world.policies.size(); ++i) {
    if (!isolates(world.policies[i], *subject.pod, direction)) continue;
    isolated_at_all = true;
    if (allows(world, i, direction, flow, peer, destination, decision)) return decision;
  }
  if (!isolated_at_all) return {Allowance::allowed, not_isolated};

  const bool own = peer.pod == nullptr && peer.node != nullptr && *peer.node == *subject.node;
  // "Traffic is allowed to a pod [...] if the traffic source is the pod's local node" [API].
  if (own && ingress) return {Allowance::allowed, own_node};
  // [API] says nothing of the kind of egress; "traffic to and from the node where a Pod is running
  // is always allowed" [CON] does. Plugins differ.
  if (own) return {Allowance::unknown, to_own_node};

  return {Allowance::denied, isolated};
}

}  // namespace

FlowDecision decide(const PolicyWorld& world, const PolicyFlow& flow) {
  const bool host_network =
      has_host_network(world, flow.source) || has_host_network(world, flow.destination);
  const auto in_direction = [&](PolicyDirection direction) -> DirectionDecision {
    const auto as_node = decide_direction(world, flow, direction, HostNetwork::as_their_nodes);
    if (!host_network) return as_node;
    // What holds of such a pod either way holds; the rest is left open.
    const auto as_pod = decide_direction(world, flow, direction, HostNetwork::as_pods);
    if (as_pod.allowance == as_node.allowance) return as_node;
    return {Allowance::unknown, AllowanceReason::host_network};
  };
  FlowDecision decision{.egress = in_direction(PolicyDirection::egress),
                        .ingress = in_direction(PolicyDirection::ingress)};
  // "For a connection from a source pod to a destination pod to be allowed, both the egress policy
  // on the source pod and the ingress policy on the destination pod need to allow the connection.
  // If either side does not allow the connection, it will not happen" [CON].
  const auto either = [&](Allowance allowance) {
    return decision.egress.allowance == allowance || decision.ingress.allowance == allowance;
  };
  decision.allowance = either(Allowance::denied)    ? Allowance::denied
                       : either(Allowance::unknown) ? Allowance::unknown
                                                    : Allowance::allowed;
  return decision;
}

// "A label selector is a label query over a set of resources. The result of matchLabels and
// matchExpressions are ANDed. An empty label selector matches all objects" (meta/v1 LabelSelector).
// NotIn holds where the key is absent, too ([LAB], Requirement.Matches).
bool selects(const base::kube::LabelSelector& selector, const Labels& labels) {
  using enum base::kube::SelectorOperator;
  for (const auto& [key, value] : selector.match_labels) {
    const auto found = labels.find(key);
    if (found == labels.end() || found->second != value) return false;
  }
  for (const auto& expression : selector.match_expressions) {
    const auto found = labels.find(expression.key);
    const bool has = found != labels.end();
    const bool among =
        has && std::ranges::find(expression.values, found->second) != expression.values.end();
    switch (expression.op) {
      case In:
        if (!among) return false;
        break;
      case NotIn:
        if (among) return false;
        break;
      case Exists:
        if (!has) return false;
        break;
      case DoesNotExist:
        if (has) return false;
        break;
    }
  }
  return true;
}

bool has_host_network(const PolicyWorld& world, const FlowEnd& end) {
  const auto* pod = std::get_if<PodEnd>(&end);
  return pod != nullptr && world.pods[pod->pod].host_network;
}

bool contains(const base::kube::Cidr& block, const base::IpAddress& address) {
  if (block.address.family != address.family) return false;
  const auto whole = static_cast<std::size_t>(block.prefix / 8);
  if (!std::equal(address.bytes.begin(), address.bytes.begin() + block.prefix / 8,
                  block.address.bytes.begin())) {
    return false;
  }
  const int rest = block.prefix % 8;
  return rest == 0 || (address.bytes[whole] ^ block.address.bytes[whole]) >> (8 - rest) == 0;
}

std::vector<std::size_t> isolating(const PolicyWorld& world, std::size_t pod,
                                   PolicyDirection direction) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < world.policies.size(); ++i) {
    if (isolates(world.policies[i], world.pods[pod], direction)) all.push_back(i);
  }
  return all;
}

std::vector<std::size_t> unmodelled_of(const PolicyWorld& world, std::size_t pod) {
  std::vector<std::size_t> all;
  for (std::size_t i = 0; i < world.unmodelled.size(); ++i) {
    if (may_select(world, world.unmodelled[i], world.pods[pod])) all.push_back(i);
  }
  return all;
}

base::Result<> validate(const PolicyWorld& world) {
  std::set<std::pair<std::string, std::string>> names;
  for (const auto& pod : world.pods) {
    if (!names.emplace(pod.in_namespace, pod.name).second) {
      return base::fail(base::ErrorKind::input, "there are two pods {}/{}", pod.in_namespace,
                        pod.name);
    }
  }
  std::set<std::string> nodes;
  for (const auto& node : world.nodes) {
    if (!nodes.insert(node.name).second) {
      return base::fail(base::ErrorKind::input, "there are two nodes {}", node.name);
    }
  }
  for (const auto& policy : world.policies) RETURN_IF_ERROR(base::kube::validate(policy));
  return {};
}

std::optional<std::size_t> find_pod(const PolicyWorld& world, std::string_view in_namespace,
                                    std::string_view name) {
  const auto found = std::ranges::find_if(world.pods, [&](const PolicyPod& pod) {
    return pod.in_namespace == in_namespace && pod.name == name;
  });
  if (found == world.pods.end()) return std::nullopt;
  return static_cast<std::size_t>(found - world.pods.begin());
}

}  // namespace checks
