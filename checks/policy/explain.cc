// Why the oracle answers as it does, in sentences.
#include <algorithm>

#include "checks/policy/oracle.h"

namespace checks {
namespace {

using base::kube::NetworkPolicy;
using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;

constexpr std::size_t near_misses_told = 3;

std::string name_of(const NetworkPolicy& policy) {
  return fmt::format("{}/{}", policy.metadata.in_namespace, policy.metadata.name);
}

std::string_view family_name(base::AddressFamily family) {
  return family == base::AddressFamily::ipv4 ? "IPv4" : "IPv6";
}

template <typename T, typename Describe>
std::string listed(const std::vector<T>& all, Describe describe) {
  std::vector<std::string> texts;
  for (const auto& one : all) texts.push_back(describe(one));
  return fmt::format("{}", fmt::join(texts, ", "));
}

// A rule of either direction.
struct Rule {
  const std::vector<NetworkPolicyPort>* ports;
  const std::vector<NetworkPolicyPeer>* peers;
};

std::vector<Rule> rules_of(const NetworkPolicy& policy, PolicyDirection direction) {
  std::vector<Rule> rules;
  if (direction == PolicyDirection::ingress) {
    for (const auto& rule : policy.spec.ingress) rules.push_back({&rule.ports, &rule.from});
  } else {
    for (const auto& rule : policy.spec.egress) rules.push_back({&rule.ports, &rule.to});
  }
  return rules;
}

std::string ports_of(const Rule& rule) {
  return rule.ports->empty() ? "every port" : listed(*rule.ports, describe_port);
}

std::string by_rule(const PolicyWorld& world, const DirectionDecision& decision,
                    PolicyDirection direction) {
  const auto& policy = world.policies[decision.policy];
  const auto rule = rules_of(policy, direction)[decision.rule];
  return fmt::format(
      "policy {}, {} rule {} ({} {}, {})", name_of(policy), base::enum_name(direction),
      decision.rule + 1, direction == PolicyDirection::ingress ? "from" : "to",
      decision.peer == DirectionDecision::none ? "anybody"
                                               : describe_peer((*rule.peers)[decision.peer]),
      ports_of(rule));
}

// Whether the flow would be allowed in the direction were these ports and peers all there is of all
// policies. `alone` is the world, whose policies are overwritten.
bool would_allow(PolicyWorld& alone, const PolicyFlow& flow, PolicyDirection direction,
                 const NetworkPolicy& policy, const std::vector<NetworkPolicyPort>& ports,
                 const std::vector<NetworkPolicyPeer>& peers) {
  NetworkPolicy only{.metadata = policy.metadata};
  only.spec.pod_selector = policy.spec.pod_selector;
  only.spec.policy_types = policy.spec.policy_types;
  if (direction == PolicyDirection::ingress) {
    only.spec.ingress = {{.ports = ports, .from = peers}};
  } else {
    only.spec.egress = {{.ports = ports, .to = peers}};
  }
  alone.policies = {std::move(only)};
  return decide(alone, flow).of(direction).allowance == Allowance::allowed;
}

// What rules fail by one half: the first few of them.
std::vector<std::string> near_misses(const PolicyWorld& world, const PolicyFlow& flow,
                                     PolicyDirection direction,
                                     const std::vector<std::size_t>& policies) {
  const bool ingress = direction == PolicyDirection::ingress;
  const auto other = describe_end(world, ingress ? flow.source : flow.destination);
  PolicyWorld alone{.namespaces = world.namespaces, .pods = world.pods, .nodes = world.nodes};
  std::vector<std::string> misses;
  for (const auto i : policies) {
    const auto& policy = world.policies[i];
    const auto rules = rules_of(policy, direction);
    for (std::size_t r = 0; r < rules.size() && misses.size() < near_misses_told; ++r) {
      const auto& rule = rules[r];
      const auto which = fmt::format("{}, rule {}", name_of(policy), r + 1);
      if (would_allow(alone, flow, direction, policy, {}, *rule.peers)) {
        misses.push_back(fmt::format("{} has {}, but only for {}", which, other, ports_of(rule)));
      } else if (!rule.ports->empty() &&
                 would_allow(alone, flow, direction, policy, *rule.ports, {})) {
        misses.push_back(fmt::format("{} has the port, but only {} {}", which,
                                     ingress ? "from" : "to", listed(*rule.peers, describe_peer)));
      }
    }
  }
  return misses;
}

std::string isolated(const PolicyWorld& world, const PolicyFlow& flow, PolicyDirection direction,
                     const FlowEnd& subject) {
  const auto policies = isolating(world, std::get<PodEnd>(subject).pod, direction);
  const auto names = listed(policies, [&](std::size_t i) { return name_of(world.policies[i]); });
  auto sentence = fmt::format("{} of {} is isolated by {} {}, none of whose rules matches",
                              base::enum_name(direction), describe_end(world, subject),
                              policies.size() == 1 ? "policy" : "policies", names);
  const auto misses = near_misses(world, flow, direction, policies);
  if (!misses.empty()) sentence += fmt::format(" ({})", fmt::join(misses, "; "));
  return sentence;
}

std::string without_address(const PolicyWorld& world, const PolicyFlow& flow) {
  // Alone with itself only the end that has none is undecided.
  const auto lacks = [&](const FlowEnd& end) {
    const auto with_itself = PolicyFlow{.source = end, .destination = end, .family = flow.family};
    return decide(world, with_itself).egress.reason == AllowanceReason::no_address;
  };
  return fmt::format("{} has no {} address",
                     describe_end(world, lacks(flow.source) ? flow.source : flow.destination),
                     family_name(flow.family));
}

}  // namespace

std::string describe_end(const PolicyWorld& world, const FlowEnd& end) {
  if (const auto* outside = std::get_if<OutsideEnd>(&end)) return outside->address.to_string();
  if (const auto* node = std::get_if<NodeEnd>(&end)) {
    return fmt::format("node {}", world.nodes[node->node].name);
  }
  const auto& pod = world.pods[std::get<PodEnd>(end).pod];
  return fmt::format("{}/{}", pod.in_namespace, pod.name);
}

std::string describe_selector(const base::kube::LabelSelector& selector) {
  using enum base::kube::SelectorOperator;
  std::vector<std::string> parts;
  for (const auto& [key, value] : selector.match_labels) {
    parts.push_back(fmt::format("{}={}", key, value));
  }
  for (const auto& one : selector.match_expressions) {
    const auto values = fmt::format("({})", fmt::join(one.values, ","));
    switch (one.op) {
      case In:
        parts.push_back(fmt::format("{} in {}", one.key, values));
        break;
      case NotIn:
        parts.push_back(fmt::format("{} notin {}", one.key, values));
        break;
      case Exists:
        parts.push_back(one.key);
        break;
      case DoesNotExist:
        parts.push_back("!" + one.key);
        break;
    }
  }
  return parts.empty() ? "all" : fmt::format("{}", fmt::join(parts, ","));
}

std::string describe_peer(const NetworkPolicyPeer& peer) {
  if (peer.ip_block) {
    auto block = "ipBlock " + peer.ip_block->cidr.to_string();
    if (peer.ip_block->except.empty()) return block;
    return fmt::format("{} except {}", block, listed(peer.ip_block->except, [](const auto& one) {
                         return one.to_string();
                       }));
  }
  std::vector<std::string> parts;
  if (peer.pod_selector) parts.push_back("podSelector " + describe_selector(*peer.pod_selector));
  if (peer.namespace_selector) {
    parts.push_back("namespaceSelector " + describe_selector(*peer.namespace_selector));
  }
  return fmt::format("{}", fmt::join(parts, " in "));
}

std::string describe_port(const NetworkPolicyPort& port) {
  const auto protocol = base::enum_name(port.protocol.value_or(base::kube::Protocol::TCP));
  if (!port.port) return fmt::format("every {} port", protocol);
  if (const auto* name = std::get_if<std::string>(&port.port->value)) {
    return fmt::format("{} {}", protocol, *name);
  }
  const auto first = std::get<std::int32_t>(port.port->value);
  if (!port.end_port) return fmt::format("{} {}", protocol, first);
  return fmt::format("{} {}-{}", protocol, first, *port.end_port);
}

std::string describe_flow(const PolicyWorld& world, const PolicyFlow& flow) {
  return fmt::format("{} to {}, {} {} over {}", describe_end(world, flow.source),
                     describe_end(world, flow.destination), base::enum_name(flow.protocol),
                     flow.port, family_name(flow.family));
}

std::string explain(const PolicyWorld& world, const PolicyFlow& flow, PolicyDirection direction) {
  const auto decision = decide(world, flow).of(direction);
  const auto& subject = direction == PolicyDirection::egress ? flow.source : flow.destination;
  const auto end = describe_end(world, subject);
  const auto of = fmt::format("{} of {}", base::enum_name(direction), end);
  switch (decision.reason) {
    case AllowanceReason::not_a_pod:
      return has_host_network(world, subject)
                 ? fmt::format("{}: it has its node's network, and either way to take it allows it",
                               of)
                 : fmt::format("no policy holds for {}", end);
    case AllowanceReason::to_itself:
      return of + ": a pod cannot block access to itself";
    case AllowanceReason::not_isolated:
      return of + ": no policy selects it";
    case AllowanceReason::own_node:
      return of + ": the flow comes from the node the pod runs on";
    case AllowanceReason::by_rule:
      return fmt::format("{}: {}", of, by_rule(world, decision, direction));
    case AllowanceReason::isolated:
      return isolated(world, flow, direction, subject);
    case AllowanceReason::unmodelled: {
      const auto& policy = world.unmodelled[decision.policy];
      return fmt::format("{}: {} {}{}{} may select it, a kind that is not modelled", of,
                         policy.kind, policy.in_namespace, policy.in_namespace.empty() ? "" : "/",
                         policy.name);
    }
    case AllowanceReason::host_network:
      return of + ": whether policies tell a hostNetwork pod from its node is left to the plugin";
    case AllowanceReason::to_own_node:
      return of +
             ": no rule matches, and whether policies hold towards the pod's own node is left "
             "to the plugin";
    case AllowanceReason::no_address:
      return without_address(world, flow);
  }
  return {};
}

std::string explain(const PolicyWorld& world, const PolicyFlow& flow) {
  const auto decision = decide(world, flow);
  std::vector<std::string> clauses;
  for (const auto direction : {PolicyDirection::egress, PolicyDirection::ingress}) {
    // Of a flow that is not allowed, what stands against it.
    if (decision.of(direction).allowance != decision.allowance) continue;
    auto clause = explain(world, flow, direction);
    if (clauses.empty() || clauses.back() != clause) clauses.push_back(std::move(clause));
  }
  return fmt::format("{}: {}", base::enum_name(decision.allowance), fmt::join(clauses, "; "));
}

}  // namespace checks
