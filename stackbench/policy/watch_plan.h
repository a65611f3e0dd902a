// Which pairs are watched while something changes: of those whose truth it changes, as different
// ones as there is room for, and for every pod that is dialled one flow that is always allowed,
// without which silence would prove nothing (checks/policy/leak_window.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "checks/policy/leak_window.h"
#include "checks/policy/oracle.h"
#include "stackbench/policy/policy_world.h"

namespace stackbench {

struct ChosenFlow {
  GridCell cell;
  // Of a control flow where no pod may always dial: from the node of the pod that is dialled, which
  // policies do not hold for. `cell.from` says nothing then.
  bool from_node = false;
  // What doing the change does to it; undoing does the opposite. Absent: it is a control flow.
  std::optional<checks::PolicyChange> change = {};
  std::size_t control = 0;  // its control flow's place; of a control flow its own
  // To the address that the pod which is made anew had before.
  bool to_old_address = false;
};

// What is specified of each cell of a grid, in its order: as things are written, or in a world of
// the same pods.
[[nodiscard]] std::vector<checks::Allowance> truth_of(const PolicyWrites& writes);
[[nodiscard]] std::vector<checks::Allowance> truth_of(const PolicyWrites& writes,
                                                      const checks::PolicyWorld& world);

// At most `most` flows, controls among them, over cells whose truth is known before and after; none
// of a pod to itself. Empty where the change changes nothing. The same for the same arguments.
[[nodiscard]] std::vector<ChosenFlow> choose_flows(const PolicyGrid& grid,
                                                   const std::vector<checks::Allowance>& before,
                                                   const std::vector<checks::Allowance>& after,
                                                   std::size_t most);

// A cell to a pod that is allowed, of a pod other than that and `but_from`; nothing where there is
// none.
[[nodiscard]] std::optional<GridCell> allowed_to(const PolicyGrid& grid,
                                                 const std::vector<checks::Allowance>& truth,
                                                 std::size_t to, std::size_t but_from);

// The ends of a flow in words: "web-0" or "node1", and "db-0" or "db-0 (its old address)".
[[nodiscard]] std::string sender_of(const ChosenFlow& flow, const PolicyGrid& grid);
[[nodiscard]] std::string receiver_of(const ChosenFlow& flow, const PolicyGrid& grid);

// Both and the port: "web-0 to db-0, http".
[[nodiscard]] std::string name_of(const ChosenFlow& flow, const PolicyGrid& grid);

// The opposite: what undoing does.
[[nodiscard]] constexpr checks::PolicyChange undone(checks::PolicyChange change) {
  return change == checks::PolicyChange::to_denied ? checks::PolicyChange::to_allowed
                                                   : checks::PolicyChange::to_denied;
}

}  // namespace stackbench
