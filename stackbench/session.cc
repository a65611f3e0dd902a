#include "stackbench/session.h"

#include <algorithm>
#include <utility>

#include "base/noise.h"
#include "bench/shares.h"
#include "bench/stamps.h"
#include "stackbench/connect_agent.h"
#include "stackbench/session_servers.h"

namespace stackbench {
namespace {

// By then a client's worker runs and has opened what it keeps. One that is later opens its window
// later; the events' own stamps say what they met.
constexpr base::Duration client_starts_within = std::chrono::milliseconds(150);
// A cluster of this machine's own is busy with pods made anew for some time after they are ready.
// What it does then is our doing, and no noise: it may take so long until for so long both cores
// are free again.
constexpr base::Duration settles_within = std::chrono::seconds(5);
constexpr base::Duration settled_for = std::chrono::milliseconds(100);
// How much later each further one of several clients may have started.
constexpr base::Duration each_client_starts_within = std::chrono::milliseconds(20);

}  // namespace

base::Result<Session> Session::open(cluster::Target& target, const Plan& plan,
                                    const base::Interrupt& interrupt) {
  Session session(target, plan, interrupt);
  for (const auto& environment : plan.environments) {
    if (interrupt.requested()) return base::fail(base::ErrorKind::interrupted, "interrupted");
    ASSIGN_OR_RETURN(auto handle, target.provision(environment));
    session.environments_.push_back(std::move(handle));
    RETURN_IF_ERROR(session.put_mesh_objects(session.environments_.size() - 1));
    RETURN_IF_ERROR(session.await_policies(session.environments_.size() - 1));
  }
  return session;
}

base::Result<const cluster::PodHandle*> Session::pod(std::size_t environment,
                                                     const std::string& name) const {
  const auto& pods = environments_[environment].pods;
  const auto found = std::ranges::find(pods, name, &cluster::PodHandle::name);
  if (found == pods.end()) {
    return base::fail(base::ErrorKind::input, "environment {} has no pod {}",
                      environments_[environment].name, name);
  }
  return &*found;
}

std::vector<Session::Frontend> Session::frontends(const cluster::EnvironmentHandle& environment,
                                                  const cluster::ServiceHandle& service,
                                                  bench::WorkloadKind kind,
                                                  base::AddressFamily family) {
  const auto port = bench::service_port(kind);
  std::vector<Frontend> all{{DialTarget::Kind::service, 0, {service.address(family), port}}};
  for (const auto& address : service.load_balancer_addresses) {
    if (address.family == family) {
      all.push_back({DialTarget::Kind::load_balancer, 0, {address, port}});
    }
  }
  const auto node_port = service.node_ports.find(bench::port_name(kind));
  if (node_port == service.node_ports.end()) return all;
  for (const auto& node : environment.nodes) {
    all.push_back(
        {DialTarget::Kind::node_port, node.number, {node.address(family), node_port->second}});
  }
  return all;
}

base::Result<std::vector<base::Endpoint>> Session::endpoints(const PlannedArm& arm,
                                                             bench::WorkloadKind kind) const {
  const auto family = arm.family;
  const auto& environment = environments_[arm.environment];
  if (arm.dial.kind != DialTarget::Kind::pod) {
    const auto& service = environment.services.at(arm.dial.name);
    for (const auto& frontend : frontends(environment, service, kind, family)) {
      if (frontend.kind == arm.dial.kind && frontend.node == arm.dial.node) {
        return std::vector{frontend.endpoint};
      }
    }
    return base::fail(base::ErrorKind::missing, "environment {} gave Service {} no {}",
                      environment.name, arm.dial.name,
                      base::StringScalar<DialTarget>::format(arm.dial));
  }
  std::vector<base::Endpoint> dialled;
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const handle, pod(arm.environment, name));
    dialled.push_back({handle->address(family), bench::target_port(kind)});
  }
  return dialled;
}

base::Result<base::IpAddress> Session::client_address(const PlannedArm& arm) const {
  ASSIGN_OR_RETURN(const auto* const client, pod(arm.environment, arm.from));
  return client->address(arm.family);
}

base::Result<bench::AgentClient*> Session::agent(std::size_t environment, const std::string& pod) {
  const Place place{environment, pod};
  const auto& name = environments_[environment].name;
  if (const auto found = agents_.find(place); found != agents_.end()) return &found->second;
  ASSIGN_OR_RETURN(auto streams, target_->agent(name, pod));
  ASSIGN_OR_RETURN(auto client,
                   connect_agent(std::move(streams),
                                 fmt::format("agent {} in environment {}", pod, name), interrupt_));
  RETURN_IF_ERROR(clock_of(client));
  return &agents_.emplace(place, std::move(client)).first->second;
}

base::Result<bench::AgentClient*> Session::agent_of_plan(std::size_t environment,
                                                         const std::string& pod,
                                                         const bench::AgentPlan& plan) {
  const auto& name = environments_[environment].name;
  let_go(environment, pod);
  ASSIGN_OR_RETURN(auto streams, target_->agent(name, pod));
  ASSIGN_OR_RETURN(auto client, connect_agent(std::move(streams),
                                              fmt::format("agent {} in environment {}", pod, name),
                                              interrupt_, plan));
  RETURN_IF_ERROR(clock_of(client));
  return &agents_.emplace(Place{environment, pod}, std::move(client)).first->second;
}

base::Result<bench::ClockOffset> Session::clock_of(bench::AgentClient& agent) {
  ASSIGN_OR_RETURN(const auto clock, agent.measure_clock());
  if (clock.uncertainty > clock_.uncertainty) clock_ = clock;
  return clock;
}

base::Result<bench::AgentClient*> Session::observer(std::size_t environment,
                                                    const std::string& pod) {
  const Place place{environment, pod};
  const auto& name = environments_[environment].name;
  if (const auto found = observers_.find(place); found != observers_.end()) {
    return &found->second.client;
  }
  ASSIGN_OR_RETURN(auto observer, target_->observe(name, pod));
  ASSIGN_OR_RETURN(
      auto client,
      connect_agent(std::move(observer.streams),
                    fmt::format("observer of {} in environment {}", pod, name), interrupt_));
  ObserverAgent its{std::move(client), std::move(observer.interface)};
  return &observers_.emplace(place, std::move(its)).first->second.client;
}

base::Result<Sample> Session::exchange(const PlannedArm& arm, const bench::WorkloadSpec& workload,
                                       std::uint64_t seed, const std::vector<EventSpec>& events,
                                       bool reads_proxies, const Canaries* canaries) {
  ASSIGN_OR_RETURN(const auto dialled, endpoints(arm, workload.kind));
  ASSIGN_OR_RETURN(auto* const client, agent(arm.environment, arm.from));

  auto pods = arm.servers;
  if (!events.empty()) pods.insert(pods.end(), arm.standby.begin(), arm.standby.end());
  Servers servers(*this, arm, workload, !events.empty(),
                  canaries == nullptr ? std::nullopt : std::optional(canaries->reply));
  const auto control = [&](base::Result<> (Servers::*act)(const std::string&)) {
    return [&servers, act](const std::string& pod) { return (servers.*act)(pod); };
  };
  Churn churn(*target_, environments_[arm.environment], arm.family,
              {.start = control(&Servers::start),
               .stop = control(&Servers::stop),
               .kill = control(&Servers::kill)},
              *interrupt_);

  base::Result<> trouble;
  const auto step = [&](auto&& act) {
    if (!trouble) return;
    if (auto done = act(); !done) trouble = std::unexpected(std::move(done).error());
  };
  if (!events.empty()) step([&] { return churn.restore(); });
  bench::ClientJob job{.workload = workload,
                       .servers = dialled,
                       .cpu = core_of(*client, plan_->cores.client),
                       .seed = seed};
  if (canaries != nullptr) job.canary = canaries->request;
  step([&]() -> base::Result<> {
    ASSIGN_OR_RETURN(auto ends, tls_ends(workload));
    if (ends) job.tls = std::move(ends->client);
    return {};
  });
  step([&] { return limit_connections({arm.environment, arm.from}, !events.empty(), job); });
  for (const auto& name : pods) step([&] { return servers.send(name); });
  step([&] { return servers.await(); });

  // The stamps of all are compared with each other.
  bench::ClockOffset clients_clock;
  std::map<std::string, base::Duration> ahead;  // of servers, by pod
  base::Duration clock_uncertainty{0};
  if (!events.empty()) {
    step([&]() -> base::Result<> {
      ASSIGN_OR_RETURN(clients_clock, clock_of(*client));
      clock_uncertainty = clients_clock.uncertainty;
      for (const auto& name : pods) {
        ASSIGN_OR_RETURN(auto* const server, agent(arm.environment, name));
        ASSIGN_OR_RETURN(const auto clock, clock_of(*server));
        ahead[name] = clock.offset;
        clock_uncertainty = std::max(clock_uncertainty, clock.uncertainty);
      }
      return {};
    });
  }

  Sample sample;
  std::vector<checks::Happened> happened;
  step([&]() -> base::Result<> {
    if (reads_proxies) {
      ProxyReadings readings;
      RETURN_IF_ERROR(run_beside_proxies(arm, job, readings, sample.client));
      sample.proxies = proxy_samples(arm, readings, sample.client, workload.warm_up);
      return {};
    }
    if (events.empty()) {
      ASSIGN_OR_RETURN(sample.client, run_clients(arm, job));
      return {};
    }
    ASSIGN_OR_RETURN(happened,
                     run_with_events(*client, clients_clock, job, events, churn, sample.client));
    return {};
  });

  // Whatever the client met: servers are told to end, and the environment is as it was.
  // A server's agent that is gone is why the client met what it did.
  if (auto stopped = servers.stop_all();
      !stopped && (trouble || stopped.error().kind == base::ErrorKind::peer_lost)) {
    trouble = stopped;
  }
  const bool unanswered = trouble ? sample.client.requests == 0 && sample.client.errors.total() > 0
                                  : trouble.error().kind == base::ErrorKind::workload;
  if (!events.empty()) {
    if (auto restored = restore(arm.environment, churn); !restored && trouble) trouble = restored;
  }
  if (unanswered) RETURN_IF_ERROR(check_somebody_answers(arm));
  if (!trouble) return base::in_context(std::move(trouble).error(), "arm {}", arm.name);
  std::map<std::string, bench::ServerResult> results;
  for (const auto& [name, result] : servers.results()) {
    results[name] = bench::on_our_clock(result, ahead[name]);
  }
  for (const auto& name : pods) {
    const auto result = results.find(name);
    sample.servers.push_back(result == results.end() ? bench::ServerResult{} : result->second);
  }
  if (!events.empty()) {
    sample.outcomes = checks::outcomes_of(happened, workload, plan_->scenario.stale_budget,
                                          sample.client, results, clock_uncertainty);
  }
  return sample;
}

base::Result<> Session::limit_connections(const Place& client, bool events, bench::ClientJob& job) {
  // A lab gives its pods ports enough, and has them used again at once.
  if (!on_cluster()) return {};
  job.most_connections_per_minute = cluster_connections_per_minute;
  const auto& workload = job.workload;
  const auto count = connections_of(workload);
  if (!events || count == 0) return {};
  auto& budget =
      budgets_.try_emplace(client, ConnectionBudget(cluster_connections_per_minute)).first->second;
  const auto when = budget.room_for(count, base::monotonic_now());
  if (!when) return {};
  RETURN_IF_ERROR(interrupt_->wait_until(*when));
  budget.spend(count, *when + workload.warm_up + workload.duration);
  job.most_connections_per_minute.reset();
  return {};
}

base::Result<> Session::restore(std::size_t environment, Churn& churn) {
  const auto& plan = plan_->environments[environment];
  const bool remade = plan.replaces_pods && on_cluster();
  if (remade) {
    // A pod that was deleted serves until nobody holds its agent.
    for (const auto& event : plan_->scenario.events) {
      if (event.kind == cluster::EventKind::replace) agents_.erase({environment, event.pod});
    }
  }
  RETURN_IF_ERROR(churn.restore());
  if (remade) {
    ASSIGN_OR_RETURN(environments_[environment], target_->provision(plan));
    RETURN_IF_ERROR(let_settle());
  }
  return {};
}

base::Result<> Session::let_settle() {
  const std::vector cpus{plan_->cores.client, plan_->cores.server};
  const base::NoiseLimits limits;
  const auto deadline = base::monotonic_now() + settles_within;
  while (base::monotonic_now() < deadline) {
    ASSIGN_OR_RETURN(const auto readings,
                     base::probe_gaps(cpus, settled_for, base::Duration(limits.gap_threshold_ns)));
    const bool calm = std::ranges::all_of(readings, [&](const base::GapReading& reading) {
      return static_cast<double>(reading.lost_ns) <
             limits.lost_share / 2 * static_cast<double>(reading.watched_ns);
    });
    if (calm) return {};
    RETURN_IF_ERROR(interrupt_->wait_until(base::monotonic_now() + settled_for));
  }
  return {};
}

base::Result<> Session::check_somebody_answers(const PlannedArm& arm) const {
  if (arm.dial.kind == DialTarget::Kind::pod) return {};
  const auto why = target_->why_silent(environments_[arm.environment].name, arm.dial.name);
  // Where that cannot be asked, what the client met is said.
  if (!why || !*why) return {};
  return base::fail_with_mend(
      base::ErrorKind::workload, fmt::format("arm {}: {}", arm.name, **why),
      "Somebody else makes these pods unready, or ended them: their events and those of their "
      "nodes say who.");
}

base::Result<bench::ClientResult> Session::run_clients(const PlannedArm& arm,
                                                       const bench::ClientJob& job) {
  const int generators = job.workload.generators;
  if (generators == 1) {
    ASSIGN_OR_RETURN(auto* const client, agent(arm.environment, arm.from));
    ASSIGN_OR_RETURN(const auto clock, clock_of(*client));
    ASSIGN_OR_RETURN(auto result, client->run(job));
    return bench::on_our_clock(std::move(result), clock.offset);
  }
  struct Running {
    bench::AgentClient* client;
    base::Duration clock_offset;
    bench::JobId id;
  };
  std::vector<Running> running;
  for (int i = 0; i < generators; ++i) {
    ASSIGN_OR_RETURN(auto* const client,
                     agent(arm.environment, arm.clients[static_cast<std::size_t>(i)]));
    ASSIGN_OR_RETURN(const auto clock, clock_of(*client));
    running.push_back({client, clock.offset, {}});
  }
  const auto begins = base::monotonic_now() + job.workload.warm_up + client_starts_within +
                      each_client_starts_within * generators;
  base::Result<> trouble;
  std::size_t started = 0;
  for (int i = 0; i < generators && trouble; ++i) {
    auto& one = running[static_cast<std::size_t>(i)];
    auto its = job;
    its.workload = bench::share_of(job.workload, i, generators);
    its.seed = job.seed + static_cast<std::uint64_t>(i);
    its.cpu = core_of(*one.client, plan_->cores.client);
    its.window_begins_ns = begins.ns + one.clock_offset.count();
    if (auto id = one.client->send_run(its)) {
      one.id = *id;
      ++started;
    } else {
      trouble = std::unexpected(std::move(id).error());
    }
  }
  // Every one that runs is awaited, whatever the others met.
  running.resize(started);
  bench::SharesSum sum;
  for (const auto& one : running) {
    auto result = one.client->await_run(one.id);
    auto added = result ? sum.add({std::move(*result), one.clock_offset})
                        : base::Result<>(std::unexpected(std::move(result).error()));
    if (!added && trouble) trouble = std::move(added);
  }
  RETURN_IF_ERROR(trouble);
  return sum.take();
}

base::Result<std::vector<checks::Happened>> Session::run_with_events(
    bench::AgentClient& client, const bench::ClockOffset& clock, bench::ClientJob job,
    const std::vector<EventSpec>& events, Churn& churn, bench::ClientResult& result) {
  // The client is told when its window begins, so that both know without asking while it runs. The
  // command has a round trip's time to get there.
  const auto begins =
      base::monotonic_now() + 2 * clock.uncertainty + job.workload.warm_up + client_starts_within;
  job.window_begins_ns = begins.ns + clock.offset.count();
  job.note_events = true;
  ASSIGN_OR_RETURN(const auto id, client.send_run(job));
  auto happened = churn.run(events, begins);
  auto measured = client.await_run(id);
  if (!happened) return std::unexpected(std::move(happened).error());
  if (!measured) return std::unexpected(std::move(measured).error());
  result = bench::on_our_clock(std::move(*measured), clock.offset);
  return happened;
}

std::optional<int> Session::core_of(const bench::AgentClient& agent, int core) {
  return agent.shares_machine() ? std::optional(core) : std::nullopt;
}

base::Result<std::uint32_t> Session::told_identity(const PlannedArm& arm,
                                                   const std::string& name) const {
  const auto& faults = plan_->environments[arm.environment].faults;
  const bool impostor = std::ranges::find(faults, cluster::FaultKind::impostor) != faults.end() &&
                        arm.servers.size() > 1 && name == arm.servers.front();
  ASSIGN_OR_RETURN(const auto* const handle,
                   pod(arm.environment, impostor ? arm.servers.back() : name));
  return handle->id;
}

base::Result<std::vector<std::string>> Session::identities(const PlannedArm& arm) const {
  std::vector<std::string> all;
  for (const auto& name : arm.servers) {
    ASSIGN_OR_RETURN(const auto* const handle, pod(arm.environment, name));
    all.push_back(std::to_string(handle->id));
  }
  return all;
}

base::Result<Sample> Session::invoke(std::size_t arm, std::size_t workload, std::uint64_t seed) {
  RETURN_IF_ERROR(await_backends(arm, workload));
  const auto begun = base::monotonic_now();
  const auto& planned = plan_->arms[arm];
  const bool proxied = plan_->environments[planned.environment].mesh.has_value();
  ASSIGN_OR_RETURN(auto sample, exchange(planned, plan_->workloads[workload].spec, seed,
                                         plan_->scenario.events, proxied));
  sample.begun = begun;
  sample.ended = base::monotonic_now();
  sample.arm = arm;
  sample.workload = workload;
  return sample;
}

}  // namespace stackbench
