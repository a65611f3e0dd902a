// The mesh of an environment: what its proxies are made of and told.
#include <optional>
#include <utility>

#include "base/clock.h"
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
  ASSIGN_OR_RETURN(mesh_, Mesh::create(sandbox_, plan_, std::move(pods), interrupt_));
  return {};
}

Result<> Environment::sync_mesh() {
  if (!mesh_) return {};
  return mesh_->sync({.pods = handle_.pods,
                      .table = table_,
                      .policies = store_.peer_authentications(),
                      .authorization_policies = store_.authorization_policies(),
                      .request_authentications = store_.request_authentications(),
                      .routing = {.virtual_services = store_.virtual_services(),
                                  .destination_rules = store_.destination_rules()}});
}

// What leads its traffic, as an init container does it; its proxy; what is its own. The fault: the
// first of them comes last.
Result<> Environment::start_containers(std::string_view pod, const PodRestart& how,
                                       WriteStamps& stamps) {
  std::optional<StagedRules> interception;
  if (mesh_ && mesh_->has_proxy_of(pod)) {
    ASSIGN_OR_RETURN(interception, mesh_->interception_of(pod));
  }
  const auto intercept = [&](std::optional<base::MonotonicTime> at) -> Result<> {
    ASSIGN_OR_RETURN(const auto since, interception->put_in_force(at));
    stamps.intercepted_ns = since.ns;
    return {};
  };
  const bool late = interception && has_fault(plan_, FaultKind::interception_late);
  if (interception && !late) RETURN_IF_ERROR(intercept({}));
  RETURN_IF_ERROR(sync());
  stamps.programmed_ns = base::monotonic_now().ns;
  if (how.start_application) RETURN_IF_ERROR(how.start_application());
  if (late) RETURN_IF_ERROR(intercept(base::monotonic_now() + plan_.interception_delay));
  return {};
}

Result<WriteStamps> Environment::restart_proxy(std::string_view pod, ProxyEnd how) {
  RETURN_IF_ERROR(find_pod(pod));
  if (!mesh_) {
    return base::fail(base::ErrorKind::input, "environment {}: there is no proxy beside {}",
                      plan_.name, pod);
  }
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  ASSIGN_OR_RETURN(const auto gone, mesh_->end_proxy(pod, how));
  stamps.acked_ns = gone.ns;
  RETURN_IF_ERROR(sync_mesh());
  stamps.programmed_ns = base::monotonic_now().ns;
  return stamps;
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

Result<MeshIdentities> Environment::mesh_identities() const {
  return mesh_ ? mesh_->identities() : MeshIdentities();
}

Result<Rotated> Environment::rotate_certificates(RotationStep step) {
  if (mesh_) return mesh_->rotate(step);
  return base::fail(base::ErrorKind::missing, "environment {} has no mesh", plan_.name);
}

Result<std::optional<ImpostorCertificates>> Environment::impostor_certificates() const {
  // Where proxies pass on what they get, nobody looks at certificates.
  if (!mesh_ || plan_.mesh->spec.mode == base::kube::MtlsMode::DISABLE) return std::nullopt;
  return mesh_->impostor_certificates();
}

}  // namespace cluster
