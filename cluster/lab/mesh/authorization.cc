#include "cluster/lab/mesh/authorization.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <string_view>

#include <fmt/format.h>

#include "base/kube/istio_object.h"
#include "cluster/lab/mesh/envoy_json.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::AuthorizationAction;
using base::kube::AuthorizationOperation;
using base::kube::AuthorizationPolicy;
using base::kube::AuthorizationRule;
using base::kube::AuthorizationSource;
using base::kube::JwtRule;
using envoy::extension;
using envoy::list;

constexpr std::string_view jwt_filter = "envoy.filters.http.jwt_authn";
// Where that filter leaves a token's claims for those after it.
constexpr std::string_view jwt_payload = "payload";
constexpr std::string_view spiffe = "spiffe://";

using Values = std::vector<std::string>;
using Matcher = std::function<Json(const std::string&)>;

// ---- texts --------------------------------------------------------------------------------------

Json regex(std::string expression) { return {{"safe_regex", {{"regex", std::move(expression)}}}}; }

// For RE2.
std::string escaped(std::string_view text) {
  std::string all;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '_' || c == '-' || c == '/' || c == ':';
    if (!plain) all += '\\';
    all += c;
  }
  return all;
}

// A whole text, PREFIX*, *SUFFIX or *; of texts that all begin with `lead`, which values leave out.
Json text_matcher(const std::string& value, std::string_view lead = {}) {
  if (value == "*") return regex(".+");
  if (value.starts_with('*')) {
    if (lead.empty()) return {{"suffix", value.substr(1)}};
    return regex(fmt::format("{}.*{}", escaped(lead), escaped(value.substr(1))));
  }
  if (value.ends_with('*')) {
    return {{"prefix", fmt::format("{}{}", lead, value.substr(0, value.size() - 1))}};
  }
  return {{"exact", fmt::format("{}{}", lead, value)}};
}

// ---- what is asked for: envoy.config.rbac.v3.Permission ----------------------------------------

Json any_of(std::string_view set, const Values& values, const Matcher& one) {
  const std::string name(set);
  auto all = Json::array();
  for (const auto& value : values) all.push_back(one(value));
  return {{name, {{set == "or_rules" ? "rules" : "ids", std::move(all)}}}};
}

Json header(std::string_view name, const std::string& value, bool ignore_case = false) {
  auto matcher = text_matcher(value);
  if (ignore_case && !matcher.contains("safe_regex")) matcher["ignore_case"] = true;
  return {{"header", {{"name", name}, {"string_match", std::move(matcher)}}}};
}

Json path(const std::string& value) { return {{"url_path", {{"path", text_matcher(value)}}}}; }

Json port(const std::string& value) { return {{"destination_port", std::stoi(value)}}; }

// ---- who asks: envoy.config.rbac.v3.Principal ---------------------------------------------------

Json authenticated(Json name) { return {{"authenticated", {{"principal_name", std::move(name)}}}}; }

Json principal(const std::string& value) { return authenticated(text_matcher(value, spiffe)); }

Json of_namespace(const std::string& value) {
  std::string expression;
  for (const char c : value) expression += c == '*' ? std::string(".*") : escaped({&c, 1});
  return authenticated(regex(fmt::format(".*/ns/{}/.*", expression)));
}

Json claim(std::string_view name, const std::string& value) {
  return {{"sourced_metadata",
           {{"metadata_matcher",
             {{"filter", jwt_filter},
              {"path", list({{{"key", jwt_payload}}, {{"key", name}}})},
              {"value", {{"string_match", text_matcher(value)}}}}}}}};
}

// ISSUER/SUBJECT, where an issuer may have slashes of its own.
Json request_principal(const std::string& value) {
  const auto slash = value.rfind('/');
  const bool whole = slash != std::string::npos;
  const auto issuer = whole ? value.substr(0, slash) : value.ends_with('*') ? value : "*";
  const auto subject = whole ? value.substr(slash + 1) : value.starts_with('*') ? value : "*";
  return {{"and_ids", {{"ids", list({claim("iss", issuer), claim("sub", subject)})}}}};
}

// ---- rules --------------------------------------------------------------------------------------

// Everything a source or an operation says, each field of which must hold.
class Conjunction {
 public:
  Conjunction(bool permissions, bool http, AuthorizationAction action)
      : permissions_(permissions), http_(http), action_(action) {}

  // `of_requests`: what only HTTP has.
  void add(const Values& values, const Values& not_values, bool of_requests, const Matcher& one) {
    if (values.empty() && not_values.empty()) return;
    if (of_requests && !http_) {
      impossible_ = impossible_ || action_ == AuthorizationAction::ALLOW;
      return;
    }
    const auto* const set = permissions_ ? "or_rules" : "or_ids";
    if (!values.empty()) parts_.push_back(any_of(set, values, one));
    if (!not_values.empty()) {
      parts_.push_back({{permissions_ ? "not_rule" : "not_id", any_of(set, not_values, one)}});
    }
  }

  // Nothing where it can match nothing.
  [[nodiscard]] std::optional<Json> take() && {
    if (impossible_) return std::nullopt;
    if (parts_.empty()) return Json{{"any", true}};
    return permissions_ ? Json{{"and_rules", {{"rules", std::move(parts_)}}}}
                        : Json{{"and_ids", {{"ids", std::move(parts_)}}}};
  }

 private:
  bool permissions_;
  bool http_;
  AuthorizationAction action_;
  bool impossible_ = false;
  Json parts_ = Json::array();
};

std::optional<Json> permission(const AuthorizationOperation& operation, bool http,
                               AuthorizationAction action) {
  Conjunction all(true, http, action);
  all.add(operation.hosts, operation.not_hosts, true,
          [](const auto& value) { return header(":authority", value, true); });
  all.add(operation.methods, operation.not_methods, true,
          [](const auto& value) { return header(":method", value); });
  all.add(operation.paths, operation.not_paths, true, path);
  all.add(operation.ports, operation.not_ports, false, port);
  return std::move(all).take();
}

std::optional<Json> source_ids(const AuthorizationSource& source, bool http,
                               AuthorizationAction action) {
  Conjunction all(false, http, action);
  all.add(source.principals, source.not_principals, false, principal);
  all.add(source.request_principals, source.not_request_principals, true, request_principal);
  all.add(source.namespaces, source.not_namespaces, false, of_namespace);
  return std::move(all).take();
}

Json whatever() { return list({{{"any", true}}}); }

// A policy of Envoy's, or nothing where the rule can match nothing.
std::optional<Json> envoy_policy(const AuthorizationRule& rule, bool http,
                                 AuthorizationAction action) {
  auto permissions = Json::array();
  for (const auto& to : rule.to) {
    if (auto one = permission(to.operation, http, action)) permissions.push_back(*std::move(one));
  }
  auto principals = Json::array();
  for (const auto& from : rule.from) {
    if (auto one = source_ids(from.source, http, action)) principals.push_back(*std::move(one));
  }
  if (rule.to.empty()) permissions = whatever();
  if (rule.from.empty()) principals = whatever();
  if (permissions.empty() || principals.empty()) return std::nullopt;
  return Json{{"permissions", std::move(permissions)}, {"principals", std::move(principals)}};
}

// What every policy of an action says together; nothing where there is none of it.
std::optional<Json> rules(const ProxyAuthorization& authorization, AuthorizationAction action,
                          bool http) {
  auto policies = Json::object();
  bool any = false;
  for (const auto& policy : authorization.policies) {
    if (policy.spec.action != action) continue;
    any = true;
    for (std::size_t i = 0; i < policy.spec.rules.size(); ++i) {
      auto one = envoy_policy(policy.spec.rules[i], http, action);
      if (!one) continue;
      policies[fmt::format("ns[{}]-policy[{}]-rule[{}]", policy.metadata.in_namespace,
                           policy.metadata.name, i)] = *std::move(one);
    }
  }
  if (!any) return std::nullopt;
  return Json{{"action", base::enum_name(action)}, {"policies", std::move(policies)}};
}

// ---- tokens -------------------------------------------------------------------------------------

std::string provider_name(std::size_t i) { return fmt::format("origins-{}", i); }

Json provider(const JwtRule& rule) {
  Json its = {{"issuer", rule.issuer},
              {"local_jwks", {{"inline_string", rule.jwks}}},
              {"payload_in_metadata", jwt_payload},
              {"forward", rule.forward_original_token}};
  if (!rule.audiences.empty()) its["audiences"] = rule.audiences;
  for (const auto& from : rule.from_headers) {
    its["from_headers"].push_back({{"name", from.name}, {"value_prefix", from.prefix}});
  }
  if (!rule.from_params.empty()) its["from_params"] = rule.from_params;
  return its;
}

// A token must be sound wherever there is one, and need not be there.
Json jwt_authentication(const std::vector<JwtRule>& jwt_rules) {
  auto providers = Json::object();
  auto each = Json::array();
  for (std::size_t i = 0; i < jwt_rules.size(); ++i) {
    providers[provider_name(i)] = provider(jwt_rules[i]);
    each.push_back({{"requires_any",
                     {{"requirements", list({{{"provider_name", provider_name(i)}},
                                             {{"allow_missing", Json::object()}}})}}}});
  }
  Json requires_all =
      each.size() == 1 ? each.front() : Json{{"requires_all", {{"requirements", std::move(each)}}}};
  return extension(
      jwt_filter, "filters.http.jwt_authn.v3.JwtAuthentication",
      {{"providers", std::move(providers)},
       {"rules", list({{{"match", {{"prefix", "/"}}}, {"requires", std::move(requires_all)}}})},
       {"bypass_cors_preflight", true}});
}

}  // namespace

ProxyAuthorization authorization_of(
    const std::vector<AuthorizationPolicy>& policies,
    const std::vector<base::kube::RequestAuthentication>& authentications,
    const std::string& in_namespace, const std::map<std::string, std::string>& labels) {
  ProxyAuthorization all;
  for (const auto& policy : policies) {
    if (base::kube::is_about(policy.metadata, policy.spec.selector, in_namespace, labels)) {
      all.policies.push_back(policy);
    }
  }
  for (const auto& one : authentications) {
    if (!base::kube::is_about(one.metadata, one.spec.selector, in_namespace, labels)) continue;
    all.jwt_rules.insert(all.jwt_rules.end(), one.spec.jwt_rules.begin(), one.spec.jwt_rules.end());
  }
  return all;
}

Json http_authorization(const ProxyAuthorization& authorization) {
  auto filters = Json::array();
  if (!authorization.jwt_rules.empty()) {
    filters.push_back(jwt_authentication(authorization.jwt_rules));
  }
  for (const auto action : {AuthorizationAction::DENY, AuthorizationAction::ALLOW}) {
    if (auto its = rules(authorization, action, true)) {
      filters.push_back(extension("envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC",
                                  {{"rules", *std::move(its)}}));
    }
  }
  return filters;
}

Json network_authorization(const ProxyAuthorization& authorization) {
  auto filters = Json::array();
  for (const auto action : {AuthorizationAction::DENY, AuthorizationAction::ALLOW}) {
    if (auto its = rules(authorization, action, false)) {
      filters.push_back(extension("envoy.filters.network.rbac", "filters.network.rbac.v3.RBAC",
                                  {{"stat_prefix", "tcp."}, {"rules", *std::move(its)}}));
    }
  }
  return filters;
}

}  // namespace cluster
