// The two ends of the workload tls_handshake: connect, a TLS handshake, one request and its reply,
// close. Both ends verify as they are told (ClientJob::tls, ServerJob::tls); in TLS 1.3 a client's
// handshake ends before the server has judged its certificate, so that a connection counts only
// once its reply is there.
#pragma once

#include <functional>
#include <vector>

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// One connection after another, as fast as they go; where the workload has a rate, as the run's own
// looks at traffic have, no faster than that. Latency is connect(2) to the whole reply, and
// `connect` ends with the client's side of the handshake. Errors: as run_client(); input
// (certificates).
[[nodiscard]] base::Result<ClientResult> run_tls_handshakes(const ClientJob& job, int stop_fd);

// Serves one connection at a time: what is measured is a handshake, not how many wait for theirs.
// Errors: as run_server(); input (certificates).
[[nodiscard]] base::Result<ServerResult> run_tls_server(
    const ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening);

}  // namespace bench
