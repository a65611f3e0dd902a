// The workloads behind run_client, one file each.
#pragma once

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// A closed loop has no schedule to wait for: it begins to warm up when its window is a warm-up
// away. At once where the job says no beginning, or has a rate. Errors: interrupted, system.
[[nodiscard]] base::Result<> await_begin(const ClientJob& job, int stop_fd);

// tcp_rr and udp_rr, a kept connection: request, reply, request, ... (bench/request_reply.cc)
[[nodiscard]] base::Result<ClientResult> run_request_reply(const ClientJob& job, WaitStrategy wait,
                                                           int stop_fd);
// Connect, one request and its reply, close. (bench/tcp_crr.cc)
[[nodiscard]] base::Result<ClientResult> run_tcp_crr(const ClientJob& job, WaitStrategy wait,
                                                     int stop_fd);

// HTTP/2 over kept connections, or one for each request. (bench/http2_client.cc)
[[nodiscard]] base::Result<ClientResult> run_http2(const ClientJob& job, WaitStrategy wait,
                                                   int stop_fd);

// Bytes one way, as fast as the connection takes them, or writes on a schedule.
// (bench/tcp_stream.cc)
[[nodiscard]] base::Result<ClientResult> run_tcp_stream(const ClientJob& job, WaitStrategy wait,
                                                        int stop_fd);
// Datagrams one way, on a schedule. (bench/udp_stream.cc)
[[nodiscard]] base::Result<ClientResult> run_udp_stream(const ClientJob& job, WaitStrategy wait,
                                                        int stop_fd);

}  // namespace bench
