// The world the oracle judges, made of a cluster's objects; and which of its pods are one workload.
#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checks/policy/oracle.h"
#include "cluster/kubernetes/live_objects.h"

namespace stackbench {

// Pods of one maker: what people know by a name, while pods come and go.
struct Workload {
  std::string name;  // "Deployment web", "Pod debug" for one that nobody made
  std::string in_namespace;
  std::vector<std::size_t> pods;  // in the world

  [[nodiscard]] std::string to_string() const { return in_namespace + "/" + name; }
};

struct LiveWorld {
  checks::PolicyWorld world;
  std::vector<Workload> workloads;   // by namespace and name
  std::vector<std::string> of_ours;  // pods that are left out, as our own runs made them
  // Which namespaces the policies' namespaceSelectors select now, by selector ("team=red"), those
  // that select all left out; absent where not all namespaces are known.
  std::optional<std::map<std::string, std::vector<std::string>>> selected_namespaces = {};
};

// Pods that have ended are left out, and those of our own runs. Policies of other kinds, and
// NetworkPolicies with what we do not know, make the pods they may select unknown. Errors: input
// (an object the API server cannot have given).
[[nodiscard]] base::Result<LiveWorld> make_live_world(const cluster::LiveObjects& live);

// A pod as policies see it.
[[nodiscard]] checks::PolicyPod policy_pod(const base::Json& pod);

}  // namespace stackbench
