// A scenario's changes: done, undone, and put into words. Those that restart a pod, which nothing
// undoes, are put into words alone (stackbench/policy/restarts.h).
#pragma once

#include <string>

#include "base/result.h"
#include "checks/policy/generator.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// "update NetworkPolicy shop/db", "label pod web-0 app=api".
[[nodiscard]] std::string words_for(const ChangeSpec& change);
// What undoes it: "create NetworkPolicy shop/db", "label pod web-0 app=web".
[[nodiscard]] std::string words_for_undoing(const ChangeSpec& change, const Scenario& scenario);

// What is there once a change was made, by checks::after(); nothing is written. Labels that a
// target gives of its own stay, as with PolicyWrites::label().
[[nodiscard]] checks::PolicyWorld world_after(const ChangeSpec& change, const Scenario& scenario,
                                              const checks::PolicyWorld& world);

// Errors: as PolicyWrites.
[[nodiscard]] base::Result<cluster::WriteStamps> make_change(const ChangeSpec& change,
                                                             PolicyWrites& writes);
[[nodiscard]] base::Result<cluster::WriteStamps> undo_change(const ChangeSpec& change,
                                                             const Scenario& scenario,
                                                             PolicyWrites& writes);

}  // namespace stackbench
