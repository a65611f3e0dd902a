// run_client: what every workload's client has in common before its loop begins.
#include "bench/client.h"

#include <poll.h>

#include "bench/affinity.h"
#include "bench/flow_loop.h"
#include "bench/lone_requester.h"
#include "bench/sockets.h"
#include "bench/traffic.h"

namespace bench {
namespace {

base::Result<> check_message(const char* name, WorkloadKind kind, base::Bytes bytes) {
  const auto bounds = message_bounds(kind);
  if (bytes.count >= bounds.least && bytes.count <= bounds.most) return {};
  return base::fail(base::ErrorKind::input, "{}: expected {} to {} bytes, got {}", name,
                    bounds.least, bounds.most, bytes.count);
}

base::Result<> check(const ClientJob& job) {
  const auto& spec = job.workload;
  if (job.servers.empty()) {
    return base::fail(base::ErrorKind::input, "servers: expected at least one");
  }
  RETURN_IF_ERROR(check_message("request", spec.kind, request_size(spec)));
  if (!is_stream(spec.kind)) {
    RETURN_IF_ERROR(check_message("response", spec.kind, response_size(spec)));
  }
  if (spec.keep_alive && !is_http(spec.kind)) {
    return base::fail(base::ErrorKind::input, "keep_alive: only http and http2 have it, not {}",
                      base::enum_name(spec.kind));
  }
  if (spec.streams && spec.kind != WorkloadKind::http2) {
    return base::fail(base::ErrorKind::input, "streams: only http2 has it, not {}",
                      base::enum_name(spec.kind));
  }
  if (const int streams = spec.streams.value_or(1);
      streams < 1 || (streams > 1 && !keeps_connections(spec))) {
    return base::fail(base::ErrorKind::input,
                      "streams: expected at least 1, and 1 without keep_alive, got {}", streams);
  }
  if (spec.connections < 1) {
    return base::fail(base::ErrorKind::input, "connections: expected at least 1, got {}",
                      spec.connections);
  }
  if (spec.duration.count() <= 0 || spec.timeout.count() <= 0) {
    return base::fail(base::ErrorKind::input, "duration and timeout: expected more than 0");
  }
  return {};
}

}  // namespace

base::Result<> await_begin(const ClientJob& job, int stop_fd) {
  if (job.workload.rate || !job.window_begins_ns) return {};
  const auto begin = base::MonotonicTime{*job.window_begins_ns} - job.workload.warm_up;
  for (;;) {
    const auto left = begin - base::monotonic_now();
    if (left.count() <= 0) return {};
    pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
    const timespec timeout{.tv_sec = left.count() / 1'000'000'000,
                           .tv_nsec = left.count() % 1'000'000'000};
    const int ready = ::ppoll(&stop, 1, &timeout, nullptr);
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "ppoll");
    if (ready > 0) return stopped_early();
  }
}

base::Result<ClientResult> run_client(const ClientJob& job, int stop_fd) {
  RETURN_IF_ERROR(check(job));
  ASSIGN_OR_RETURN(const auto pinned, PinnedThread::to(job.cpu));
  RETURN_IF_ERROR(await_begin(job, stop_fd));
  const auto wait =
      job.workload.wait.value_or(job.workload.rate ? WaitStrategy::hybrid : WaitStrategy::block);
  switch (job.workload.kind) {
    case WorkloadKind::tcp_rr:
    case WorkloadKind::udp_rr:
      return run_request_reply(job, wait, stop_fd);
    case WorkloadKind::tcp_crr:
      return run_tcp_crr(job, wait, stop_fd);
    case WorkloadKind::http:
      return run_flows(job, wait, stop_fd);
    case WorkloadKind::http2:
      return run_http2(job, wait, stop_fd);
    case WorkloadKind::tcp_stream:
      return run_tcp_stream(job, wait, stop_fd);
    case WorkloadKind::udp_stream:
      return run_udp_stream(job, wait, stop_fd);
    case WorkloadKind::tls_handshake:
      break;  // of bench/tls_handshake
  }
  return base::fail(base::ErrorKind::input, "kind: not a workload");
}

}  // namespace bench
