// TCP_RR: one request and its reply at a time over a kept connection. A closed loop over a single
// connection has its own loop here; everything else is a matter of many flows (bench/flow_loop.h).
#include "bench/client.h"
#include "bench/flow_loop.h"
#include "bench/lone_requester.h"
#include "bench/server_choice.h"

namespace bench {
namespace {

// Connects, and counts what comes of it.
Connected open_connection(const ClientJob& job, ServerChoice& choice, int stop_fd, Meter& meter) {
  const auto begun = base::monotonic_now();
  const auto& server = choice.next().endpoint;
  auto fd = connect_within(server, job.workload.timeout, stop_fd);
  if (fd) {
    if (const int code = bound_waits(fd->get(), wait_slice); code != 0) fd = std::unexpected(code);
  }
  if (!fd) {
    if (fd.error() != EINTR) meter.connect_failed(fd.error(), server);
    return fd;
  }
  meter.connected(base::monotonic_now() - begun);
  meter.connection_opened(fd->get());
  return fd;
}

template <WaitStrategy wait>
base::Result<ClientResult> request_and_reply(const ClientJob& job, int stop_fd) {
  Meter meter(job, wait);
  Exchange<wait> exchange(job.workload, stop_fd);
  ServerChoice choice(job.servers, job.seed);
  auto connection = open_connection(job, choice, stop_fd, meter);
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
      connection = open_connection(job, choice, stop_fd, meter);
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
      meter.connection_closing(connection->get());
      connection = std::unexpected(ENOTCONN);
    }
  }
  if (connection) meter.connection_closing(connection->get());
  return meter.result();
}

}  // namespace

base::Result<ClientResult> run_tcp_rr(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  if (job.workload.rate || job.workload.connections > 1) {
    return run_flows(job, wait, Connections::kept, stop_fd);
  }
  switch (wait) {
    case WaitStrategy::block:
      return request_and_reply<WaitStrategy::block>(job, stop_fd);
    case WaitStrategy::hybrid:
      return request_and_reply<WaitStrategy::hybrid>(job, stop_fd);
    case WaitStrategy::spin:
      return request_and_reply<WaitStrategy::spin>(job, stop_fd);
  }
  return base::fail(base::ErrorKind::input, "wait: not a wait strategy");
}

}  // namespace bench
