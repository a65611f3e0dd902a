// Probe pods in a lab: those of manifests, brought up with what they need beside them.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "cluster/kubernetes/live_objects.h"
#include "cluster/lab/lab_target.h"
#include "stackbench/verify/probe_pods.h"

namespace stackbench {

// An address of documentation (RFC 5737, RFC 3849) in each family: whom the outside calls itself.
[[nodiscard]] std::vector<base::IpAddress> lab_outside_addresses();

class LabPods : public ProbePods {
 public:
  // Brings up all pods of `live` and of the plan, with their policies in force. `live` gets the
  // pods' addresses. `external`: where the outside answers, beside lab_outside_addresses();
  // `faults`: what is broken on purpose. `lab` must outlive it. Errors: as LabTarget's.
  static base::Result<LabPods> bring_up(cluster::LabTarget& lab, cluster::LiveObjects& live,
                                        const ProbePlan& plan,
                                        const std::vector<base::Endpoint>& external,
                                        const std::vector<cluster::FaultKind>& faults);

  base::Result<checks::Labels> prepare() override;
  base::Result<> create(const ProbePod& pod) override;
  base::Result<base::Json> await(const ProbePod& pod) override;
  base::Result<cluster::AgentStreams> agent(const ProbePod& pod) override;
  // The lab made it, and nobody else has a hand in it.
  base::Result<bool> has_network(const ProbePod&) override { return true; }
  base::Result<> remove() override { return lab_->teardown(); }

 private:
  using Key = std::pair<std::string, std::string>;  // namespace, name

  explicit LabPods(cluster::LabTarget& lab) : lab_(&lab) {}

  cluster::LabTarget* lab_;
  checks::Labels elsewhere_;          // the labels of that namespace
  std::map<Key, base::Json> pods_;    // their objects
  std::map<Key, std::string> names_;  // what the lab calls them
};

}  // namespace stackbench
