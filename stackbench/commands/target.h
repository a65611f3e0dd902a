// --target and the options of a cluster, which several commands share.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/target.h"
#include "stackbench/commands/command.h"

namespace stackbench {

// The last five as kubectl spells them, or the image; only with --target kubernetes.
struct TargetArguments {
  std::string target = "lab";
  std::string kubeconfig;
  std::string context;
  std::vector<std::string> ab;  // two contexts, or none
  std::string in_namespace;
  std::string request_timeout;
  std::string agent_image;
};
void declare_target_arguments(CLI::App& app, TargetArguments& arguments);
// --ab, for commands that measure.
void declare_ab(CLI::App& app, TargetArguments& arguments);

// Whether a lab can be had at all. Errors: not_permitted (without root).
[[nodiscard]] base::Result<> check_lab_rights();

// With the target lab: refuses what is about a cluster. Errors: usage.
[[nodiscard]] base::Result<> refuse_cluster_arguments(const TargetArguments& arguments);

// What they say of a cluster. Errors: usage.
[[nodiscard]] base::Result<cluster::KubernetesOptions> kubernetes_options(
    const TargetArguments& arguments, const base::Interrupt& interrupt);

// The target they name. Errors: usage (an option that does not go with it), not_permitted (the lab
// without root), and as KubernetesTarget::create.
[[nodiscard]] base::Result<std::unique_ptr<cluster::Target>> make_target(
    const TargetArguments& arguments, const base::Interrupt& interrupt);

}  // namespace stackbench
