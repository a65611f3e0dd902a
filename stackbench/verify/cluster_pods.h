// Probe pods on a cluster: made by its API server, and taken away again.
#pragma once

#include <string>
#include <vector>

#include "cluster/kubernetes/agents.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/manifests.h"
#include "stackbench/verify/probe_pods.h"

namespace stackbench {

// Where pods of elsewhere are, and what every pod of ours carries.
struct ProbingPlace {
  cluster::Placement ours;        // a namespace of its own
  checks::Labels labels_of_ours;  // on each pod
};
// For a run of this process. Errors: input.
[[nodiscard]] base::Result<ProbingPlace> probing_place(const std::string& run);

class ClusterPods : public ProbePods {
 public:
  // `api` and `agents` must outlive it.
  ClusterPods(cluster::ApiClient& api, cluster::Agents& agents, ProbingPlace place,
              std::string image)
      : api_(&api), agents_(&agents), place_(std::move(place)), image_(std::move(image)) {}
  ClusterPods(const ClusterPods&) = delete;
  ClusterPods& operator=(const ClusterPods&) = delete;
  // As remove(); an error then has nobody to go to.
  ~ClusterPods() override;

  // Errors of all: as ApiClient::checked(); of await() also timed_out and system (it cannot run).
  base::Result<checks::Labels> prepare() override;
  base::Result<> create(const ProbePod& pod) override;
  base::Result<base::Json> await(const ProbePod& pod) override;
  base::Result<cluster::AgentStreams> agent(const ProbePod& pod) override;
  base::Result<bool> has_network(const ProbePod& pod) override;
  // Not to be interrupted. Errors: also timed_out.
  base::Result<> remove() override;

 private:
  [[nodiscard]] cluster::Placement placement(const std::string& in_namespace) const;
  base::Result<> join(const ProbePod& pod);
  // The name of an ephemeral container: a pod keeps it for good.
  [[nodiscard]] std::string container() const { return "stackbench-" + place_.ours.run; }
  // Waits until those that were joined are alone again.
  base::Result<> await_left(const cluster::ApiOptions& options);

  cluster::ApiClient* api_;
  cluster::Agents* agents_;
  ProbingPlace place_;
  std::string image_;
  std::vector<std::string> touched_;  // namespaces of others that have pods of ours
  std::vector<ProbePod> joined_;      // pods of others with a container of ours
  bool own_namespace_ = false;        // it is there
};

}  // namespace stackbench
