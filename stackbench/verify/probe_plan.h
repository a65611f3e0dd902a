// Which pods are made to find out what packets do, and why some cannot be: from a cluster's objects
// alone, before anything is made.
//
// A probe pod stands in a workload's namespace with the workload's labels, so that policies select
// it as they select the workload's own pods. It must not become one of them: its readiness gate is
// never satisfied, so no Service that asks for ready endpoints sends it anything, and the labels by
// which controllers know their own are left out. Where a controller or a Service would take it all
// the same, or where policies would look at what is left out, none is made, and the reason is said.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "checks/policy/oracle.h"
#include "cluster/kubernetes/live_objects.h"
#include "stackbench/verify/live_world.h"

namespace stackbench {

// A pod to be made.
struct ProbePod {
  // A pod of the workload's own that it joins as an ephemeral container; empty: it is made anew.
  std::string joins = {};
  std::string name;           // of the object: "stackbench-probe-1"
  std::string workload = {};  // it stands for; empty: for pods of elsewhere
  std::string in_namespace = {};
  checks::Labels labels = {};
  std::string node = {};
  base::Json tolerations = base::Json::array();  // as its workload's
  std::vector<checks::NamedPort> ports = {};     // it listens at, of its workload's and one more
};

struct Unprobed {
  std::string workload;
  std::string reason;
};

struct ProbePlan {
  std::vector<ProbePod> of_workloads;
  // In a namespace of our own: on each node of those one, and on some that other pods are on.
  std::vector<ProbePod> elsewhere;
  std::vector<Unprobed> unprobed;
};

// At this port nobody serves anything: what policies let through there is no workload's need.
inline constexpr std::uint16_t undeclared_port = 47'808;
// Of the ports of a workload, so many are knocked at.
inline constexpr std::size_t most_probed_ports = 8;

// `run`: its letters, which names are made of. `our_namespace`: where pods of elsewhere are.
// `labels_of_ours`: what every pod we make has beside its own.
// `ephemeral`: a workload that can have no pod of ours gets an ephemeral container in one of its
// own, which listens at a port that nobody serves.
[[nodiscard]] ProbePlan plan_probes(const cluster::LiveObjects& live, const LiveWorld& world,
                                    const std::string& run, const std::string& our_namespace,
                                    const checks::Labels& labels_of_ours, bool ephemeral = false);

// Whether a label is one that a controller puts on its own pods: pod-template-hash,
// controller-revision-hash, statefulset.kubernetes.io/pod-name and their kin.
[[nodiscard]] bool is_label_of_controllers(std::string_view label);

// Why no pod with these labels may be made in a namespace: "ReplicationController web selects it
// and would take it for one of its own". Empty where one may.
[[nodiscard]] std::string why_not_made(const cluster::LiveObjects& live,
                                       const std::string& in_namespace,
                                       const checks::Labels& labels);

}  // namespace stackbench
