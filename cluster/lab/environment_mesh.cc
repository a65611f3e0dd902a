// The mesh of an environment: what its proxies are made of and told.
#include <utility>

#include "cluster/lab/environment.h"

namespace cluster {

using base::Result;

namespace {

// As Istio's documentation has everybody write it.
base::Json mesh_wide(base::kube::MtlsMode mode) {
  base::kube::PeerAuthentication policy;
  policy.metadata.name = "default";
  policy.metadata.in_namespace = base::kube::istio_root_namespace;
  policy.spec.mtls = base::kube::MutualTls{mode};
  return base::to_json(policy);
}

}  // namespace

Result<> Environment::make_mesh(const CgroupTree& cgroups) {
  if (!plan_.mesh) return {};
  std::vector<MeshPod> pods;
  for (const auto& pod : handle_.pods) {
    if (pod.name == external_client) continue;
    // Beside the pod's own, so that hooks of its node see both and nobody counts one for the other.
    ASSIGN_OR_RETURN(auto cgroup, cgroups.make(fmt::format("{}/node{}/{}-proxy", plan_.name,
                                                           pod.node, pod.name)));
    pods.push_back(
        {.handle = pod, .place = {.netns = netns(pod.name), .cgroup = std::move(cgroup)}});
  }
  RETURN_IF_ERROR(store_.apply(mesh_wide(plan_.mesh->spec.mode)));
  ASSIGN_OR_RETURN(mesh_, Mesh::create(sandbox_, plan_, std::move(pods)));
  return {};
}

Result<> Environment::sync_mesh() {
  if (!mesh_) return {};
  return mesh_->sync(
      {.pods = handle_.pods, .table = table_, .policies = store_.peer_authentications()});
}

Result<std::vector<ProxyUsage>> Environment::proxy_usage() const {
  return mesh_ ? mesh_->usage() : Result<std::vector<ProxyUsage>>();
}

Result<std::vector<ProxyCounters>> Environment::proxy_counters() const {
  return mesh_ ? mesh_->counters() : Result<std::vector<ProxyCounters>>();
}

Result<> Environment::close_kept_connections() {
  return mesh_ ? mesh_->close_kept_connections() : Result<>();
}

Result<std::optional<ImpostorCertificates>> Environment::impostor_certificates() const {
  // Where proxies pass on what they get, nobody looks at certificates.
  if (!mesh_ || plan_.mesh->spec.mode == base::kube::MtlsMode::DISABLE) return std::nullopt;
  return mesh_->impostor_certificates();
}

}  // namespace cluster
