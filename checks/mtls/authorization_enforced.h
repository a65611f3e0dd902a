// The check `authorization_enforced`: do requests come to what AuthorizationPolicies and
// RequestAuthentications say? A refusal counts only as the proxy's own word: HTTP 403 with what
// Envoy's RBAC says, 401 with its challenge, or, of TCP, a connection that is closed after it was
// opened; and nothing that was refused may have come to a server. Whoever refuses everybody proves
// nothing, so somebody must be let in.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/kube/authorization_policy.h"
#include "bench/tls_probe/tls_probe.h"
#include "checks/finding.h"

namespace checks {

// A request that was made, and what it was to come to.
struct AccessTried {
  std::string name;
  std::string from;      // whose proxy asked
  std::string workload;  // at whose port
  bool http = false;
  base::kube::Access expected = base::kube::Access::allowed;
  bench::DoorTried door;
};

struct AuthorizationObservation {
  std::vector<AccessTried> requests;
  std::uint64_t came_to_servers = 0;  // of all of them
};

// The request by which a cell is tried, of HTTP.
[[nodiscard]] std::string access_request(const base::Endpoint& to, std::string_view method,
                                         std::string_view path, std::string_view token);

// Fail: one came to something else than was said, and which; or more came to servers than were let
// in. Inconclusive: one ended so that nobody can tell who ended it, or nobody was let in.
// `observed` is "enforced", "not_enforced", "refused_too_much" or "not_proven".
[[nodiscard]] Finding authorization_enforced(const AuthorizationObservation& seen);

}  // namespace checks
