// What an interrupted run leaves, and how it is taken away. A lab's namespaces, processes and hooks
// end with its controller, whatever ended that; its cgroup directories stay. So do those of a
// cluster of processes, in every hierarchy.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace cluster {

// Finds the cgroup trees of runs whose controllers are gone and removes them, unless `dry_run`.
// Returns what was found, a sentence each; a live run's are never touched. Without a cgroup
// hierarchy there is nothing. Goes on after an error and returns the first.
// Errors: not_permitted, timed_out, system.
[[nodiscard]] base::Result<std::vector<std::string>> clean_lab(bool dry_run);

}  // namespace cluster
