// Whether this machine can bring up a cluster of processes, and what it lacks.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/feature.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// One feature, "processes": everything `stackbench up` needs beside what a lab needs. Never fails.
[[nodiscard]] Feature probe_processes();

// The same of what was found: the tools, the content of /proc/filesystems, whether bridged packets
// are filtered, and the options of `up` for which there are tools, too: "--cni calico".
[[nodiscard]] Feature processes_feature(const base::Result<Tools>& tools,
                                        std::string_view filesystems, bool filters_bridges,
                                        const std::vector<std::string>& options);

}  // namespace cluster::processes
