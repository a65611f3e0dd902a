#include "checks/policy/matrix.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;
using bench::ReachOutcome;

// A server: where it is, and how it is asked.
using Server = std::tuple<std::string, base::AddressFamily, base::kube::Protocol, std::uint16_t>;

Server server_of(const PolicyWorld& world, const PolicyFlow& flow) {
  return {describe_end(world, flow.destination), flow.family, flow.protocol, flow.port};
}

// A pod's network, by family.
using Network = std::pair<std::string, base::AddressFamily>;

// Those of a flow's ends that are pods: a node's is not in question.
std::vector<Network> networks_of(const PolicyWorld& world, const PolicyFlow& flow) {
  std::vector<Network> networks;
  for (const auto& end : {flow.source, flow.destination}) {
    if (std::holds_alternative<PodEnd>(end)) {
      networks.emplace_back(describe_end(world, end), flow.family);
    }
  }
  return networks;
}

// Packets passed both ways: there was an answer, or a connection at least.
bool got_through(ReachOutcome outcome) {
  return outcome == ReachOutcome::answered || outcome == ReachOutcome::answered_by_other ||
         outcome == ReachOutcome::silent || outcome == ReachOutcome::cut;
}

CellJudgement judge(Allowance expected, ReachOutcome outcome, bool server_seen, bool network_seen) {
  using enum CellJudgement;
  switch (outcome) {
    case ReachOutcome::failed:
      return no_evidence;
    case ReachOutcome::answered_by_other:
      return wrong_party;
    case ReachOutcome::answered:
      if (expected == Allowance::unknown) return unknown;
      return expected == Allowance::allowed ? as_specified : leaks;
    case ReachOutcome::silent:
    case ReachOutcome::cut:
      // A connection was made: packets passed both ways, whatever became of it.
      if (expected == Allowance::unknown) return unknown;
      if (expected == Allowance::denied) return leaks;
      return server_seen ? blocked : no_evidence;
    case ReachOutcome::refused:
    case ReachOutcome::unreachable:
    case ReachOutcome::timed_out:
      if (expected == Allowance::unknown) return unknown;
      if (!server_seen) return no_evidence;
      if (expected == Allowance::allowed) return blocked;
      return network_seen ? as_specified : no_evidence;
  }
  return no_evidence;
}

bool differs(CellJudgement judgement) {
  return judgement == CellJudgement::leaks || judgement == CellJudgement::blocked ||
         judgement == CellJudgement::wrong_party;
}

std::string why(const PolicyWorld& world, const ObservedCell& cell, const JudgedCell& judged) {
  if (judged.judgement != CellJudgement::no_evidence) return explain(world, cell.flow);
  if (cell.outcome == ReachOutcome::failed) {
    return fmt::format("the probe itself failed (errno {})", cell.error_code);
  }
  if (!judged.server_seen) {
    return fmt::format(
        "nobody answered, and no probe from {} itself shows that {} {} has a server there",
        describe_end(world, cell.flow.destination), base::enum_name(cell.flow.protocol),
        cell.flow.port);
  }
  return fmt::format(
      "nobody answered, and nothing shows that both {} and {} have a network: one of them was not "
      "seen to reach another, nor to be reached by one or by its node",
      describe_end(world, cell.flow.source), describe_end(world, cell.flow.destination));
}

base::Json json_of(const DifferingCell& cell) {
  base::Json json = {{"source", cell.source},
                     {"destination", cell.destination},
                     {"port", cell.port},
                     {"protocol", base::enum_name(cell.protocol)},
                     {"family", cell.family == base::AddressFamily::ipv4 ? "ipv4" : "ipv6"},
                     {"expected", base::enum_name(cell.expected)},
                     {"observed", base::enum_name(cell.observed)},
                     {"judgement", base::enum_name(cell.judgement)},
                     {"explanation", cell.explanation}};
  if (cell.answered_by) json["answered_by"] = *cell.answered_by;
  return json;
}

struct MatrixCounts {
  std::map<CellJudgement, std::uint64_t> by_judgement = {};
  std::map<std::string, std::uint64_t> outcomes = {};
  std::uint64_t seen_earlier = 0;  // of those as specified
  std::uint64_t host_network = 0;
  std::uint64_t host_network_unknown = 0;

  [[nodiscard]] std::uint64_t of(CellJudgement judgement) const {
    const auto found = by_judgement.find(judgement);
    return found == by_judgement.end() ? 0 : found->second;
  }
};

MatrixCounts count_cells(const std::vector<ObservedCell>& cells,
                         const std::vector<JudgedCell>& judged) {
  MatrixCounts counts;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    ++counts.by_judgement[judged[i].judgement];
    ++counts.outcomes[std::string(base::enum_name(cells[i].outcome))];
    if (rests_on_earlier(judged[i])) ++counts.seen_earlier;
    if (!judged[i].host_network) continue;
    ++counts.host_network;
    if (judged[i].judgement == CellJudgement::unknown) ++counts.host_network_unknown;
  }
  return counts;
}

base::Json evidence_of_matrix(const PolicyWorld& world, const MatrixCounts& counts,
                              std::size_t cells, const std::vector<DifferingCell>& differing,
                              std::uint64_t all_differing) {
  base::Json evidence = {{"cells", cells}};
  for (const auto& [judgement, name] : base::EnumNames<CellJudgement>::names) {
    evidence[std::string(name)] = counts.of(judgement);
  }
  evidence["seen_earlier"] = counts.seen_earlier;
  evidence["host_network"] = {{"cells", counts.host_network},
                              {"unknown", counts.host_network_unknown}};
  evidence["outcomes"] = base::to_json(counts.outcomes);
  evidence["policies"] = world.policies.size();
  std::set<std::string> kinds;
  for (const auto& policy : world.unmodelled) kinds.insert(policy.kind);
  evidence["unmodelled"] = std::vector<std::string>(kinds.begin(), kinds.end());
  evidence["differing"] = base::Json::array();
  for (const auto& cell : differing) evidence["differing"].push_back(json_of(cell));
  evidence["differing_left_out"] = all_differing - differing.size();
  return evidence;
}

// The first of them, as the sentence tells of it.
std::string told(const DifferingCell& cell) {
  const auto observed = cell.judgement == CellJudgement::wrong_party && cell.answered_by
                            ? fmt::format("answered by server {}", *cell.answered_by)
                            : std::string(base::enum_name(cell.observed));
  return fmt::format("{} to {}, {} {} over {}: {}, but {}", cell.source, cell.destination,
                     base::enum_name(cell.protocol), cell.port,
                     cell.family == base::AddressFamily::ipv4 ? "IPv4" : "IPv6", observed,
                     cell.explanation);
}

}  // namespace

bool rests_on_earlier(const JudgedCell& cell) {
  return cell.judgement == CellJudgement::as_specified && cell.expected == Allowance::denied &&
         cell.seen_earlier;
}

std::vector<JudgedCell> judge_matrix(const PolicyWorld& world,
                                     const std::vector<ObservedCell>& cells,
                                     const std::vector<ControlCell>& controls) {
  std::set<Server> there;
  std::set<Network> alive;
  std::set<Network> alive_once;  // before this matrix, or in it
  const auto note_network = [&](const ObservedCell& cell) {
    // What a pod sends to itself never meets its network.
    if (!got_through(cell.outcome) || cell.flow.source == cell.flow.destination) return;
    for (auto& network : networks_of(world, cell.flow)) {
      if (!cell.earlier) alive.insert(network);
      alive_once.insert(std::move(network));
    }
  };
  for (const auto& control : controls) {
    note_network(control);
    const bool of_another_pod = std::holds_alternative<PodEnd>(control.flow.source) &&
                                control.flow.source != control.flow.destination;
    if (control.outcome == ReachOutcome::answered && !of_another_pod) {
      there.insert(server_of(world, control.flow));
    }
  }
  for (const auto& cell : cells) note_network(cell);
  std::vector<JudgedCell> judged;
  judged.reserve(cells.size());
  for (const auto& cell : cells) {
    const auto expected = decide(world, cell.flow).allowance;
    const bool seen = there.contains(server_of(world, cell.flow));
    const auto networks = networks_of(world, cell.flow);
    const auto all_in = [&](const std::set<Network>& known) {
      return std::ranges::all_of(networks, [&](const Network& one) { return known.contains(one); });
    };
    const bool network = all_in(alive_once);
    judged.push_back({.judgement = judge(expected, cell.outcome, seen, network),
                      .expected = expected,
                      .host_network = has_host_network(world, cell.flow.source) ||
                                      has_host_network(world, cell.flow.destination),
                      .server_seen = seen,
                      .network_seen = network,
                      .seen_earlier = network && !all_in(alive)});
  }
  return judged;
}

std::vector<DifferingCell> differing_cells(const PolicyWorld& world,
                                           const std::vector<ObservedCell>& cells,
                                           const std::vector<JudgedCell>& judged,
                                           std::size_t most) {
  std::vector<DifferingCell> all;
  const auto take = [&](auto wanted) {
    for (std::size_t i = 0; i < cells.size() && all.size() < most; ++i) {
      if (!wanted(judged[i].judgement)) continue;
      const auto& flow = cells[i].flow;
      all.push_back({.cell = i,
                     .source = describe_end(world, flow.source),
                     .destination = describe_end(world, flow.destination),
                     .port = flow.port,
                     .protocol = flow.protocol,
                     .family = flow.family,
                     .expected = judged[i].expected,
                     .observed = cells[i].outcome,
                     .answered_by = cells[i].answered_by,
                     .judgement = judged[i].judgement,
                     .explanation = why(world, cells[i], judged[i])});
    }
  };
  take(differs);
  take([](CellJudgement judgement) { return judgement == CellJudgement::no_evidence; });
  return all;
}

Finding policy_matrix(const PolicyWorld& world, const std::vector<ObservedCell>& cells,
                      const std::vector<ControlCell>& controls) {
  const auto judged = judge_matrix(world, cells, controls);
  const auto counts = count_cells(cells, judged);
  const auto differing = differing_cells(world, cells, judged, differing_cells_told);
  const auto wrong = counts.of(CellJudgement::leaks) + counts.of(CellJudgement::blocked) +
                     counts.of(CellJudgement::wrong_party);
  const auto without = counts.of(CellJudgement::no_evidence);
  const auto known = counts.of(CellJudgement::as_specified);
  Finding finding{.evidence =
                      evidence_of_matrix(world, counts, cells.size(), differing, wrong + without)};
  const auto all = base::format_count(cells.size(), "cell");
  const auto beside =
      counts.of(CellJudgement::unknown) == 0
          ? std::string()
          : fmt::format("; of {} it is unknown what must be",
                        base::format_count(counts.of(CellJudgement::unknown), "cell"));
  if (wrong > 0) {
    finding.verdict = Verdict::fail;
    finding.observed = fmt::format("{} differ", wrong);
    finding.sentence = fmt::format(
        "{} of {} are not as specified ({} leak, {} are blocked, {} were answered by another): {}",
        wrong, all, counts.of(CellJudgement::leaks), counts.of(CellJudgement::blocked),
        counts.of(CellJudgement::wrong_party), told(differing[0]));
  } else if (without > 0) {
    finding.observed = "no evidence";
    finding.sentence =
        fmt::format("cannot tell: {} of {} show nothing: {}", without, all, told(differing[0]));
  } else if (known == 0) {
    finding.observed = "unknown";
    finding.sentence = cells.empty()
                           ? "cannot tell: no cell was probed"
                           : fmt::format("cannot tell: of none of {} is known what must be: {}",
                                         all, explain(world, cells[0].flow));
  } else {
    finding.verdict = Verdict::pass;
    finding.observed = "as specified";
    finding.sentence = fmt::format("{} of {} are as specified{}", known, all, beside);
  }
  return finding;
}

std::vector<std::size_t> changed_cells(const std::vector<ObservedCell>& before,
                                       const std::vector<ObservedCell>& now) {
  std::vector<std::size_t> changed;
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (i >= before.size() || before[i].flow != now[i].flow ||
        before[i].outcome != now[i].outcome || before[i].answered_by != now[i].answered_by) {
      changed.push_back(i);
    }
  }
  return changed;
}

}  // namespace checks
