#include "checks/policy/default_deny.h"

#include <algorithm>
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

// A block that is a whole family.
bool is_everybody(const NetworkPolicyPeer& peer) {
  return peer.ip_block && peer.ip_block->cidr.prefix == 0 && peer.ip_block->except.empty();
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
  std::string everything;
  for (const auto at : policies) {
    const auto& policy = world.policies[at];
    const auto name = fmt::format("{}/{}", policy.metadata.in_namespace, policy.metadata.name);
    int number = 0;
    for (const auto& rule : rules_in(policy, direction)) {
      ++number;
      const auto by = fmt::format("{}, rule {}", name, number);
      const auto ports = ports_text(rule);
      if (rule.peers->empty()) covered.allowed.insert({"anybody", ports, by});
      bool everybody = rule.peers->empty();
      for (const auto& peer : *rule.peers) {
        covered.allowed.insert({describe_peer(peer), ports, by});
        everybody = everybody || is_everybody(peer);
      }
      if (everybody && rule.ports->empty() && everything.empty()) everything = by;
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
  if (!everything.empty()) {
    covered.coverage = Coverage::allows_everything;
    covered.why = fmt::format("{} allows everything", everything);
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
