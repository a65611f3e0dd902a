// Many flows on one thread and one epoll: every open loop, and closed loops over more than one
// connection. A flow carries one request at a time.
#pragma once

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// What becomes of a connection once its reply is there.
enum class Connections { kept, one_per_request };

// Runs one invocation. Kept connections are all opened before the first request. An open loop hands
// each due request to the flow that has been idle longest; without an idle flow it waits, which its
// latency and lateness show, since both count from the due time. After the window the replies still
// outstanding are awaited. Errors: as run_client.
[[nodiscard]] base::Result<ClientResult> run_flows(const ClientJob& job, WaitStrategy wait,
                                                   Connections connections, int stop_fd);

}  // namespace bench
