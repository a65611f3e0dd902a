// What the proxies of an arm use and count while it is measured.
#include <algorithm>
#include <utility>

#include "bench/stamps.h"
#include "stackbench/session.h"

namespace stackbench {
namespace {

// By then a client's worker runs and has opened what it keeps; one that is later leaves its sample
// without its proxies' CPU.
constexpr base::Duration client_starts_within = std::chrono::milliseconds(80);
// How much of a window must lie within the two readings, and of them within it, before what lies
// between them is called its own.
constexpr double least_overlap = 0.8;
// How much of what lies between them may have been idle. A window that opened late had its warm-up
// before it, whose traffic is the same; what was read before that was none.
constexpr double most_idle = 0.01;

using Usage = std::vector<cluster::ProxyUsage>;
using Counters = std::vector<cluster::ProxyCounters>;

template <typename Reading>
const Reading* of_pod(const std::vector<Reading>& readings, const std::string& pod) {
  const auto found = std::ranges::find(readings, pod, &Reading::pod);
  return found == readings.end() ? nullptr : &*found;
}

// What a proxy used in the window, in proportion to what the readings cover; nothing where they
// cover something else.
std::optional<std::int64_t> cpu_in_window(const cluster::ProxyUsage& first,
                                          const cluster::ProxyUsage& last,
                                          const bench::ClientResult& client,
                                          base::Duration warm_up) {
  const auto read = static_cast<double>(last.at_ns - first.at_ns);
  const auto window = static_cast<double>(client.end_ns - client.start_ns);
  const auto common = static_cast<double>(std::min(last.at_ns, client.end_ns) -
                                          std::max(first.at_ns, client.start_ns));
  const auto idle = static_cast<double>(client.start_ns - warm_up.count() - first.at_ns);
  if (read <= 0 || window <= 0 || common < least_overlap * std::max(read, window) ||
      idle > most_idle * read) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(static_cast<double>(last.cpu_ns - first.cpu_ns) * window / read);
}

}  // namespace

base::Result<> Session::run_beside_proxies(const PlannedArm& arm, bench::ClientJob job,
                                           ProxyReadings& readings, bench::ClientResult& result) {
  const auto& environment = environments_[arm.environment].name;
  ASSIGN_OR_RETURN(auto* const client, agent(arm.environment, arm.from));
  ASSIGN_OR_RETURN(const auto clock, clock_of(*client));
  ASSIGN_OR_RETURN(readings.before, target_->proxy_counters(environment));
  const auto begins =
      base::monotonic_now() + 2 * clock.uncertainty + job.workload.warm_up + client_starts_within;
  job.window_begins_ns = begins.ns + clock.offset.count();
  ASSIGN_OR_RETURN(const auto id, client->send_run(job));
  const auto read_at = [&](base::MonotonicTime when) -> base::Result<Usage> {
    RETURN_IF_ERROR(interrupt_->wait_until(when));
    return target_->proxy_usage(environment);
  };
  auto first = read_at(begins);
  auto last = first ? read_at(begins + job.workload.duration) : first;
  // Whatever was met, the client is awaited.
  auto measured = client->await_run(id);
  if (!last) return std::unexpected(std::move(last).error());
  if (!measured) return std::unexpected(std::move(measured).error());
  readings.first = std::move(*first);
  readings.last = std::move(*last);
  ASSIGN_OR_RETURN(readings.after, target_->proxy_counters(environment));
  result = bench::on_our_clock(std::move(*measured), clock.offset);
  return {};
}

std::vector<ProxySample> proxy_samples(const PlannedArm& arm, const ProxyReadings& readings,
                                       const bench::ClientResult& client, base::Duration warm_up) {
  std::vector<ProxySample> all;
  for (const auto& after : readings.after) {
    const bool of_client = after.pod == arm.from;
    if (!of_client && std::ranges::find(arm.servers, after.pod) == arm.servers.end()) continue;
    const auto* before = of_pod(readings.before, after.pod);
    if (before == nullptr) continue;
    ProxySample sample{
        .pod = after.pod, .of_client = of_client, .memory_bytes = after.memory_bytes};
    const auto* first = of_pod(readings.first, after.pod);
    const auto* last = of_pod(readings.last, after.pod);
    if (first != nullptr && last != nullptr) {
      sample.cpu_ns = cpu_in_window(*first, *last, client, warm_up);
    }
    if (of_client) {
      sample.handshakes_ever = after.client_handshakes;
      sample.connections = after.connections_out - before->connections_out;
      sample.handshakes = after.client_handshakes - before->client_handshakes;
      sample.resumed = after.client_resumed - before->client_resumed;
      sample.failed = after.client_failed - before->client_failed;
    } else {
      sample.handshakes_ever = after.server_handshakes;
      sample.connections = after.connections_in - before->connections_in;
      sample.handshakes = after.server_handshakes - before->server_handshakes;
      sample.resumed = after.server_resumed - before->server_resumed;
      sample.failed = after.server_failed - before->server_failed;
    }
    all.push_back(std::move(sample));
  }
  return all;
}

base::Result<std::vector<checks::DialledInClear>> Session::observe_plaintext(std::size_t arm_index,
                                                                             std::size_t workload) {
  constexpr base::RequestRate some{200};
  auto spec = plan_->workloads[workload].spec;
  spec.rate = some;
  spec.connections = 1;
  spec.generators = 1;
  spec.duration = std::chrono::milliseconds(40);
  spec.warm_up = base::Duration(0);
  spec.wait = bench::WaitStrategy::block;
  if (bench::is_http(spec.kind)) spec.keep_alive = false;
  spec.streams.reset();
  // Nobody's proxy is beside the client outside, and what a pod's address gets is the pod's.
  auto arm = plan_->arms[arm_index];
  arm.from = std::string(cluster::external_client);
  arm.clients = {arm.from};
  std::vector<checks::DialledInClear> all;
  // One after another: of several a client draws whom it dials, and may leave out one.
  for (const auto& pod : plan_->arms[arm_index].servers) {
    arm.servers = {pod};
    arm.dial = {.kind = DialTarget::Kind::pod, .name = pod};
    ASSIGN_OR_RETURN(auto sample, exchange(arm, spec, plan_->scenario.seed, {}, false));
    all.push_back({pod, std::move(sample.client), std::move(sample.servers.front())});
  }
  return all;
}

base::Result<std::vector<cluster::ProxyCounters>> Session::proxy_counters(std::size_t environment) {
  return target_->proxy_counters(environments_[environment].name);
}

}  // namespace stackbench
