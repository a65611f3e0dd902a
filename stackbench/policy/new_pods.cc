#include "stackbench/policy/new_pods.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/stats/sample.h"

namespace stackbench {
namespace {

using checks::Allowance;

// Probes before the pod is made anew, so that none of its first instants is missed.
constexpr base::Duration lead = std::chrono::milliseconds(30);

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

// A cell to a pod that is allowed, of a pod other than the one that is made anew.
std::optional<GridCell> allowed_to(const PolicyGrid& grid, const std::vector<Allowance>& truth,
                                   std::size_t to, std::size_t pod) {
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    const auto& cell = grid.cells[i];
    if (cell.to == to && cell.from != to && cell.from != pod && truth[i] == Allowance::allowed) {
      return cell;
    }
  }
  return std::nullopt;
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

base::IpAddress next_address(const std::vector<base::IpAddress>& used) {
  auto next = *std::ranges::max_element(used, {}, &base::IpAddress::bytes);
  const std::size_t length = next.family == base::AddressFamily::ipv4 ? 4 : 16;
  for (std::size_t i = length; i > 0; --i) {
    if (++next.bytes[i - 1] != 0) break;
  }
  return next;
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
  // Where nothing is forbidden there is nothing to watch, and the record says so by its pairs.
  for (int i = 0; i < scenario.policy->repetitions && !flows.empty(); ++i) {
    auto grid = writes.grid();
    std::vector<base::IpAddress> used;
    for (const auto& other : grid.pods) {
      if (other.node == grid.pods[pod].node) used.push_back(other.address(writes.family()));
    }
    const auto expected = next_address(used);
    (expected.family == base::AddressFamily::ipv4 ? grid.pods[pod].ipv4 : grid.pods[pod].ipv6) =
        expected;
    ASSIGN_OR_RETURN(auto watch,
                     FlowWatch::start(session, environment, grid, writes.family(), flows));
    RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + lead));
    ASSIGN_OR_RETURN(const auto stamps, target.restart_pod(writes.environment(), name));
    RETURN_IF_ERROR(session.look_again(environment));
    writes.look_again(session.environments()[environment]);
    RETURN_IF_ERROR(
        interrupt.wait_until(base::MonotonicTime{stamps.sent_ns} + scenario.policy->window));
    ASSIGN_OR_RETURN(const auto seen, watch.stop());
    const bool elsewhere = writes.grid().pods[pod].address(writes.family()) != expected;
    bool all_seen = true;
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
      all_seen =
          all_seen && (!elsewhere || flows[flow].cell.to != pod) &&
          would_be_seen(flows, seen, flow, pod, stamps.programmed_ns.value_or(stamps.acked_ns));
      auto& told = record.flows[place++];
      for (const auto& probe : seen[flow].received) {
        const auto after = probe.received_ns - stamps.sent_ns;
        if (after < 0) continue;
        ++told.packets;
        told.bytes += seen[flow].packet_bytes;
        told.first_ns = std::min(told.first_ns.value_or(after), after);
        told.last_ns = std::max(told.last_ns.value_or(after), after);
      }
    }
    ++record.repetitions;
    if (elsewhere) ++record.elsewhere;
    if (!all_seen) ++record.unseen;
    if (first) reached.push_back(static_cast<double>(*first - stamps.sent_ns));
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
  return {};
}

checks::Finding judge_new_pods(const std::vector<reports::NewPodRecord>& records) {
  checks::Finding finding;
  std::uint64_t packets = 0;
  int made = 0;
  int unseen = 0;
  int elsewhere = 0;
  std::vector<std::string> unwatched;
  const reports::NewPodRecord* worst = nullptr;
  for (const auto& record : records) {
    packets += record.packets;
    made += record.repetitions;
    unseen += record.unseen;
    elsewhere += record.elsewhere;
    if (record.flows.empty()) unwatched.push_back(record.pod);
    if (record.packets > 0 && (worst == nullptr || record.packets > worst->packets)) {
      worst = &record;
    }
  }
  const int seen = made - unseen;
  finding.evidence = {{"packets", packets},
                      {"made", made},
                      {"unseen", unseen},
                      {"elsewhere", elsewhere},
                      {"nothing_forbidden", unwatched}};
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
  if (seen > 0 && unseen > 0) {
    finding.sentence += fmt::format(
        "; of {} more there is no telling, nothing shows that one would have been seen", unseen);
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
