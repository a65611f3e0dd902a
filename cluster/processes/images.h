// The images of a cluster's nodes: archives taken in by each node's containerd, once for each state
// of an archive, so that `up` of a running cluster takes in what is new since.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/processes/layout.h"

namespace cluster::processes {

// Runs a program on a node, numbered from 1.
using RunOnNode = std::function<base::Result<>(int node, const std::vector<std::string>& argv)>;

// Takes every archive of image_archives() that the cluster does not have yet into each of its
// nodes, and notes it. Returns the names of those taken in. Errors: of `run`, missing, system.
[[nodiscard]] base::Result<std::vector<std::string>> import_images(const Directory& directory,
                                                                   const Tools& tools,
                                                                   const Shape& shape,
                                                                   const RunOnNode& run);

}  // namespace cluster::processes
