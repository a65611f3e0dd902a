// TCP_RR and UDP_RR: one request and its reply at a time over a kept connection. A closed loop over
// a single one has its own loop here; everything else is a matter of many flows
// (bench/flow_loop.h).
//
// UDP has no connections; what is kept is the socket, its port and the server it is connected to.
// The flow begins with one exchange that is not a request of the workload: it is what a datapath
// does for a flow's first packet, and it tells a server that is there from one that is not. After
// that the socket stays, whatever becomes of a datagram, as a resolver's or a game's would: a
// translation that has gone stale is thereby seen, not mended.
#include "bench/client.h"
#include "bench/flow_loop.h"
#include "bench/for_wait.h"
#include "bench/lone_requester.h"
#include "bench/server_choice.h"

namespace bench {
namespace {

template <WaitStrategy wait, base::Protocol protocol>
Connected connect_once(const ClientJob& job, const ServerChoice::Server& server,
                       Exchange<wait, protocol>& exchange, int stop_fd) {
  auto fd = protocol == base::Protocol::UDP
                ? udp_socket(server.address, 0)
                : connect_within(server.endpoint, job.workload.timeout, stop_fd);
  if (!fd) return fd;
  if (const int code = bound_waits(fd->get(), wait_slice(job.workload)); code != 0)
    return std::unexpected(code);
  if constexpr (protocol == base::Protocol::UDP) {
    std::uint32_t server_id = 0;
    int code = ETIMEDOUT;
    for (int attempt = 0; attempt < first_exchange_attempts && code == ETIMEDOUT; ++attempt) {
      code = as_errno(exchange.run(fd->get(), base::monotonic_now(), server_id));
    }
    if (code != 0) return std::unexpected(code);
  }
  return fd;
}

// Connects, and counts what comes of it.
template <WaitStrategy wait, base::Protocol protocol>
Connected open_connection(const ClientJob& job, ServerChoice& choice,
                          Exchange<wait, protocol>& exchange, int stop_fd, Meter& meter) {
  const auto begun = base::monotonic_now();
  const auto& server = choice.next();
  auto fd = connect_once(job, server, exchange, stop_fd);
  if (!fd) {
    if (fd.error() != EINTR) meter.connect_failed(fd.error(), server.endpoint);
    return fd;
  }
  meter.connected(base::monotonic_now() - begun);
  meter.connection_opened(fd->get());
  return fd;
}

template <WaitStrategy wait, base::Protocol protocol>
base::Result<ClientResult> request_and_reply(const ClientJob& job, int stop_fd) {
  Meter meter(job, wait);
  Exchange<wait, protocol> exchange(job.workload, stop_fd);
  ServerChoice choice(job.servers, job.seed);
  auto connection = open_connection(job, choice, exchange, stop_fd, meter);
  if (!connection && meter.nothing_ever_connected()) {
    return std::unexpected(meter.first_connect_error());
  }

  Phases phases(job.workload, meter, stop_fd);
  auto now = base::monotonic_now();
  for (;;) {
    const auto next = phases.at(now);
    if (next == Phases::Next::stopped) return stopped_early();
    if (next == Phases::Next::finished) break;
    if (!connection) [[unlikely]] {
      rest_after_failure(stop_fd);
      connection = open_connection(job, choice, exchange, stop_fd, meter);
      now = base::monotonic_now();
      continue;
    }
    std::uint32_t server_id = 0;
    // A stamp of its own, not the end of the request before: what this loop does between two
    // requests is no latency, and the residual of Little's law is where it shows.
    const auto begun = base::monotonic_now();
    const auto end = exchange.run(connection->get(), begun, server_id);
    now = base::monotonic_now();
    if (end.kind == ExchangeEnd::Kind::replied) [[likely]] {
      if (meter.window_open()) meter.request_done(now - begun, server_id);
    } else {
      if (end.kind == ExchangeEnd::Kind::stopped) return stopped_early();
      count_exchange_end(end, meter.errors());
      if constexpr (protocol == base::Protocol::UDP) {
        rest_after_failure(stop_fd);
      } else {
        meter.connection_closing(connection->get());
        connection = std::unexpected(ENOTCONN);
      }
    }
  }
  if (connection) meter.connection_closing(connection->get());
  return meter.result();
}

}  // namespace

base::Result<ClientResult> run_request_reply(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  if (job.workload.rate || job.workload.connections > 1) return run_flows(job, wait, stop_fd);
  return for_wait(wait, [&](auto how) {
    return protocol_of(job.workload.kind) == base::Protocol::UDP
               ? request_and_reply<how.value, base::Protocol::UDP>(job, stop_fd)
               : request_and_reply<how.value, base::Protocol::TCP>(job, stop_fd);
  });
}

}  // namespace bench
