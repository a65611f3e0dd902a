// AuthorizationPolicy and RequestAuthentication in Envoy's words: the filters istiod would have a
// proxy put before an application. Pure functions. Sources: istio/pilot/pkg/security/authz/model
// (generator.go, model.go) and builder, and ConvertToEnvoyJwtConfig of
// istio/pilot/pkg/security/authn/policy_applier.go.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/kube/authorization_policy.h"
#include "base/kube/request_authentication.h"

namespace cluster {

// What the objects about one pod say.
struct ProxyAuthorization {
  std::vector<base::kube::AuthorizationPolicy> policies = {};
  std::vector<base::kube::JwtRule> jwt_rules = {};

  bool operator==(const ProxyAuthorization&) const = default;
};

// Of all there are those that are about a pod.
[[nodiscard]] ProxyAuthorization authorization_of(
    const std::vector<base::kube::AuthorizationPolicy>& policies,
    const std::vector<base::kube::RequestAuthentication>& authentications,
    const std::string& in_namespace, const std::map<std::string, std::string>& labels);

// Filters of HTTP, to stand before the router: tokens are looked at first, then whoever DENY names
// is refused, then whoever no ALLOW names, where there is one.
[[nodiscard]] base::Json http_authorization(const ProxyAuthorization& authorization);

// Filters of a connection that is not HTTP, likewise. What is said of requests cannot be asked of
// it: as in Istio an ALLOW that needs such a thing matches nothing, and of a DENY it is left out,
// so that more is refused and not less.
[[nodiscard]] base::Json network_authorization(const ProxyAuthorization& authorization);

}  // namespace cluster
