#include "bench/agent/client.h"

#include <algorithm>
#include <optional>
#include <tuple>

#include "bench/agent/agent_connection.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::MonotonicTime;
using base::Result;

// How long a job may take to begin and a stopped one to end; the agent's own limits are shorter, so
// that its explanation arrives before our patience ends.
constexpr base::Duration start_patience = std::chrono::seconds(20);
constexpr base::Duration stop_patience = std::chrono::seconds(15);
constexpr base::Duration run_slack = std::chrono::seconds(10);
constexpr base::Duration ping_patience = std::chrono::seconds(10);

}  // namespace

AgentClient::AgentClient(std::unique_ptr<AgentConnection> connection)
    : connection_(std::move(connection)) {}
AgentClient::AgentClient(AgentClient&&) noexcept = default;
AgentClient& AgentClient::operator=(AgentClient&&) noexcept = default;
AgentClient::~AgentClient() = default;

Result<AgentClient> AgentClient::connect(base::UniqueFd to_agent, base::UniqueFd from_agent,
                                         std::string name, ConnectOptions options) {
  ASSIGN_OR_RETURN(auto connection, AgentConnection::open({.to_agent = std::move(to_agent),
                                                           .from_agent = std::move(from_agent)},
                                                          std::move(name), std::move(options)));
  return AgentClient(std::move(connection));
}

const std::string& AgentClient::name() const { return connection_->name(); }
const Hello& AgentClient::hello() const { return connection_->hello(); }

Result<> AgentClient::known(JobId id) const {
  if (connection_->broken()) return std::unexpected(*connection_->broken());
  if (connection_->awaits(id.value)) return {};
  return base::fail(ErrorKind::input, "{}: no job {} is awaited", name(), id.value);
}

Result<RunningJob> AgentClient::await_ready(JobId id) {
  RETURN_IF_ERROR(known(id));
  const SentCommand& job = connection_->sent(id.value);
  RETURN_IF_ERROR(
      connection_->await(job.deadline, job.what, [&] { return job.ready || job.ended(); }));
  if (job.ready) {
    return RunningJob{.id = id, .worker_pid = job.worker_pid.value_or(0), .endpoints = *job.ready};
  }
  const SentCommand gone = connection_->forget(id.value);
  if (gone.error) return base::in_context(gone.error->error, "{}: {}", name(), gone.what);
  return base::fail(ErrorKind::workload, "{}: {}: ended before it was ready", name(), gone.what);
}

Result<base::Json> AgentClient::await_end(JobId id) {
  RETURN_IF_ERROR(known(id));
  const SentCommand& job = connection_->sent(id.value);
  const auto awaited = connection_->await(job.deadline, job.what, [&] { return job.ended(); });
  SentCommand gone = connection_->forget(id.value);
  // Its result may still come: forgotten, it is ignored.
  if (!awaited) return std::unexpected(awaited.error());
  if (gone.error) return base::in_context(gone.error->error, "{}: {}", name(), gone.what);
  return std::move(gone.result).value_or(base::Json());
}

template <typename T>
Result<T> AgentClient::await_result(JobId id) {
  ASSIGN_OR_RETURN(const base::Json json, await_end(id));
  auto result = base::from_json<T>(json, "result");
  if (result) return *std::move(result);
  return connection_->give_up(
      {.kind = ErrorKind::input,
       .message = fmt::format("broke the protocol: {}", result.error().message)});
}

Result<JobId> AgentClient::send_server(const ServerJob& job) {
  ASSIGN_OR_RETURN(
      const auto id,
      connection_->send({.type = CommandType::serve, .job = base::to_json(job)},
                        fmt::format("{} server", base::enum_name(job.kind)), start_patience));
  return JobId{id};
}

Result<JobId> AgentClient::send_observer(const probes::TranslationJob& job) {
  ASSIGN_OR_RETURN(const auto id,
                   connection_->send({.type = CommandType::observe, .job = base::to_json(job)},
                                     fmt::format("observer at {}", job.interface), start_patience));
  return JobId{id};
}

Result<JobId> AgentClient::send_run(const ClientJob& job) {
  ASSIGN_OR_RETURN(const auto id,
                   connection_->send({.type = CommandType::run, .job = base::to_json(job)},
                                     fmt::format("{} to {}", base::enum_name(job.workload.kind),
                                                 fmt::join(job.servers, ", ")),
                                     run_time_limit(job) + run_slack));
  return JobId{id};
}

template <typename Job>
Result<JobId> AgentClient::send_capable(CommandType type, const Job& job, std::string what,
                                        base::Duration patience) {
  const std::string capability(base::enum_name(type));
  const auto& known_there = hello().capabilities;
  if (std::ranges::find(known_there, capability) == known_there.end()) {
    return base::fail_with_mend(
        ErrorKind::missing,
        fmt::format("{}: stackbench {} there has no job {}", name(), hello().version, capability),
        "give both ends the same version of stackbench");
  }
  ASSIGN_OR_RETURN(const auto id, connection_->send({.type = type, .job = base::to_json(job)},
                                                    std::move(what), patience));
  return JobId{id};
}

Result<> AgentClient::send_stop(JobId id) {
  RETURN_IF_ERROR(known(id));
  if (connection_->sent(id.value).ended()) return {};
  return connection_->send_stop(id.value, stop_patience);
}

Result<> AgentClient::kill(JobId id) {
  RETURN_IF_ERROR(known(id));
  ASSIGN_OR_RETURN(
      const auto kill_id,
      connection_->send({.type = CommandType::kill, .job_id = id.value}, "kill", stop_patience));
  // `stopping` has it forgotten, a refusal is its error.
  const auto answered = [&] {
    return !connection_->awaits(kill_id) || connection_->sent(kill_id).ended();
  };
  RETURN_IF_ERROR(connection_->await(base::monotonic_now() + stop_patience, "kill", answered));
  if (connection_->awaits(kill_id)) {
    const SentCommand refused = connection_->forget(kill_id);
    return base::in_context(refused.error ? refused.error->error : base::Error{}, "{}", name());
  }
  // What the worker leaves behind is that it was killed, which is known here.
  SentCommand& job = connection_->sent(id.value);
  job.deadline = base::monotonic_now() + stop_patience;
  RETURN_IF_ERROR(connection_->await(job.deadline, job.what, [&] { return job.ended(); }));
  connection_->forget(id.value);
  return {};
}

Result<RunningJob> AgentClient::await_server(JobId id) { return await_ready(id); }
Result<RunningJob> AgentClient::await_observer(JobId id) { return await_ready(id); }

Result<ServerResult> AgentClient::await_server_result(JobId id) {
  return await_result<ServerResult>(id);
}

Result<probes::TranslationCounts> AgentClient::await_observer_result(JobId id) {
  return await_result<probes::TranslationCounts>(id);
}

Result<ClientResult> AgentClient::await_run(JobId id) {
  auto result = await_result<ClientResult>(id);
  if (!result && result.error().kind == ErrorKind::timed_out && !connection_->broken()) {
    // Best effort: the time-out is what the caller must hear of.
    std::ignore = connection_->send_stop(id.value, stop_patience);
  }
  return result;
}

Result<RunningJob> AgentClient::start_server(const ServerJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_server(job));
  return await_server(id);
}

Result<ServerResult> AgentClient::stop_server(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_server_result(id);
}

Result<RunningJob> AgentClient::start_observer(const probes::TranslationJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_observer(job));
  return await_observer(id);
}

Result<probes::TranslationCounts> AgentClient::stop_observer(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_observer_result(id);
}

Result<RunningJob> AgentClient::start_drops_watch(const probes::DropsJob& job) {
  ASSIGN_OR_RETURN(const auto id,
                   connection_->send({.type = CommandType::watch_drops, .job = base::to_json(job)},
                                     "watch for drops", start_patience));
  return await_ready(JobId{id});
}

Result<probes::Drops> AgentClient::stop_drops_watch(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_result<probes::Drops>(id);
}

Result<ClientResult> AgentClient::run(const ClientJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_run(job));
  return await_run(id);
}

Result<JobId> AgentClient::send_reach(const ReachJob& job) {
  return send_capable(CommandType::reach, job,
                      fmt::format("sweep of {} targets", job.targets.size()),
                      reach_time_limit(job) + run_slack);
}
Result<ReachResult> AgentClient::await_reach(JobId id) { return await_result<ReachResult>(id); }
Result<ReachResult> AgentClient::reach(const ReachJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_reach(job));
  return await_reach(id);
}

Result<JobId> AgentClient::send_listener(const ListenJob& job) {
  return send_capable(CommandType::listen, job, fmt::format("listener {}", job.server_id),
                      start_patience);
}
Result<RunningJob> AgentClient::await_listener(JobId id) { return await_ready(id); }
Result<ListenResult> AgentClient::await_listener_result(JobId id) {
  return await_result<ListenResult>(id);
}
Result<RunningJob> AgentClient::start_listener(const ListenJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_listener(job));
  return await_listener(id);
}
Result<ListenResult> AgentClient::stop_listener(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_listener_result(id);
}

Result<JobId> AgentClient::send_flow_sender(const FlowSendJob& job) {
  return send_capable(CommandType::send_flows, job,
                      fmt::format("sender of {} flows", job.flows.size()), start_patience);
}
Result<RunningJob> AgentClient::await_flow_sender(JobId id) { return await_ready(id); }
Result<FlowSendResult> AgentClient::await_flow_sender_result(JobId id) {
  return await_result<FlowSendResult>(id);
}
Result<RunningJob> AgentClient::start_flow_sender(const FlowSendJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_flow_sender(job));
  return await_flow_sender(id);
}
Result<FlowSendResult> AgentClient::stop_flow_sender(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_flow_sender_result(id);
}

Result<JobId> AgentClient::send_flow_receiver(const FlowReceiveJob& job) {
  return send_capable(CommandType::receive_flows, job,
                      fmt::format("receiver of {} flows", job.flows.size()), start_patience);
}
Result<RunningJob> AgentClient::await_flow_receiver(JobId id) { return await_ready(id); }
Result<FlowReceiveResult> AgentClient::await_flow_receiver_result(JobId id) {
  return await_result<FlowReceiveResult>(id);
}
Result<RunningJob> AgentClient::start_flow_receiver(const FlowReceiveJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_flow_receiver(job));
  return await_flow_receiver(id);
}
Result<FlowReceiveResult> AgentClient::stop_flow_receiver(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_flow_receiver_result(id);
}

Result<JobId> AgentClient::send_hold(const HoldJob& job) {
  return send_capable(CommandType::hold, job,
                      fmt::format("hold of {} connections", job.connections.size()),
                      start_patience);
}
Result<RunningJob> AgentClient::await_hold(JobId id) { return await_ready(id); }
Result<HoldResult> AgentClient::await_hold_result(JobId id) { return await_result<HoldResult>(id); }
Result<RunningJob> AgentClient::start_hold(const HoldJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_hold(job));
  return await_hold(id);
}
Result<HoldResult> AgentClient::stop_hold(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_hold_result(id);
}

Result<JobId> AgentClient::send_knocks(const KnockJob& job) {
  return send_capable(CommandType::knock, job, fmt::format("knocks at {}", job.to), start_patience);
}
Result<RunningJob> AgentClient::await_knocks(JobId id) { return await_ready(id); }
Result<KnockResult> AgentClient::await_knocks_result(JobId id) {
  return await_result<KnockResult>(id);
}
Result<RunningJob> AgentClient::start_knocks(const KnockJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_knocks(job));
  return await_knocks(id);
}
Result<KnockResult> AgentClient::stop_knocks(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_knocks_result(id);
}

Result<JobId> AgentClient::send_capture(const probes::CaptureJob& job) {
  return send_capable(
      CommandType::capture, job,
      fmt::format("capture at {}", job.interface.empty() ? "the default route" : job.interface),
      start_patience);
}
Result<RunningJob> AgentClient::await_capture(JobId id) { return await_ready(id); }
Result<probes::WireReport> AgentClient::await_capture_result(JobId id) {
  return await_result<probes::WireReport>(id);
}
Result<RunningJob> AgentClient::start_capture(const probes::CaptureJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_capture(job));
  return await_capture(id);
}
Result<probes::WireReport> AgentClient::stop_capture(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_capture_result(id);
}

Result<TlsProbeResult> AgentClient::tls_probe(const TlsProbeJob& job) {
  ASSIGN_OR_RETURN(
      const JobId id,
      send_capable(CommandType::tls_probe, job, fmt::format("{} doors", job.doors.size()),
                   tls_probe_time_limit(job).value_or(start_patience) + run_slack));
  return await_result<TlsProbeResult>(id);
}
Result<JobId> AgentClient::start_tls_watch(const TlsProbeJob& job) {
  return send_capable(CommandType::tls_probe, job,
                      fmt::format("watch of {} doors", job.doors.size()), start_patience);
}
Result<TlsProbeResult> AgentClient::stop_tls_watch(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return await_result<TlsProbeResult>(id);
}

Result<int> AgentClient::await_worker_pid(JobId id) {
  RETURN_IF_ERROR(known(id));
  const SentCommand& job = connection_->sent(id.value);
  RETURN_IF_ERROR(
      connection_->await(job.deadline, job.what, [&] { return job.worker_pid || job.ended(); }));
  if (job.worker_pid) return *job.worker_pid;
  return base::fail(ErrorKind::workload, "{}: {}: never started", name(), job.what);
}

bool AgentClient::shares_machine() const {
  const Hello ours = own_hello({});
  return !ours.boot_id.empty() && ours.boot_id == hello().boot_id;
}

Result<ClockOffset> AgentClient::measure_clock(int rounds) {
  const Hello ours = own_hello({});
  if (!ours.boot_id.empty() && !ours.time_namespace.empty() && ours.boot_id == hello().boot_id &&
      ours.time_namespace == hello().time_namespace) {
    return ClockOffset{};
  }
  return ping(rounds);
}

Result<ClockOffset> AgentClient::ping(int rounds) {
  std::optional<ClockOffset> best;
  for (int round = 0; round < std::max(rounds, 1); ++round) {
    const auto sent = base::monotonic_now();
    ASSIGN_OR_RETURN(const auto id,
                     connection_->send({.type = CommandType::ping}, "ping", ping_patience));
    const SentCommand& ping = connection_->sent(id);
    const auto answered =
        connection_->await(ping.deadline, ping.what, [&] { return ping.pong || ping.ended(); });
    const auto pong = connection_->forget(id).pong;
    RETURN_IF_ERROR(answered);
    if (!pong) return base::fail(ErrorKind::input, "{}: ping: refused", name());
    const auto [stamp, received] = *pong;
    const base::Duration half = (received - sent) / 2;
    if (!best || half < best->uncertainty) {
      best = ClockOffset{.offset = stamp - (sent + half), .uncertainty = half};
    }
  }
  return best.value_or(ClockOffset{});
}

}  // namespace bench
