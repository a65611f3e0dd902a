// What manifests would make of namespaces: files as people keep them, read into the objects a
// cluster would have. For verifying what is not in any cluster yet.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/kubernetes/live_objects.h"
#include "stackbench/verify/probe_plan.h"

namespace stackbench {

struct ManifestText {
  std::string file;  // as messages name it
  std::string text;
};

struct ManifestObjects {
  // Of the namespaces: pods of what makes pods, each on a node of a lab, as running, without an
  // address. `services` and `controllers` are left empty: in a lab nobody adopts pods.
  cluster::LiveObjects live;
  // Objects of kinds that are not known here and seem to make pods: those were not looked at.
  std::vector<Unprobed> unmade;
  std::vector<std::string> notes;  // what was passed over, and why, a sentence each
};

// So many pods are brought up in a lab.
inline constexpr std::size_t most_manifest_pods = 64;

// The files themselves, those of directories (*.yaml, *.yml and *.json, not of their directories,
// as kubectl apply -f takes them), and "-", which is standard input. Errors: missing,
// not_permitted, system, input (a directory without any).
[[nodiscard]] base::Result<std::vector<ManifestText>> read_manifests(
    const std::vector<std::string>& paths);

// Known are Namespace, Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, ReplicationController,
// Job, CronJob and NetworkPolicy, and other kinds of policy as cluster::LiveObjects::others; lists
// of them, too. An object without a namespace is of the one that was asked for. Errors: input:
// every fault at once, each with its file, line and column; more pods than most_manifest_pods; a
// namespace of which there is nothing.
[[nodiscard]] base::Result<ManifestObjects> objects_of(const std::vector<ManifestText>& texts,
                                                       const std::vector<std::string>& namespaces);

}  // namespace stackbench
