#include "base/kube/request_authentication.h"

#include "base/kube/istio_object.h"
#include "base/kube/unknown_field.h"

namespace base::kube {
namespace {

// RFC 7517, 5.
bool is_key_set(const std::string& text) {
  const auto keys = parse_json(text);
  if (!keys || !keys->is_object()) return false;
  const auto list = keys->find("keys");
  return list != keys->end() && list->is_array() && !list->empty();
}

}  // namespace

Result<RequestAuthentication> read_request_authentication(const Json& object) {
  const auto where = istio_object_name(request_authentication_kind, object);
  if (const auto unknown = unknown_field<RequestAuthenticationSpec>(spec_of(object), "spec")) {
    return fail(ErrorKind::missing, "{}: {}: this field is not implemented here", where, *unknown);
  }
  ASSIGN_OR_RETURN(auto policy, from_json<RequestAuthentication>(
                                    object, std::string(request_authentication_kind)));
  RETURN_IF_ERROR(check_istio_object(policy.api_version, policy.metadata, where));
  for (std::size_t i = 0; i < policy.spec.jwt_rules.size(); ++i) {
    const auto& rule = policy.spec.jwt_rules[i];
    if (rule.issuer.empty()) {
      return fail(ErrorKind::input, "{}: spec.jwtRules[{}].issuer: expected a name", where, i);
    }
    if (!is_key_set(rule.jwks)) {
      return fail(ErrorKind::input, "{}: spec.jwtRules[{}].jwks: expected JSON with a list of keys",
                  where, i);
    }
  }
  return policy;
}

}  // namespace base::kube
