// What the servers behind run_server share: one for requests over TCP (bench/server.cc), one for
// streams over it (bench/stream_server.cc), one for UDP (bench/udp_server.cc).
#pragma once

#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"
#include "bench/measure.h"
#include "bench/workload.h"

namespace bench {

// A blocking call outside epoll is left this often, to look at everything else and the stop
// descriptor; so is a busy connection or socket.
inline constexpr base::Duration server_look = std::chrono::milliseconds(10);
// So many waits of that length without a request, and epoll is where the server sleeps.
inline constexpr int idle_waits_allowed = 10;
// So many connections are asked whom they come from.
inline constexpr std::uint64_t clients_noted = 64;
// So many arrivals are stamped, where a job asks for it.
inline constexpr std::size_t arrivals_noted = 16'384;

// Makes room for them, so that noting one allocates nothing.
inline void prepare_arrivals(const ServerJob& job, ServerResult& result) {
  if (job.note_arrivals) result.arrivals_ns.reserve(arrivals_noted);
}
// Stamps one that has just been taken. A server that stood still stamps late, never early.
inline void note_arrival(ServerResult& result) {
  if (result.arrivals_ns.size() == arrivals_noted) {
    ++result.arrivals_lost;
  } else {
    result.arrivals_ns.push_back(base::monotonic_now().ns);
  }
}

// Writes into `result` what the calling thread has used since `begin`.
void note_usage(const ThreadUsage& begin, ServerResult& result);

// Answers datagrams at bound sockets, whose waits are bounded by server_look, until `stop_fd`
// becomes readable. Errors: system.
[[nodiscard]] base::Result<ServerResult> run_datagram_server(const ServerJob& job,
                                                             std::vector<base::UniqueFd> sockets,
                                                             int stop_fd);

// Reads streams from listening sockets' connections, whose waits are bounded by server_look, until
// `stop_fd` becomes readable. Waits by block, whatever the job says. Errors: system.
[[nodiscard]] base::Result<ServerResult> run_stream_server(const ServerJob& job,
                                                           std::vector<base::UniqueFd> listeners,
                                                           int stop_fd);

}  // namespace bench
