// How a mesh's certificates and roots are rotated, and the faults of that.
#include <utility>

#include "base/clock.h"
#include "cluster/lab/layout.h"
#include "cluster/lab/mesh/mesh.h"

namespace cluster {

using base::Result;

Result<> Mesh::make_authority() {
  ASSIGN_OR_RETURN(auto authority, pki::Authority::create(std::string(trust_domain)));
  authorities_.push_back(std::make_unique<pki::Authority>(std::move(authority)));
  return {};
}

Result<GivenCertificate> Mesh::renew(const MeshPod& pod, bool new_leaf) {
  const auto& name = pod.handle.name;
  if (new_leaf) {
    ASSIGN_OR_RETURN(identities_[name], identity_of(pod.handle));
  }
  const auto& identity = identities_.at(name);
  auto& proxy = proxies_.at(name);
  RETURN_IF_ERROR(proxy.renew(identity, roots_));
  GivenCertificate given{.pod = name,
                         .identity = spiffe_id(pod.handle.in_namespace, pod.handle.group),
                         .at_ns = base::monotonic_now().ns};
  ASSIGN_OR_RETURN(auto facts, pki::facts_of(identity.certificate));
  given.serial = std::move(facts.serial);
  given.not_after_s = facts.not_after_s;
  if (!has_fault(plan_, FaultKind::rotation_restarts_proxies) ||
      !is_served(plan_.topology, pod.handle.group)) {
    return given;
  }
  const auto spec = proxy.spec();
  proxies_.erase(name);
  RETURN_IF_ERROR(start(pod, spec));
  RETURN_IF_ERROR(proxies_.at(name).await());
  return given;
}

Result<Rotated> Mesh::rotate(RotationStep step) {
  const bool of_new_root =
      step == RotationStep::leaf_of_new_root || step == RotationStep::drop_old_root;
  if (of_new_root && authorities_.size() < 2) {
    return base::fail(base::ErrorKind::input,
                      "{}: no new root was made, which trust_both_roots does",
                      base::enum_name(step));
  }
  switch (step) {
    case RotationStep::leaf:
      break;
    case RotationStep::trust_both_roots:
      RETURN_IF_ERROR(make_authority());
      if (!has_fault(plan_, FaultKind::new_root_untrusted)) {
        roots_ += authorities_.back()->own().certificate;
      }
      break;
    case RotationStep::leaf_of_new_root:
      issuing_ = authorities_.size() - 1;
      break;
    case RotationStep::drop_old_root:
      roots_ = issuer().own().certificate;
      break;
  }
  const bool new_leaves = issues_leaves(step);
  const bool some_left_out =
      has_fault(plan_, FaultKind::certificate_not_renewed) && std::exchange(rotated_, true);
  Rotated rotated{.sent_ns = base::monotonic_now().ns};
  for (const auto& pod : pods_) {
    if (!proxies_.contains(pod.handle.name)) continue;
    const bool left_out = some_left_out && is_served(plan_.topology, pod.handle.group);
    ASSIGN_OR_RETURN(auto given, renew(pod, new_leaves && !left_out));
    if (new_leaves && !left_out) rotated.given.push_back(std::move(given));
  }
  rotated.acked_ns = base::monotonic_now().ns;
  return rotated;
}

}  // namespace cluster
