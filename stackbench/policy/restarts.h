// A pod that is made anew as a change under watch: for how long do packets contradict what is
// specified of its addresses?
//
// Its labels stay, so what is specified of it as a pod stays; what changes is which address it has.
// Three things are true then, and are watched:
//
//   the new address   From the pod's first instant on, what is denied from it or to it does not
//                     pass (closes), and what is allowed does (opens). Before it there was no such
//                     address, so there is no "before" to be seen, and times are from that instant.
//                     In a lab it lies between t_ack and when the addresses are given for certain,
//                     which the error holds; on a cluster it is that of the pod's own agent.
//   the old address   Nobody has it any more: of what was allowed to it nothing arrives (closes),
//                     from t_sent on. Whoever has it next inherits nothing that is told the pod.
//                     Where the pod's agent ends with it (on a cluster) nobody is left to see what
//                     comes there, and it is not watched.
//
// What would be true of packets FROM the old address depends on who has it next, and until
// somebody has it nobody sends them: they are not watched.
#pragma once

#include <cstddef>
#include <vector>

#include "base/interrupt.h"
#include "stackbench/policy/pod_remake.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/windows.h"

namespace stackbench {

// At most `most` flows of these kinds in turns, as different as there is room for, and beside them
// one for each receiver that shows that it sees what arrives: for the pod itself always from its
// node, which no policy holds for. `old_address`: whether one to it can be watched.
[[nodiscard]] std::vector<ChosenFlow> choose_restart_flows(
    const PolicyGrid& grid, const std::vector<checks::Allowance>& truth, std::size_t pod,
    std::size_t most, bool old_address);

// What one restart came to, of each flow in their order. A flow whose truth is another at the new
// address (`truth` and `truth_now`, by the grid's cells) is not judged.
[[nodiscard]] WatchedWrite judge_restart(const Remade& remade, std::size_t pod,
                                         const std::vector<ChosenFlow>& flows,
                                         const PolicyGrid& grid,
                                         const std::vector<checks::Allowance>& truth,
                                         const std::vector<checks::Allowance>& truth_now);

// Makes the pod of a change anew as often as the scenario says; one series, or none where no flow
// can be watched. Errors: as remake_pod().
[[nodiscard]] base::Result<std::vector<WriteSeries>> watch_restart(
    cluster::Target& target, Session& session, std::size_t environment, const Scenario& scenario,
    const ChangeSpec& change, PolicyWrites& writes, const base::Interrupt& interrupt);

}  // namespace stackbench
