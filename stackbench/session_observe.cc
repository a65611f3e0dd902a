// What a session looks at outside of every measurement: whether Services work yet, where they are
// translated, what the kernel drops.
#include <algorithm>
#include <set>
#include <utility>

#include "stackbench/backends_seen.h"
#include "stackbench/session.h"

namespace stackbench {
namespace {

// A check needs to see connections, not to load anything: sixteen of them.
constexpr base::RequestRate observed_rate{200};
constexpr base::Duration observed_duration = std::chrono::milliseconds(80);
// Some thousands of connections in the lab, enough for shares within a tenth of what they should
// be.
constexpr base::Duration connections_observed_for = std::chrono::milliseconds(200);
// How long a cluster may take until its Services work, and how often that is tried.
constexpr base::Duration services_patience = std::chrono::seconds(60);
constexpr base::Duration services_tried_every = std::chrono::milliseconds(100);
// How long those that answer may take until each of their backends does.
constexpr base::Duration backends_patience = std::chrono::seconds(5);

}  // namespace

std::optional<std::string> Session::drops_seen_at() const {
  if (!on_cluster()) return std::nullopt;
  const auto& arm = plan_->arms.front();
  const auto& environment = environments_[arm.environment].name;
  return environments_.size() == 1 ? fmt::format("the node of {}", arm.from)
                                   : fmt::format("the node of {} in {}", arm.from, environment);
}

bool Session::has_observers() const {
  const auto observed = observed_by(plan_->scenario);
  return !on_cluster() || observed.requests || observed.wire || observed.doors;
}

base::Result<> Session::watch_drops() {
  if (!has_observers()) {
    return base::fail(base::ErrorKind::missing,
                      "on a cluster it takes a privileged pod, which is made only where a check "
                      "looks at packets");
  }
  std::set<base::Endpoint> endpoints;
  for (const auto& workload : plan_->workloads) {
    const auto kind = workload.spec.kind;
    for (const auto& environment : environments_) {
      for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
        for (const auto& [name, service] : environment.services) {
          for (const auto& frontend : frontends(environment, service, kind, family)) {
            endpoints.insert(frontend.endpoint);
          }
        }
        for (const auto& pod : environment.pods) {
          endpoints.insert({pod.address(family), bench::target_port(kind)});
        }
      }
    }
  }
  const auto& arm = plan_->arms.front();
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  ASSIGN_OR_RETURN(const auto watch,
                   watcher->start_drops_watch({.endpoints = {endpoints.begin(), endpoints.end()}}));
  drops_watch_ = watch.id;
  return {};
}

base::Result<probes::Drops> Session::take_drops() {
  const auto watch = std::exchange(drops_watch_, std::nullopt);
  if (!watch) return base::fail(base::ErrorKind::input, "nobody watched for drops");
  const auto& arm = plan_->arms.front();
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  ASSIGN_OR_RETURN(auto drops, watcher->stop_drops_watch(*watch));
  ASSIGN_OR_RETURN(const auto clock, clock_of(*watcher));
  for (auto& drop : drops.drops) drop.time_ns -= clock.offset.count();
  return drops;
}

base::Result<> Session::await_services() {
  const auto deadline = base::monotonic_now() + services_patience;
  for (std::size_t i = 0; i < plan_->arms.size(); ++i) {
    if (environments_[plan_->arms[i].environment].programmed) continue;
    for (std::size_t workload = 0; workload < plan_->workloads.size(); ++workload) {
      RETURN_IF_ERROR(await_answers(i, workload, deadline));
      RETURN_IF_ERROR(await_backends(i, workload));
    }
  }
  return {};
}

base::Result<> Session::await_answers(std::size_t arm, std::size_t workload,
                                      base::MonotonicTime deadline) {
  for (;;) {
    const auto sample = observe_connections(arm, workload);
    if (!sample && sample.error().kind != base::ErrorKind::workload) {
      return std::unexpected(sample.error());
    }
    if (sample && sample->client.errors.total() == 0 && sample->client.requests > 0) return {};
    if (base::monotonic_now() >= deadline) {
      return base::fail_with_mend(
          base::ErrorKind::timed_out,
          fmt::format("arm {}: {} does not get through {} s after it was set up ({})",
                      plan_->arms[arm].name, plan_->workloads[workload].name,
                      services_patience / std::chrono::seconds(1),
                      sample ? base::dump_json(base::to_json(sample->client.errors))
                             : sample.error().message),
          "Is the cluster's Service implementation (kube-proxy, CNI) running, and does a "
          "NetworkPolicy forbid the traffic?");
    }
    RETURN_IF_ERROR(interrupt_->wait_until(base::monotonic_now() + services_tried_every));
  }
}

base::Result<> Session::await_backends(std::size_t arm_index, std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  if (plan_->scenario.events.empty() || environments_[arm.environment].programmed ||
      arm.dial.kind == DialTarget::Kind::pod) {
    return {};
  }
  const auto& service = plan_->scenario.topology.services.at(arm.dial.name);
  if (!reaches_every_backend(service, arm.dial.kind)) return {};
  const auto spec = backends_try(plan_->workloads[workload].spec, arm.servers.size());
  BackendsSeen seen(arm.servers.size());
  const auto deadline = base::monotonic_now() + backends_patience;
  for (;;) {
    const auto sample = exchange(arm, spec, plan_->scenario.seed, {}, false);
    if (sample) {
      seen.add(*sample);
    } else if (sample.error().kind != base::ErrorKind::workload) {
      return std::unexpected(sample.error());
    }
    if (seen.all_and_no_other() || base::monotonic_now() >= deadline) return {};
    RETURN_IF_ERROR(interrupt_->wait_until(base::monotonic_now() + services_tried_every));
  }
}

base::Result<Sample> Session::observe_connections(std::size_t arm, std::size_t workload) {
  auto spec = plan_->workloads[workload].spec;
  // As fast as replies come; of a stream of datagrams there are none, so nothing but a rate holds
  // it back.
  spec.rate.reset();
  if (spec.kind == bench::WorkloadKind::udp_stream) spec.rate = observed_rate;
  spec.connections = 1;
  spec.generators = 1;
  spec.duration = connections_observed_for;
  spec.warm_up = base::Duration(0);
  spec.wait = bench::WaitStrategy::block;
  return exchange(plan_->arms[arm], spec, plan_->scenario.seed, {}, false);
}

base::Result<std::pair<bench::AgentClient*, bench::JobId>> Session::attach_probe(
    const PlannedArm& arm, probes::TranslationJob job) {
  ASSIGN_OR_RETURN(auto* const watcher, observer(arm.environment, arm.from));
  job.interface = observers_.at({arm.environment, arm.from}).interface;
  ASSIGN_OR_RETURN(const auto attached, watcher->start_observer(job));
  return std::pair{watcher, attached.id};
}

base::Result<TranslationObservation> Session::observe_translation(std::size_t arm_index,
                                                                  std::size_t workload) {
  const auto& arm = plan_->arms[arm_index];
  auto spec = plan_->workloads[workload].spec;
  const auto family = arm.family;

  // Every Service that could have been in the way counts, whatever the arm dials: an arm that dials
  // a pod must be seen not to touch one.
  probes::TranslationJob job;
  const auto& environment = environments_[arm.environment];
  for (const auto& [name, service] : environment.services) {
    for (const auto& frontend : frontends(environment, service, spec.kind, family)) {
      job.service.push_back(frontend.endpoint);
    }
  }
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const server, pod(arm.environment, name));
    job.backends.push_back({server->address(family), bench::target_port(spec.kind)});
  }
  job.protocol = bench::protocol_of(spec.kind);

  spec.rate = observed_rate;
  spec.generators = 1;
  spec.duration = observed_duration;
  spec.warm_up = base::Duration(0);
  spec.wait = bench::WaitStrategy::block;
  // A stream's writes are paced like requests here, and small: its connections are what is looked
  // at.
  spec.gso = {};
  if (spec.kind == bench::WorkloadKind::tcp_stream) spec.request = base::Bytes{bench::header_bytes};
  const auto attached = attach_probe(arm, std::move(job));
  if (!attached && attached.error().kind != base::ErrorKind::missing &&
      attached.error().kind != base::ErrorKind::not_permitted) {
    return std::unexpected(attached.error());
  }
  auto sample = exchange(arm, spec, plan_->scenario.seed, {}, false);
  auto counts = attached
                    ? attached->first->stop_observer(attached->second)
                    : base::Result<probes::TranslationCounts>(std::unexpected(attached.error()));
  if (!sample) return std::unexpected(std::move(sample).error());
  if (attached && !counts) return base::in_context(std::move(counts).error(), "arm {}", arm.name);
  return TranslationObservation{std::move(counts), std::move(sample->client),
                                std::move(sample->servers)};
}

}  // namespace stackbench
