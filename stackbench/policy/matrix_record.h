// A settled matrix as the report has it.
#pragma once

#include <string>
#include <vector>

#include "probes/drops.h"
#include "reports/policy.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/sweep.h"

namespace stackbench {

// Of how many cells that differ the report says everything.
inline constexpr std::size_t cells_told = 20;

// The command that does again what this one did, changed by these `--set`s, which count last:
// "stackbench run scenarios/policy.yaml --context prod --set seed=7". What says where results go is
// left out. Quoted for a shell.
struct RepeatCommand {
  std::vector<std::string> argv;  // as this one was started, its own name first

  [[nodiscard]] std::string with(const std::vector<std::string>& more) const;
};

// The cells that differ, explained, each with the command that probes it again; at most `most`.
[[nodiscard]] std::vector<reports::PolicyCell> differing_records(
    const PolicyWrites& writes, const Sweep& sweep, const std::vector<checks::JudgedCell>& judged,
    const RepeatCommand& repeat, std::size_t most);

// The whole of it.
[[nodiscard]] reports::MatrixRecord matrix_record(const PolicyWrites& writes,
                                                  const Settled& settled,
                                                  const RepeatCommand& repeat);

// A finding about the last sweep, inconclusive at best where no two sweeps agreed. Its evidence
// also has sweeps, settled, settled_ns and watched_ns (Settled).
[[nodiscard]] checks::Finding when_settled(checks::Finding finding, const Settled& settled);
// checks::policy_matrix() of the last sweep, when_settled().
[[nodiscard]] checks::Finding judge_settled(const checks::PolicyWorld& world,
                                            const Settled& settled);

// Joins what the kernel dropped to the cells it belonged to: from the one pod, to the other's port.
void join_drops(std::vector<reports::PolicyCell>& cells, const PolicyGrid& grid,
                base::AddressFamily family, const std::vector<probes::Drop>& drops);

// The same with what the enforcement says of them: what it said last of each.
void join_verdicts(std::vector<reports::PolicyCell>& cells, const PolicyGrid& grid,
                   base::AddressFamily family, const std::vector<cluster::DeniedPacket>& denied);

}  // namespace stackbench
