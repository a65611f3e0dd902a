// The check `wire_is_encrypted`: is everything between a client and its servers encrypted by the
// mesh, on the wire itself? Requests and replies carried canaries (base/canary.h) while packets
// were captured at several points (probes/wire/). Pass only if, at every point,
//   (a) no canary could be read, in either direction;
//   (b) every connection is TLS from its first byte to its last, its handshake seen, and what
//       passed is no less than what was sent;
//   (c) the same filter found canaries that were sent in clear, before and after; nothing was lost;
//   (d) who answers a handshake of ours shows a SPIFFE identity.
// A readable canary is a fail whatever else was lost. Encryption that is not the mesh's is
// described and not credited: TLS without the ALPN and SNI of Istio's sidecars, or bytes that are
// no TLS.
#pragma once

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
  std::uint64_t request_bytes = 0;  // of all their bodies
  std::uint64_t reply_bytes = 0;
  std::vector<WirePoint> points = {};
  // One for each server, in order: what it showed to a handshake.
  base::Result<bench::TlsProbeResult> identities;
};

// `observed`: encrypted, readable, other_encryption, not_tls, no_identity; not_proven where the
// capture cannot tell, skipped where there was none. Evidence: the proof object, everything above.
[[nodiscard]] Finding wire_is_encrypted(const WireObservation& seen);

// What a sidecar of Istio offers (pilot/pkg/networking/util: ALPNInMeshWithMxc and the like).
[[nodiscard]] std::vector<std::string> mesh_alpn(bool http);

}  // namespace checks
