// security.istio.io/v1 AuthorizationPolicy: who may ask a pod for what. The fields that a lab
// implements; where an object says more than these, it is refused, for what is left out of a policy
// makes another policy. Source: istio.io/api/security/v1beta1/authorization_policy.proto, and
// ValidateAuthorizationPolicy of istio/pkg/config/validation/validation.go.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/kube/meta.h"
#include "base/kube/peer_authentication.h"

namespace base::kube {

inline constexpr std::string_view authorization_policy_kind = "AuthorizationPolicy";

// What a request comes to where these policies and RequestAuthentication are enforced.
enum class Access {
  allowed,
  denied,           // HTTP 403; of TCP, the connection is closed
  unauthenticated,  // HTTP 401: its token is not sound
};

// AuthorizationPolicy.Action, as far as nobody else is asked for the answer.
enum class AuthorizationAction { ALLOW, DENY };

// Who asks: every field that says anything must hold, and of its values one. Values are a whole
// text, "PREFIX*", "*SUFFIX" or "*", which is any that is there.
struct AuthorizationSource {
  std::vector<std::string> principals = {};  // "cluster.local/ns/default/sa/client"
  std::vector<std::string> not_principals = {};
  std::vector<std::string> request_principals = {};  // of a token: "ISSUER/SUBJECT"
  std::vector<std::string> not_request_principals = {};
  std::vector<std::string> namespaces = {};
  std::vector<std::string> not_namespaces = {};

  bool operator==(const AuthorizationSource&) const = default;
};

template <typename Visit, SelfOf<AuthorizationSource> Self>
void describe(Visit& visit, Self& self) {
  visit("principals", self.principals, {.doc = "By the peer's certificate."});
  visit("notPrincipals", self.not_principals, {.doc = "None of these."});
  visit("requestPrincipals", self.request_principals, {.doc = "By the request's token."});
  visit("notRequestPrincipals", self.not_request_principals, {.doc = "None of these."});
  visit("namespaces", self.namespaces, {.doc = "Of the peer, by its certificate."});
  visit("notNamespaces", self.not_namespaces, {.doc = "None of these."});
}

struct AuthorizationFrom {
  AuthorizationSource source = {};

  bool operator==(const AuthorizationFrom&) const = default;
};

template <typename Visit, SelfOf<AuthorizationFrom> Self>
void describe(Visit& visit, Self& self) {
  visit("source", self.source, {.doc = "Who asks.", .required = true});
}

// What is asked for, likewise. All but ports are of HTTP.
struct AuthorizationOperation {
  std::vector<std::string> hosts = {};
  std::vector<std::string> not_hosts = {};
  std::vector<std::string> ports = {};  // of the pod
  std::vector<std::string> not_ports = {};
  std::vector<std::string> methods = {};
  std::vector<std::string> not_methods = {};
  std::vector<std::string> paths = {};  // without a query
  std::vector<std::string> not_paths = {};

  bool operator==(const AuthorizationOperation&) const = default;
};

template <typename Visit, SelfOf<AuthorizationOperation> Self>
void describe(Visit& visit, Self& self) {
  visit("hosts", self.hosts, {.doc = "The request's host."});
  visit("notHosts", self.not_hosts, {.doc = "None of these."});
  visit("ports", self.ports, {.doc = "The pod's port."});
  visit("notPorts", self.not_ports, {.doc = "None of these."});
  visit("methods", self.methods, {.doc = "The request's method."});
  visit("notMethods", self.not_methods, {.doc = "None of these."});
  visit("paths", self.paths, {.doc = "The request's path."});
  visit("notPaths", self.not_paths, {.doc = "None of these."});
}

struct AuthorizationTo {
  AuthorizationOperation operation = {};

  bool operator==(const AuthorizationTo&) const = default;
};

template <typename Visit, SelfOf<AuthorizationTo> Self>
void describe(Visit& visit, Self& self) {
  visit("operation", self.operation, {.doc = "What is asked for.", .required = true});
}

// Some source, or any where none is named, asking for some operation, likewise.
struct AuthorizationRule {
  std::vector<AuthorizationFrom> from = {};
  std::vector<AuthorizationTo> to = {};

  bool operator==(const AuthorizationRule&) const = default;
};

template <typename Visit, SelfOf<AuthorizationRule> Self>
void describe(Visit& visit, Self& self) {
  visit("from", self.from, {.doc = "Sources, any of them; absent: whoever asks."});
  visit("to", self.to, {.doc = "Operations, any of them; absent: whatever is asked for."});
}

struct AuthorizationPolicySpec {
  std::optional<WorkloadSelector> selector = {};
  AuthorizationAction action = AuthorizationAction::ALLOW;
  std::vector<AuthorizationRule> rules = {};

  bool operator==(const AuthorizationPolicySpec&) const = default;
};

template <typename Visit, SelfOf<AuthorizationPolicySpec> Self>
void describe(Visit& visit, Self& self) {
  visit("selector", self.selector, {.doc = "The pods it is about; all unless said."});
  visit("action", self.action, {.doc = "ALLOW or DENY, ALLOW unless said."});
  visit("rules", self.rules, {.doc = "It is about what any of these matches; none: nothing."});
}

struct AuthorizationPolicy {
  std::string api_version = std::string(peer_authentication_api_version);
  std::string kind = std::string(authorization_policy_kind);
  ObjectMeta metadata = {};
  AuthorizationPolicySpec spec = {};

  bool operator==(const AuthorizationPolicy&) const = default;
};

template <typename Visit, SelfOf<AuthorizationPolicy> Self>
void describe(Visit& visit, Self& self) {
  visit("apiVersion", self.api_version, {.doc = "security.istio.io/v1.", .required = true});
  visit("kind", self.kind, {.doc = "AuthorizationPolicy.", .required = true});
  visit("metadata", self.metadata, {.doc = "Its name and namespace.", .required = true});
  visit("spec", self.spec, {.doc = "Who may ask for what."});
}

// An object as it is written, where Istio would take it. Errors, naming the field: input (another
// apiVersion, ports that are none, a source or an operation that says nothing, DENY without rules);
// missing (a field or an action that is not among the above).
[[nodiscard]] Result<AuthorizationPolicy> read_authorization_policy(const Json& object);

}  // namespace base::kube

template <>
struct base::EnumNames<base::kube::Access> {
  static constexpr std::array names{
      std::pair{base::kube::Access::allowed, std::string_view("allowed")},
      std::pair{base::kube::Access::denied, std::string_view("denied")},
      std::pair{base::kube::Access::unauthenticated, std::string_view("unauthenticated")}};
};

template <>
struct base::EnumNames<base::kube::AuthorizationAction> {
  static constexpr std::array names{
      std::pair{base::kube::AuthorizationAction::ALLOW, std::string_view("ALLOW")},
      std::pair{base::kube::AuthorizationAction::DENY, std::string_view("DENY")}};
};
