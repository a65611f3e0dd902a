// What of a plan a target has: environments and arms it lacks are left out before anything is
// measured, and the report says why. A cluster has the datapath it has, and not every cluster has
// load balancers or both address families.
#pragma once

#include <cstddef>
#include <map>

#include "base/result.h"
#include "cluster/target.h"
#include "stackbench/plan.h"
#include "stackbench/session.h"

namespace stackbench {

// Leaves out the environments that the target can never have, and the arms in them, before
// anything is brought up. Errors: as Target::unavailable.
[[nodiscard]] base::Result<> leave_out_unavailable(Plan& plan, cluster::Target& target);

// Leaves out the arms for which what came up has no address (a family it does not have, a load
// balancer that nobody provides), and takes over the datapath that is there where the plan takes
// whichever is installed. `session` is of this plan.
[[nodiscard]] base::Result<> leave_out_unreachable(Plan& plan, const Session& session);

// `policies`: Session::policies(). Leaves out the arms in environments whose NetworkPolicies are
// not in force: what they cost is told of enforced ones alone. Where nobody enforces any, an
// environment that is to be enforced and has none tells nothing either.
void leave_out_unenforced(Plan& plan, const std::map<std::size_t, PoliciesInForce>& policies);

}  // namespace stackbench
