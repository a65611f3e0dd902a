// stackbench-agent: see agent.h; here its workers get the real traffic and the real probes.
#include <poll.h>

#include "bench/agent/agent.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"
#include "bench/tls_handshake/tls_handshake.h"
#include "bench/tls_probe/tls_probe.h"
#include "bench/traffic.h"
#include "probes/wire/capture.h"

namespace {

// Blocks until the supervisor ends the job.
base::Result<> await_stop(int stop_fd) {
  pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
  while (::poll(&stop, 1, -1) < 0) {
    if (errno != EINTR) return base::system_error(errno, "poll");
  }
  return {};
}

base::Result<probes::TranslationCounts> observe(const probes::TranslationJob& job, int stop_fd,
                                                const std::function<void()>& on_ready) {
  ASSIGN_OR_RETURN(const auto probe, probes::TranslationProbe::attach(job));
  on_ready();
  RETURN_IF_ERROR(await_stop(stop_fd));
  return probe.read();
}

base::Result<probes::Drops> watch_drops(const probes::DropsJob& job, int stop_fd,
                                        const std::function<void()>& on_ready) {
  ASSIGN_OR_RETURN(auto probe, probes::DropsProbe::attach(job));
  on_ready();
  RETURN_IF_ERROR(await_stop(stop_fd));
  return probe.take();
}

base::Result<bench::ClientResult> run_client(const bench::ClientJob& job, int stop_fd) {
  return job.workload.kind == bench::WorkloadKind::tls_handshake
             ? bench::run_tls_handshakes(job, stop_fd)
             : bench::run_client(job, stop_fd);
}

base::Result<bench::ServerResult> run_server(
    const bench::ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
  return job.kind == bench::WorkloadKind::tls_handshake
             ? bench::run_tls_server(job, stop_fd, on_listening)
             : bench::run_server(job, stop_fd, on_listening);
}

}  // namespace

int main(int argc, char** argv) {
  return bench::agent_main(argc, argv,
                           {.run_client = run_client,
                            .run_server = run_server,
                            .observe = observe,
                            .watch_drops = watch_drops,
                            .reach = bench::run_reach,
                            .listen = bench::run_listener,
                            .send_flows = bench::send_flows,
                            .receive_flows = bench::receive_flows,
                            .hold = bench::run_hold,
                            .capture = probes::run_capture,
                            .tls_probe = bench::run_tls_probe,
                            .knock = bench::run_knocks});
}
