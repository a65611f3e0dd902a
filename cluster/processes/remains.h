// What a cluster's dead supervisor left on the machine, and how it is taken away. Its processes and
// namespaces end with it; its cgroups and its directory stay.
#pragma once

#include <string>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// The lock on a cluster's directory, which is made where it is not there. Errors: usage (a live
// process has it), system, not_permitted.
[[nodiscard]] base::Result<base::UniqueFd> lock_directory(const Directory& directory);

// Removes the cgroups its state file names, once no process of it runs any more, and all of the
// directory but the lock and, where `keep_logs`, the logs. Call it with the lock held. Errors:
// timed_out (its processes do not end), not_permitted, system.
[[nodiscard]] base::Result<> remove_remains(const Directory& directory, bool keep_logs = false);

// Removes the directory itself; its lock goes with it. Errors: system, not_permitted.
[[nodiscard]] base::Result<> remove_directory(const Directory& directory);

}  // namespace cluster::processes
