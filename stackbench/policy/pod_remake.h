// A pod made anew while flows from it and to it are watched.
//
// Whose agent outlives the pod (in a lab) sends and receives all the while; and because addresses
// are given in order there, others knock at the one it is going to have before it has it. Where the
// agent ends with the pod (on a cluster) the new one has its part in its plan and plays it from its
// first instant; to foretell its address would be to knock at whoever has it by then, so others
// send to it from when the API server tells it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/interrupt.h"
#include "cluster/target.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/watch.h"
#include "stackbench/policy/watch_plan.h"
#include "stackbench/session.h"

namespace stackbench {

struct Remade {
  std::vector<SeenFlow> seen;  // in the order of the flows
  cluster::WriteStamps stamps;
  // CLOCK_MONOTONIC of ours: since when it was there for certain, with its new address. Where its
  // agent begins with it, the agent's first instant: nothing of the pod was sent or seen before.
  std::int64_t there_ns = 0;
  // It has another address than was foretold and knocked at.
  bool elsewhere = false;
  // From there_ns until somebody sent to its address, where it could not be foretold.
  std::optional<base::Duration> told_after = {};
};

// The address a pod is going to have: a lab counts upwards, so that it is one above the highest of
// `used`, of its node. `used` is not empty.
[[nodiscard]] base::IpAddress next_address(const std::vector<base::IpAddress>& used);

// Makes a pod (its place in the grid of `writes`) anew and watches for policy.window from when it
// is there. `writes` and session know its new address afterwards; pointers to its agent are none
// any more. Errors: as Target::restart_pod, Session::agent_of_plan and FlowWatch; interrupted.
[[nodiscard]] base::Result<Remade> remake_pod(cluster::Target& target, Session& session,
                                              std::size_t environment, base::Duration window,
                                              std::size_t pod, const std::vector<ChosenFlow>& flows,
                                              PolicyWrites& writes,
                                              const base::Interrupt& interrupt);

}  // namespace stackbench
