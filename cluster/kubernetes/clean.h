// What runs on a cluster left when they were killed, and how it is taken away.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/kubernetes/kubernetes_target.h"

namespace cluster {

struct CleanOptions {
  bool dry_run = false;
  // Whether objects go whose controller ran where we cannot see it: on another machine, or in
  // another container. A run that is alive there would lose them.
  bool of_other_machines = false;
};

// A sentence each.
struct Cleaned {
  std::vector<std::string> removed;     // or what would be
  std::vector<std::string> left_alone;  // it may be in use where we cannot see
};

// Finds what carries our labels and whose controller is gone, in `cluster.in_namespace` or, where
// that is empty, in all namespaces, and removes it; a live run's is never touched. The sockets of
// ended runs on this machine are found, too. Errors: as KubernetesTarget::create(), timed_out
// (something holds what was deleted).
[[nodiscard]] base::Result<Cleaned> clean_kubernetes(const KubernetesOptions& cluster,
                                                     const CleanOptions& options);

}  // namespace cluster
