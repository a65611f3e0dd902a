#include "base/kube/peer_authentication.h"

#include <charconv>

#include "base/kube/istio_object.h"

namespace base::kube {
namespace {

bool is_port(std::string_view text) {
  int port = 0;
  const auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), port);
  return code == std::errc() && end == text.data() + text.size() && port > 0 && port <= 65'535;
}

}  // namespace

bool selects_workloads(const PeerAuthentication& policy) {
  return policy.spec.selector && !policy.spec.selector->match_labels.empty();
}

Result<PeerAuthentication> read_peer_authentication(const Json& object) {
  ASSIGN_OR_RETURN(auto policy,
                   from_json<PeerAuthentication>(object, std::string(peer_authentication_kind)));
  const auto where = istio_object_name(peer_authentication_kind, object);
  RETURN_IF_ERROR(check_istio_object(policy.api_version, policy.metadata, where));
  if (!policy.spec.port_level_mtls.empty() && !selects_workloads(policy)) {
    return fail(ErrorKind::input,
                "{}: spec.portLevelMtls: needs a selector, as ports are those of some pods", where);
  }
  for (const auto& [port, mtls] : policy.spec.port_level_mtls) {
    if (is_port(port)) continue;
    return fail(ErrorKind::input,
                "{}: spec.portLevelMtls: expected ports of 1 to 65535, got \"{}\"", where, port);
  }
  return policy;
}

}  // namespace base::kube
