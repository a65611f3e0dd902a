// What a gobgpd is to be, and the configuration file that says so.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "bgp-peer/client.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

// How a session is to be, from the daemon's side.
struct SessionSpec {
  Asn peer_asn = {};
  std::string password = {};          // of TCP MD5 signatures (RFC 2385); empty: none
  std::uint32_t hold_time_s = 90;     // 0: never expires; else from 3 on (RFC 4271, 4.2)
  std::uint32_t connect_retry_s = 5;  // GoBGP waits no less than 5, and up to as much again
  std::optional<std::uint32_t> restart_time_s = {};  // graceful restart (RFC 4724); absent: off
  std::vector<Family> families = {Family::ipv4_unicast};
  std::uint32_t max_prefixes = 0;  // of each family; 0: no limit. Beyond it the session ends
  std::uint32_t multihop_ttl = 0;  // 0: an external neighbour must be on a link of ours
  bool passive = false;            // waits for the neighbour to connect
  std::optional<base::IpAddress> local_address = {};  // to connect from
};

// A neighbour of a known address.
struct Neighbor {
  base::IpAddress address = {};
  SessionSpec session = {};
};

// Neighbours of whatever address in these networks, each taken when it connects. Their sessions are
// passive: two sides that wait for each other never meet. They have no password: GoBGP has its
// listener sign for neighbours of known addresses only (checked with 3.10).
struct DynamicNeighbors {
  std::string name = {};  // of GoBGP's peer group, unique in the daemon
  std::vector<Prefix> networks = {};
  SessionSpec session = {};
};

struct DaemonSpec {
  Global global = {};
  std::vector<Neighbor> neighbors = {};
  std::vector<DynamicNeighbors> dynamic_neighbors = {};
  std::vector<Community> communities = {};  // added to every route that is told to neighbours
};

// Whether the specification can be: what GoBGP or the protocol refuses is found here, as GoBGP may
// take a wrong value silently. Errors: input, naming the field: "neighbor 10.0.0.2: hold_time_s:
// ...".
[[nodiscard]] base::Result<> check(const DaemonSpec& spec);

// gobgpd's configuration (`--config-type json`), of a specification that check() passed.
[[nodiscard]] base::Json configuration(const DaemonSpec& spec);

}  // namespace bgp_peer
