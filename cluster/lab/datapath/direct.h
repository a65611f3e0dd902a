// The `direct` datapath: none. No rules, no hooks, no connection tracking; Services have no
// addresses that lead anywhere, and pods reach each other by routing alone. The floor that every
// other datapath is measured against.
#pragma once

#include <memory>
#include <vector>

#include "base/result.h"
#include "cluster/lab/datapath/datapath.h"

namespace cluster {

// Never fails; it has the shape of the others.
[[nodiscard]] base::Result<std::unique_ptr<Datapath>> make_direct_datapath(
    const std::vector<DatapathNode>& nodes);

}  // namespace cluster
