#include "cluster/lab/policy/compile.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <tuple>

#include <netinet/in.h>

namespace cluster {
namespace {

namespace kube = base::kube;

constexpr std::uint32_t every_port = 0xffff;
constexpr ServiceRange every_service{0, 0xffffff};

template <typename Range, typename Value>
bool contains(const Range& range, const Value& value) {
  return std::ranges::find(range, value) != std::ranges::end(range);
}

bool holds(const kube::SelectorExpression& expression, const Labels& labels) {
  const auto found = labels.find(expression.key);
  const bool has_key = found != labels.end();
  const bool listed = has_key && contains(expression.values, found->second);
  switch (expression.op) {
    case kube::SelectorOperator::In:
      return listed;
    case kube::SelectorOperator::NotIn:  // of a label that is not there, too (meta/v1)
      return !listed;
    case kube::SelectorOperator::Exists:
      return has_key;
    case kube::SelectorOperator::DoesNotExist:
      return !has_key;
  }
  return false;
}

bool selects(const kube::LabelSelector& selector, const Labels& labels) {
  const auto has = [&](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  };
  return std::ranges::all_of(selector.match_labels, has) &&
         std::ranges::all_of(selector.match_expressions,
                             [&](const auto& expression) { return holds(expression, labels); });
}

std::uint32_t number_of_protocol(kube::Protocol protocol) {
  switch (protocol) {
    case kube::Protocol::TCP:
      return IPPROTO_TCP;
    case kube::Protocol::UDP:
      return IPPROTO_UDP;
    case kube::Protocol::SCTP:
      return IPPROTO_SCTP;
  }
  return IPPROTO_TCP;
}

// Whether `address` has a number after it, and which.
std::optional<PolicyAddressNumber> after(PolicyAddressNumber address, bool ipv4) {
  const std::uint64_t most = ipv4 ? 0xffffffff : std::numeric_limits<std::uint64_t>::max();
  if (address.low != most) return PolicyAddressNumber{address.high, address.low + 1};
  if (ipv4 || address.high == most) return std::nullopt;
  return PolicyAddressNumber{address.high + 1, 0};
}

PolicyAddressNumber before(PolicyAddressNumber address) {
  if (address.low != 0) return {address.high, address.low - 1};
  return {address.high - 1, std::numeric_limits<std::uint64_t>::max()};
}

struct AddressRange {
  PolicyAddressNumber first;
  PolicyAddressNumber last;

  auto operator<=>(const AddressRange&) const = default;
};

AddressRange range_of(const kube::Cidr& cidr) {
  auto number = number_of(cidr.address);
  const bool ipv4 = cidr.address.family == base::AddressFamily::ipv4;
  // How many bits count for nothing; a shift by the whole width is none (C++ [expr.shift]).
  const auto mask = [](int free) {
    return free <= 0    ? std::uint64_t{0}
           : free >= 64 ? std::numeric_limits<std::uint64_t>::max()
                        : (std::uint64_t{1} << free) - 1;
  };
  const std::uint64_t low = mask(ipv4 ? 32 - cidr.prefix : 128 - cidr.prefix);
  const std::uint64_t high = ipv4 ? 0 : mask(64 - cidr.prefix);
  return {{number.high & ~high, number.low & ~low}, {number.high | high, number.low | low}};
}

// What of a block is not excepted.
std::vector<AddressRange> addresses_in(const kube::IpBlock& block, bool except_ignored) {
  const bool ipv4 = block.cidr.address.family == base::AddressFamily::ipv4;
  const auto whole = range_of(block.cidr);
  std::vector<AddressRange> holes;
  if (!except_ignored) {
    for (const auto& except : block.except) holes.push_back(range_of(except));
  }
  std::ranges::sort(holes);
  std::vector<AddressRange> ranges;
  std::optional<PolicyAddressNumber> from = whole.first;
  for (const auto& hole : holes) {
    if (!from || hole.last < *from) continue;
    if (hole.first > *from) ranges.push_back({*from, before(hole.first)});
    from = after(hole.last, ipv4);
  }
  if (from && *from <= whole.last) ranges.push_back({*from, whole.last});
  return ranges;
}

// What a rule of either direction says.
struct Rule {
  const std::vector<kube::NetworkPolicyPort>* ports;
  const std::vector<kube::NetworkPolicyPeer>* peers;
};

// The state of one compilation.
class Compiler {
 public:
  Compiler(const PolicyObjects& objects, const CompileFaults& faults)
      : objects_(objects), faults_(faults) {}

  PolicyTables run() {
    tables_.policies = objects_.policies.size();
    know_identities();
    know_blocks();
    cut_addresses(base::AddressFamily::ipv4, tables_.spans_ipv4);
    cut_addresses(base::AddressFamily::ipv6, tables_.spans_ipv6);
    isolate_pods();
    for (const auto& [key, number] : rule_sets_) fill_rule_set(key, number);
    tables_.classes = classes_.size();
    tables_.rule_sets = rule_sets_.size();
    return std::move(tables_);
  }

 private:
  // Pods that nothing tells apart but their addresses.
  struct Identity {
    std::string in_namespace;
    Labels labels;
    std::vector<NamedPort> ports;

    auto operator<=>(const Identity&) const = default;
  };
  // An identity, from 1 (0: no pod), and the blocks that hold the address.
  using Class = std::pair<std::uint32_t, std::vector<std::size_t>>;
  // The direction, the policies that select the pod, and (ingress) its ports.
  using RuleSet = std::tuple<kube::PolicyType, std::vector<std::size_t>, std::vector<NamedPort>>;

  void know_identities() {
    for (const auto& pod : objects_.pods) {
      const auto [found, is_new] =
          identities_.try_emplace({pod.in_namespace, pod.labels, pod.ports},
                                  static_cast<std::uint32_t>(identities_.size() + 1));
      if (is_new) identity_at_.push_back(&found->first);
      identity_of_.push_back(found->second);
    }
    tables_.identities = identities_.size();
  }

  void know_blocks() {
    for (const auto& policy : objects_.policies) {
      for (const auto direction : {kube::PolicyType::Ingress, kube::PolicyType::Egress}) {
        for (const auto& rule : rules_of(policy, direction)) {
          for (const auto& peer : *rule.peers) {
            if (peer.ip_block) block_number(*peer.ip_block);
          }
        }
      }
    }
    classes_of_block_.resize(blocks_.size());
  }

  // Blocks of the same addresses are one.
  std::size_t block_number(const kube::IpBlock& block) {
    const bool ipv4 = block.cidr.address.family == base::AddressFamily::ipv4;
    return blocks_.try_emplace({ipv4, addresses_in(block, faults_.except_ignored)}, blocks_.size())
        .first->second;
  }

  static std::vector<Rule> rules_of(const kube::NetworkPolicy& policy, kube::PolicyType direction) {
    std::vector<Rule> rules;
    if (direction == kube::PolicyType::Ingress) {
      for (const auto& rule : policy.spec.ingress) rules.push_back({&rule.ports, &rule.from});
    } else {
      for (const auto& rule : policy.spec.egress) rules.push_back({&rule.ports, &rule.to});
    }
    return rules;
  }

  // What begins or ends at an address.
  struct Boundary {
    std::vector<std::size_t> begins;
    std::vector<std::size_t> ends;
    std::optional<std::size_t> pod;
  };

  void cut_addresses(base::AddressFamily family, std::vector<PolicyTables::Span>& spans) {
    const bool ipv4 = family == base::AddressFamily::ipv4;
    std::map<PolicyAddressNumber, Boundary> boundaries;
    boundaries[{}];
    for (const auto& [block, number] : blocks_) {
      if (block.first != ipv4) continue;
      for (const auto& range : block.second) {
        boundaries[range.first].begins.push_back(number);
        if (const auto end = after(range.last, ipv4)) boundaries[*end].ends.push_back(number);
      }
    }
    for (std::size_t i = 0; i < objects_.pods.size(); ++i) {
      const auto address = number_of(ipv4 ? objects_.pods[i].ipv4 : objects_.pods[i].ipv6);
      boundaries[address].pod = i;
      if (const auto end = after(address, ipv4)) boundaries[*end];
    }
    std::set<std::size_t> held;
    for (const auto& [address, boundary] : boundaries) {
      for (const auto block : boundary.ends) held.erase(block);
      for (const auto block : boundary.begins) held.insert(block);
      const std::uint32_t identity = boundary.pod ? identity_of_[*boundary.pod] : 0;
      const auto number = class_number({identity, {held.begin(), held.end()}});
      if (boundary.pod) {
        know_pod_class(objects_.pods[*boundary.pod].number, ipv4, address, number);
      }
      if (spans.empty() || spans.back().in_class != number) spans.push_back({address, number});
    }
  }

  std::uint32_t class_number(Class key) {
    const auto [found, is_new] =
        classes_.try_emplace(std::move(key), static_cast<std::uint32_t>(classes_.size() + 1));
    if (is_new) {
      const auto& [identity, blocks] = found->first;
      if (identity != 0) classes_of_pods_.emplace_back(found->second, identity);
      for (const auto block : blocks) classes_of_block_[block].push_back(found->second);
    }
    return found->second;
  }

  PolicyTables::Pod& table_pod(std::uint32_t number) {
    if (tables_.pods.size() <= number) tables_.pods.resize(number + 1);
    return tables_.pods[number];
  }

  void know_pod_class(std::uint32_t pod, bool ipv4, const PolicyAddressNumber& address,
                      std::uint32_t number) {
    auto& entry = table_pod(pod);
    (ipv4 ? entry.class_ipv4 : entry.class_ipv6) = number;
    (ipv4 ? entry.ipv4 : entry.ipv6) = address;
  }

  void isolate_pods() {
    for (const auto& pod : objects_.pods) {
      if (faults_.open_pods.contains(pod.number)) continue;
      auto& entry = table_pod(pod.number);
      entry.ingress = rule_set_of(pod, kube::PolicyType::Ingress);
      entry.egress = rule_set_of(pod, kube::PolicyType::Egress);
    }
  }

  std::uint32_t rule_set_of(const PolicyPod& pod, kube::PolicyType direction) {
    std::vector<std::size_t> selecting;
    for (std::size_t i = 0; i < objects_.policies.size(); ++i) {
      const auto& policy = objects_.policies[i];
      if (policy.metadata.in_namespace == pod.in_namespace &&
          contains(policy.spec.policy_types, direction) &&
          selects(policy.spec.pod_selector, pod.labels)) {
        selecting.push_back(i);
      }
    }
    if (selecting.empty()) return 0;
    const auto own_ports =
        direction == kube::PolicyType::Ingress ? pod.ports : std::vector<NamedPort>{};
    return rule_sets_
        .try_emplace({direction, std::move(selecting), own_ports},
                     static_cast<std::uint32_t>(rule_sets_.size() + 1))
        .first->second;
  }

  void fill_rule_set(const RuleSet& key, std::uint32_t number) {
    const auto& [direction, policies, own_ports] = key;
    std::map<std::uint32_t, std::vector<ServiceRange>> by_class;
    const auto add = [&](std::uint32_t in_class, const std::vector<ServiceRange>& ranges) {
      auto& all = by_class[in_class];
      all.insert(all.end(), ranges.begin(), ranges.end());
    };
    for (const auto policy : policies) {
      const auto rules = rules_of(objects_.policies[policy], direction);
      for (std::size_t i = 0; i < rules.size(); ++i) {
        add_rule(rules[i], peers_of({policy, direction, i}, rules[i]),
                 direction == kube::PolicyType::Ingress ? &own_ports : nullptr, add);
      }
    }
    if (direction == kube::PolicyType::Egress && faults_.udp_egress_open) {
      add(POLICY_EVERYBODY, {{IPPROTO_UDP << 16, IPPROTO_UDP << 16 | every_port}});
    }
    for (auto& [in_class, ranges] : by_class) {
      auto merged = merge(std::move(ranges));
      if (!merged.empty()) tables_.allowed[{number, in_class}] = std::move(merged);
    }
  }

  // `own_ports`: of the pod that is reached, where that is the rule's own; else each peer has its.
  template <typename Add>
  void add_rule(const Rule& rule, const std::vector<std::uint32_t>& peers,
                const std::vector<NamedPort>* own_ports, Add add) const {
    const bool named = std::ranges::any_of(*rule.ports, [](const auto& port) {
      return port.port && std::holds_alternative<std::string>(port.port->value);
    });
    if (own_ports != nullptr || !named) {
      const auto ranges = ranges_of(*rule.ports, own_ports);
      for (const auto peer : peers) add(peer, ranges);
      return;
    }
    // Names mean something to pods alone, and to each its own.
    const bool everybody = rule.peers->empty();
    if (everybody) add(POLICY_EVERYBODY, ranges_of(*rule.ports, nullptr));
    for (const auto peer : peers) {
      if (!everybody && !is_pods(peer)) add(peer, ranges_of(*rule.ports, nullptr));
    }
    for (const auto& [in_class, identity] : classes_of_pods_) {
      if (!everybody && !std::ranges::binary_search(peers, in_class)) continue;
      add(in_class, ranges_of(*rule.ports, &identity_at_[identity - 1]->ports));
    }
  }

  [[nodiscard]] bool is_pods(std::uint32_t in_class) const {
    return std::ranges::any_of(classes_of_pods_,
                               [&](const auto& pods) { return pods.first == in_class; });
  }

  // Names that `named` does not have are no ports at all.
  std::vector<ServiceRange> ranges_of(const std::vector<kube::NetworkPolicyPort>& ports,
                                      const std::vector<NamedPort>* named) const {
    if (ports.empty()) return {every_service};
    std::vector<ServiceRange> ranges;
    for (const auto& port : ports) {
      const auto kind = port.protocol.value_or(kube::Protocol::TCP);
      const auto protocol = number_of_protocol(kind) << 16;
      if (!port.port) {
        ranges.push_back({protocol, protocol | every_port});
      } else if (const auto* number = std::get_if<std::int32_t>(&port.port->value)) {
        const auto first = static_cast<std::uint32_t>(*number);
        ranges.push_back(
            widened(protocol, first, static_cast<std::uint32_t>(port.end_port.value_or(*number))));
      } else if (named != nullptr) {
        for (const auto& own : *named) {
          if (own.name == std::get<std::string>(port.port->value) && own.protocol == kind) {
            ranges.push_back(widened(protocol, own.port, own.port));
          }
        }
      }
    }
    return ranges;
  }

  [[nodiscard]] ServiceRange widened(std::uint32_t protocol, std::uint32_t first,
                                     std::uint32_t last) const {
    if (faults_.port_too_wide && last < every_port) ++last;
    return {protocol | first, protocol | last};
  }

  static std::vector<ServiceRange> merge(std::vector<ServiceRange> ranges) {
    std::ranges::sort(ranges);
    std::vector<ServiceRange> merged;
    for (const auto& range : ranges) {
      if (!merged.empty() && range.first <= merged.back().last + 1) {
        merged.back().last = std::max(merged.back().last, range.last);
      } else {
        merged.push_back(range);
      }
    }
    return merged;
  }

  using RulePlace = std::tuple<std::size_t, kube::PolicyType, std::size_t>;

  // The classes a rule's peers are, ascending; POLICY_EVERYBODY alone where it names none. Kept,
  // because rule sets share policies.
  const std::vector<std::uint32_t>& peers_of(const RulePlace& place, const Rule& rule) {
    const auto [found, is_new] = peers_.try_emplace(place);
    if (!is_new) return found->second;
    auto& peers = found->second;
    if (rule.peers->empty()) peers.push_back(POLICY_EVERYBODY);
    const auto& home = objects_.policies[std::get<0>(place)].metadata.in_namespace;
    for (const auto& peer : *rule.peers) add_peer(peer, home, peers);
    std::ranges::sort(peers);
    const auto repeated = std::ranges::unique(peers);
    peers.erase(repeated.begin(), repeated.end());
    return peers;
  }

  void add_peer(const kube::NetworkPolicyPeer& peer, const std::string& home,
                std::vector<std::uint32_t>& peers) {
    if (peer.ip_block) {
      const auto& holding = classes_of_block_[block_number(*peer.ip_block)];
      peers.insert(peers.end(), holding.begin(), holding.end());
      return;
    }
    for (const auto& [in_class, identity] : classes_of_pods_) {
      const auto& candidate = *identity_at_[identity - 1];
      if (peer.namespace_selector) {
        const auto there = objects_.namespaces.find(candidate.in_namespace);
        if (there == objects_.namespaces.end() ||
            !selects(*peer.namespace_selector, there->second)) {
          continue;
        }
      } else if (candidate.in_namespace != home) {
        continue;
      }
      if (peer.pod_selector && !selects(*peer.pod_selector, candidate.labels)) continue;
      peers.push_back(in_class);
    }
  }

  const PolicyObjects& objects_;
  const CompileFaults& faults_;
  PolicyTables tables_;
  std::map<Identity, std::uint32_t> identities_;
  std::vector<const Identity*> identity_at_;  // by number, from 1
  std::vector<std::uint32_t> identity_of_;    // by pod
  // By family and addresses.
  std::map<std::pair<bool, std::vector<AddressRange>>, std::size_t> blocks_;
  std::map<Class, std::uint32_t> classes_;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> classes_of_pods_;  // with their identities
  std::vector<std::vector<std::uint32_t>> classes_of_block_;
  std::map<RuleSet, std::uint32_t> rule_sets_;
  std::map<RulePlace, std::vector<std::uint32_t>> peers_;
};

}  // namespace

PolicyAddressNumber number_of(const base::IpAddress& address) {
  PolicyAddressNumber number;
  const std::size_t size = address.family == base::AddressFamily::ipv4 ? 4 : 16;
  for (std::size_t i = 0; i < size; ++i) {
    number.high = number.high << 8 | number.low >> 56;
    number.low = number.low << 8 | address.bytes[i];
  }
  return number;
}

PolicyTables compile_policies(const PolicyObjects& objects, const CompileFaults& faults) {
  return Compiler(objects, faults).run();
}

}  // namespace cluster
