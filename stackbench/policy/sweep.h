// Sweeps over a matrix: every pod's agent probes all of its cells at once, and every pod's
// listeners are probed from the pod itself, so that a server that is not there never reads as a
// policy. That a pod has a network at all is shown by what it reached, or who reached it, in the
// same sweep. Of one that is wholly shut nothing does, so its node dials it in that sweep: what is
// between a pod and its node is no policy's business (Kubernetes' API reference, NetworkPolicy).
// Where the node cannot be asked, an earlier sweep has to do, and that is said.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "checks/policy/matrix.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/session.h"

namespace stackbench {

// What one sweep saw. Stamps are on our clock.
struct Sweep {
  std::vector<checks::ObservedCell> cells;  // in the order of PolicyGrid::cells
  // What each pod that any cell dials saw of itself, port by port; and of each pod what showed that
  // it has a network: a flow to or from another pod that was answered, or one from its node.
  std::vector<checks::ControlCell> controls;
  // Why the nodes of some pods that nothing else was seen of were not asked; empty where they were,
  // or did not have to be. What shows of those pods is of an earlier sweep.
  std::string node_unasked = {};
  std::int64_t began_ns = 0;        // before anybody was told to probe
  std::int64_t probed_from_ns = 0;  // when the first probe was sent: what was seen is since then
  std::int64_t ended_ns = 0;
  std::uint64_t results = 0;  // probes with an outcome, controls among them
};

// A sweep over all cells of a grid. Errors: as Sweeper::sweep.
using SweepAll = std::function<base::Result<Sweep>(base::Duration timeout)>;

// The listeners of an environment's pods, for as long as the session lasts. Called from the
// controller's thread; session and writes must outlive it.
class Sweeper {
 public:
  // Starts a listener at every port of every pod. Errors: as AgentClient::start_listener.
  static base::Result<Sweeper> start(Session& session, std::size_t environment,
                                     const PolicyWrites& writes);

  // All cells of the grid, or those of these places. Errors: as AgentClient::reach.
  base::Result<Sweep> sweep(base::Duration timeout);
  base::Result<Sweep> sweep(base::Duration timeout, const std::vector<std::size_t>& places);
  // The first of these, for as long as this object is where it is.
  [[nodiscard]] SweepAll all() {
    return [this](base::Duration timeout) { return sweep(timeout); };
  }
  // Listens in a pod that was made anew, whose network nobody has seen yet. Errors: as start().
  base::Result<> listen(std::size_t pod);
  // Ends one pod's listener: its ports are dead from then on. Errors: as AgentClient.
  base::Result<> stop(std::size_t pod);

 private:
  Sweeper(Session& session, std::size_t environment, const PolicyWrites& writes)
      : session_(&session), environment_(environment), writes_(&writes) {}

  [[nodiscard]] bench::ReachTarget target(std::size_t pod, std::size_t port) const;
  [[nodiscard]] bench::ListenJob listeners_of(std::size_t pod) const;
  // Adds to a sweep what shows that these pods, of which nothing was seen in it, have a network:
  // their nodes dial them. Errors: as AgentClient::reach; interrupted.
  base::Result<> ask_nodes(const std::set<std::size_t>& pods, base::Duration timeout, Sweep& sweep);
  // The agent on a node; nothing, with the reason noted, where there can be none. Errors:
  // interrupted.
  base::Result<bench::AgentClient*> node_agent(int node);

  Session* session_;
  std::size_t environment_;
  const PolicyWrites* writes_;
  std::map<std::size_t, bench::JobId> listeners_;  // by pod
  // By pod: a flow to or from another that was answered last.
  std::map<std::size_t, checks::ObservedCell> carried_;
  std::map<int, std::string> unasked_;  // by node: why it cannot be asked
};

// Sweeps that were repeated until two in a row agreed and were to be believed, or a deadline
// passed. Times are from the acknowledgement of the last write, or from the beginning where nothing
// was written.
struct Settled {
  Sweep last;
  std::vector<checks::JudgedCell> judged;  // of the last sweep
  int sweeps = 0;
  bool agreed = false;
  // To the first probe of the first sweep of those that agree with the last; or, where none does,
  // to the end of the last sweep.
  std::int64_t settled_ns = 0;
  // To the end of the last sweep: how long a difference was given to go away.
  std::int64_t watched_ns = 0;

  // Cells that leak, are blocked or were answered by another.
  [[nodiscard]] std::size_t different() const;
  // Cells of which nothing can be told, for want of evidence.
  [[nodiscard]] std::size_t untold() const;
  [[nodiscard]] std::size_t as_specified() const;
  // Nothing differs, all of it can be told, and it is something.
  [[nodiscard]] bool proven() const {
    return different() == 0 && untold() == 0 && as_specified() > 0;
  }
};

// Sweeps at once, without any time to settle; `world` is what is specified since `stamps` of the
// last write. A network may acknowledge a write long before it enforces it, so two sweeps that
// agree on something else than what is specified may both be too early: they are believed only when
// the last of them began after the network said that it had the write, or, where it says nothing,
// MatrixSpec::grace after the acknowledgement. Those that agree on what is specified are believed
// at once. With `first_may_be_enough` a very first sweep that is proven is not repeated: nothing
// was seen to change. Errors: as SweepAll; interrupted.
[[nodiscard]] base::Result<Settled> sweep_until_settled(const SweepAll& sweep,
                                                        const checks::PolicyWorld& world,
                                                        const MatrixSpec& spec,
                                                        const cluster::WriteStamps& stamps,
                                                        const base::Interrupt& interrupt,
                                                        bool first_may_be_enough = false);

}  // namespace stackbench
