// What a target of clusters says of the proxies of its environments, and asks of them.
#include <utility>

#include "cluster/kubernetes/kubernetes_target.h"

namespace cluster {

using base::Result;

Result<std::vector<ProxyCounters>> KubernetesTarget::proxy_counters(std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  ASSIGN_OR_RETURN(auto all, explained(found->proxy_counters()));
  for (auto& counters : all) {
    const auto reading = meters_->last().find(counters.pod);
    if (reading != meters_->last().end()) {
      counters.memory_bytes = reading->second.usage.resident_bytes;
    }
  }
  return all;
}

Result<std::vector<ProxyUsage>> KubernetesTarget::proxy_usage(std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  ASSIGN_OR_RETURN(const auto readings, meters_->read(found->metered_pods()));
  std::vector<ProxyUsage> all;
  for (const auto& [pod, reading] : readings) {
    all.push_back({.pod = pod, .at_ns = reading.at_ns, .cpu_ns = reading.usage.cpu_ns});
  }
  return all;
}

Result<WriteStamps> KubernetesTarget::restart_proxy(std::string_view environment,
                                                    std::string_view pod, ProxyEnd how) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  if (how == ProxyEnd::killed) {
    return base::fail_with_mend(
        base::ErrorKind::missing,
        "on a cluster a proxy can be asked to end, and nobody of ours may kill it",
        "Watch the change proxy_restart instead of proxy_crash.");
  }
  return explained(found->restart_proxy(pod, agents_));
}

Result<Rotated> KubernetesTarget::rotate_certificates(std::string_view environment,
                                                      RotationStep step) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  if (step != RotationStep::leaf) {
    return base::fail(base::ErrorKind::missing,
                      "the root of a cluster's mesh is not a run's to rotate");
  }
  if (!found->plan().mesh) {
    return base::fail(base::ErrorKind::missing, "environment {} has no mesh", environment);
  }
  return explained(found->await_renewal(agents_));
}

Result<MeshIdentities> KubernetesTarget::mesh_identities(std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  return explained(found->mesh_identities());
}

Result<> KubernetesTarget::close_kept_connections(std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  return explained(found->close_kept_connections());
}

Result<std::optional<ImpostorCertificates>> KubernetesTarget::impostor_certificates(
    std::string_view environment) {
  ASSIGN_OR_RETURN(ClusterEnvironment * found, find(environment));
  const auto& mesh = found->plan().mesh;
  if (!mesh || mesh->spec.mode == base::kube::MtlsMode::DISABLE || !is_own_cluster(nodes_)) {
    return std::nullopt;
  }
  auto certificates =
      explained(istio_impostors(api_, *cluster_.istio, found->place().in_namespace));
  // Who may not read the authority's key does not sign by it.
  if (!certificates && certificates.error().kind == base::ErrorKind::not_permitted) {
    return std::nullopt;
  }
  return certificates;
}

}  // namespace cluster
