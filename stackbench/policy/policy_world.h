// The world of a scenario's policies: the objects as they were written and the pods as they are,
// kept as the oracle reads them (checks/policy/oracle.h). Every write goes through here, so that
// what is specified and what was written are never two things.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "checks/policy/generator.h"
#include "checks/policy/oracle.h"
#include "cluster/target.h"
#include "stackbench/scenario/scenario.h"

namespace stackbench {

// A port of the matrix.
struct GridPort {
  std::string name;
  ProbePort spec;
};

// One pod to another, or to itself, at a port: places in PolicyGrid.
struct GridCell {
  std::size_t from = 0;
  std::size_t to = 0;
  std::size_t port = 0;

  auto operator<=>(const GridCell&) const = default;
};

// Who is probed by whom at what.
struct PolicyGrid {
  std::vector<cluster::PodHandle> pods;  // without the client outside, in the order of the world's
  std::vector<GridPort> ports;           // those of TCP first
  std::vector<GridCell> cells;           // that are probed, ascending
};

// "shop/deny".
[[nodiscard]] std::string key_of(const base::kube::NetworkPolicy& policy);

// What there is before anything was written: pods, namespaces and nodes of an environment, each pod
// with every port of the scenario by its name.
[[nodiscard]] checks::PolicyWorld world_of(const cluster::EnvironmentHandle& environment,
                                           const Scenario& scenario);
// The cells of a scenario there, or the part of them that `policy.only` names.
[[nodiscard]] PolicyGrid grid_of(const cluster::EnvironmentHandle& environment,
                                 const Scenario& scenario);

// Policies that are not the run's own, as the oracle minds them: the pods that they may select are
// unknown to it.
[[nodiscard]] std::vector<checks::UnmodelledPolicy> unmodelled_of(
    const cluster::OtherPolicies& others);

// Called from the controller's thread; the target must outlive it.
class PolicyWrites {
 public:
  PolicyWrites(cluster::Target& target, const cluster::EnvironmentHandle& environment,
               const Scenario& scenario);

  // From now on what they may select is not specified: how they and the scenario's own come
  // together is not modelled.
  void mind(const cluster::OtherPolicies& others);
  // What is specified now.
  [[nodiscard]] const checks::PolicyWorld& world() const { return world_; }
  [[nodiscard]] const PolicyGrid& grid() const { return grid_; }
  [[nodiscard]] base::AddressFamily family() const { return scenario_->family; }
  [[nodiscard]] const std::string& environment() const { return environment_; }
  // A cell as the oracle knows it.
  [[nodiscard]] checks::PolicyFlow flow_of(const GridCell& cell) const;
  // The same from the node that a pod is on, which no policy holds for.
  [[nodiscard]] checks::PolicyFlow flow_from_node(std::size_t pod, std::size_t port) const;

  // Each writes one thing. Errors: as Target::apply(), remove() and set_labels().
  base::Result<cluster::WriteStamps> put(const base::kube::NetworkPolicy& policy);
  base::Result<cluster::WriteStamps> remove(const std::string& key);
  base::Result<cluster::WriteStamps> label(cluster::LabelledKind kind, const std::string& name,
                                           const std::map<std::string, std::string>& labels);
  // Has just these policies, and every label as the scenario says but for those named; returns the
  // stamps of the last write. Errors: as above.
  base::Result<cluster::WriteStamps> become(const checks::PolicyStep& step);
  // The pods have other addresses: a pod was made anew.
  void look_again(const cluster::EnvironmentHandle& environment);

 private:
  checks::Labels* labels_of(cluster::LabelledKind kind, const std::string& name);

  cluster::Target* target_;
  std::string environment_;
  const Scenario* scenario_;
  checks::PolicyWorld world_;
  PolicyGrid grid_;
  cluster::WriteStamps last_;
  // By kind and name: labels that a target gives of its own, and those of the scenario in force.
  std::map<std::pair<cluster::LabelledKind, std::string>, checks::Labels> of_the_target_;
  std::map<std::pair<cluster::LabelledKind, std::string>, checks::Labels> of_the_scenario_;
  std::map<std::pair<cluster::LabelledKind, std::string>, checks::Labels> written_;
};

}  // namespace stackbench
