// TCP_CRR: connect, one request and its reply, close. Latency is connect(2) to the whole reply;
// connect(2) to established is kept apart.
//
// The client closes first, as in netperf and neper: TIME_WAIT, and with it the local port, stays
// with the side that chose the port, so exhaustion is seen by the one that causes it
// (EADDRNOTAVAIL, counted as address_unavailable) and never by the server. Closing is an ordinary
// FIN: a reset would spare the TIME_WAIT but show every datapath a connection nobody has.
#include "bench/client.h"
#include "bench/connection_cap.h"
#include "bench/flow_loop.h"
#include "bench/for_wait.h"
#include "bench/lone_requester.h"
#include "bench/server_choice.h"

namespace bench {
namespace {

// connect(2) and, where it does not end there, the wait for it. 0 or errno; EINTR when stopped.
template <WaitStrategy wait>
int connect_bounded(int fd, const base::SocketAddress& server, base::MonotonicTime deadline,
                    int stop_fd) {
  if (::connect(fd, server.get(), server.size()) == 0) return 0;
  // A blocking socket says this when its send timeout ran out, a non-blocking one at once.
  if (errno != EINPROGRESS) return errno;
  if constexpr (wait == WaitStrategy::spin) {
    pollfd writable{.fd = fd, .events = POLLOUT, .revents = 0};
    while (::poll(&writable, 1, 0) == 0) {
      if (base::monotonic_now() >= deadline) return ETIMEDOUT;
      if (readable(stop_fd)) return EINTR;
    }
    return pending_error(fd);
  }
  return finish_connect(fd, deadline, stop_fd);
}

template <WaitStrategy wait>
base::Result<ClientResult> connect_request_reply(const ClientJob& job, int stop_fd) {
  Meter meter(job, wait);
  Exchange<wait> exchange(job.workload, stop_fd);
  ServerChoice choice(job.servers, job.seed);
  ConnectionCap cap(job.most_connections_per_minute);

  Phases phases(job.workload, meter, stop_fd);
  auto now = base::monotonic_now();
  for (;;) {
    if (cap.set()) now = await_turn<wait>(cap, now, stop_fd, meter);
    const auto next = phases.at(now);
    if (next == Phases::Next::stopped) return stopped_early();
    if (next == Phases::Next::finished) break;

    const auto occupied = base::monotonic_now();
    const auto& server = choice.next();
    auto fd = tcp_socket(server.endpoint, Exchange<wait>::socket_flags);
    if (!fd) return base::system_error(fd.error(), "socket for {}", server.endpoint);
    if constexpr (wait != WaitStrategy::spin) {
      if (const int code = bound_waits(fd->get(), wait_slice(job.workload)); code != 0) {
        return base::system_error(code, "setsockopt for {}", server.endpoint);
      }
    }
    const auto begun = base::monotonic_now();
    const int code =
        connect_bounded<wait>(fd->get(), server.address, begun + job.workload.timeout, stop_fd);
    const auto established = base::monotonic_now();
    if (code != 0) [[unlikely]] {
      if (code == EINTR) return stopped_early();
      meter.connect_failed(code, server.endpoint);
      if (meter.nothing_ever_connected()) return std::unexpected(meter.first_connect_error());
      fd->reset();
      rest_after_failure(stop_fd);
      now = base::monotonic_now();
      continue;
    }
    std::uint32_t server_id = 0;
    const auto end = exchange.run(fd->get(), established, server_id);
    const auto replied = base::monotonic_now();
    meter.connection_opened(fd->get());
    meter.connection_closing(fd->get());
    fd->reset();
    const auto closed = base::monotonic_now();
    if (end.kind == ExchangeEnd::Kind::replied) [[likely]] {
      if (meter.window_open()) {
        meter.connected(established - begun);
        meter.request_done(replied - begun, server_id);
        meter.occupied_beyond_latency((closed - occupied) - (replied - begun));
      }
    } else {
      if (end.kind == ExchangeEnd::Kind::stopped) return stopped_early();
      count_exchange_end(end, meter.errors());
      rest_after_failure(stop_fd);
    }
    now = closed;
  }
  return meter.result();
}

}  // namespace

base::Result<ClientResult> run_tcp_crr(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  if (job.workload.rate || job.workload.connections > 1) {
    return run_flows(job, wait, stop_fd);
  }
  return for_wait(wait, [&](auto how) { return connect_request_reply<how.value>(job, stop_fd); });
}

}  // namespace bench
