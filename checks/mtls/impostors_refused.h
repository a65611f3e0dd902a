// The check `impostors_refused`: does a server of a mesh refuse whoever is not of it? Each way to
// be an impostor is a cell of its own. A cell counts as refused only where the peer's own alert or
// reset was received: by an application read, for in TLS 1.3 a handshake succeeds before the server
// has judged the client's certificate; of TLS 1.1, which ends before that, by an alert in the
// handshake. A server that refuses everybody is no proof either: somebody of the mesh must be let
// in.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "bench/tls_probe/tls_probe.h"
#include "checks/finding.h"
#include "cluster/impostors.h"

namespace checks {

inline constexpr std::string_view control_cell = "of_the_mesh";

// One door for every cell: of_the_mesh (the control), plaintext, foreign_ca, wrong_identity,
// expired, not_yet_valid and tls_1_1, which shows a good certificate.
[[nodiscard]] bench::TlsProbeJob impostor_doors(const cluster::ImpostorCertificates& certificates,
                                                const base::Endpoint& server, bool http);

// Judges one server. Fail: an impostor was answered, and which, or a hello of TLS in the clear
// (`not_tls`), where nobody is asked who he is; inconclusive: the control was not
// let in, or a cell ended without the peer's word. Evidence: the cells.
[[nodiscard]] Finding impostors_refused(const bench::TlsProbeResult& tried);

// A server that may answer, and what became of them at its doors.
struct TriedServer {
  std::string name;
  bench::TlsProbeResult tried;
};

// Judges several by the worst of them, which it names. Evidence: the cells of each, by its name.
[[nodiscard]] Finding impostors_refused(const std::vector<TriedServer>& servers);

}  // namespace checks
