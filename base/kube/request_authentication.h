// security.istio.io/v1 RequestAuthentication: which tokens (JWT, RFC 7519) requests may carry. The
// fields that a lab implements; where an object says more, it is refused. A request without a token
// is none of its business: who needs one is said by an AuthorizationPolicy. Source:
// istio.io/api/security/v1beta1/request_authentication.proto.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/kube/meta.h"
#include "base/kube/peer_authentication.h"

namespace base::kube {

inline constexpr std::string_view request_authentication_kind = "RequestAuthentication";

struct JwtHeader {
  std::string name;
  std::string prefix = {};

  bool operator==(const JwtHeader&) const = default;
};

template <typename Visit, SelfOf<JwtHeader> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "A field of the request.", .required = true});
  visit("prefix", self.prefix, {.doc = "What stands before the token there."});
}

struct JwtRule {
  std::string issuer;
  std::vector<std::string> audiences = {};
  std::string jwks;                          // the issuer's keys (RFC 7517), JSON as text
  std::vector<JwtHeader> from_headers = {};  // none, and no parameter: "Authorization: Bearer "
  std::vector<std::string> from_params = {};
  bool forward_original_token = false;

  bool operator==(const JwtRule&) const = default;
};

template <typename Visit, SelfOf<JwtRule> Self>
void describe(Visit& visit, Self& self) {
  visit("issuer", self.issuer, {.doc = "Who signs them.", .required = true});
  visit("audiences", self.audiences, {.doc = "Whom they are for; any unless said."});
  visit("jwks", self.jwks, {.doc = "The issuer's keys, JSON as text.", .required = true});
  visit("fromHeaders", self.from_headers, {.doc = "Where they stand."});
  visit("fromParams", self.from_params, {.doc = "Where they stand in the query."});
  visit("forwardOriginalToken", self.forward_original_token,
        {.doc = "Whether the application gets them."});
}

struct RequestAuthenticationSpec {
  std::optional<WorkloadSelector> selector = {};
  std::vector<JwtRule> jwt_rules = {};

  bool operator==(const RequestAuthenticationSpec&) const = default;
};

template <typename Visit, SelfOf<RequestAuthenticationSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("selector", self.selector, {.doc = "The pods it is about; all unless said."});
  visit("jwtRules", self.jwt_rules, {.doc = "Whose tokens are taken."});
}

struct RequestAuthentication {
  std::string api_version = std::string(peer_authentication_api_version);
  std::string kind = std::string(request_authentication_kind);
  ObjectMeta metadata = {};
  RequestAuthenticationSpec spec = {};

  bool operator==(const RequestAuthentication&) const = default;
};

template <typename Visit, SelfOf<RequestAuthentication> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "security.istio.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "RequestAuthentication.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "Which tokens are taken."});
}

// An object as it is written, where Istio would take it. Errors, naming the field: input (another
// apiVersion, an issuer without a name, keys that are none); missing (a field that is not among the
// above, such as jwksUri, from where keys would have to be fetched).
[[nodiscard]] Result<RequestAuthentication> read_request_authentication(const Json& object);

}  // namespace base::kube
