// A node's own machine within the machine: its mounts and the files it starts with.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/fabric/init.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

// What a kubelet would set of the machine's own settings, and the values it wants: it finds plain
// files in their place that hold them.
struct FakedSysctl {
  std::string_view name;  // "vm.overcommit_memory"
  std::string_view value;
};
[[nodiscard]] const std::vector<FakedSysctl>& faked_sysctls();

// What a node sees: /var/lib and /var/log are its own; the tools and the cluster's directory stay
// where they are, even below those; its clock is ahead of ours if the shape says so. Pure.
[[nodiscard]] InitPlan node_init(const Directory& directory, const Tools& tools, const Shape& shape,
                                 int node);

// Makes a node's directory with everything in it that node_init() mounts and its components read.
// Errors: not_permitted, system.
[[nodiscard]] base::Result<> write_node_files(const Directory& directory, const Tools& tools,
                                              const Shape& shape, int node,
                                              const std::string& cgroup_root);

}  // namespace cluster::processes
