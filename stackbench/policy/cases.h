// Sets of policies that a generator makes, put in force one after the other, each compared with the
// specification in every cell; one that fails is made as small as it can be.
#pragma once

#include <functional>

#include "base/interrupt.h"
#include "checks/finding.h"
#include "reports/policy.h"
#include "stackbench/policy/matrix_record.h"
#include "stackbench/policy/policy_world.h"
#include "stackbench/policy/sweep.h"

namespace stackbench {

// What policies are made for.
[[nodiscard]] checks::PolicySpace space_of(const PolicyWrites& writes, const Scenario& scenario);

// How many sets a scenario asks for in each environment, before there is any.
[[nodiscard]] std::size_t cases_wanted(const Scenario& scenario);

// Tries all of them; `record` always says how far it came. Before the first and after the last all
// cells are probed with no policy in force: an end that has no network would read as denied. So no
// policy is in force afterwards. Where the first few close nothing at all, nobody enforces any, and
// the rest is not tried. `progress` is called after each set. Errors: as PolicyWrites and
// SweepAll; interrupted.
[[nodiscard]] base::Result<> run_cases(const SweepAll& sweep, PolicyWrites& writes,
                                       const Scenario& scenario, const RepeatCommand& repeat,
                                       const base::Interrupt& interrupt,
                                       const std::function<void()>& progress,
                                       reports::CasesRecord& record);

// pass: each set that was tried is proven, and all was reached with no policy in force. fail: a set
// was not enforced as specified. inconclusive: anything else, so where nothing was tried.
[[nodiscard]] checks::Finding judge_cases(const reports::CasesRecord& record);

}  // namespace stackbench
