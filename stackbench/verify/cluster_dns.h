// The cluster's DNS, which workloads are to reach where policies let them: the pods that answer,
// because whether policies see a Service's address or theirs is not defined.
#pragma once

#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "checks/policy/oracle.h"
#include "stackbench/verify/probe_cells.h"

namespace stackbench {

// As an API server gives them.
struct DnsObjects {
  base::Json space;     // the namespace it is in
  base::Json pods;      // the list of those with DNS's label
  base::Json policies;  // the list of NetworkPolicies there
};

// One that runs, at each of its addresses. It joins the world, with what policies say of it:
// `looked_at` is whether those of its namespace are in the world already. Errors: missing (there is
// none, or none runs), input (a policy that is not understood).
[[nodiscard]] base::Result<std::vector<ProbeOutside>> dns_of(const DnsObjects& objects,
                                                             bool looked_at,
                                                             checks::PolicyWorld& world);

}  // namespace stackbench
