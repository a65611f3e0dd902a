#include "stackbench/rotation/rotation_run.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include "base/units.h"
#include "bench/stamps.h"
#include "checks/mtls/wire_is_encrypted.h"

namespace stackbench {
namespace {

using base::Result;
using checks::RotationObservation;

// By then a client's worker runs and has opened what it keeps.
constexpr base::Duration clients_start_within = std::chrono::milliseconds(300);
constexpr base::Duration warm_up = std::chrono::milliseconds(100);
constexpr base::Duration request_timeout = std::chrono::seconds(1);
constexpr base::Duration answer_slice = std::chrono::milliseconds(50);
constexpr base::Duration handshake_every = std::chrono::milliseconds(20);
// New connections at once, so that slow ones keep nobody waiting.
constexpr int new_connections = 32;

struct Traffic {
  bench::WorkloadKind kind;
  const char* name;
  bool keeps;
};
constexpr std::array all_traffic{Traffic{bench::WorkloadKind::tcp_crr, "new_connections", false},
                                 Traffic{bench::WorkloadKind::tcp_rr, "kept_connections", true}};
static_assert(all_traffic.size() == rotation_traffic.size());

std::int64_t wall_ahead_ns() {
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME, &wall);
  return static_cast<std::int64_t>(wall.tv_sec) * 1'000'000'000 + wall.tv_nsec -
         base::monotonic_now().ns;
}

// One environment's part of a run.
class RotationRun {
 public:
  RotationRun(cluster::Target& target, Session& session, const Plan& plan, std::size_t environment,
              const base::Interrupt& interrupt, std::function<void(const std::string&)> step)
      : target_(target),
        session_(session),
        plan_(plan),
        spec_(*plan.scenario.rotation),
        environment_(environment),
        handle_(session.environments()[environment]),
        interrupt_(interrupt),
        step_(std::move(step)) {}

  // Errors: missing, where nobody can be asked to rotate, or to try handshakes.
  Result<RotationObservation> run() {
    step_("starting servers");
    auto observed = start_and_watch();
    // Whatever was met, nothing goes on.
    const auto stopped = stop_servers();
    if (!observed) return observed;
    RETURN_IF_ERROR(stopped);
    return observed;
  }

 private:
  struct Job {
    bench::AgentClient* agent = nullptr;
    bench::JobId id{};
    base::Duration clock_offset{0};
  };

  [[nodiscard]] std::string client_pod() const { return spec_.from + "-0"; }
  // Where certificates are renewed by a mesh's own clock, which is a cluster's, each step waits for
  // it, and the last may come so much later.
  [[nodiscard]] base::Duration lasts() const {
    const auto waits = session_.agent_ends_with_pod() ? 2 * spec_.every : base::Duration(0);
    return traffic_lasts(spec_) + waits;
  }
  [[nodiscard]] const std::string& served_group() const {
    return plan_.scenario.topology.services.at(spec_.service).target;
  }

  Result<RotationObservation> start_and_watch() {
    RETURN_IF_ERROR(start_servers());
    RETURN_IF_ERROR(session_.agent(environment_, client_pod()));
    RETURN_IF_ERROR(session_.observer(environment_, client_pod()));
    // Certificates are as old as the environment by now.
    step_("giving new certificates");
    RETURN_IF_ERROR(target_.rotate_certificates(handle_.name, cluster::RotationStep::leaf));
    RotationObservation seen;
    ASSIGN_OR_RETURN(const auto watch, start_watch(seen));
    auto done = run_traffic(seen);
    auto tried = watch.agent->stop_tls_watch(watch.id);
    RETURN_IF_ERROR(done);
    if (!tried) return std::unexpected(std::move(tried).error());
    for (auto& door : tried->doors) {
      door.at_ns -= watch.clock_offset.count();
      door.last_ns -= watch.clock_offset.count();
    }
    seen.seen = *std::move(tried);
    return seen;
  }

  Result<> start_servers() {
    for (const auto& pod : handle_.pods) {
      if (pod.group != served_group()) continue;
      ASSIGN_OR_RETURN(auto* const agent, session_.agent(environment_, pod.name));
      for (const auto& traffic : all_traffic) {
        bench::ServerJob job{.kind = traffic.kind,
                             .listen = {{{.family = base::AddressFamily::ipv4, .bytes = {}},
                                         bench::target_port(traffic.kind)}},
                             .server_id = pod.id};
        if (agent->shares_machine()) job.cpu = plan_.cores.server;
        ASSIGN_OR_RETURN(const auto server, agent->start_server(job));
        servers_.push_back({.agent = agent, .id = server.id});
      }
    }
    return {};
  }

  // All are told to end before any of them is waited for. The first error, after trying all.
  Result<> stop_servers() {
    Result<> trouble;
    const auto note = [&](auto outcome) {
      if (!outcome && trouble) trouble = std::unexpected(std::move(outcome).error());
    };
    for (const auto& server : servers_) note(server.agent->send_stop(server.id));
    for (const auto& server : servers_) note(server.agent->await_server_result(server.id));
    servers_.clear();
    return trouble;
  }

  // A whole handshake with every proxy again and again, from the client's node: what a pod sends
  // its own sidecar would take.
  Result<Job> start_watch(RotationObservation& seen) {
    bench::TlsProbeJob job;
    job.every = handshake_every;
    for (const auto& pod : handle_.pods) {
      const auto inject = pod.labels.find(std::string(cluster::inject_label));
      const bool proxied = inject == pod.labels.end() || inject->second != cluster::no_injection;
      if (pod.name == cluster::external_client || !proxied) continue;
      if (job.doors.size() == bench::most_doors) break;
      seen.watched.push_back(pod.name);
      job.doors.push_back({.name = pod.name,
                           .to = {pod.ipv4, bench::target_port(bench::WorkloadKind::tcp_rr)},
                           .alpn = checks::mesh_alpn(false)});
    }
    ASSIGN_OR_RETURN(auto* const watcher, session_.observer(environment_, client_pod()));
    ASSIGN_OR_RETURN(const auto clock, session_.clock_of(*watcher));
    ASSIGN_OR_RETURN(const auto id, watcher->start_tls_watch(job));
    return Job{.agent = watcher, .id = id, .clock_offset = clock.offset};
  }

  [[nodiscard]] bench::ClientJob client_job(const Traffic& traffic, const bench::AgentClient& agent,
                                            base::MonotonicTime begins) const {
    const auto& service = handle_.services.at(spec_.service);
    bench::ClientJob job{
        .workload = {.kind = traffic.kind,
                     .duration = lasts(),
                     .warm_up = warm_up,
                     .rate = spec_.rate,
                     .connections = traffic.keeps ? spec_.connections : new_connections,
                     .wait = bench::WaitStrategy::block,
                     .timeout = request_timeout},
        .servers = {{service.ipv4, bench::service_port(traffic.kind)}},
        .seed = plan_.scenario.seed,
        .window_begins_ns = begins.ns};
    if (agent.shares_machine()) job.cpu = plan_.cores.client;
    job.note_events = true;
    job.answer_slice = answer_slice;
    return job;
  }

  Result<> run_traffic(RotationObservation& seen) {
    ASSIGN_OR_RETURN(auto* const client, session_.agent(environment_, client_pod()));
    ASSIGN_OR_RETURN(const auto clock, session_.clock_of(*client));
    const auto begins =
        base::monotonic_now() + 2 * clock.uncertainty + warm_up + clients_start_within;
    std::vector<bench::JobId> ids;
    Result<> trouble;
    for (const auto& traffic : all_traffic) {
      auto id = client->send_run(client_job(traffic, *client, begins + clock.offset));
      if (!id) {
        trouble = std::unexpected(std::move(id).error());
        break;
      }
      ids.push_back(*id);
    }
    seen.begins_ns = begins.ns;
    seen.ends_ns = (begins + lasts()).ns;
    if (trouble) trouble = take_steps(begins, seen);
    // Every one that runs is awaited, whatever the others met.
    for (std::size_t i = 0; i < ids.size(); ++i) {
      auto result = client->await_run(ids[i]);
      if (!result) {
        if (trouble) trouble = std::unexpected(std::move(result).error());
        continue;
      }
      checks::RotationTraffic traffic{.name = all_traffic[i].name, .slice = answer_slice};
      if (all_traffic[i].keeps) traffic.kept = spec_.connections;
      traffic.client = bench::on_our_clock(*std::move(result), clock.offset);
      seen.traffic.push_back(std::move(traffic));
    }
    return trouble;
  }

  Result<> take_steps(base::MonotonicTime begins, RotationObservation& seen) {
    const auto steps = steps_of(spec_);
    for (std::size_t i = 0; i < steps.size(); ++i) {
      step_(fmt::format("step {} of {}, {}", i + 1, steps.size(), base::enum_name(steps[i])));
      const auto at = begins + spec_.every * static_cast<std::int64_t>(i + 1);
      RETURN_IF_ERROR(interrupt_.wait_until(at));
      checks::RotationTaken taken{.step = steps[i]};
      ASSIGN_OR_RETURN(taken.before, handshakes_so_far());
      ASSIGN_OR_RETURN(taken.rotated, target_.rotate_certificates(handle_.name, steps[i]));
      if (taken.rotated.acked_ns >= seen.ends_ns) {
        return base::fail(base::ErrorKind::missing,
                          "step {} of {} was taken only when traffic had ended: certificates are "
                          "renewed too seldom here",
                          i + 1, steps.size());
      }
      seen.steps.push_back(std::move(taken));
    }
    step_("watching the last step");
    RETURN_IF_ERROR(interrupt_.wait_until(base::MonotonicTime{seen.ends_ns}));
    ASSIGN_OR_RETURN(seen.at_end, handshakes_so_far());
    seen.wall_ahead_ns = wall_ahead_ns();
    return {};
  }

  // Of the client's proxy; nothing where nobody tells.
  Result<std::optional<checks::HandshakesSoFar>> handshakes_so_far() {
    ASSIGN_OR_RETURN(const auto all, target_.proxy_counters(handle_.name));
    const auto its = std::ranges::find(all, client_pod(), &cluster::ProxyCounters::pod);
    if (its == all.end()) return std::nullopt;
    return checks::HandshakesSoFar{its->client_handshakes, its->client_resumed, its->client_failed};
  }

  cluster::Target& target_;
  Session& session_;
  const Plan& plan_;
  const RotationSpec& spec_;
  std::size_t environment_;
  const cluster::EnvironmentHandle& handle_;
  const base::Interrupt& interrupt_;
  std::function<void(const std::string&)> step_;
  std::vector<Job> servers_;
};

void skip_all(const Plan& plan, const std::string& environment, const std::string& why,
              ReportBuilder& report) {
  for (const auto check : plan.scenario.checks) {
    report.add_check(std::string(base::enum_name(check)), environment, {},
                     {.verdict = base::Verdict::skip,
                      .sentence = why,
                      .observed = "skipped",
                      .evidence = base::Json::object()});
  }
}

void judge(const Plan& plan, const std::string& environment, const checks::RotationOutcome& outcome,
           ReportBuilder& report) {
  const auto& rotation = *plan.scenario.rotation;
  for (const auto check : plan.scenario.checks) {
    const auto name = std::string(base::enum_name(check));
    if (check != CheckKind::rotation_is_seamless) {
      report.add_check(name, environment, {}, judge_rotation(check, rotation, outcome, ""));
      continue;
    }
    for (const auto& traffic : all_traffic) {
      report.add_check(name, environment, traffic.name,
                       judge_rotation(check, rotation, outcome, traffic.name));
    }
  }
}

}  // namespace

base::Result<> run_rotations(cluster::Target& target, Session& session, const Plan& plan,
                             ReportBuilder& report, base::Progress& progress,
                             const base::Interrupt& interrupt,
                             const std::function<void()>& part_done) {
  const auto environments = session.environments().size();
  for (std::size_t i = 0; i < environments; ++i) {
    const auto& name = session.environments()[i].name;
    RotationRun run(target, session, plan, i, interrupt, [&](const std::string& step) {
      progress.update(i, environments, fmt::format("{} ({})", step, name));
    });
    const auto seen = run.run();
    if (!seen && seen.error().kind == base::ErrorKind::missing) {
      // What the target lacks is nobody's failure.
      skip_all(plan, name, seen.error().message, report);
      continue;
    }
    if (!seen) return std::unexpected(seen.error());
    const auto outcome = checks::outcome_of(*seen);
    add_rotation(name, outcome, report.rotation());
    judge(plan, name, outcome, report);
    part_done();
    progress.step_done(
        fmt::format("{} taken in {}", base::format_count(outcome.steps.size(), "step"), name));
  }
  return {};
}

}  // namespace stackbench
