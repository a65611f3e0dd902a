// What follows from a plan on every target: whether it can be provisioned at all, and which pods it
// has under which numbers.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/target.h"
#include "cluster/topology.h"

namespace cluster {

inline constexpr int most_nodes = 16;

// Errors: input, naming the field: no nodes or more than 16, no pods, a node that is not there,
// a namespace that is not there, names that are no DNS labels, ports that repeat, a Service whose
// target is no pod group.
[[nodiscard]] base::Result<> check_plan(const EnvironmentPlan& plan);

// By group name, then replica; ids ascend from 1, so that two targets and two runs number alike.
// Without addresses.
[[nodiscard]] std::vector<PodHandle> pods_of(const EnvironmentPlan& plan);

// Of the filler of this number, from 1.
[[nodiscard]] std::string filler_name(const Filler& filler, int number);

}  // namespace cluster
