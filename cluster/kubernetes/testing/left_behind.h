// What a run left on a cluster, for tests that say that nothing is.
#pragma once

#include <string>
#include <vector>

#include "base/process.h"

namespace cluster::testing {

// What carries a run's label, of every kind that we make: "namespace/x\npod/y\n". `kubectl`: the
// program and its flags; by default the one in PATH, of the cluster that KUBECONFIG names.
[[nodiscard]] inline std::string left_behind(std::vector<std::string> kubectl = {"kubectl"}) {
  kubectl.insert(
      kubectl.end(),
      {"get", "namespaces,pods,services,endpointslices,jobs,networkpolicies", "--all-namespaces",
       "--selector=app.kubernetes.io/managed-by=stackbench,stackbench.io/run", "--output=name"});
  const auto listed = base::run_for_output(kubectl);
  return listed ? *listed : base::describe_error(listed.error());
}

}  // namespace cluster::testing
