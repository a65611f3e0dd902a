#include "base/kube/authorization_policy.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

#include "base/kube/istio_object.h"
#include "base/kube/unknown_field.h"

namespace base::kube {
namespace {

bool is_port(const std::string& text) {
  int port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  return code == std::errc() && end == text.data() + text.size() && port > 0 && port <= 65'535;
}

// A "*" stands at an end, or for everything.
bool is_pattern(const std::string& text) {
  if (text.empty()) return false;
  const auto star = text.find('*', 1);
  return star == std::string::npos || (star == text.size() - 1 && text.front() != '*');
}

// What is wrong with a rule: the field below it, and why.
using Fault = std::optional<std::pair<std::string, std::string>>;

Fault fault_of(const std::vector<std::string>& values, std::string_view field, bool ports) {
  for (const auto& value : values) {
    if (ports && !is_port(value)) {
      return std::pair{std::string(field),
                       fmt::format("expected ports of 1 to 65535, got \"{}\"", value)};
    }
    if (!ports && !is_pattern(value)) {
      return std::pair{
          std::string(field),
          fmt::format("expected a whole text, PREFIX*, *SUFFIX or *, got \"{}\"", value)};
    }
  }
  return std::nullopt;
}

struct NamedValues {
  std::string_view field;
  const std::vector<std::string>& values;
  bool ports = false;
};

Fault fault_of(std::initializer_list<NamedValues> all, std::string_view what) {
  if (std::ranges::all_of(all, [](const NamedValues& one) { return one.values.empty(); })) {
    return std::pair{std::string(what), std::string("expected at least one field that says "
                                                    "something")};
  }
  for (const auto& one : all) {
    if (auto fault = fault_of(one.values, fmt::format("{}.{}", what, one.field), one.ports)) {
      return fault;
    }
  }
  return std::nullopt;
}

Fault fault_of(const AuthorizationSource& source) {
  return fault_of({{"principals", source.principals},
                   {"notPrincipals", source.not_principals},
                   {"requestPrincipals", source.request_principals},
                   {"notRequestPrincipals", source.not_request_principals},
                   {"namespaces", source.namespaces},
                   {"notNamespaces", source.not_namespaces}},
                  "source");
}

Fault fault_of(const AuthorizationOperation& operation) {
  return fault_of({{"hosts", operation.hosts},
                   {"notHosts", operation.not_hosts},
                   {"ports", operation.ports, true},
                   {"notPorts", operation.not_ports, true},
                   {"methods", operation.methods},
                   {"notMethods", operation.not_methods},
                   {"paths", operation.paths},
                   {"notPaths", operation.not_paths}},
                  "operation");
}

Fault fault_of(const AuthorizationRule& rule) {
  for (std::size_t i = 0; i < rule.from.size(); ++i) {
    if (auto fault = fault_of(rule.from[i].source)) {
      return std::pair{fmt::format("from[{}].{}", i, fault->first), fault->second};
    }
  }
  for (std::size_t i = 0; i < rule.to.size(); ++i) {
    if (auto fault = fault_of(rule.to[i].operation)) {
      return std::pair{fmt::format("to[{}].{}", i, fault->first), fault->second};
    }
  }
  return std::nullopt;
}

}  // namespace

Result<AuthorizationPolicy> read_authorization_policy(const Json& object) {
  const auto where = istio_object_name(authorization_policy_kind, object);
  const auto spec = spec_of(object);
  const auto action = spec.is_object() ? spec.value("action", Json()) : Json();
  for (const char* elsewhere : {"AUDIT", "CUSTOM"}) {
    if (action != elsewhere) continue;
    return fail(ErrorKind::missing,
                "{}: spec.action: {} is not implemented here: ALLOW and DENY are", where,
                elsewhere);
  }
  if (const auto unknown = unknown_field<AuthorizationPolicySpec>(spec, "spec")) {
    return fail(ErrorKind::missing, "{}: {}: this field is not implemented here", where, *unknown);
  }
  ASSIGN_OR_RETURN(auto policy,
                   from_json<AuthorizationPolicy>(object, std::string(authorization_policy_kind)));
  RETURN_IF_ERROR(check_istio_object(policy.api_version, policy.metadata, where));
  if (policy.spec.action == AuthorizationAction::DENY && policy.spec.rules.empty()) {
    return fail(ErrorKind::input, "{}: spec.rules: DENY without rules denies nothing", where);
  }
  for (std::size_t i = 0; i < policy.spec.rules.size(); ++i) {
    const auto fault = fault_of(policy.spec.rules[i]);
    if (!fault) continue;
    return fail(ErrorKind::input, "{}: spec.rules[{}].{}: {}", where, i, fault->first,
                fault->second);
  }
  return policy;
}

}  // namespace base::kube
