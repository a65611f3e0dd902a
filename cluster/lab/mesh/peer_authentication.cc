#include "cluster/lab/mesh/peer_authentication.h"

#include <algorithm>

namespace cluster {
namespace {

using base::kube::MtlsMode;
using base::kube::PeerAuthentication;

bool selects(const PeerAuthentication& policy, const std::map<std::string, std::string>& labels) {
  return std::ranges::all_of(policy.spec.selector->match_labels, [&](const auto& wanted) {
    const auto found = labels.find(wanted.first);
    return found != labels.end() && found->second == wanted.second;
  });
}

void overrule(MtlsMode& mode, const PeerAuthentication* policy) {
  if (policy == nullptr || !policy->spec.mtls) return;
  if (policy->spec.mtls->mode != MtlsMode::UNSET) mode = policy->spec.mtls->mode;
}

}  // namespace

EffectiveMtls effective_mtls(const std::vector<PeerAuthentication>& policies,
                             const std::string& in_namespace,
                             const std::map<std::string, std::string>& labels) {
  const PeerAuthentication* mesh = nullptr;
  const PeerAuthentication* of_namespace = nullptr;
  const PeerAuthentication* workload = nullptr;
  for (const auto& policy : policies) {
    const auto& its = policy.metadata.in_namespace;
    const bool root = its == base::kube::istio_root_namespace;
    if (!base::kube::selects_workloads(policy)) {
      if (root && mesh == nullptr) mesh = &policy;
      if (!root && its == in_namespace && of_namespace == nullptr) of_namespace = &policy;
    } else if (!root && its == in_namespace && workload == nullptr && selects(policy, labels)) {
      workload = &policy;
    }
  }
  EffectiveMtls effective;
  for (const auto* policy : {mesh, of_namespace, workload}) overrule(effective.mode, policy);
  if (workload == nullptr) return effective;
  for (const auto& [port, mtls] : workload->spec.port_level_mtls) {
    effective.ports[static_cast<std::uint16_t>(std::stoi(port))] =
        mtls.mode == MtlsMode::UNSET ? effective.mode : mtls.mode;
  }
  return effective;
}

}  // namespace cluster
