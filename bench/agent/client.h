// The controller's end of an agent: commands go out, answers are awaited within bounds.
//
// Several agents are driven from one thread by sending to all and then awaiting each:
//
//   for (auto& agent : agents) ids.push_back(agent.send_server(job));
//   for (...) agent.await_server(id);
//
// What one agent answers meanwhile waits in its pipe. Every wait ends at a deadline that follows
// from the job, at the user's interrupt, and when the agent is gone; after peer_lost or a violated
// protocol every further call returns that same error. Errors name the agent.
//
// Where the stream can be had again (ConnectOptions::reattach), one that breaks is replaced by
// whatever call notices it, and that call then goes on. Only an agent that cannot be had within a
// deadline, or was restarted, or serves another controller by now, is peer_lost.
//
// Threads: one at a time, the one that connected. A thread of the client's own sends heartbeats, so
// that traffic goes on while the controller is busy elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "base/interrupt.h"
#include "base/result.h"
#include "bench/agent/protocol.h"
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

// The two ends of a stream to an agent, and what is known of its end.
struct AgentStream {
  base::UniqueFd to_agent;
  base::UniqueFd from_agent;
  base::UniqueFd stderr_file = {};                 // as ConnectOptions
  std::function<std::string()> how_it_ended = {};  // as ConnectOptions
};

struct ConnectOptions {
  base::Duration timeout = std::chrono::seconds(10);  // of the handshake
  const base::Interrupt* interrupt = nullptr;         // must outlive the client
  base::Duration heartbeat = heartbeat_interval;
  // A regular file or memfd that the agent's stderr goes to: its end is quoted when the agent ends.
  base::UniqueFd stderr_file = {};
  // How the agent's process ended, where whoever started it knows: "signal 9 (Killed)".
  std::function<std::string()> how_it_ended = {};
  // Has another stream to the same agent, its jobs still running, after this one broke; empty where
  // the agent ends with its stream. Called from the thread that drives the client. Errors:
  // peer_lost (the agent is gone), interrupted; any other may pass, and it is called again.
  std::function<base::Result<AgentStream>()> reattach = {};
  // What the agent was started with: its session is taken up, and its jobs are awaited and stopped
  // by their ids as if they had been sent here. Needs `reattach`. Errors of connect(): peer_lost
  // where the agent had no such plan, or another controller has taken over.
  std::optional<AgentPlan> plan = {};
  // How long that is tried.
  base::Duration resume_within = std::chrono::seconds(30);
  // A stream that can be had again and carries nothing for so long is given up for dead.
  base::Duration longest_silence = 4 * heartbeat_interval;
};

// A job of one agent, while it runs.
struct JobId {
  std::uint64_t value = 0;
  bool operator==(const JobId&) const = default;
};

// A job that runs until it is stopped: a server, an observer.
struct RunningJob {
  JobId id;
  int worker_pid = 0;                     // in the agent's pid namespace
  std::vector<base::Endpoint> endpoints;  // of a server: where it listens
};

// The agent's clock minus ours; the truth lies within the uncertainty on either side.
struct ClockOffset {
  base::Duration offset{0};
  base::Duration uncertainty{0};
};

class AgentConnection;

class AgentClient {
 public:
  // Takes the agent's stdin and stdout and its first line. `name` begins its errors: "agent
  // client-0 in environment iptables". Errors: missing (another version of stackbench), timed_out,
  // interrupted, peer_lost, input (the peer is no agent).
  static base::Result<AgentClient> connect(base::UniqueFd to_agent, base::UniqueFd from_agent,
                                           std::string name, ConnectOptions options = {});

  AgentClient(AgentClient&&) noexcept;
  AgentClient& operator=(AgentClient&&) noexcept;
  // Closes the streams: the agent ends, and its jobs with it.
  ~AgentClient();

  [[nodiscard]] const std::string& name() const;
  [[nodiscard]] const Hello& hello() const;

  // Each send_* returns once the command is written. Errors: peer_lost, interrupted, timed_out (the
  // agent does not read), input (the job is longer than a line may be).
  [[nodiscard]] base::Result<JobId> send_server(const ServerJob& job);
  [[nodiscard]] base::Result<JobId> send_observer(const probes::TranslationJob& job);
  [[nodiscard]] base::Result<JobId> send_run(const ClientJob& job);
  // Asks a job to end; its result is awaited as ever. A job that has ended already is no error.
  [[nodiscard]] base::Result<> send_stop(JobId id);

  // Ends a job's worker by SIGKILL, as a crash would, and returns once the agent has sent the
  // signal: the kernel closes its sockets then. Errors: as every wait, input (no such job, or it
  // had ended already).
  [[nodiscard]] base::Result<> kill(JobId id);

  // Waits until the job is at work: it listens, its probe is attached. Errors: what the job met
  // (system: address in use, not_permitted, ...), timed_out, and as every wait.
  [[nodiscard]] base::Result<RunningJob> await_server(JobId id);
  [[nodiscard]] base::Result<RunningJob> await_observer(JobId id);
  // Waits for the result of a job that was stopped. Errors: as above, workload (it crashed).
  [[nodiscard]] base::Result<ServerResult> await_server_result(JobId id);
  [[nodiscard]] base::Result<probes::TranslationCounts> await_observer_result(JobId id);
  // Waits for a client's result. Errors: what run_client returns; workload when its worker crashed
  // (the next run is not affected); timed_out, after which the job was told to stop and its late
  // result is ignored.
  [[nodiscard]] base::Result<ClientResult> await_run(JobId id);

  // send_* and await_* in one.
  [[nodiscard]] base::Result<RunningJob> start_server(const ServerJob& job);
  [[nodiscard]] base::Result<ServerResult> stop_server(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_observer(const probes::TranslationJob& job);
  [[nodiscard]] base::Result<probes::TranslationCounts> stop_observer(JobId id);
  // Notes what the kernel drops, from the first call to the second. Errors: as observers.
  [[nodiscard]] base::Result<RunningJob> start_drops_watch(const probes::DropsJob& job);
  [[nodiscard]] base::Result<probes::Drops> stop_drops_watch(JobId id);
  [[nodiscard]] base::Result<ClientResult> run(const ClientJob& job);

  // The same for what tells who can reach whom (bench/reach). An agent that is too old for a job
  // does not have it among its capabilities: Errors: missing, before anything is sent.
  //
  // A sweep ends by itself, as a client does.
  [[nodiscard]] base::Result<JobId> send_reach(const ReachJob& job);
  [[nodiscard]] base::Result<ReachResult> await_reach(JobId id);
  [[nodiscard]] base::Result<ReachResult> reach(const ReachJob& job);
  // Ready once it listens on every port; endpoints: where.
  [[nodiscard]] base::Result<JobId> send_listener(const ListenJob& job);
  [[nodiscard]] base::Result<RunningJob> await_listener(JobId id);
  [[nodiscard]] base::Result<ListenResult> await_listener_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_listener(const ListenJob& job);
  [[nodiscard]] base::Result<ListenResult> stop_listener(JobId id);
  // Ready just before the first probe. It ends when it is stopped or its duration is over; the
  // result of either is had from stop_flow_sender, or from send_stop and await_*_result where
  // several end at once.
  [[nodiscard]] base::Result<JobId> send_flow_sender(const FlowSendJob& job);
  [[nodiscard]] base::Result<RunningJob> await_flow_sender(JobId id);
  [[nodiscard]] base::Result<FlowSendResult> await_flow_sender_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_flow_sender(const FlowSendJob& job);
  [[nodiscard]] base::Result<FlowSendResult> stop_flow_sender(JobId id);
  // Ready once nothing is missed any more.
  [[nodiscard]] base::Result<JobId> send_flow_receiver(const FlowReceiveJob& job);
  [[nodiscard]] base::Result<RunningJob> await_flow_receiver(JobId id);
  [[nodiscard]] base::Result<FlowReceiveResult> await_flow_receiver_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_flow_receiver(const FlowReceiveJob& job);
  [[nodiscard]] base::Result<FlowReceiveResult> stop_flow_receiver(JobId id);
  // Ready once every connection has been answered, or will not be.
  [[nodiscard]] base::Result<JobId> send_hold(const HoldJob& job);
  [[nodiscard]] base::Result<RunningJob> await_hold(JobId id);
  [[nodiscard]] base::Result<HoldResult> await_hold_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_hold(const HoldJob& job);
  [[nodiscard]] base::Result<HoldResult> stop_hold(JobId id);

  // Ready just before the first knock; it ends as a flow watch's sender does.
  [[nodiscard]] base::Result<JobId> send_knocks(const KnockJob& job);
  [[nodiscard]] base::Result<RunningJob> await_knocks(JobId id);
  [[nodiscard]] base::Result<KnockResult> await_knocks_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_knocks(const KnockJob& job);
  [[nodiscard]] base::Result<KnockResult> stop_knocks(JobId id);

  // Watches the wire, from the first call to the second. Ready once it has been tried. Errors: as
  // observers; missing as above.
  [[nodiscard]] base::Result<JobId> send_capture(const probes::CaptureJob& job);
  [[nodiscard]] base::Result<RunningJob> await_capture(JobId id);
  [[nodiscard]] base::Result<probes::WireReport> await_capture_result(JobId id);
  [[nodiscard]] base::Result<RunningJob> start_capture(const probes::CaptureJob& job);
  [[nodiscard]] base::Result<probes::WireReport> stop_capture(JobId id);
  // Tries doors; it ends by itself. Errors: as run_tls_probe; missing as above.
  [[nodiscard]] base::Result<TlsProbeResult> tls_probe(const TlsProbeJob& job);
  // A job that tries them again and again, from the first call to the second.
  [[nodiscard]] base::Result<JobId> start_tls_watch(const TlsProbeJob& job);
  [[nodiscard]] base::Result<TlsProbeResult> stop_tls_watch(JobId id);

  // Whether it runs on the machine we run on: its cores are then ours.
  [[nodiscard]] bool shares_machine() const;

  // The worker process of a job, once the agent has said it: waits for that.
  [[nodiscard]] base::Result<int> await_worker_pid(JobId id);

  // Exactly 0 where the agent shares our boot and time namespace; otherwise from `rounds` pings:
  // the shortest round trip's middle against the agent's stamp, and half of it as uncertainty.
  // Errors: as every wait.
  [[nodiscard]] base::Result<ClockOffset> measure_clock(int rounds = 8);
  // The same, measured even where the clock is ours.
  [[nodiscard]] base::Result<ClockOffset> ping(int rounds = 8);

 private:
  explicit AgentClient(std::unique_ptr<AgentConnection> connection);
  [[nodiscard]] base::Result<> known(JobId id) const;
  // Sends a job that agents of this protocol need not know. Errors: missing.
  template <typename Job>
  [[nodiscard]] base::Result<JobId> send_capable(CommandType type, const Job& job, std::string what,
                                                 base::Duration patience);
  [[nodiscard]] base::Result<RunningJob> await_ready(JobId id);
  // Waits for the end of a job and forgets it.
  [[nodiscard]] base::Result<base::Json> await_end(JobId id);
  template <typename T>
  [[nodiscard]] base::Result<T> await_result(JobId id);

  std::unique_ptr<AgentConnection> connection_;
};

}  // namespace bench
