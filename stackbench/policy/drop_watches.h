// The kernels that carry some pods' packets, asked together what they drop.
#pragma once

#include <cstddef>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "probes/drops.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/session.h"

namespace stackbench {

// Called from the controller's thread; the session must outlive it.
class DropWatches {
 public:
  // Watches at the node of each of these pods, by the observer of the first pod there is on it; in
  // a lab, where one kernel carries all of them, at one. Errors: as Session::observer() and
  // AgentClient::start_drops_watch().
  static base::Result<DropWatches> start(Session& session, std::size_t environment,
                                         const PolicyGrid& grid, bool one_kernel,
                                         const std::set<std::size_t>& pods,
                                         const probes::DropsJob& job);

  // What all of them dropped, each once, and the end of the watch: nodes may share a kernel, whose
  // stamps then are the same. Errors: as AgentClient::stop_drops_watch().
  base::Result<probes::Drops> stop();
  // Whose kernels these are: "the nodes of client-0, web-0"; nothing where it is everybody's.
  [[nodiscard]] const std::optional<std::string>& seen_at() const { return seen_at_; }

 private:
  DropWatches() = default;

  std::vector<std::pair<bench::AgentClient*, bench::JobId>> running_;
  std::optional<std::string> seen_at_;
};

// Those of several watches, in the order of time, a drop that two of them saw once.
[[nodiscard]] probes::Drops merged(std::vector<probes::Drops> all);

}  // namespace stackbench
