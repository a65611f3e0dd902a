// What a run asks of a cluster, and whether it may: found out before anything is made, so that all
// that is missing is said at once, and nothing is left half made. charts/stackbench grants what
// runs need and no more.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/kubernetes/api_client.h"

namespace cluster {

struct Right {
  std::string verb;
  std::string resource;  // "pods", "pods/exec"
  std::string group = {};
  std::string name = {};          // of the one object it is about; empty: any
  std::string in_namespace = {};  // empty: all, or of what belongs to none

  // As `kubectl auth can-i` takes it: "get pods/exec", "list endpointslices.discovery.k8s.io".
  [[nodiscard]] std::string to_string() const;
  bool operator==(const Right&) const = default;
};

// Of every run: in namespaces of its own, or in the one that is named. `version`: the server's, as
// "v1.33.1".
[[nodiscard]] std::vector<Right> rights_of_run(const std::string& in_namespace,
                                               const std::string& version);
// Beside those, where Services are loaded beside ours: their EndpointSlices are written by us.
[[nodiscard]] std::vector<Right> rights_for_fillers(const std::string& in_namespace);

// Where pods are deleted and made anew.
[[nodiscard]] std::vector<Right> rights_to_replace(const std::string& in_namespace);

// Where a workload is shared among generators, whose pods a Job makes.
[[nodiscard]] std::vector<Right> rights_for_generators(const std::string& in_namespace);

// Where NetworkPolicies are applied. Labels take no more than every run has.
[[nodiscard]] std::vector<Right> rights_for_policies(const std::string& in_namespace);

// Where a mesh is told what holds in namespaces of the run's own, and its proxies are asked what
// they counted; where the scenario has objects of Istio's, those too.
[[nodiscard]] std::vector<Right> rights_for_meshes(const MeshSpec& spec);

// To run a program in a pod.
[[nodiscard]] std::vector<Right> rights_to_exec(const std::string& in_namespace,
                                                const std::string& version);

// Those of them that the server says are missing, as Right::to_string(). Errors: as
// ApiClient::request().
[[nodiscard]] base::Result<std::vector<std::string>> missing_rights(
    const ApiOptions& api, const std::vector<Right>& rights);

// Asks the server for each. A server that does not tell is not asked again: its own refusal will
// come with the request. Errors: not_permitted (naming every right that is missing), and as
// ApiClient::request().
[[nodiscard]] base::Result<> check_rights(const ApiOptions& api, const std::vector<Right>& rights);

}  // namespace cluster
