// What a cluster has that says who may reach whom in some of its namespaces, as its API server
// gives it. Only read.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"

namespace cluster {

// A kind of policy that is not NetworkPolicy and could not be looked at: it may select any pod.
struct UnseenKind {
  std::string kind;  // "CiliumNetworkPolicy"
  std::string why;
};

// Every object has its apiVersion and kind.
struct LiveObjects {
  std::vector<base::Json> namespaces;  // that were asked for
  // All of the cluster, which selectors of policies may select; absent where this user may not list
  // them.
  std::optional<std::vector<base::Json>> all_namespaces = {};
  std::vector<base::Json> pods;
  std::vector<base::Json> policies;  // NetworkPolicies
  std::vector<base::Json> others;    // of kinds that are not modelled
  std::vector<UnseenKind> unseen;
  // For whoever makes pods: what could select them.
  std::vector<base::Json> services;
  std::vector<base::Json> controllers;  // what makes pods, by a selector
};

// What of these says who may reach whom, of every run alike: `policies`, `others` and `unseen`, to
// which NetworkPolicy belongs where this user may not list it. Errors: as ApiClient::get().
[[nodiscard]] base::Result<LiveObjects> read_live_policies(
    ApiClient& api, const std::vector<std::string>& namespaces);

// Reads what is in the namespaces. `for_probes`: Services and controllers, too. Errors: input (no
// such namespace), and as ApiClient::get(). Policies of other kinds that this user may not look at
// are no error.
[[nodiscard]] base::Result<LiveObjects> read_live_objects(
    ApiClient& api, const std::vector<std::string>& namespaces, bool for_probes);

}  // namespace cluster
