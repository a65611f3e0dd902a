// The check `plaintext_refused`: does a port that takes mutual TLS alone refuse whoever speaks in
// the clear? Judged by a client without a proxy, which dials a pod's own port.
#pragma once

#include "bench/workload.h"
#include "checks/finding.h"

namespace checks {

// What such a client and the servers behind the port saw. Pass: it connected, and each of its
// requests ended in a reset that it read where the reply was due. Fail: it was answered, be it by
// an HTTP status or anything else, or a request of its came to a server. Inconclusive: it never
// connected, or its connections ended otherwise, as then nobody can tell who ended them. `observed`
// is "refused" or "taken".
[[nodiscard]] Finding plaintext_refused(const bench::ClientResult& client,
                                        const std::vector<bench::ServerResult>& servers);

}  // namespace checks
