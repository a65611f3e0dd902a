// The check `wire_is_encrypted`: is everything between a client and its servers encrypted by the
// mesh, on the wire itself? Requests and replies carried canaries (base/canary.h) while packets
// were captured at several points (probes/wire/). Pass only if, at every point,
//   (a) no canary could be read, in either direction, also by others than the servers;
//   (b) every connection is TLS 1.2 or 1.3 from its first byte to its last, its handshake seen;
//       each request and each reply had a record there (of HTTP/2 several may share one) and bytes
//       enough, each of the client's
//       connections one of its own where proxies do not pool them, and the client sent nothing to
//       anybody else;
//   (c) the same filter found canaries that were sent in clear, before and after; nothing was lost;
//   (d) who answers a handshake of ours shows a SPIFFE identity: the one its pod should have, by
//       the mesh's authority, valid now, as far as the target can tell; all of one trust domain.
// A readable canary is a fail whatever else was lost. Encryption that is not the mesh's is
// described and not credited: TLS without the ALPN and SNI of Istio's sidecars, bytes that are no
// TLS, packets encrypted below TCP. Ambient's tunnel is not judged yet.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "bench/tls_probe/tls_probe.h"
#include "checks/finding.h"
#include "probes/wire/wire.h"

namespace checks {

// What was captured at one place.
struct WirePoint {
  std::string place;                        // "client_pod"
  base::Result<probes::WireReport> report;  // missing or not_permitted: nobody could capture there
};

// What was sent meanwhile, and what was seen of it.
struct WireObservation {
  std::uint64_t requests = 0;       // answered
  std::uint64_t request_bytes = 0;  // of all of them, as they were before a proxy took them
  std::uint64_t reply_bytes = 0;
  std::uint64_t connections = 0;  // that must have passed; 0: proxies pool them
  // Frames of several requests may be in one record, as those of HTTP/2's streams are.
  bool shares_records = false;
  // The first is where all of the client's traffic passes.
  std::vector<WirePoint> points = {};
  // One for each server, in order: what it showed to a handshake.
  base::Result<bench::TlsProbeResult> identities;
  std::map<std::string, std::string> expected = {};  // by server: its SPIFFE identity, where known
  // With whom the client's proxy talks beside the servers, by its own TLS.
  std::vector<base::Endpoint> control_plane = {};
  std::int64_t now_s = 0;       // Unix time
  std::string still_open = {};  // why connections from before could not be closed
};

// Inbound of ambient's tunnel (HBONE), which carries connections to every port of a pod.
inline constexpr std::uint16_t hbone_port = 15008;

// `observed`: encrypted, readable, other_encryption, not_tls, old_version, no_identity,
// wrong_identity; not_proven where the capture cannot tell, skipped where there was none. Evidence:
// the proof object, everything above.
[[nodiscard]] Finding wire_is_encrypted(const WireObservation& seen);

// What a sidecar of Istio offers (pilot/pkg/networking/util: ALPNInMeshWithMxc and the like).
[[nodiscard]] std::vector<std::string> mesh_alpn(bool http);

}  // namespace checks
