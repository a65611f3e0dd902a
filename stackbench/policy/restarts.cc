#include "stackbench/policy/restarts.h"

#include <algorithm>
#include <array>
#include <map>
#include <utility>

#include "stackbench/policy/changes.h"

namespace stackbench {
namespace {

using checks::Allowance;
using checks::PolicyChange;

// Between the two probes around an edge.
constexpr base::Duration widest_bracket = std::chrono::milliseconds(3);

// Cells of one kind, by protocol, which are taken in turns.
class Candidates {
 public:
  void add(const GridCell& cell, base::Protocol protocol) { cells_[protocol].push_back(cell); }
  std::optional<GridCell> take() {
    const auto next =
        std::ranges::max_element(cells_, {}, [](const auto& its) { return its.second.size(); });
    if (next == cells_.end() || next->second.empty()) return std::nullopt;
    const auto cell = next->second.front();
    next->second.erase(next->second.begin());
    return cell;
  }

 private:
  std::map<base::Protocol, std::vector<GridCell>> cells_;
};

// The instants between which a pod had its new address: of a lab, whose agent saw nothing of it.
struct FirstInstant {
  std::int64_t earliest_ns = 0;
  std::int64_t latest_ns = 0;
};

FirstInstant first_instant(const Remade& remade) {
  if (remade.stamps.there_ns) return {remade.stamps.acked_ns, *remade.stamps.there_ns};
  return {remade.there_ns, remade.there_ns};
}

// What a flow's window is counted from.
checks::PolicyWrite write_for(const ChosenFlow& flow, const Remade& remade, const SeenFlow& seen) {
  auto [earliest, latest] = first_instant(remade);
  if (flow.to_old_address) return {.sent_ns = remade.stamps.sent_ns, .acked_ns = latest};
  // Before anything of it was sent nothing could contradict: others may have heard late of it.
  if (!seen.sent.empty()) {
    earliest = std::max(earliest, seen.sent.front().before_ns);
    latest = std::max(latest, earliest);
  }
  // Before it is there for certain, what does not arrive is not held back by anybody.
  if (flow.change == PolicyChange::to_allowed) return {.sent_ns = latest, .acked_ns = latest};
  return {.sent_ns = earliest, .acked_ns = latest};
}

}  // namespace

std::vector<ChosenFlow> choose_restart_flows(const PolicyGrid& grid,
                                             const std::vector<Allowance>& truth, std::size_t pod,
                                             std::size_t most, bool old_address) {
  struct Kind {
    PolicyChange change;
    bool to_old_address = false;
    Candidates cells = {};
  };
  enum { denied_to, denied_from, allowed_to_old, allowed_to_it, allowed_from };
  std::array<Kind, 5> kinds{Kind{PolicyChange::to_denied}, Kind{PolicyChange::to_denied},
                            Kind{PolicyChange::to_denied, true}, Kind{PolicyChange::to_allowed},
                            Kind{PolicyChange::to_allowed}};
  for (std::size_t i = 0; i < grid.cells.size(); ++i) {
    const auto& cell = grid.cells[i];
    if (cell.from == cell.to || (cell.from != pod && cell.to != pod)) continue;
    const bool to = cell.to == pod;
    const auto protocol = grid.ports[cell.port].spec.protocol;
    if (truth[i] == Allowance::denied) {
      kinds[to ? denied_to : denied_from].cells.add(cell, protocol);
    } else if (truth[i] == Allowance::allowed) {
      kinds[to ? allowed_to_it : allowed_from].cells.add(cell, protocol);
      if (to && old_address) kinds[allowed_to_old].cells.add(cell, protocol);
    }
  }
  std::vector<ChosenFlow> flows;
  std::map<std::size_t, std::size_t> controls;  // by receiver: the flow's place
  const auto control_of = [&](const GridCell& cell) {
    const auto [known, fresh] = controls.try_emplace(cell.to, flows.size());
    if (fresh) {
      const auto other = cell.to == pod ? std::nullopt : allowed_to(grid, truth, cell.to, pod);
      flows.push_back({.cell = other.value_or(GridCell{cell.to, cell.to, cell.port}),
                       .from_node = !other,
                       .control = known->second});
    }
    return known->second;
  };
  std::size_t watched = 0;
  for (bool added = true; added && watched < most;) {
    added = false;
    for (auto& kind : kinds) {
      const auto cell = watched < most ? kind.cells.take() : std::nullopt;
      if (!cell) continue;
      const auto control = control_of(*cell);
      flows.push_back({.cell = *cell,
                       .change = kind.change,
                       .control = control,
                       .to_old_address = kind.to_old_address});
      ++watched;
      added = true;
    }
  }
  return flows;
}

WatchedWrite judge_restart(const Remade& remade, std::size_t pod,
                           const std::vector<ChosenFlow>& flows, const PolicyGrid& grid,
                           const std::vector<Allowance>& truth,
                           const std::vector<Allowance>& truth_now) {
  const auto [earliest, latest] = first_instant(remade);
  WatchedWrite result{.stamps = {.sent_ns = earliest, .acked_ns = latest}, .windows = {}};
  std::int64_t until_ns = 0;
  for (const auto& flow : remade.seen) until_ns = std::max(until_ns, flow.until_ns);
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const auto& flow = flows[i];
    const auto& seen = remade.seen[i];
    checks::WatchedFlow watched{.name = name_of(flow, grid),
                                .flow = seen.stamps(until_ns),
                                .was_there = flow.to_old_address,
                                .from_ns = seen.from_ns,
                                .until_ns = std::min(until_ns, seen.until_ns),
                                .clock_uncertainty = seen.clock_uncertainty};
    // Of a control flow it is asked nothing but what it shows of others.
    if (!flow.change) {
      result.windows.push_back({.flow = watched.name});
      continue;
    }
    watched.control = remade.seen[flow.control].stamps(until_ns);
    const auto cell = static_cast<std::size_t>(std::ranges::lower_bound(grid.cells, flow.cell) -
                                               grid.cells.begin());
    if (truth[cell] != truth_now[cell]) {
      result.windows.push_back(
          {.flow = watched.name,
           .not_judged = "policies say something else of the address it has now"});
    } else if (remade.elsewhere && flow.cell.to == pod && !flow.to_old_address) {
      result.windows.push_back({.flow = watched.name, .not_judged = "it has another address"});
    } else {
      // That the pod is there is seen once it is, which may be as late as that.
      const auto widest = widest_bracket + base::Duration(latest - earliest);
      result.windows.push_back(
          checks::window_of(write_for(flow, remade, seen), *flow.change, watched, widest));
    }
  }
  return result;
}

base::Result<std::vector<WriteSeries>> watch_restart(cluster::Target& target, Session& session,
                                                     std::size_t environment,
                                                     const Scenario& scenario,
                                                     const ChangeSpec& change, PolicyWrites& writes,
                                                     const base::Interrupt& interrupt) {
  const auto& pods = writes.grid().pods;
  const auto pod = static_cast<std::size_t>(
      std::ranges::find(pods, *change.restart_pod, &cluster::PodHandle::name) - pods.begin());
  const auto flows = choose_restart_flows(writes.grid(), truth_of(writes), pod,
                                          static_cast<std::size_t>(scenario.policy->watched_flows),
                                          !session.agent_ends_with_pod());
  std::vector<WriteSeries> series;
  if (flows.empty()) return series;
  series.push_back(
      {.change = change.name, .what = words_for(change), .flows = flows, .restarts = true});
  for (int i = 0; i < scenario.policy->repetitions; ++i) {
    const auto truth = truth_of(writes);
    ASSIGN_OR_RETURN(const auto remade,
                     remake_pod(target, session, environment, scenario.policy->window, pod, flows,
                                writes, interrupt));
    series.front().repetitions.push_back(
        judge_restart(remade, pod, flows, writes.grid(), truth, truth_of(writes)));
  }
  return series;
}

}  // namespace stackbench
