// stackbench-agent with the workers of fake_traffic.h.
#include <cstdio>
#include <cstdlib>
#include <tuple>

#include <fcntl.h>
#include <fmt/core.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "bench/agent/agent.h"
#include "bench/agent/testing/fake_traffic.h"

namespace {

using base::ErrorKind;
using base::Result;

// Whether `stop_fd` became readable within `limit`; negative: wait for ever.
bool stopped_within(int stop_fd, int limit_ms) {
  pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
  return ::poll(&stop, 1, limit_ms) == 1;
}

// Adds this job to those that were begun, for tests that count them.
void count_job() {
  const char* const path = std::getenv(bench::testing::fake_jobs_counter);
  if (path == nullptr) return;
  const base::UniqueFd file(::open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  std::ignore = ::write(file.get(), "x", 1);
}

Result<bench::ClientResult> run_client(const bench::ClientJob& job, int stop_fd) {
  count_job();
  bench::ClientResult result;
  result.requests = bench::testing::fake_requests;
  switch (static_cast<bench::testing::FakeRun>(job.seed)) {
    case bench::testing::fake_run_prints:
      fmt::print("{{\"type\":\"result\",\"id\":1,\"monotonic_ns\":1,\"result\":{{}}}}\n");
      std::fflush(stdout);
      [[fallthrough]];
    case bench::testing::fake_run_ends:
      stopped_within(stop_fd,
                     static_cast<int>(job.workload.duration / std::chrono::milliseconds(1)));
      return result;
    case bench::testing::fake_run_waits:
      stopped_within(stop_fd, -1);
      return base::fail(ErrorKind::interrupted, "stopped");
    case bench::testing::fake_run_is_deaf:
      while (true) ::pause();
    case bench::testing::fake_run_crashes:
      fmt::print(stderr, "about to crash\n");
      ::signal(SIGSEGV, SIG_DFL);
      ::raise(SIGSEGV);
      break;
    case bench::testing::fake_run_fails:
      return base::fail(ErrorKind::workload, "connection refused");
    case bench::testing::fake_run_is_too_long:
      result.loop.assign(std::size_t{5} << 20, 'x');
      return result;
    case bench::testing::fake_run_garbles:
      // The worker's private descriptor: what a memory error could write to.
      for (int fd = 10; fd < 20; ++fd) {
        if (::fcntl(fd, F_GETFD) >= 0) std::ignore = ::write(fd, "{garbled\n", 9);
      }
      stopped_within(stop_fd, -1);
      return result;
  }
  return base::fail(ErrorKind::input, "no fake run {}", job.seed);
}

Result<bench::ServerResult> run_server(
    const bench::ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
  count_job();
  if (job.listen.front().port == bench::testing::fake_port_in_use) {
    return base::system_error(EADDRINUSE, "bind {}", job.listen.front());
  }
  on_listening(job.listen);
  stopped_within(stop_fd, -1);
  return bench::ServerResult{.requests = bench::testing::fake_server_requests};
}

Result<probes::TranslationCounts> observe(const probes::TranslationJob& job, int stop_fd,
                                          const std::function<void()>& on_ready) {
  if (job.interface != "lo")
    return base::fail(ErrorKind::input, "{}: no such interface", job.interface);
  on_ready();
  stopped_within(stop_fd, -1);
  probes::TranslationCounts counts;
  counts.to_service = 2;
  return counts;
}

Result<probes::Drops> watch_drops(const probes::DropsJob& job, int stop_fd,
                                  const std::function<void()>& on_ready) {
  on_ready();
  stopped_within(stop_fd, -1);
  probes::Drops found;
  for (const auto& endpoint : job.endpoints) {
    probes::Drop drop;
    drop.reason = "NO_SOCKET";
    drop.from = drop.to = endpoint;
    found.drops.push_back(drop);
  }
  return found;
}

}  // namespace

int main(int argc, char** argv) {
  return bench::agent_main(argc, argv,
                           {.run_client = run_client,
                            .run_server = run_server,
                            .observe = observe,
                            .watch_drops = watch_drops});
}
