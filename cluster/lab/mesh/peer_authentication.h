// What a port of a pod takes, by every PeerAuthentication there is: as istiod composes them
// (ComposePeerAuthentication of istio/pilot/pkg/security/authn/policy_applier.go).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/kube/peer_authentication.h"

namespace cluster {

// What one pod takes; never UNSET.
struct EffectiveMtls {
  base::kube::MtlsMode mode = base::kube::MtlsMode::PERMISSIVE;
  std::map<std::uint16_t, base::kube::MtlsMode> ports = {};  // where a port's is its own

  bool operator==(const EffectiveMtls&) const = default;
  [[nodiscard]] base::kube::MtlsMode of(std::uint16_t port) const {
    const auto own = ports.find(port);
    return own == ports.end() ? mode : own->second;
  }
};

// The mesh's, the namespace's and the pod's own object, each overruling the one before it where it
// says anything; of several of a kind the oldest. `policies`: by age, the oldest first.
[[nodiscard]] EffectiveMtls effective_mtls(
    const std::vector<base::kube::PeerAuthentication>& policies, const std::string& in_namespace,
    const std::map<std::string, std::string>& labels);

}  // namespace cluster
