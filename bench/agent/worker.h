// A worker: the process in which one invocation runs, fresh, and whose crash costs one sample.
//
// It reads its job as one line from stdin (a socket), does it, and writes messages to what was its
// stdout. Its stop is the end of stdin, so it also stops when its supervisor is gone.
#pragma once

#include <functional>
#include <vector>

#include "base/fd.h"
#include "base/result.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"
#include "bench/tls_probe/tls_probe.h"
#include "bench/workload.h"
#include "probes/drops.h"
#include "probes/translation.h"
#include "probes/wire/wire.h"

namespace bench {

// What a worker can be told to do. Each blocks until it is done or `stop_fd` becomes readable. A
// job that is not there is answered with an error.
struct Invocations {
  std::function<base::Result<ClientResult>(const ClientJob& job, int stop_fd)> run_client;
  std::function<base::Result<ServerResult>(
      const ServerJob& job, int stop_fd,
      const std::function<void(const std::vector<base::Endpoint>&)>& on_listening)>
      run_server;
  std::function<base::Result<probes::TranslationCounts>(
      const probes::TranslationJob& job, int stop_fd, const std::function<void()>& on_ready)>
      observe;
  std::function<base::Result<probes::Drops>(const probes::DropsJob& job, int stop_fd,
                                            const std::function<void()>& on_ready)>
      watch_drops;
  std::function<base::Result<ReachResult>(const ReachJob& job, int stop_fd)> reach = {};
  std::function<base::Result<ListenResult>(
      const ListenJob& job, int stop_fd,
      const std::function<void(const std::vector<base::Endpoint>&)>& on_listening)>
      listen = {};
  std::function<base::Result<FlowSendResult>(const FlowSendJob& job, int stop_fd,
                                             const std::function<void()>& on_ready)>
      send_flows = {};
  std::function<base::Result<FlowReceiveResult>(const FlowReceiveJob& job, int stop_fd,
                                                const std::function<void()>& on_ready)>
      receive_flows = {};
  std::function<base::Result<HoldResult>(const HoldJob& job, int stop_fd,
                                         const std::function<void()>& on_ready)>
      hold = {};
  std::function<base::Result<probes::WireReport>(const probes::CaptureJob& job, int stop_fd,
                                                 const std::function<void()>& on_ready)>
      capture = {};
  std::function<base::Result<TlsProbeResult>(const TlsProbeJob& job, int stop_fd)> tls_probe = {};
  std::function<base::Result<KnockResult>(const KnockJob& job, int stop_fd,
                                          const std::function<void()>& on_ready)>
      knock = {};
};

// Takes stdout away from everyone else in this process: returns a private descriptor to it and
// points descriptor 1 at stderr, so that a stray print cannot get between protocol lines.
// Errors: system.
[[nodiscard]] base::Result<base::UniqueFd> take_stdout();

// Does the one job on stdin. Returns the exit code: 0 when a result or an error was written.
[[nodiscard]] int worker_main(const Invocations& invocations);

}  // namespace bench
