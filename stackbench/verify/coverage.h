// Default-deny of workloads by what policies say (checks/policy/default_deny.h), and how it differs
// from another day's. Whether anybody enforces it, packets have to tell
// (stackbench/verify/probing.h).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/describe.h"
#include "checks/policy/default_deny.h"
#include "stackbench/verify/live_world.h"

namespace stackbench {

using checks::Coverage;
using checks::DirectionCoverage;

struct WorkloadCoverage {
  std::string workload;  // "shop/Deployment web"
  std::string in_namespace;
  std::size_t pods = 0;
  std::map<checks::PolicyDirection, DirectionCoverage> directions;
};

// Of each workload, in the world's order: as its worst pod is (uncovered before allows_everything
// before unknown), and what any of them is allowed.
[[nodiscard]] std::vector<WorkloadCoverage> cover(
    const LiveWorld& live, const std::vector<checks::PolicyDirection>& directions);

// What is kept of it for another day. Numbers of pods are not: they come and go.
struct SavedDirection {
  Coverage coverage = Coverage::uncovered;
  std::vector<std::string> allowed = {};
};
struct SavedWorkload {
  std::optional<SavedDirection> egress = {};
  std::optional<SavedDirection> ingress = {};
};
struct SavedCoverage {
  std::vector<std::string> namespaces;
  std::map<std::string, SavedWorkload> workloads;
  // As LiveWorld's: who is let through by its namespace's labels.
  std::optional<std::map<std::string, std::vector<std::string>>> selected_namespaces = {};
};

[[nodiscard]] SavedCoverage saved(const std::vector<std::string>& namespaces,
                                  const std::vector<WorkloadCoverage>& coverage);

// What is other now than it was, a line each; empty where nothing is. Errors: input (it was of
// other namespaces or directions).
[[nodiscard]] base::Result<std::vector<std::string>> drift(const SavedCoverage& before,
                                                           const SavedCoverage& now);

template <typename Visit, base::SelfOf<SavedDirection> Self>
void describe(Visit& visit, Self& self) {
  visit("coverage", self.coverage, {.doc = "What policies say of it.", .required = true});
  visit("allowed", self.allowed, {.doc = "What they let through."});
}

template <typename Visit, base::SelfOf<SavedWorkload> Self>
void describe(Visit& visit, Self& self) {
  visit("egress", self.egress, {.doc = "What its pods may reach."});
  visit("ingress", self.ingress, {.doc = "What may reach its pods."});
}

template <typename Visit, base::SelfOf<SavedCoverage> Self>
void describe(Visit& visit, Self& self) {
  visit("namespaces", self.namespaces, {.doc = "The namespaces it is of.", .required = true});
  visit("workloads", self.workloads, {.doc = "By name.", .required = true});
  visit("selected_namespaces", self.selected_namespaces,
        {.doc = "Which namespaces selectors select, by selector."});
}

}  // namespace stackbench
