// Many flows on one thread and one epoll: every open loop, closed loops over more than one
// connection, and all of http. A flow carries one request at a time.
#pragma once

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// Runs one invocation of a request/reply workload. Connections that are kept are all opened before
// the first request; a UDP flow is open once its first datagram was answered, and is never opened
// again. An open loop hands
// each due request to the flow that has been idle longest; without an idle flow it waits, which its
// latency and lateness show, since both count from the due time. After the window the replies still
// outstanding are awaited. Errors: as run_client.
[[nodiscard]] base::Result<ClientResult> run_flows(const ClientJob& job, WaitStrategy wait,
                                                   int stop_fd);

}  // namespace bench
