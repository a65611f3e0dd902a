// The Kubernetes objects an environment is made of, from its plan alone: pure functions.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/json.h"
#include "base/result.h"
#include "cluster/target.h"
#include "cluster/topology.h"

namespace cluster {

inline constexpr std::string_view managed_by_label = "app.kubernetes.io/managed-by";
inline constexpr std::string_view managed_by = "stackbench";
inline constexpr std::string_view run_label = "stackbench.io/run";
inline constexpr std::string_view environment_label = "stackbench.io/environment";
inline constexpr std::string_view group_label = "stackbench.io/group";
// Of a namespace: what the scenario calls it.
inline constexpr std::string_view namespace_label = "stackbench.io/namespace";
// Who made an object, for telling whether that is still alive (cluster/kubernetes/owner.h).
inline constexpr std::string_view owner_annotation = "stackbench.io/owner";
// The condition the controller writes into a pod's status: with it true, its endpoint is ready.
inline constexpr std::string_view readiness_gate = "stackbench.io/in-service";
inline constexpr std::string_view completion_index = "batch.kubernetes.io/job-completion-index";
inline constexpr std::string_view agent_container = "agent";
inline constexpr std::string_view agent_path = "/usr/bin/stackbench-agent";

// Where an environment's objects are, and what they are called.
struct Placement {
  std::string run;          // the run's id
  std::string environment;  // the plan's name
  std::string owner;        // the annotation's value
  std::string in_namespace;
  bool own_namespace = true;  // made for it, and deleted with all that is in it
  bool has_jobs = false;      // beside pods, Services and slices
  bool has_policies = false;  // the same
  bool in_mesh = false;       // pods may ask for a proxy
  std::string prefix = {};    // before every name, where others share the namespace

  [[nodiscard]] std::string name(std::string_view in_plan) const {
    return prefix + std::string(in_plan);
  }
};

// A namespace of its own, stackbench-RUN-ENVIRONMENT, unless `in_namespace` names one to share. An
// empty `environment` is what all of a run's have in common: its observers.
// Errors: input (the name would be none that Kubernetes takes).
[[nodiscard]] base::Result<Placement> place(const std::string& run, const std::string& environment,
                                            const std::string& owner,
                                            const std::string& in_namespace);

// Selects all objects of an environment: for a list or a watch.
[[nodiscard]] std::string environment_selector(const Placement& place);

// "/api/v1/namespaces/it/pods", and an object in it.
[[nodiscard]] std::string pods_path(const Placement& place);
[[nodiscard]] std::string jobs_path(const Placement& place);
[[nodiscard]] std::string services_path(const Placement& place);
[[nodiscard]] std::string slices_path(const Placement& place);
[[nodiscard]] std::string policies_path(const Placement& place);

// Where what is in one of its namespaces is, by the name the scenario has for it: in a namespace
// stackbench-RUN-ENVIRONMENT-NAME; the default one is the placement's own. For those that share
// none. Errors: input, as place().
[[nodiscard]] base::Result<Placement> place_in(const Placement& place, const std::string& name);
// Whether a label, or its key, is one we write: no scenario can have it.
[[nodiscard]] bool is_label_of_ours(std::string_view label);

// `labels`: of the scenario, beside ours. `called`: what the scenario calls it; empty: nothing.
[[nodiscard]] base::Json namespace_manifest(const Placement& place, std::string_view pod_security,
                                            const std::map<std::string, std::string>& labels = {},
                                            const std::string& called = {});

// What an agent's pod may do.
enum class PodRights {
  none,         // as pod security `restricted` asks
  raw_packets,  // CAP_NET_RAW of those that runtimes give by default, and no other; as root, whose
                // processes alone have it; as pod security `baseline` asks
};

// What pods of a group need beside their agent.
struct PodNeeds {
  PodRights rights = PodRights::none;
  // Where they listen, which policies may call by these names; however low, where there are some.
  std::vector<ServicePort> ports = {};
  // What the agent does from its first instant (PodRestart). An argument of its command: whoever
  // may make the pod needs no right for it, and it is there when the agent starts.
  std::string agent_plan = {};
};

// A pod of the agent alone, on the named node, with its labels beside ours, and with no service
// account. Its Service sends it nothing until the readiness gate's condition is written.
[[nodiscard]] base::Json pod_manifest(const Placement& place, const PodHandle& pod,
                                      const std::string& node, const std::string& image,
                                      const PodNeeds& needs = {});
// An Indexed Job of such pods, one of each index from 0: the generators a workload is shared among.
// The index is in its pods' annotation `completion_index`. None that ended is made again. `first`:
// one of its pods, whose group and labels are those of all.
[[nodiscard]] base::Json generators_manifest(const Placement& place, const PodHandle& first,
                                             int generators, const std::string& node,
                                             const std::string& image, const PodNeeds& needs = {});
// An agent in a node's own network namespace, with the capabilities to load probes and to capture.
[[nodiscard]] base::Json observer_manifest(const Placement& place, const std::string& name,
                                           const std::string& node, const std::string& image);

// One that sees the processes of its node, without any capability.
[[nodiscard]] base::Json meter_manifest(const Placement& place, const std::string& name,
                                        const std::string& node, const std::string& image);

[[nodiscard]] base::Json service_manifest(const Placement& place, const std::string& name,
                                          const ServiceSpec& spec,
                                          const std::vector<ServicePort>& ports);

// Fillers have no selector: their only endpoint is written by us, `pod` on `node`.
[[nodiscard]] base::Json filler_service_manifest(const Placement& place,
                                                 const EnvironmentPlan& plan, int number);
[[nodiscard]] base::Json filler_slice_manifest(const Placement& place, const EnvironmentPlan& plan,
                                               int number, const base::IpAddress& pod,
                                               const std::string& node);

// Any object as one of the environment's: named, labelled and owned as all of its are. In a
// namespace that others share, a NetworkPolicy selects the environment's pods alone.
// Of a NetworkPolicy also with the policyTypes that it leaves to the server.
[[nodiscard]] base::Json own_manifest(const Placement& place, const base::Json& object);

// What is patched into a pod's status.
[[nodiscard]] base::Json readiness_patch(bool in_service);

}  // namespace cluster
