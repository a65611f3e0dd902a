#include "stackbench/policy/new_pods.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/stats/sample.h"

namespace stackbench {
namespace {

using checks::Allowance;

// The forbidden cells of one direction, in turns of protocols.
class Side {
 public:
  void add(const GridCell& cell, base::Protocol protocol, Allowance allowance) {
    if (allowance == Allowance::denied) denied_[protocol].push_back(cell);
    if (allowance == Allowance::allowed && !allowed_) allowed_ = cell;
  }
  [[nodiscard]] const std::optional<GridCell>& allowed() const { return allowed_; }
  [[nodiscard]] std::vector<GridCell> choose(std::size_t most) const {
    std::vector<GridCell> cells;
    for (std::size_t i = 0; cells.size() < most; ++i) {
      const auto before = cells.size();
      for (const auto& [protocol, its] : denied_) {
        if (i < its.size() && cells.size() < most) cells.push_back(its[i]);
      }
      if (cells.size() == before) break;
    }
    return cells;
  }

 private:
  std::map<base::Protocol, std::vector<GridCell>> denied_;
  std::optional<GridCell> allowed_;
};

// The first packet of a flow that arrived after an instant.
std::optional<std::int64_t> first_arrival(const SeenFlow& flow, std::int64_t after_ns) {
  const auto first = std::ranges::find_if(flow.received, [&](const bench::ReceivedProbe& probe) {
    return probe.received_ns >= after_ns;
  });
  if (first == flow.received.end()) return std::nullopt;
  return first->received_ns;
}

// Whether a packet left after an instant.
bool left(const SeenFlow& flow, std::int64_t after_ns) {
  return std::ranges::any_of(flow.sent, [&](const bench::SentProbe& probe) {
    return probe.before_ns >= after_ns && probe.error_code == 0;
  });
}

// Whether one that left after an instant arrived: none of those that were on their way then.
bool got_through(const SeenFlow& flow, std::int64_t after_ns) {
  std::set<std::uint32_t> numbers;
  for (const auto& probe : flow.sent) {
    if (probe.before_ns >= after_ns && probe.error_code == 0) numbers.insert(probe.number);
  }
  return std::ranges::any_of(flow.received, [&](const bench::ReceivedProbe& probe) {
    return numbers.contains(probe.number);
  });
}

// The longest time between two of these stamps, ascending, or from an instant to the first or from
// the last to another.
base::Duration longest_gap(const std::vector<std::int64_t>& stamps, std::int64_t from_ns,
                           std::int64_t until_ns) {
  std::int64_t longest = 0;
  auto last_ns = from_ns;
  for (const auto at : stamps) {
    if (at < from_ns) continue;
    longest = std::max(longest, std::min(at, until_ns) - last_ns);
    last_ns = at;
  }
  return base::Duration(std::max(longest, until_ns - last_ns));
}

}  // namespace

std::vector<ChosenFlow> choose_new_pod_flows(const PolicyGrid& grid,
                                             const std::vector<Allowance>& truth, std::size_t pod,
                                             std::size_t most) {
  Side from;
  Side to;
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    const auto& cell = grid.cells[i];
    if (cell.from == cell.to || (cell.from != pod && cell.to != pod)) continue;
    (cell.from == pod ? from : to).add(cell, grid.ports[cell.port].spec.protocol, truth[i]);
  }
  const auto outgoing = from.choose(most / 2);
  const auto incoming = to.choose(most - most / 2);
  std::vector<ChosenFlow> flows;
  if (outgoing.empty() && incoming.empty()) return flows;
  // What shows that a receiver sees what arrives: of the pod itself, that it has its address, too.
  std::map<std::size_t, std::size_t> controls;
  const auto control_of = [&](const GridCell& cell) {
    const auto [known, fresh] = controls.try_emplace(cell.to, flows.size());
    if (fresh) {
      const auto allowed = allowed_to(grid, truth, cell.to, pod);
      flows.push_back({.cell = allowed.value_or(GridCell{cell.to, cell.to, cell.port}),
                       .from_node = !allowed,
                       .control = known->second});
    }
    return known->second;
  };
  const auto add = [&](const GridCell& cell) {
    const auto control = control_of(cell);
    flows.push_back({.cell = cell, .change = checks::PolicyChange::to_denied, .control = control});
  };
  control_of({pod, pod, incoming.empty() ? outgoing.front().port : incoming.front().port});
  // What shows that something leaves the pod.
  if (!outgoing.empty() && from.allowed()) {
    flows.push_back({.cell = *from.allowed(), .control = flows.size()});
  }
  for (const auto& cell : outgoing) add(cell);
  for (const auto& cell : incoming) add(cell);
  return flows;
}

bool would_be_seen(const std::vector<ChosenFlow>& flows, const std::vector<SeenFlow>& seen,
                   std::size_t flow, std::size_t pod, std::int64_t there_ns) {
  const auto control = flows[flow].control;
  if (!seen[flow].all_received || !seen[control].all_received) return false;
  if (!got_through(seen[control], there_ns) || !left(seen[flow], there_ns)) return false;
  if (flows[flow].cell.from != pod) return true;
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const bool of_the_pod = !flows[i].change && !flows[i].from_node && flows[i].cell.from == pod;
    if (of_the_pod) return seen[i].all_received && got_through(seen[i], there_ns);
  }
  // It may send to nobody: then that others reach it at its new address is all there can be.
  for (std::size_t i = 0; i < flows.size(); ++i) {
    if (!flows[i].change && flows[i].cell.to == pod) return got_through(seen[i], there_ns);
  }
  return false;
}

base::Duration longest_pause(const SeenFlow& flow, const SeenFlow& control, std::int64_t there_ns) {
  const auto first_seen = first_arrival(control, there_ns);
  if (flow.sent.empty() || !first_seen) return base::Duration::max();
  std::vector<std::int64_t> knocked;
  for (const auto& probe : flow.sent) {
    if (probe.error_code == 0) knocked.push_back(probe.before_ns);
  }
  std::vector<std::int64_t> arrived;
  for (const auto& probe : control.received) arrived.push_back(probe.received_ns);
  std::ranges::sort(arrived);
  const auto knocked_from = std::max(there_ns, flow.sent.front().before_ns);
  return std::max(longest_gap(knocked, knocked_from, flow.until_ns),
                  longest_gap(arrived, *first_seen, control.until_ns));
}

base::Result<> watch_new_pod(cluster::Target& target, Session& session, std::size_t environment,
                             const Scenario& scenario, const std::string& name,
                             PolicyWrites& writes, const base::Interrupt& interrupt,
                             reports::NewPodRecord& record) {
  record.environment = writes.environment();
  record.pod = name;
  const auto& pods = writes.grid().pods;
  const auto pod = static_cast<std::size_t>(
      std::ranges::find(pods, name, &cluster::PodHandle::name) - pods.begin());
  const auto flows = choose_new_pod_flows(writes.grid(), truth_of(writes), pod,
                                          static_cast<std::size_t>(scenario.policy->watched_flows));
  for (const auto& flow : flows) {
    if (!flow.change) continue;
    record.flows.push_back({.from = pods[flow.cell.from].name,
                            .to = pods[flow.cell.to].name,
                            .port = writes.grid().ports[flow.cell.port].name});
  }
  std::vector<double> reached;
  std::vector<double> told_after;
  const auto widest = session.agent_ends_with_pod() ? widest_pause_on_cluster : widest_pause_in_lab;
  // Of repetitions that count the longest, of the others the shortest.
  std::optional<base::Duration> pause;
  std::optional<base::Duration> pause_of_unseen;
  // Where nothing is forbidden there is nothing to watch, and the record says so by its pairs.
  const int wanted = flows.empty() ? 0 : scenario.policy->repetitions;
  // Once some have arrived, more would show nothing else.
  bool any_arrived = false;
  for (int seen_well = 0, i = 0; seen_well < wanted && i < (any_arrived ? 1 : 2) * wanted; ++i) {
    ASSIGN_OR_RETURN(const auto remade,
                     remake_pod(target, session, environment, scenario.policy->window, pod, flows,
                                writes, interrupt));
    const auto& [seen, stamps, there_ns, elsewhere, told] = remade;
    if (told) told_after.push_back(static_cast<double>(told->count()));
    bool all_seen = true;
    base::Duration paused{0};
    std::optional<std::int64_t> first;
    std::size_t place = 0;
    for (std::size_t flow = 0; flow < flows.size(); ++flow) {
      const auto arrived = first_arrival(seen[flow], stamps.sent_ns);
      if (!flows[flow].change) {
        // Only what goes to its new address: what comes from it may have left with its old one.
        if (arrived && flows[flow].cell.to == pod)
          first = std::min(first.value_or(*arrived), *arrived);
        continue;
      }
      // What came to another address than was knocked at, nobody sent.
      all_seen = all_seen && (!elsewhere || flows[flow].cell.to != pod) &&
                 would_be_seen(flows, seen, flow, pod, there_ns);
      paused = std::max(paused, longest_pause(seen[flow], seen[flows[flow].control], there_ns));
      auto& pair = record.flows[place++];
      for (const auto& probe : seen[flow].received) {
        const auto after = probe.received_ns - stamps.sent_ns;
        if (after < 0) continue;
        any_arrived = true;
        ++pair.packets;
        pair.bytes += seen[flow].packet_bytes;
        pair.first_ns = std::min(pair.first_ns.value_or(after), after);
        pair.last_ns = std::max(pair.last_ns.value_or(after), after);
      }
    }
    ++record.repetitions;
    if (elsewhere) ++record.elsewhere;
    all_seen = all_seen && paused <= widest;
    ++(all_seen ? seen_well : record.unseen);
    if (all_seen) {
      pause = std::max(pause.value_or(paused), paused);
    } else {
      pause_of_unseen = std::min(pause_of_unseen.value_or(paused), paused);
    }
    if (first) reached.push_back(static_cast<double>(*first - stamps.sent_ns));
  }
  if (record.repetitions - record.unseen == wanted) {
    record.replaced = std::exchange(record.unseen, 0);
  }
  if (const auto known = pause ? pause : pause_of_unseen; known && *known < base::Duration::max()) {
    record.pause_ns = known->count();
  }
  for (const auto& flow : record.flows) {
    record.packets += flow.packets;
    record.bytes += flow.bytes;
    if (flow.first_ns) {
      record.first_ns = std::min(record.first_ns.value_or(*flow.first_ns), *flow.first_ns);
      record.last_ns = std::max(record.last_ns.value_or(*flow.last_ns), *flow.last_ns);
    }
  }
  if (!reached.empty()) record.reached_ns = base::stats::median(reached);
  if (!told_after.empty()) record.told_after_ns = base::stats::median(told_after);
  return {};
}

checks::Finding judge_new_pods(const std::vector<reports::NewPodRecord>& records) {
  checks::Finding finding;
  std::uint64_t packets = 0;
  int made = 0;
  int unseen = 0;
  int replaced = 0;
  int elsewhere = 0;
  std::optional<double> told_after_ns;
  std::optional<std::int64_t> pause_ns;
  std::vector<std::string> unwatched;
  const reports::NewPodRecord* worst = nullptr;
  for (const auto& record : records) {
    packets += record.packets;
    made += record.repetitions;
    unseen += record.unseen;
    replaced += record.replaced;
    elsewhere += record.elsewhere;
    if (record.told_after_ns) {
      told_after_ns = std::max(told_after_ns.value_or(0), *record.told_after_ns);
    }
    if (record.pause_ns) pause_ns = std::max(pause_ns.value_or(0), *record.pause_ns);
    if (record.flows.empty()) unwatched.push_back(record.pod);
    if (record.packets > 0 && (worst == nullptr || record.packets > worst->packets)) {
      worst = &record;
    }
  }
  const int seen = made - unseen - replaced;
  finding.evidence = {{"packets", packets},     {"made", made},
                      {"unseen", unseen},       {"replaced", replaced},
                      {"elsewhere", elsewhere}, {"nothing_forbidden", unwatched}};
  if (told_after_ns) {
    finding.evidence["told_after_ns"] = static_cast<std::int64_t>(*told_after_ns);
  }
  if (pause_ns) finding.evidence["pause_ns"] = *pause_ns;
  if (worst != nullptr) {
    finding.verdict = base::Verdict::fail;
    finding.observed = fmt::format("{} packets", packets);
    finding.sentence = fmt::format(
        "{} forbidden packets from or to {} arrived while it was new, the last {:.1f} ms after the "
        "write that made it",
        worst->packets, worst->pod, static_cast<double>(worst->last_ns.value_or(0)) / 1e6);
    return finding;
  }
  const bool proven = seen > 0 && unseen == 0 && unwatched.empty();
  finding.verdict = proven ? base::Verdict::pass : base::Verdict::inconclusive;
  finding.observed = seen > 0 ? "none" : "no telling";
  finding.sentence =
      seen > 0
          ? fmt::format("no forbidden packet from or to a new pod arrived, {} times one was made",
                        seen)
          : std::string(
                "no forbidden packet from or to a new pod arrived, but nothing shows that "
                "one would have been seen");
  if (seen > 0 && pause_ns) {
    finding.sentence += fmt::format("; a leak of less than {:.1f} ms may have been missed",
                                    static_cast<double>(*pause_ns) / 1e6);
  }
  if (replaced > 0) {
    finding.sentence += fmt::format("; {} more stalled and {} replaced by others", replaced,
                                    replaced == 1 ? "was" : "were");
  }
  if (seen > 0 && unseen > 0) {
    finding.sentence += fmt::format(
        "; of {} more there is no telling, nothing shows that one would have been seen", unseen);
  }
  if (told_after_ns) {
    finding.sentence += fmt::format(
        "; they sent from their first instant, and were sent to from {:.0f} ms after it, when the "
        "API server had told their addresses",
        *told_after_ns / 1e6);
  }
  if (elsewhere > 0) {
    finding.sentence += fmt::format(
        "; {} times the pod had another address than was knocked at beforehand", elsewhere);
  }
  if (!unwatched.empty()) {
    finding.sentence += fmt::format("; of {} no flow is forbidden, so there was nothing to watch",
                                    fmt::join(unwatched, ", "));
  }
  return finding;
}

}  // namespace stackbench
