// One case for each thing NetworkPolicy can say. The topics are those of the upstream suites
// (Kubernetes' test/e2e/network/netpol, Cyclonus' feature tags); the policies are made of the pods,
// namespaces and ports at hand.
#include <algorithm>

#include "checks/policy/generator.h"

namespace checks {
namespace {

using base::kube::Cidr;
using base::kube::IntOrString;
using base::kube::IpBlock;
using base::kube::LabelSelector;
using base::kube::NetworkPolicy;
using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;
using base::kube::PolicyType;
using base::kube::Protocol;
using base::kube::SelectorExpression;
using base::kube::SelectorOperator;

using Peers = std::vector<NetworkPolicyPeer>;
using Ports = std::vector<NetworkPolicyPort>;

struct CaseRule {
  Peers peers = {};
  Ports ports = {};
};

NetworkPolicyPort numbered(std::uint16_t port, std::optional<Protocol> protocol = {}) {
  return {.protocol = protocol, .port = IntOrString{std::int32_t{port}}};
}

LabelSelector of_expression(std::string key, SelectorOperator op, std::vector<std::string> values) {
  return {.match_expressions = {
              SelectorExpression{.key = std::move(key), .op = op, .values = std::move(values)}}};
}

// The label by which `one` is told from as many of `others` as can be.
std::pair<std::string, std::string> telling_label(const Labels& one,
                                                  const std::vector<const Labels*>& others) {
  std::pair<std::string, std::string> best;
  std::ptrdiff_t most = -1;
  for (const auto& label : one) {
    const auto tells = std::ranges::count_if(others, [&](const Labels* other) {
      const auto found = other->find(label.first);
      return found == other->end() || found->second != label.second;
    });
    if (tells > most) {
      most = tells;
      best = label;
    }
  }
  return best;
}

class Cases {
 public:
  explicit Cases(const PolicySpace& space) : space_(space), world_(space.world) { pick(); }

  std::vector<PolicyCase> all() {
    if (subject_ == nullptr) return {};
    isolation();
    for (const auto direction : {PolicyDirection::ingress, PolicyDirection::egress}) {
      direction_ = direction;
      selectors();
      expressions();
      blocks();
      ports();
      several();
      changes();
    }
    return std::move(cases_);
  }

 private:
  // The pod most policies are about, another of its namespace, one of another namespace.
  void pick() {
    for (const auto& pod : world_.pods) {
      if (pod.host_network || pod.labels.empty()) continue;
      if (subject_ == nullptr) {
        subject_ = &pod;
      } else if (pod.in_namespace != subject_->in_namespace) {
        if (stranger_ == nullptr) stranger_ = &pod;
      } else if (sibling_ == nullptr) {
        sibling_ = &pod;
      }
    }
  }

  std::pair<std::string, std::string> label_of(const PolicyPod& pod) const {
    std::vector<const Labels*> others;
    for (const auto& other : world_.pods) {
      if (&other != &pod && other.in_namespace == pod.in_namespace) others.push_back(&other.labels);
    }
    return telling_label(pod.labels, others);
  }
  LabelSelector selector_of(const PolicyPod& pod) const {
    const auto [key, value] = label_of(pod);
    return {.match_labels = {{key, value}}};
  }
  std::pair<std::string, std::string> label_of_namespace(const std::string& name) const {
    std::vector<const Labels*> others;
    for (const auto& [other, labels] : world_.namespaces) {
      if (other != name) others.push_back(&labels);
    }
    const auto found = world_.namespaces.find(name);
    if (found == world_.namespaces.end() || found->second.empty()) {
      return {"kubernetes.io/metadata.name", name};
    }
    return telling_label(found->second, others);
  }
  LabelSelector selector_of_namespace(const std::string& name) const {
    const auto [key, value] = label_of_namespace(name);
    return {.match_labels = {{key, value}}};
  }

  [[nodiscard]] bool ingress() const { return direction_ == PolicyDirection::ingress; }

  // About the subject, of the direction, with these rules.
  NetworkPolicy policy(std::string name, std::vector<CaseRule> rules) const {
    NetworkPolicy made;
    made.metadata.name = std::move(name);
    made.metadata.in_namespace = subject_->in_namespace;
    made.spec.pod_selector = selector_of(*subject_);
    made.spec.policy_types = {ingress() ? PolicyType::Ingress : PolicyType::Egress};
    for (auto& rule : rules) {
      if (ingress()) {
        made.spec.ingress.push_back(
            {.ports = std::move(rule.ports), .from = std::move(rule.peers)});
      } else {
        made.spec.egress.push_back({.ports = std::move(rule.ports), .to = std::move(rule.peers)});
      }
    }
    return made;
  }
  NetworkPolicy policy(std::vector<CaseRule> rules) const {
    return policy("case", std::move(rules));
  }

  void add(std::string name, std::vector<PolicyStep> steps) {
    cases_.push_back({.name = std::move(name), .steps = std::move(steps)});
  }
  void add(const std::string& what, Policies policies) {
    add(fmt::format("{}: {}", base::enum_name(direction_), what),
        {PolicyStep{.policies = std::move(policies)}});
  }
  void add_rules(const std::string& what, std::vector<CaseRule> rules) {
    add(what, Policies{policy(std::move(rules))});
  }

  void isolation() {
    const auto deny = [&](std::vector<PolicyType> types) {
      NetworkPolicy made;
      made.metadata.name = "deny";
      made.metadata.in_namespace = subject_->in_namespace;
      made.spec.policy_types = std::move(types);
      return made;
    };
    const auto step = [](NetworkPolicy made) {
      return std::vector{PolicyStep{.policies = {std::move(made)}}};
    };
    add("no policy", std::vector{PolicyStep{}});
    add("deny all ingress", step(deny({PolicyType::Ingress})));
    add("deny all egress", step(deny({PolicyType::Egress})));
    add("deny everything", step(deny({PolicyType::Ingress, PolicyType::Egress})));
    add("deny by default types", step(deny({})));
    auto defaults = deny({});
    defaults.spec.egress = {{.ports = {numbered(port(), Protocol::TCP)}}};
    add("egress rules and default types", step(defaults));
    auto unlisted = deny({PolicyType::Ingress});
    unlisted.spec.egress = defaults.spec.egress;
    add("egress rules that policyTypes leave out", step(unlisted));
    auto both = deny({PolicyType::Ingress, PolicyType::Egress});
    both.spec.ingress = {{}};
    both.spec.egress = {{}};
    add("allow everything", step(both));
  }

  void selectors() {
    add_rules("no rule", {});
    add_rules("anybody", {{}});
    add_rules("podSelector of everything", {{.peers = {{.pod_selector = LabelSelector{}}}}});
    add_rules("namespaceSelector of everything",
              {{.peers = {{.namespace_selector = LabelSelector{}}}}});
    if (sibling_ != nullptr) {
      add_rules("podSelector", {{.peers = {{.pod_selector = selector_of(*sibling_)}}}});
    }
    if (stranger_ == nullptr) return;
    const auto space = selector_of_namespace(stranger_->in_namespace);
    const auto pods = selector_of(*stranger_);
    add_rules("namespaceSelector", {{.peers = {{.namespace_selector = space}}}});
    add_rules("podSelector in namespaceSelector",
              {{.peers = {{.pod_selector = pods, .namespace_selector = space}}}});
    add_rules("podSelector in namespaceSelector of everything",
              {{.peers = {{.pod_selector = pods, .namespace_selector = LabelSelector{}}}}});
    add_rules("podSelector or namespaceSelector",
              {{.peers = {{.pod_selector = pods}, {.namespace_selector = space}}}});
  }

  void expressions() {
    using enum SelectorOperator;
    const auto peer_of = [&](const PolicyPod& pod, const std::string& whose) {
      const auto [key, value] = label_of(pod);
      const auto [own_key, own_value] = label_of(*subject_);
      const auto pods = [&](const std::string& what, LabelSelector selector) {
        add_rules(fmt::format("podSelector of {} {}", whose, what),
                  {{.peers = {{.pod_selector = std::move(selector),
                               .namespace_selector = LabelSelector{}}}}});
      };
      pods("In", of_expression(key, In, {value}));
      pods("In with two values", of_expression(key, In, {value, own_value}));
      pods("NotIn", of_expression(key, NotIn, {value}));
      pods("NotIn of a label that is not there", of_expression("no-such-label", NotIn, {value}));
      pods("Exists", of_expression(key, Exists, {}));
      pods("DoesNotExist", of_expression("no-such-label", DoesNotExist, {}));
      auto two = of_expression(key, Exists, {});
      two.match_labels[key] = value;
      pods("matchLabels and Exists", two);
    };
    if (sibling_ != nullptr) peer_of(*sibling_, "the same namespace");
    if (stranger_ == nullptr) return;
    peer_of(*stranger_, "another namespace");
    const auto [key, value] = label_of_namespace(stranger_->in_namespace);
    for (const auto op : {In, NotIn, Exists, DoesNotExist}) {
      const bool compares = op == In || op == NotIn;
      add_rules(fmt::format("namespaceSelector {}", base::enum_name(op)),
                {{.peers = {{.namespace_selector = of_expression(
                                 key, op,
                                 compares ? std::vector{value} : std::vector<std::string>())}}}});
    }
  }

  void blocks() {
    const auto* const other = stranger_ != nullptr ? stranger_ : sibling_;
    if (other == nullptr) return;
    for (const auto& at : other->addresses) {
      if (std::ranges::find(space_.families, at.family) == space_.families.end()) continue;
      const auto family = at.family == base::AddressFamily::ipv4 ? "IPv4" : "IPv6";
      const int whole = at.host_prefix();
      const Cidr one{.address = at, .prefix = whole};
      const auto block = [&](const std::string& what, std::vector<IpBlock> blocks) {
        CaseRule rule;
        for (auto& made : blocks) rule.peers.push_back({.ip_block = std::move(made)});
        add_rules(fmt::format("{} {}", family, what), {rule});
      };
      block("ipBlock of one address", {{.cidr = one}});
      block("ipBlock around it", {{.cidr = {.address = at, .prefix = whole - 8}}});
      block("ipBlock to an odd bit", {{.cidr = {.address = at, .prefix = whole - 1}}});
      block("ipBlock of everything", {{.cidr = {.address = at, .prefix = 0}}});
      block("ipBlock of everything except one",
            {{.cidr = {.address = at, .prefix = 0}, .except = {one}}});
      block("ipBlock except a part", {{.cidr = {.address = at, .prefix = whole - 16},
                                       .except = {{.address = at, .prefix = whole - 8}}}});
      block("ipBlock of what another excepts",
            {{.cidr = {.address = at, .prefix = 0}, .except = {one}}, {.cidr = one}});
    }
  }

  // The lowest port that is probed.
  std::uint16_t port() const { return space_.ports.empty() ? 80 : std::ranges::min(space_.ports); }

  void ports() {
    for (const auto protocol : {Protocol::TCP, Protocol::UDP, Protocol::SCTP}) {
      const auto name = base::enum_name(protocol);
      add_rules(fmt::format("{} port", name), {{.ports = {numbered(port(), protocol)}}});
      add_rules(fmt::format("every {} port", name), {{.ports = {{.protocol = protocol}}}});
    }
    add_rules("port without a protocol", {{.ports = {numbered(port())}}});
    add_rules("two ports",
              {{.ports = {numbered(port(), Protocol::TCP), numbered(port(), Protocol::UDP)}}});
    const auto range = [&](std::int32_t first, std::int32_t last) {
      return CaseRule{
          .ports = {{.protocol = Protocol::TCP, .port = IntOrString{first}, .end_port = last}}};
    };
    const std::int32_t highest = space_.ports.empty() ? 80 : std::ranges::max(space_.ports);
    add_rules("range of one port", {range(port(), port())});
    add_rules("range of all that is probed", {range(port(), highest)});
    if (port() > 1) add_rules("range that ends below", {range(1, port() - 1)});
    if (highest > port()) add_rules("range that begins above", {range(port() + 1, highest)});
    // At the subject, or at those it sends to.
    std::set<std::string> seen;
    for (const auto& pod : world_.pods) {
      if (pod.host_network) continue;
      for (const auto& named : pod.named_ports) {
        const auto what =
            fmt::format("{} port named {}", base::enum_name(named.protocol), named.name);
        if (!seen.insert(what).second) continue;
        add_rules(what,
                  {{.ports = {{.protocol = named.protocol, .port = IntOrString{named.name}}}}});
      }
    }
    if (!seen.empty()) {
      add_rules("a name that no port has",
                {{.ports = {{.protocol = Protocol::TCP, .port = IntOrString{"no-such-port"}}}}});
    }
    if (sibling_ != nullptr) {
      add_rules("peers and a port", {{.peers = {{.pod_selector = selector_of(*sibling_)}},
                                      .ports = {numbered(port(), Protocol::TCP)}}});
    }
  }

  void several() {
    if (sibling_ == nullptr) return;
    const CaseRule by_port{.ports = {numbered(port(), Protocol::TCP)}};
    const CaseRule by_peer{.peers = {{.pod_selector = selector_of(*sibling_)}}};
    add_rules("two rules", {by_port, by_peer});
    add("two policies that add up",
        Policies{policy("by-port", {by_port}), policy("by-peer", {by_peer})});
    add("a policy that denies beside one that allows",
        Policies{policy("deny", {}), policy("by-peer", {by_peer})});
    auto other_direction = policy("other", {});
    other_direction.spec.policy_types = {ingress() ? PolicyType::Egress : PolicyType::Ingress};
    add("a policy for each direction", Policies{policy("by-port", {by_port}), other_direction});
    if (stranger_ == nullptr) return;
    auto there = policy("there", {by_port});
    there.metadata.in_namespace = stranger_->in_namespace;
    there.spec.pod_selector = {};
    add("policies of two namespaces", Policies{policy("here", {by_peer}), there});
  }

  void changes() {
    if (sibling_ == nullptr) return;
    const auto step = [](Policies policies) { return PolicyStep{.policies = std::move(policies)}; };
    const auto title = [&](std::string_view what) {
      return fmt::format("{}: {}", base::enum_name(direction_), what);
    };
    const CaseRule by_port{.ports = {numbered(port(), Protocol::TCP)}};
    const CaseRule by_peer{.peers = {{.pod_selector = selector_of(*sibling_)}}};
    add(title("a policy comes, widens, narrows and goes"),
        {step({}), step({policy({by_peer})}), step({policy({by_peer, by_port})}),
         step({policy({by_port})}), step({})});
    const auto name_of = [](const PolicyPod& pod) {
      return fmt::format("{}/{}", pod.in_namespace, pod.name);
    };
    const auto without = [](Labels labels, const std::string& key) {
      labels.erase(key);
      return labels;
    };
    const Policies kept{policy({by_peer})};
    const auto pod_labelled = [&](const PolicyPod& pod, Labels labels) {
      return PolicyStep{.policies = kept,
                        .relabelled = {{.pod = name_of(pod), .labels = std::move(labels)}}};
    };
    add(title("a pod leaves and joins what the policy selects"),
        {step(kept), pod_labelled(*subject_, without(subject_->labels, label_of(*subject_).first)),
         pod_labelled(*subject_, subject_->labels)});
    add(title("a peer leaves and joins what the rule selects"),
        {step(kept), pod_labelled(*sibling_, without(sibling_->labels, label_of(*sibling_).first)),
         pod_labelled(*sibling_, sibling_->labels)});
    if (stranger_ == nullptr) return;
    // By a label that is the user's to change, and that others may have, too.
    const CaseRule by_namespace{
        .peers = {{.namespace_selector = LabelSelector{.match_labels = {{"joined", "yes"}}}}}};
    const Policies by_label{policy({by_namespace})};
    const auto found = world_.namespaces.find(stranger_->in_namespace);
    const auto labels = found == world_.namespaces.end() ? Labels() : found->second;
    auto joined = labels;
    joined["joined"] = "yes";
    const auto namespace_labelled = [&](const Labels& now) {
      return PolicyStep{.policies = by_label,
                        .relabelled = {{.name_space = stranger_->in_namespace, .labels = now}}};
    };
    add(title("a namespace joins and leaves what the rule selects"),
        {step(by_label), namespace_labelled(joined), namespace_labelled(labels)});
  }

  const PolicySpace& space_;
  const PolicyWorld& world_;
  const PolicyPod* subject_ = nullptr;
  const PolicyPod* sibling_ = nullptr;
  const PolicyPod* stranger_ = nullptr;
  PolicyDirection direction_ = PolicyDirection::ingress;
  std::vector<PolicyCase> cases_;
};

void note(std::set<PolicyFeature>& features, const LabelSelector& selector) {
  if (!selector.match_expressions.empty()) features.insert(PolicyFeature::match_expressions);
}

void note(std::set<PolicyFeature>& features, const Peers& peers) {
  using enum PolicyFeature;
  for (const auto& peer : peers) {
    if (peer.pod_selector) {
      features.insert(pod_selectors);
      note(features, *peer.pod_selector);
    }
    if (peer.namespace_selector) {
      features.insert(namespace_selectors);
      note(features, *peer.namespace_selector);
    }
    if (peer.ip_block) {
      features.insert(ip_blocks);
      if (!peer.ip_block->except.empty()) features.insert(excepts);
    }
  }
}

void note(std::set<PolicyFeature>& features, const Ports& of) {
  using enum PolicyFeature;
  for (const auto& port : of) {
    features.insert(ports);
    if (!port.protocol) features.insert(default_protocols);
    const auto protocol = port.protocol.value_or(Protocol::TCP);
    features.insert(protocol == Protocol::TCP ? tcp : protocol == Protocol::UDP ? udp : sctp);
    if (port.end_port) features.insert(port_ranges);
    if (port.port && std::holds_alternative<std::string>(port.port->value)) {
      features.insert(named_ports);
    }
  }
}

void note(std::set<PolicyFeature>& features, const NetworkPolicy& policy) {
  using enum PolicyFeature;
  const auto& types = policy.spec.policy_types;
  const auto has = [&](PolicyType type) { return std::ranges::find(types, type) != types.end(); };
  if (types.empty()) features.insert(default_types);
  if (types.empty() || has(PolicyType::Ingress)) features.insert(PolicyFeature::ingress);
  if (types.empty() ? !policy.spec.egress.empty() : has(PolicyType::Egress)) {
    features.insert(PolicyFeature::egress);
  }
  note(features, policy.spec.pod_selector);
  for (const auto& rule : policy.spec.ingress) {
    note(features, rule.from);
    note(features, rule.ports);
  }
  for (const auto& rule : policy.spec.egress) {
    note(features, rule.to);
    note(features, rule.ports);
  }
}

}  // namespace

std::set<PolicyFeature> features_of(const PolicyCase& of) {
  std::set<PolicyFeature> features;
  if (of.steps.size() > 1) features.insert(PolicyFeature::updates);
  for (const auto& step : of.steps) {
    std::set<std::string> namespaces;
    for (const auto& policy : step.policies) {
      note(features, policy);
      namespaces.insert(policy.metadata.in_namespace);
    }
    if (step.policies.size() > 1) features.insert(PolicyFeature::several_policies);
    if (namespaces.size() > 1) features.insert(PolicyFeature::several_namespaces);
  }
  return features;
}

PolicyWorld after(PolicyWorld world, const PolicyStep& step) {
  world.policies = step.policies;
  for (const auto& change : step.relabelled) {
    if (change.pod.empty()) {
      world.namespaces[change.name_space] = change.labels;
      continue;
    }
    const auto slash = change.pod.find('/');
    const auto pod = find_pod(world, std::string_view(change.pod).substr(0, slash),
                              std::string_view(change.pod).substr(slash + 1));
    if (pod) world.pods[*pod].labels = change.labels;
  }
  return world;
}

std::vector<PolicyCase> systematic_cases(const PolicySpace& space) { return Cases(space).all(); }

}  // namespace checks
