// The two ends of a workload, as the agent's workers run them. Each call owns its thread, its
// sockets and its epoll; nothing is shared, so a worker process runs exactly one of them.
#pragma once

#include <functional>

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// Runs one invocation: connects, warms up, measures, closes. Blocks for warm_up + duration (plus at
// most one timeout) and ends early when `stop_fd` becomes readable (-1: never).
// Errors: input (a request smaller than its header, an open loop without connections, a udp_stream
// without a rate), workload (nothing could be connected at all: the first error, in words),
// not_permitted (gso, see bench/offloads.h), interrupted, system. Failed requests among others are
// counted in the result, not returned.
[[nodiscard]] base::Result<ClientResult> run_client(const ClientJob& job, int stop_fd);

// Listens, calls `on_listening` with the bound endpoints once connections are accepted, and answers
// until `stop_fd` becomes readable. Errors: system (bind: address in use...), not_permitted.
[[nodiscard]] base::Result<ServerResult> run_server(
    const ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening);

}  // namespace bench
