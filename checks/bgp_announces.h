// Check bgp_announces_lb_ip: is a LoadBalancer's address announced by the right nodes, by nobody
// else, with the right attributes? And bgp_session_established: is every session up, with what was
// agreed?
#pragma once

#include <optional>
#include <vector>

#include "bgp-peer/route.h"
#include "checks/finding.h"

namespace checks {

// What must be announced of one address.
struct ExpectedAnnouncement {
  bgp_peer::Prefix prefix = {};
  std::vector<base::IpAddress> next_hops = {};  // exactly these; none: it must not be announced
  std::vector<bgp_peer::Asn> as_path = {};
  std::vector<bgp_peer::Community> communities = {};   // exactly these, in any order
  std::optional<std::uint32_t> local_preference = {};  // sent inside one AS only (RFC 4271, 5.1.5)
  bgp_peer::Origin origin = bgp_peer::Origin::igp;
};

// Judges the paths of a table, all prefixes of one family. A prefix inside `pool` that is not
// expected is a fault, too: others are nobody's business here.
[[nodiscard]] Finding bgp_announces_lb_ip(const std::vector<ExpectedAnnouncement>& expected,
                                          const bgp_peer::Prefix& pool,
                                          const std::vector<bgp_peer::Path>& paths);

// What a session must be.
struct ExpectedSession {
  base::IpAddress neighbor = {};
  bgp_peer::Asn asn = {};
  std::uint64_t hold_time_s = 0;  // negotiated
  std::vector<bgp_peer::Family> families = {};
  std::optional<std::uint32_t> restart_time_s = {};  // that it said; absent: it must say none
};

[[nodiscard]] Finding bgp_session_established(const std::vector<ExpectedSession>& expected,
                                              const std::vector<bgp_peer::Peer>& peers);

}  // namespace checks
