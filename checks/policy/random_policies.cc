#include <algorithm>

#include "bench/seeded_uniform.h"
#include "checks/policy/generator.h"

namespace checks {
namespace {

using base::kube::LabelSelector;
using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;
using base::kube::PolicyType;
using base::kube::SelectorExpression;
using base::kube::SelectorOperator;

// Draws policies one by one; everything comes from one sequence of numbers.
class Draw {
 public:
  Draw(const PolicySpace& space, std::uint64_t seed, const RandomBounds& bounds)
      : space_(space), uniform_(seed), bounds_(bounds) {}

  Policies policies() {
    Policies all;
    const auto count = 1 + below(bounds_.policies);
    for (std::size_t i = 0; i < count; ++i) all.push_back(policy(i));
    return all;
  }

 private:
  // In 0 .. n - 1; 0 where n is 0.
  std::size_t below(std::size_t n) {
    return static_cast<std::size_t>(uniform_.next() * static_cast<double>(n));
  }
  bool chance(double of) { return uniform_.next() < of; }
  template <typename T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }
  const PolicyPod& pod() { return one_of(space_.world.pods); }
  Labels namespace_labels(const std::string& name) const {
    const auto found = space_.world.namespaces.find(name);
    if (found != space_.world.namespaces.end()) return found->second;
    return {{"kubernetes.io/metadata.name", name}};
  }

  base::kube::NetworkPolicy policy(std::size_t number) {
    base::kube::NetworkPolicy made;
    const auto& subject = pod();
    made.metadata.name = fmt::format("random-{}", number);
    made.metadata.in_namespace = subject.in_namespace;
    made.spec.pod_selector = selector(subject.labels, pod().labels);
    const auto direction = below(4);
    if (direction == 0) made.spec.policy_types = {PolicyType::Ingress};
    if (direction == 1) made.spec.policy_types = {PolicyType::Egress};
    if (direction == 2) made.spec.policy_types = {PolicyType::Ingress, PolicyType::Egress};
    const auto ingress_rules = below(bounds_.rules + 1);
    for (std::size_t i = 0; i < ingress_rules; ++i) {
      made.spec.ingress.push_back({.ports = ports(), .from = peers()});
    }
    const auto egress_rules = below(bounds_.rules + 1);
    for (std::size_t i = 0; i < egress_rules; ++i) {
      made.spec.egress.push_back({.ports = ports(), .to = peers()});
    }
    return made;
  }

  // One that matches these labels more often than not; `others` are such as something else has.
  LabelSelector selector(const Labels& labels, const Labels& others) {
    LabelSelector made;
    if (labels.empty() || chance(0.3)) return made;
    const std::vector<std::pair<std::string, std::string>> all(labels.begin(), labels.end());
    const auto [key, value] = one_of(all);
    if (chance(0.6)) {
      made.match_labels[key] = value;
      return made;
    }
    SelectorExpression expression{.key = key};
    expression.op = static_cast<SelectorOperator>(below(4));
    const bool compares =
        expression.op == SelectorOperator::In || expression.op == SelectorOperator::NotIn;
    if (compares) {
      expression.values.push_back(value);
      const auto other = others.find(key);
      if (other != others.end() && other->second != value && chance(0.5)) {
        expression.values.push_back(other->second);
      }
    } else if (chance(0.5)) {
      expression.key = "no-such-label";
    }
    // A label that nothing has: NotIn and DoesNotExist hold of it.
    if (compares && chance(0.2)) expression.key = "no-such-label";
    made.match_expressions.push_back(std::move(expression));
    return made;
  }

  std::vector<NetworkPolicyPeer> peers() {
    std::vector<NetworkPolicyPeer> made;
    const auto count = below(bounds_.peers + 1);
    for (std::size_t i = 0; i < count; ++i) made.push_back(peer());
    return made;
  }

  NetworkPolicyPeer peer() {
    const auto& wanted = pod();
    const auto kind = below(4);
    if (kind == 0) {
      if (auto made = block(wanted)) return {.ip_block = std::move(made)};
    }
    NetworkPolicyPeer made;
    if (kind != 1) made.pod_selector = selector(wanted.labels, pod().labels);
    if (kind == 1 || kind == 2) {
      made.namespace_selector =
          selector(namespace_labels(wanted.in_namespace), namespace_labels(pod().in_namespace));
    }
    return made;
  }

  // One that holds an address of the pod, unless it is excepted.
  std::optional<base::kube::IpBlock> block(const PolicyPod& of) {
    if (of.addresses.empty()) return std::nullopt;
    const auto& address = one_of(of.addresses);
    const int whole = address.host_prefix();
    base::kube::IpBlock made{.cidr = {.address = address, .prefix = prefix(0, whole)}};
    const auto excepts = made.cidr.prefix == whole ? 0 : below(3);
    for (std::size_t i = 0; i < excepts; ++i) {
      const auto& other = pod();
      const auto found =
          std::ranges::find(other.addresses, address.family, &base::IpAddress::family);
      if (found == other.addresses.end() || !contains(made.cidr, *found)) continue;
      made.except.push_back({.address = *found, .prefix = prefix(made.cidr.prefix + 1, whole)});
    }
    return made;
  }
  // Ends of octets more often than what is between; and one address as often as any.
  std::int32_t prefix(int least, int most) {
    if (chance(0.3)) return most;
    const auto bits = least + static_cast<int>(below(static_cast<std::size_t>(most - least) + 1));
    return chance(0.5) ? bits : std::clamp(bits / 8 * 8, least, most);
  }

  std::vector<NetworkPolicyPort> ports() {
    std::vector<NetworkPolicyPort> made;
    const auto count = below(bounds_.ports + 1);
    for (std::size_t i = 0; i < count; ++i) made.push_back(port());
    return made;
  }

  NetworkPolicyPort port() {
    NetworkPolicyPort made;
    if (!space_.protocols.empty() && chance(0.8)) made.protocol = one_of(space_.protocols);
    const auto kind = below(5);
    if (kind == 0 || space_.ports.empty()) return made;
    if (kind == 1) {
      const auto& named = pod().named_ports;
      if (!named.empty()) {
        const auto& one = one_of(named);
        made.port = base::kube::IntOrString{one.name};
        // Now and then the protocol of another name's.
        if (chance(0.8)) made.protocol = one.protocol;
        return made;
      }
    }
    const auto number = static_cast<std::int32_t>(one_of(space_.ports));
    made.port = base::kube::IntOrString{number};
    if (kind == 2) made.end_port = std::max<std::int32_t>(number, one_of(space_.ports));
    return made;
  }

  const PolicySpace& space_;
  bench::SeededUniform uniform_;
  RandomBounds bounds_;
};

}  // namespace

std::vector<PolicyFlow> all_flows(const PolicySpace& space) {
  std::vector<PolicyFlow> all;
  const auto pods = space.world.pods.size();
  all.reserve(pods * pods * space.ports.size() * space.protocols.size() * space.families.size());
  for (std::size_t source = 0; source < pods; ++source) {
    for (std::size_t destination = 0; destination < pods; ++destination) {
      for (const auto port : space.ports) {
        for (const auto protocol : space.protocols) {
          for (const auto family : space.families) {
            all.push_back({.source = PodEnd{source},
                           .destination = PodEnd{destination},
                           .family = family,
                           .protocol = protocol,
                           .port = port});
          }
        }
      }
    }
  }
  return all;
}

Policies random_policies(const PolicySpace& space, std::uint64_t seed, const RandomBounds& bounds) {
  return Draw(space, seed, bounds).policies();
}

}  // namespace checks
