// Pods made anew under watch: are they protected from their first instant? Packets that policies
// forbid are sent from the pod and to it as soon as can be (stackbench/policy/pod_remake.h); none
// of them may arrive.
#pragma once

#include <string>

#include "base/interrupt.h"
#include "checks/finding.h"
#include "reports/policy.h"
#include "stackbench/policy/pod_remake.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/watch.h"
#include "stackbench/policy/watch_plan.h"
#include "stackbench/session.h"

namespace stackbench {

// Whom to watch while a pod is made anew: at most `most` cells from it and to it that are denied,
// as different as there is room for, whose `change` is to_denied; and beside them what shows that
// their packets would be seen. Of each receiver, the pod itself always among them, that is a flow
// of another pod that is allowed, or of the receiver's node where no pod may (`control`); of the
// pod as a sender, one from it that is allowed, where it may send to anybody. Empty where nothing
// is denied.
[[nodiscard]] std::vector<ChosenFlow> choose_new_pod_flows(
    const PolicyGrid& grid, const std::vector<checks::Allowance>& truth, std::size_t pod,
    std::size_t most);

// For how long at most nobody may knock at a new pod, or a receiver see nothing, while it is
// watched: a leak that is shorter is missed. A node that starts a pod has less time for its others.
inline constexpr base::Duration widest_pause_in_lab = checks::widest_control_gap;
inline constexpr base::Duration widest_pause_on_cluster = std::chrono::milliseconds(100);

// Whether a packet of a forbidden flow would have been seen from when the pod was there: since then
// one that is allowed got from the pod's new address to a receiver, or to that address from another
// sender; the flow's own receiver saw what its control flow sent it, and lost nothing; and the
// flow's sender sent. Where the pod may send to nobody, that it was reached at its new address
// stands for what it would have sent. `flows` and `seen` are in the same order, `flow` is the place
// of a forbidden one, `pod` the grid's place of the pod, `there_ns` (CLOCK_MONOTONIC) when its old
// address was gone for certain.
[[nodiscard]] bool would_be_seen(const std::vector<ChosenFlow>& flows,
                                 const std::vector<SeenFlow>& seen, std::size_t flow,
                                 std::size_t pod, std::int64_t there_ns);

// The longest that a forbidden flow's sender did not send, from when the pod was there or, where it
// began later, from then, or that its receiver did not see its control flow, once it had seen some;
// Duration::max() where it never sent or saw.
[[nodiscard]] base::Duration longest_pause(const SeenFlow& flow, const SeenFlow& control,
                                           std::int64_t there_ns);

// Makes a pod anew as often as the scenario's repetitions, and up to as many times more where it
// cannot be told of one and none has leaked; the record says how far it came. Writes and session
// know the pod's new address afterwards. Errors: as remake_pod().
[[nodiscard]] base::Result<> watch_new_pod(cluster::Target& target, Session& session,
                                           std::size_t environment, const Scenario& scenario,
                                           const std::string& pod, PolicyWrites& writes,
                                           const base::Interrupt& interrupt,
                                           reports::NewPodRecord& record);

// Fails for a forbidden packet that arrived. Inconclusive where it is not shown that one would have
// been seen each time, for every pod: those with nothing forbidden and those that had another
// address than was knocked at included.
[[nodiscard]] checks::Finding judge_new_pods(const std::vector<reports::NewPodRecord>& records);

}  // namespace stackbench
