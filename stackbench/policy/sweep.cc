#include "stackbench/policy/sweep.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <set>
#include <utility>

namespace stackbench {
namespace {

// Between sweeps that agree on what is not believed yet.
constexpr base::Duration held_back = std::chrono::milliseconds(20);

bool differs(const checks::JudgedCell& cell) {
  using enum checks::CellJudgement;
  return cell.judgement == leaks || cell.judgement == blocked || cell.judgement == wrong_party;
}

}  // namespace

bench::ListenJob Sweeper::listeners_of(std::size_t pod) const {
  bench::ListenJob job{.server_id = writes_->grid().pods[pod].id, .ports = {}};
  for (const auto& port : writes_->grid().ports) {
    job.ports.push_back({port.spec.port, port.spec.protocol});
  }
  return job;
}

base::Result<Sweeper> Sweeper::start(Session& session, std::size_t environment,
                                     const PolicyWrites& writes) {
  Sweeper sweeper(session, environment, writes);
  // All are told before any of them is waited for.
  std::vector<std::pair<bench::AgentClient*, bench::JobId>> told;
  for (std::size_t pod = 0; pod < writes.grid().pods.size(); ++pod) {
    ASSIGN_OR_RETURN(auto* const agent, session.agent(environment, writes.grid().pods[pod].name));
    ASSIGN_OR_RETURN(const auto id, agent->send_listener(sweeper.listeners_of(pod)));
    sweeper.listeners_[pod] = id;
    told.emplace_back(agent, id);
  }
  for (const auto& [agent, id] : told) RETURN_IF_ERROR(agent->await_listener(id));
  return sweeper;
}

base::Result<> Sweeper::listen(std::size_t pod) {
  ASSIGN_OR_RETURN(auto* const agent,
                   session_->agent(environment_, writes_->grid().pods[pod].name));
  ASSIGN_OR_RETURN(const auto running, agent->start_listener(listeners_of(pod)));
  listeners_[pod] = running.id;
  carried_.erase(pod);
  return {};
}

base::Result<> Sweeper::stop(std::size_t pod) {
  const auto found = listeners_.find(pod);
  if (found == listeners_.end()) return {};
  ASSIGN_OR_RETURN(auto* const agent,
                   session_->agent(environment_, writes_->grid().pods[pod].name));
  const auto id = found->second;
  listeners_.erase(found);
  RETURN_IF_ERROR(agent->stop_listener(id));
  return {};
}

bench::ReachTarget Sweeper::target(std::size_t pod, std::size_t port) const {
  const auto& handle = writes_->grid().pods[pod];
  const auto& spec = writes_->grid().ports[port].spec;
  return {.endpoint = {handle.address(writes_->family()), spec.port},
          .protocol = spec.protocol,
          .server_id = handle.id};
}

base::Result<bench::AgentClient*> Sweeper::node_agent(int node) {
  if (unasked_.contains(node)) return nullptr;
  // One for all pods of the node: on a cluster each is a pod of its own.
  const auto pod = std::ranges::find(writes_->grid().pods, node, &cluster::PodHandle::node);
  auto agent = session_->observer(environment_, pod->name);
  if (agent || agent.error().kind == base::ErrorKind::interrupted) return agent;
  unasked_[node] = agent.error().message;
  return nullptr;
}

base::Result<> Sweeper::ask_nodes(const std::set<std::size_t>& pods, base::Duration timeout,
                                  Sweep& sweep) {
  struct Share {
    bench::AgentClient* agent = nullptr;
    std::vector<std::size_t> pods = {};
    bench::JobId id = {};
  };
  std::map<int, Share> shares;
  for (const auto pod : pods) shares[writes_->grid().pods[pod].node].pods.push_back(pod);
  for (auto& [node, share] : shares) {
    ASSIGN_OR_RETURN(share.agent, node_agent(node));
    if (share.agent == nullptr) {
      sweep.node_unasked = unasked_.at(node);
      for (const auto pod : share.pods) {
        const auto last = carried_.find(pod);
        if (last == carried_.end()) continue;
        sweep.controls.push_back(last->second);
        sweep.controls.back().earlier = true;
      }
      continue;
    }
    // Any port shows it, and all have all.
    bench::ReachJob job{.targets = {}, .timeout = timeout};
    for (const auto pod : share.pods) job.targets.push_back(target(pod, 0));
    ASSIGN_OR_RETURN(share.id, share.agent->send_reach(job));
  }
  base::Result<> trouble;
  for (auto& [node, share] : shares) {
    if (share.agent == nullptr) continue;
    const auto result = share.agent->await_reach(share.id);
    if (!result) {
      if (trouble) trouble = std::unexpected(result.error());
      continue;
    }
    for (std::size_t i = 0; i < share.pods.size() && i < result->cells.size(); ++i) {
      sweep.controls.push_back({.flow = writes_->flow_from_node(share.pods[i], 0),
                                .outcome = result->cells[i].outcome,
                                .answered_by = result->cells[i].answered_by,
                                .error_code = result->cells[i].error_code});
    }
    sweep.results += share.pods.size();
  }
  return trouble;
}

base::Result<Sweep> Sweeper::sweep(base::Duration timeout) {
  std::vector<std::size_t> places(writes_->grid().cells.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  return sweep(timeout, places);
}

base::Result<Sweep> Sweeper::sweep(base::Duration timeout, const std::vector<std::size_t>& places) {
  const auto& grid = writes_->grid();
  // What one pod probes: first the cells, by their place in the sweep, then itself.
  struct Share {
    std::vector<std::size_t> cells;
    std::vector<GridCell> controls;
    bench::AgentClient* agent = nullptr;
    base::Duration ahead{0};
    bench::JobId id;
  };
  std::map<std::size_t, Share> shares;
  std::set<GridCell> all;
  for (const auto place : places) all.insert(grid.cells[place]);
  std::set<GridCell> controls;
  for (std::size_t i = 0; i < places.size(); ++i) {
    const auto& cell = grid.cells[places[i]];
    shares[cell.from].cells.push_back(i);
    const GridCell itself{cell.to, cell.to, cell.port};
    // A pod and itself is a cell of a whole matrix, and its own control.
    if (controls.insert(itself).second && !all.contains(itself)) {
      shares[cell.to].controls.push_back(itself);
    }
  }
  for (auto& [pod, share] : shares) {
    ASSIGN_OR_RETURN(share.agent, session_->agent(environment_, grid.pods[pod].name));
    ASSIGN_OR_RETURN(const auto clock, session_->clock_of(*share.agent));
    share.ahead = clock.offset;
  }

  Sweep sweep;
  sweep.cells.resize(places.size());
  sweep.began_ns = base::monotonic_now().ns;
  for (auto& [pod, share] : shares) {
    bench::ReachJob job{.targets = {}, .timeout = timeout};
    for (const auto i : share.cells) {
      const auto& cell = grid.cells[places[i]];
      job.targets.push_back(target(cell.to, cell.port));
    }
    for (const auto& cell : share.controls) job.targets.push_back(target(cell.to, cell.port));
    ASSIGN_OR_RETURN(share.id, share.agent->send_reach(job));
  }
  sweep.probed_from_ns = std::numeric_limits<std::int64_t>::max();
  // Every one that runs is awaited, whatever the others met.
  base::Result<> trouble;
  std::set<std::size_t> ends;
  for (const auto& cell : all) ends.insert({cell.from, cell.to});
  auto unseen = ends;  // those that nobody reached, and that reached nobody
  for (auto& [pod, share] : shares) {
    auto result = share.agent->await_reach(share.id);
    const auto probes = share.cells.size() + share.controls.size();
    if (result && result->cells.size() != probes) {
      result = base::fail(base::ErrorKind::workload, "{}: {} results of {} probes",
                          share.agent->name(), result->cells.size(), probes);
    }
    if (!result) {
      if (trouble) trouble = std::unexpected(std::move(result).error());
      continue;
    }
    for (std::size_t i = 0; i < probes; ++i) {
      const auto& seen = result->cells[i];
      const bool is_cell = i < share.cells.size();
      const auto& cell =
          is_cell ? grid.cells[places[share.cells[i]]] : share.controls[i - share.cells.size()];
      checks::ObservedCell observed{.flow = writes_->flow_of(cell),
                                    .outcome = seen.outcome,
                                    .answered_by = seen.answered_by,
                                    .error_code = seen.error_code};
      if (cell.from == cell.to) {
        sweep.controls.push_back(observed);
      } else if (observed.outcome == bench::ReachOutcome::answered) {
        for (const auto end : {cell.from, cell.to}) {
          carried_[end] = observed;
          unseen.erase(end);
        }
      }
      if (is_cell) sweep.cells[share.cells[i]] = std::move(observed);
    }
    sweep.results += probes;
    sweep.probed_from_ns = std::min(sweep.probed_from_ns, result->began_ns - share.ahead.count());
  }
  RETURN_IF_ERROR(trouble);
  for (const auto pod : ends) {
    if (!unseen.contains(pod)) sweep.controls.push_back(carried_.at(pod));
  }
  RETURN_IF_ERROR(ask_nodes(unseen, timeout, sweep));
  sweep.ended_ns = base::monotonic_now().ns;
  return sweep;
}

std::size_t Settled::different() const {
  return static_cast<std::size_t>(std::ranges::count_if(judged, differs));
}

std::size_t Settled::untold() const {
  return static_cast<std::size_t>(std::ranges::count(judged, checks::CellJudgement::no_evidence,
                                                     &checks::JudgedCell::judgement));
}

std::size_t Settled::as_specified() const {
  return static_cast<std::size_t>(std::ranges::count(judged, checks::CellJudgement::as_specified,
                                                     &checks::JudgedCell::judgement));
}

base::Result<Settled> sweep_until_settled(const SweepAll& sweep, const checks::PolicyWorld& world,
                                          const MatrixSpec& spec,
                                          const cluster::WriteStamps& stamps,
                                          const base::Interrupt& interrupt,
                                          bool first_may_be_enough) {
  Settled settled;
  const auto began = base::monotonic_now();
  const auto since_ns = stamps.acked_ns > 0 ? stamps.acked_ns : began.ns;
  const auto believed_from_ns = stamps.programmed_ns.value_or(since_ns + spec.grace.count());
  const auto deadline = began + spec.deadline;
  std::optional<Sweep> before;
  std::int64_t same_since_ns = 0;
  for (;;) {
    if (interrupt.requested()) return base::fail(base::ErrorKind::interrupted, "interrupted");
    ASSIGN_OR_RETURN(settled.last, sweep(spec.timeout));
    ++settled.sweeps;
    settled.judged = checks::judge_matrix(world, settled.last.cells, settled.last.controls);
    settled.agreed = before && checks::changed_cells(before->cells, settled.last.cells).empty();
    if (!settled.agreed) same_since_ns = settled.last.probed_from_ns;
    settled.settled_ns = same_since_ns - since_ns;
    settled.watched_ns = settled.last.ended_ns - since_ns;
    if (first_may_be_enough && settled.sweeps == 1 && settled.proven()) {
      settled.agreed = true;
      return settled;
    }
    const bool right = settled.different() == 0 && settled.untold() == 0;
    if (settled.agreed && (right || settled.last.began_ns >= believed_from_ns)) return settled;
    if (base::monotonic_now() >= deadline) {
      if (!settled.agreed) settled.settled_ns = settled.watched_ns;
      return settled;
    }
    // What is open is swept within milliseconds: a network that is waited for is not hammered.
    if (settled.agreed) RETURN_IF_ERROR(interrupt.wait_until(base::monotonic_now() + held_back));
    before = settled.last;
  }
}

}  // namespace stackbench
