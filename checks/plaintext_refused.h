// The check `plaintext_refused`: does a port that takes mutual TLS alone refuse whoever speaks in
// the clear? Judged by a client without a proxy, which dials each pod's own port.
#pragma once

#include <string>
#include <vector>

#include "bench/workload.h"
#include "checks/finding.h"

namespace checks {

// What such a client, and the server behind the port, saw of one pod.
struct DialledInClear {
  std::string pod;
  bench::ClientResult client;
  bench::ServerResult server;
};

// Pass: of every pod the client connected, and each of its requests ended in a reset that it read
// where the reply was due. Fail: one answered it, be it by an HTTP status or anything else, or a
// request of its came to a server. Inconclusive: one it never connected to, or whose connections
// ended otherwise, as then nobody can tell who ended them; or there is no pod. `observed` is
// "refused" or "taken".
[[nodiscard]] Finding plaintext_refused(const std::vector<DialledInClear>& pods);

}  // namespace checks
