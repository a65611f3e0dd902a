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

// Whom a probe pod stands for.
enum class ProbeRole {
  workload,   // the pods of a workload
  elsewhere,  // those of another namespace: one of ours, which no policy is about
  outside,    // the world outside: no pod, and no policy is about it
  dns,        // the cluster's DNS, which is only knocked at
};

// A pod to be made.
struct ProbePod {
  // A pod of the workload's own that it joins; empty: it is made anew.
  std::string joins = {};
  std::string name;           // of the object: "stackbench-probe-1"
  std::string workload = {};  // of that role: which
  ProbeRole role = ProbeRole::workload;
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
  std::vector<ProbePod> of_workloads = {};
  std::string our_namespace = {};
  // In a namespace of our own: on each node of those one, and on some that other pods are on.
  std::vector<ProbePod> elsewhere = {};
  std::vector<ProbePod> beside = {};  // of the roles outside and dns: a lab has them
  std::vector<Unprobed> unprobed = {};
};

// At this port nobody serves anything: what policies let through there is no workload's need.
inline constexpr std::uint16_t undeclared_port = 47'808;
// The cluster's DNS: whom it is known by, and where it answers.
inline constexpr std::string_view system_namespace = "kube-system";
inline constexpr std::string_view dns_label = "k8s-app";
inline constexpr std::string_view dns_app = "kube-dns";
inline constexpr std::uint16_t dns_port = 53;
// A lab's nodes, and where its pods of elsewhere are.
inline constexpr int lab_nodes = 2;
[[nodiscard]] inline std::string lab_node(int number) { return "node" + std::to_string(number); }
inline constexpr std::string_view lab_elsewhere = "stackbench-elsewhere";
// Of the ports of a workload, so many are knocked at.
inline constexpr std::size_t most_probed_ports = 8;

// Of pods of one workload that policies may tell apart by their labels, at most so many are stood
// for.
inline constexpr std::size_t most_kinds_of_pods = 4;

// `run`: its letters, which names are made of. `our_namespace`: where pods of elsewhere are.
// `labels_of_ours`: what every pod we make has beside its own.
// `ephemeral`: a workload that can have no pod of ours gets an ephemeral container in one of its
// own, which listens at a port that nobody serves.
[[nodiscard]] ProbePlan plan_probes(const cluster::LiveObjects& live, const LiveWorld& world,
                                    const std::string& run, const std::string& our_namespace,
                                    const checks::Labels& labels_of_ours, bool ephemeral = false);

// The same in a lab, whose pods serve nobody: each workload's own are joined, nothing is left out,
// and there are pods of elsewhere on every node. `external`: ports that the outside serves by TCP.
[[nodiscard]] ProbePlan plan_lab_probes(const LiveWorld& world,
                                        const std::vector<std::uint16_t>& external);

// Whether a label is one that a controller puts on its own pods: pod-template-hash,
// controller-revision-hash, statefulset.kubernetes.io/pod-name and their kin.
[[nodiscard]] bool is_label_of_controllers(std::string_view label);

// Why no pod with these labels may be made in a namespace: "ReplicationController web selects it
// and would take it for one of its own". Empty where one may.
[[nodiscard]] std::string why_not_made(const cluster::LiveObjects& live,
                                       const std::string& in_namespace,
                                       const checks::Labels& labels);

}  // namespace stackbench
