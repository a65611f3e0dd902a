#include "checks/policy/default_deny.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>
#include <variant>
#include <vector>

namespace checks {
namespace {

using base::kube::NetworkPolicyPeer;
using base::kube::NetworkPolicyPort;

struct RuleOfEither {
  const std::vector<NetworkPolicyPort>* ports;
  const std::vector<NetworkPolicyPeer>* peers;
};

std::vector<RuleOfEither> rules_in(const base::kube::NetworkPolicy& policy,
                                   PolicyDirection direction) {
  std::vector<RuleOfEither> rules;
  if (direction == PolicyDirection::ingress) {
    for (const auto& rule : policy.spec.ingress) rules.push_back({&rule.ports, &rule.from});
  } else {
    for (const auto& rule : policy.spec.egress) rules.push_back({&rule.ports, &rule.to});
  }
  return rules;
}

// Addresses of one family as numbers, from the first to the last of a block.
struct AddressRange {
  std::array<std::uint8_t, 16> first{};
  std::array<std::uint8_t, 16> last{};
};

AddressRange range_of(const base::kube::Cidr& block) {
  AddressRange range;
  const std::size_t bits = block.address.family == base::AddressFamily::ipv4 ? 32 : 128;
  for (std::size_t bit = 0; bit < bits; ++bit) {
    const auto mask = static_cast<std::uint8_t>(0x80U >> (bit % 8));
    const bool is_free = bit >= static_cast<std::size_t>(block.prefix);
    const bool is_set = (block.address.bytes[bit / 8] & mask) != 0;
    if (!is_free && is_set) range.first[bit / 8] |= mask;
    if (is_free || is_set) range.last[bit / 8] |= mask;
  }
  return range;
}

// Whether blocks without exceptions are, together, a whole family: one of prefix 0, or its halves.
bool are_everybody(const std::vector<const base::kube::Cidr*>& blocks, base::AddressFamily family) {
  const base::kube::Cidr whole{.address = {.family = family, .bytes = {}}, .prefix = 0};
  std::vector<AddressRange> ranges;
  for (const auto* block : blocks) {
    if (block->address.family == family) ranges.push_back(range_of(*block));
  }
  std::ranges::sort(ranges, {}, &AddressRange::first);
  auto next = range_of(whole).first;  // that is not covered yet
  for (const auto& range : ranges) {
    if (range.first > next) return false;
    if (range.last < next) continue;
    next = range.last;
    if (next == range_of(whole).last) return true;
    const std::size_t bytes = family == base::AddressFamily::ipv4 ? 4 : 16;
    for (std::size_t i = bytes; i-- > 0 && ++next[i] == 0;) {
    }
  }
  return false;
}

bool are_everybody(const std::vector<const NetworkPolicyPeer*>& peers) {
  std::vector<const base::kube::Cidr*> blocks;
  for (const auto* peer : peers) {
    if (peer->ip_block && peer->ip_block->except.empty()) blocks.push_back(&peer->ip_block->cidr);
  }
  return are_everybody(blocks, base::AddressFamily::ipv4) ||
         are_everybody(blocks, base::AddressFamily::ipv6);
}

bool is_everybody(const RuleOfEither& rule) {
  std::vector<const NetworkPolicyPeer*> peers;
  for (const auto& peer : *rule.peers) peers.push_back(&peer);
  return rule.peers->empty() || are_everybody(peers);
}

// The ports of a protocol that these name by number, to those of `ranges`.
void add_ports(const std::vector<NetworkPolicyPort>& ports, base::kube::Protocol protocol,
               std::vector<std::pair<int, int>>& ranges) {
  if (ports.empty()) ranges.emplace_back(1, 65535);
  for (const auto& port : ports) {
    if (port.protocol.value_or(base::kube::Protocol::TCP) != protocol) continue;
    if (!port.port) {
      ranges.emplace_back(1, 65535);
    } else if (const auto* number = std::get_if<std::int32_t>(&port.port->value)) {
      ranges.emplace_back(*number, port.end_port.value_or(*number));
    }
  }
}

bool are_every_port(std::vector<std::pair<int, int>> ranges) {
  std::ranges::sort(ranges);
  int next = 1;
  for (const auto& [first, last] : ranges) {
    if (first > next) return false;
    next = std::max(next, last + 1);
  }
  return next > 65535;
}

// What a pod's rules let everybody do at every port of a protocol; empty: nothing that wide. It may
// take several rules: halves of all addresses, or of all ports.
std::string everything_by(const std::vector<std::pair<std::string, RuleOfEither>>& rules) {
  for (const auto protocol : {base::kube::Protocol::TCP, base::kube::Protocol::UDP}) {
    std::vector<const NetworkPolicyPeer*> peers;  // that have every port
    std::vector<std::pair<int, int>> ports;       // that everybody has
    std::set<std::string> with_peers;
    std::set<std::string> with_ports;
    for (const auto& [name, rule] : rules) {
      std::vector<std::pair<int, int>> own;
      add_ports(*rule.ports, protocol, own);
      if (own.empty()) continue;
      const bool every_port = are_every_port(own);
      const bool everybody = is_everybody(rule);
      if (every_port && everybody) {
        return rule.ports->empty() ? fmt::format("{} allows everything", name)
                                   : fmt::format("{} allows everybody every {} port", name,
                                                 base::enum_name(protocol));
      }
      if (everybody) {
        ports.insert(ports.end(), own.begin(), own.end());
        with_ports.insert(name);
      }
      if (!every_port) continue;
      for (const auto& peer : *rule.peers) peers.push_back(&peer);
      with_peers.insert(name);
    }
    const auto* found = are_everybody(peers)    ? &with_peers
                        : are_every_port(ports) ? &with_ports
                                                : nullptr;
    if (found != nullptr) {
      return fmt::format("{} together allow everybody every {} port", fmt::join(*found, " and "),
                         base::enum_name(protocol));
    }
  }
  return {};
}

std::string ports_text(const RuleOfEither& rule) {
  if (rule.ports->empty()) return "every port";
  std::vector<std::string> texts;
  for (const auto& port : *rule.ports) texts.push_back(describe_port(port));
  return fmt::format("{}", fmt::join(texts, ", "));
}

// What policies say of pods, direction by direction.
struct Tally {
  std::size_t covered = 0;
  std::size_t open = 0;
  std::size_t unknown = 0;
  int worst_badness = 0;
  std::string worst;  // in words
  base::Json gaps = base::Json::array();
  std::set<std::string> allowed;

  void add(const PolicyWorld& world, std::size_t at, PolicyDirection direction) {
    const auto& pod = world.pods[at];
    const auto name = fmt::format("{}/{}", pod.in_namespace, pod.name);
    const auto one = cover(world, at, direction);
    for (const auto& path : one.allowed) {
      allowed.insert(fmt::format("{} {} {} {} ({})", name, base::enum_name(direction),
                                 direction == PolicyDirection::ingress ? "from" : "to",
                                 path.to_string(), path.by));
    }
    if (one.coverage == Coverage::denied_by_default) {
      ++covered;
      return;
    }
    ++(one.coverage == Coverage::unknown ? unknown : open);
    gaps.push_back({{"pod", name},
                    {"direction", base::enum_name(direction)},
                    {"coverage", base::enum_name(one.coverage)},
                    {"why", one.why}});
    if (badness(one.coverage) <= worst_badness) return;
    worst_badness = badness(one.coverage);
    worst = fmt::format("{}, {}: {}", name, base::enum_name(direction), one.why);
  }
};

}  // namespace

int badness(Coverage coverage) {
  switch (coverage) {
    case Coverage::uncovered:
      return 3;
    case Coverage::allows_everything:
      return 2;
    case Coverage::unknown:
      return 1;
    case Coverage::denied_by_default:
      break;
  }
  return 0;
}

DirectionCoverage cover(const PolicyWorld& world, std::size_t pod, PolicyDirection direction) {
  DirectionCoverage covered;
  const auto policies = isolating(world, pod, direction);
  std::vector<std::pair<std::string, RuleOfEither>> rules;
  for (const auto at : policies) {
    const auto& policy = world.policies[at];
    const auto name = fmt::format("{}/{}", policy.metadata.in_namespace, policy.metadata.name);
    int number = 0;
    for (const auto& rule : rules_in(policy, direction)) {
      auto by = fmt::format("{}, rule {}", name, ++number);
      const auto ports = ports_text(rule);
      if (rule.peers->empty()) covered.allowed.insert({"anybody", ports, by});
      for (const auto& peer : *rule.peers) {
        covered.allowed.insert({describe_peer(peer), ports, by});
      }
      rules.emplace_back(std::move(by), rule);
    }
  }
  if (world.pods[pod].host_network) {
    covered.coverage = Coverage::unknown;
    covered.why = "it has its node's network, for which NetworkPolicies need not hold";
    return covered;
  }
  if (const auto others = unmodelled_of(world, pod); !others.empty()) {
    const auto& other = world.unmodelled[others.front()];
    covered.coverage = Coverage::unknown;
    covered.why = fmt::format("{} {}{}{} may select it", other.kind, other.in_namespace,
                              other.in_namespace.empty() ? "" : "/", other.name);
    return covered;
  }
  if (policies.empty()) {
    covered.coverage = Coverage::uncovered;
    covered.why = fmt::format("no NetworkPolicy selects it for {}", base::enum_name(direction));
    return covered;
  }
  if (auto everything = everything_by(rules); !everything.empty()) {
    covered.coverage = Coverage::allows_everything;
    covered.why = std::move(everything);
    return covered;
  }
  std::vector<std::string> names;
  for (const auto at : policies) names.push_back(world.policies[at].metadata.name);
  covered.coverage = Coverage::denied_by_default;
  covered.why = fmt::format("isolated by {}", fmt::join(names, ", "));
  return covered;
}

Finding default_deny_holds(const PolicyWorld& world, const std::set<std::string>& namespaces,
                           const std::vector<ObservedCell>& cells,
                           const std::vector<ControlCell>& controls) {
  Tally tally;
  std::size_t pods = 0;
  for (std::size_t pod = 0; pod < world.pods.size(); ++pod) {
    if (!namespaces.contains(world.pods[pod].in_namespace)) continue;
    ++pods;
    for (const auto direction : {PolicyDirection::ingress, PolicyDirection::egress}) {
      tally.add(world, pod, direction);
    }
  }
  const auto is_theirs = [&](const FlowEnd& end) {
    const auto* pod = std::get_if<PodEnd>(&end);
    return pod != nullptr && namespaces.contains(world.pods[pod->pod].in_namespace);
  };
  // Of a pod and itself nothing is denied, and what is allowed is not what this is about.
  std::vector<ObservedCell> closed;
  for (const auto& cell : cells) {
    if (!is_theirs(cell.flow.source) && !is_theirs(cell.flow.destination)) continue;
    if (decide(world, cell.flow).allowance == Allowance::denied) closed.push_back(cell);
  }
  const auto judged = judge_matrix(world, closed, controls);
  const auto open = [](const JudgedCell& cell) {
    return cell.judgement == CellJudgement::leaks || cell.judgement == CellJudgement::wrong_party;
  };
  const auto leaks = std::ranges::count_if(judged, open);
  const auto unproven =
      std::ranges::count(judged, CellJudgement::no_evidence, &JudgedCell::judgement);
  base::Json leaking = base::Json::array();
  for (const auto& cell : differing_cells(world, closed, judged, differing_cells_told)) {
    if (!open(judged[cell.cell])) continue;
    leaking.push_back(fmt::format("{} to {} at {} {}: {}: {}", cell.source, cell.destination,
                                  base::enum_name(cell.protocol), cell.port,
                                  base::enum_name(cell.observed), cell.explanation));
  }
  Finding finding;
  finding.evidence = {{"pods", pods},
                      {"covered", tally.covered},
                      {"gaps", std::move(tally.gaps)},
                      {"allowed", tally.allowed},
                      {"closed_cells", closed.size()},
                      {"leaking", std::move(leaking)},
                      {"without_evidence", unproven}};
  if (tally.open > 0 || leaks > 0) {
    finding.verdict = base::Verdict::fail;
    finding.sentence =
        tally.open > 0
            ? fmt::format("{} of {} directions of pods are not closed by default: {}", tally.open,
                          2 * pods, tally.worst)
            : fmt::format("{} of {} paths that policies close are open", leaks, closed.size());
    finding.observed = tally.open > 0 ? "uncovered" : "not enforced";
    return finding;
  }
  if (tally.unknown > 0 || unproven > 0 || pods == 0 || closed.empty()) {
    finding.sentence =
        pods == 0           ? "there is no pod in these namespaces"
        : tally.unknown > 0 ? fmt::format("of {} of {} directions of pods it is not known: {}",
                                          tally.unknown, 2 * pods, tally.worst)
        : closed.empty()
            ? "no path that policies close was probed"
            : fmt::format("of {} of {} closed paths nothing shows that a server was there",
                          unproven, closed.size());
    finding.observed = "unknown";
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  finding.sentence = fmt::format(
      "all {} pods are closed by default in both directions, and so were all {} paths that were "
      "probed",
      pods, closed.size());
  finding.observed = "closed";
  return finding;
}

}  // namespace checks
