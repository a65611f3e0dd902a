#include "bench/agent/client.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <tuple>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench/agent/command_stream.h"
#include "bench/agent/line.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::MonotonicTime;
using base::Result;

// How long a command may take to be written, a job to begin and a stopped job to end; the agent's
// own limits are shorter, so that its explanation arrives before our patience ends.
constexpr base::Duration send_patience = std::chrono::seconds(10);
constexpr base::Duration start_patience = std::chrono::seconds(20);
constexpr base::Duration stop_patience = std::chrono::seconds(15);
constexpr base::Duration run_slack = std::chrono::seconds(10);
constexpr base::Duration ping_patience = std::chrono::seconds(10);
constexpr base::Duration late_reading = std::chrono::seconds(1);

struct Job {
  std::string what;        // for errors: "serve", "tcp_rr to 10.0.0.1:80"
  MonotonicTime deadline;  // of what it is to say next
  std::optional<int> worker_pid = {};
  std::optional<std::vector<base::Endpoint>> ready = {};
  std::optional<base::Json> result = {};
  std::optional<WireError> error = {};
  std::optional<std::pair<MonotonicTime, MonotonicTime>> pong = {};  // agent's stamp, our receipt
};

bool ended(const Job& job) { return job.result || job.error; }

// The end of what the agent wrote to stderr, without the newline at its end. A file of fixed size
// is full of NULs behind it.
std::string last_words(const base::UniqueFd& file) {
  constexpr std::size_t longest = 2000;
  constexpr std::size_t most_read = std::size_t{64} << 10;
  struct stat status{};
  if (!file || ::fstat(file.get(), &status) < 0 || !S_ISREG(status.st_mode)) return {};
  const auto size = static_cast<std::size_t>(status.st_size);
  std::string words(std::min(size, most_read), '\0');
  const ssize_t count =
      ::pread(file.get(), words.data(), words.size(), static_cast<off_t>(size - words.size()));
  words.resize(count > 0 ? static_cast<std::size_t>(count) : 0);
  words.resize(std::min(words.find('\0'), words.size()));
  while (!words.empty() && words.back() == '\n') words.pop_back();
  if (words.size() > longest) words.erase(0, words.size() - longest);
  return words;
}

}  // namespace

struct AgentClient::State {
  std::string name;
  base::UniqueFd from_agent;
  const base::Interrupt* interrupt = nullptr;
  base::UniqueFd stderr_file;
  std::function<std::string()> how_it_ended;
  Hello hello = {};
  LineReader lines{longest_message};
  std::map<std::uint64_t, Job> jobs = {};
  std::uint64_t last_id = 0;
  std::optional<base::Error> broken = {};        // what every further call returns
  std::unique_ptr<CommandStream> commands = {};  // made once the peer is known to be an agent

  [[nodiscard]] int interrupt_fd() const { return interrupt ? interrupt->fd() : -1; }

  std::unexpected<base::Error> interrupted() const {
    return base::fail(ErrorKind::interrupted, "interrupted while {} was awaited", name);
  }

  // Remembers why nothing works any more.
  std::unexpected<base::Error> give_up(base::Error error) {
    error.message = fmt::format("{} {}", name, error.message);
    broken = error;
    return std::unexpected(std::move(error));
  }

  std::unexpected<base::Error> peer_ended() {
    // Ctrl-C and the like end agents, too: then that is the reason, not the agent.
    if (interrupt && interrupt->requested()) return interrupted();
    const std::string how = how_it_ended ? how_it_ended() : std::string();
    const std::string words = last_words(stderr_file);
    return give_up({.kind = ErrorKind::peer_lost,
                    .message = fmt::format("ended{}{}{}{}", how.empty() ? "" : ": ", how,
                                           words.empty() ? "" : "; its last words: ", words)});
  }

  // Sends a command; its answers will be found in jobs under the id returned.
  Result<std::uint64_t> send(Command command, std::string what, base::Duration patience) {
    if (broken) return std::unexpected(*broken);
    command.id = ++last_id;
    const std::string line = to_line(command);
    if (line.size() > longest_command) {
      return base::fail(ErrorKind::input, "{}: {}: a command of {} bytes is too long", name, what,
                        line.size());
    }
    const auto now = base::monotonic_now();
    jobs.emplace(command.id, Job{.what = std::move(what), .deadline = now + patience});
    const auto sent = commands->send(line, now + send_patience, interrupt_fd());
    if (sent) return command.id;
    jobs.erase(command.id);
    if (sent.error().kind == ErrorKind::peer_lost) return peer_ended();
    if (sent.error().kind == ErrorKind::interrupted) return interrupted();
    return give_up({.kind = sent.error().kind,
                    .message = fmt::format("could not be told: {}", sent.error().message)});
  }

  // Takes one line into account.
  Result<> handle(const Line& line) {
    const auto received = base::monotonic_now();
    auto message = line.too_long ? base::fail(ErrorKind::input, "a line that is too long")
                                 : parse_message(line.text);
    if (!message) {
      return give_up({.kind = ErrorKind::input,
                      .message = fmt::format("broke the protocol: {}", message.error().message)});
    }
    const std::uint64_t id = message->id.value_or(0);
    if (id == 0) {
      std::string told =
          fmt::format("broke the protocol: a {} without an id", base::enum_name(message->type));
      if (const auto& refusal = message->error; message->type == MessageType::error && refusal) {
        told = fmt::format("refused what it read: {}", refusal->error.message);
      }
      return give_up({.kind = ErrorKind::input, .message = std::move(told)});
    }
    // Nobody waits for it any more: a late result.
    const auto found = jobs.find(id);
    if (found == jobs.end()) return {};
    Job& job = found->second;
    switch (message->type) {
      case MessageType::hello:
        return give_up({.kind = ErrorKind::input, .message = "broke the protocol: a second hello"});
      case MessageType::started:
        job.worker_pid = message->worker_pid;
        break;
      case MessageType::ready:
        job.ready = std::move(message->endpoints);
        break;
      case MessageType::result:
        job.result = std::move(message->result);
        break;
      case MessageType::error:
        job.error = std::move(message->error);
        break;
      case MessageType::stopping:
        jobs.erase(found);
        break;
      case MessageType::pong:
        job.pong = {MonotonicTime{message->monotonic_ns}, received};
        break;
    }
    return {};
  }

  // Reads until `done`, but handles what has arrived before it looks at the clock: an answer that
  // was in time stays in time when the controller comes late to read it.
  template <typename Done>
  Result<> await(MonotonicTime deadline, std::string_view what, const Done& done) {
    if (broken) return std::unexpected(*broken);
    // A peer that never stops talking about something else has this long.
    const auto last_call = std::max(deadline, base::monotonic_now()) + late_reading;
    while (!done()) {
      std::array<pollfd, 2> watched{pollfd{.fd = from_agent.get(), .events = POLLIN, .revents = 0},
                                    pollfd{.fd = interrupt_fd(), .events = POLLIN, .revents = 0}};
      const int ready = ::poll(watched.data(), watched.size(), poll_timeout(deadline));
      if (ready < 0 && errno != EINTR) return base::system_error(errno, "poll");
      if (ready < 0) continue;
      if (watched[1].revents != 0) return interrupted();
      if (ready == 0 || base::monotonic_now() > last_call) {
        return base::fail(ErrorKind::timed_out, "{}: {}: no answer in time", name, what);
      }
      ASSIGN_OR_RETURN(const bool more, read_into(from_agent.get(), lines));
      while (const auto line = lines.next()) RETURN_IF_ERROR(handle_first_or(*line));
      if (!more && !done()) return peer_ended();
    }
    return {};
  }

  // The first line is a greeting, of whatever version; all others are answers.
  Result<> handle_first_or(const Line& line) {
    if (commands) return handle(line);
    const auto message = line.too_long ? base::fail(ErrorKind::input, "a line that is too long")
                                       : parse_message(line.text);
    Hello greeting = message ? message->hello.value_or(Hello{}) : Hello{};
    if (!message || message->type != MessageType::hello || greeting.version.empty()) {
      return give_up({.kind = ErrorKind::input,
                      .message = fmt::format("did not greet as stackbench-agent does: {}",
                                             message ? std::string_view("another message")
                                                     : message.error().message)});
    }
    hello = std::move(greeting);
    return {};
  }

  Result<> check_version() {
    if (hello.protocol == agent_protocol && hello.version == STACKBENCH_VERSION) return {};
    return give_up(
        {.kind = ErrorKind::missing,
         .message = fmt::format("is stackbench-agent {} (protocol {}), and this is stackbench {} "
                                "(protocol {}): both ends measure, so they must be of one version",
                                hello.version, hello.protocol, STACKBENCH_VERSION, agent_protocol),
         .mend = fmt::format("Use the stackbench-agent {} that was built with this command.",
                             STACKBENCH_VERSION)});
  }

  Job& job(JobId id) { return jobs.at(id.value); }
  Job forget(JobId id) { return std::move(jobs.extract(id.value).mapped()); }

  Result<> known(JobId id) const {
    if (broken) return std::unexpected(*broken);
    if (jobs.contains(id.value)) return {};
    return base::fail(ErrorKind::input, "{}: no job {} is awaited", name, id.value);
  }

  Result<RunningJob> await_ready(JobId id) {
    RETURN_IF_ERROR(known(id));
    Job& it = job(id);
    RETURN_IF_ERROR(await(it.deadline, it.what, [&] { return it.ready || ended(it); }));
    if (it.ready) {
      return RunningJob{.id = id, .worker_pid = it.worker_pid.value_or(0), .endpoints = *it.ready};
    }
    const Job gone = forget(id);
    if (gone.error) return base::in_context(gone.error->error, "{}: {}", name, gone.what);
    return base::fail(ErrorKind::workload, "{}: {}: ended before it was ready", name, gone.what);
  }

  // Waits for the end of a job and forgets it.
  Result<base::Json> await_end(JobId id) {
    RETURN_IF_ERROR(known(id));
    Job& it = job(id);
    const auto awaited = await(it.deadline, it.what, [&] { return ended(it); });
    if (!awaited) {
      // Its result may still come: with the job forgotten it is ignored.
      jobs.erase(id.value);
      return std::unexpected(awaited.error());
    }
    Job gone = forget(id);
    if (gone.error) return base::in_context(gone.error->error, "{}: {}", name, gone.what);
    return std::move(gone.result).value_or(base::Json());
  }

  template <typename T>
  Result<T> await_result(JobId id) {
    ASSIGN_OR_RETURN(const base::Json json, await_end(id));
    auto result = base::from_json<T>(json, "result");
    if (result) return *std::move(result);
    return give_up({.kind = ErrorKind::input,
                    .message = fmt::format("broke the protocol: {}", result.error().message)});
  }
};

AgentClient::AgentClient(std::unique_ptr<State> state) : state_(std::move(state)) {}
AgentClient::AgentClient(AgentClient&&) noexcept = default;
AgentClient& AgentClient::operator=(AgentClient&&) noexcept = default;
AgentClient::~AgentClient() = default;

Result<AgentClient> AgentClient::connect(base::UniqueFd to_agent, base::UniqueFd from_agent,
                                         std::string name, ConnectOptions options) {
  auto state = std::make_unique<State>(State{.name = std::move(name),
                                             .from_agent = std::move(from_agent),
                                             .interrupt = options.interrupt,
                                             .stderr_file = std::move(options.stderr_file),
                                             .how_it_ended = std::move(options.how_it_ended)});
  RETURN_IF_ERROR(state->await(base::monotonic_now() + options.timeout, "its greeting",
                               [&] { return !state->hello.version.empty(); }));
  RETURN_IF_ERROR(state->check_version());
  state->commands = std::make_unique<CommandStream>(
      std::move(to_agent), to_line(Command{.type = CommandType::heartbeat}), options.heartbeat);
  return AgentClient(std::move(state));
}

const std::string& AgentClient::name() const { return state_->name; }
const Hello& AgentClient::hello() const { return state_->hello; }

Result<JobId> AgentClient::send_server(const ServerJob& job) {
  ASSIGN_OR_RETURN(
      const auto id,
      state_->send({.type = CommandType::serve, .job = base::to_json(job)},
                   fmt::format("{} server", base::enum_name(job.kind)), start_patience));
  return JobId{id};
}

Result<JobId> AgentClient::send_observer(const probes::TranslationJob& job) {
  ASSIGN_OR_RETURN(const auto id,
                   state_->send({.type = CommandType::observe, .job = base::to_json(job)},
                                fmt::format("observer at {}", job.interface), start_patience));
  return JobId{id};
}

Result<JobId> AgentClient::send_run(const ClientJob& job) {
  ASSIGN_OR_RETURN(const auto id,
                   state_->send({.type = CommandType::run, .job = base::to_json(job)},
                                fmt::format("{} to {}", base::enum_name(job.workload.kind),
                                            fmt::join(job.servers, ", ")),
                                run_time_limit(job) + run_slack));
  return JobId{id};
}

Result<> AgentClient::send_stop(JobId id) {
  RETURN_IF_ERROR(state_->known(id));
  if (ended(state_->job(id))) return {};
  ASSIGN_OR_RETURN(const auto stop_id, state_->send({.type = CommandType::stop, .job_id = id.value},
                                                    "stop", stop_patience));
  // Both answers to it are fine: `stopping`, and that the job has ended before.
  state_->jobs.erase(stop_id);
  Job& job = state_->job(id);
  job.deadline = base::monotonic_now() + stop_patience;
  return {};
}

Result<> AgentClient::kill(JobId id) {
  RETURN_IF_ERROR(state_->known(id));
  ASSIGN_OR_RETURN(const auto kill_id, state_->send({.type = CommandType::kill, .job_id = id.value},
                                                    "kill", stop_patience));
  // `stopping` has it forgotten, a refusal is its error.
  const auto answered = [&] {
    const auto found = state_->jobs.find(kill_id);
    return found == state_->jobs.end() || ended(found->second);
  };
  RETURN_IF_ERROR(state_->await(base::monotonic_now() + stop_patience, "kill", answered));
  if (state_->jobs.contains(kill_id)) {
    const Job refused = state_->forget({kill_id});
    return base::in_context(refused.error ? refused.error->error : base::Error{}, "{}", name());
  }
  // What the worker leaves behind is that it was killed, which is known here.
  Job& job = state_->job(id);
  job.deadline = base::monotonic_now() + stop_patience;
  RETURN_IF_ERROR(state_->await(job.deadline, job.what, [&] { return ended(job); }));
  state_->jobs.erase(id.value);
  return {};
}

Result<RunningJob> AgentClient::await_server(JobId id) { return state_->await_ready(id); }
Result<RunningJob> AgentClient::await_observer(JobId id) { return state_->await_ready(id); }

Result<ServerResult> AgentClient::await_server_result(JobId id) {
  return state_->await_result<ServerResult>(id);
}

Result<probes::TranslationCounts> AgentClient::await_observer_result(JobId id) {
  return state_->await_result<probes::TranslationCounts>(id);
}

Result<ClientResult> AgentClient::await_run(JobId id) {
  auto result = state_->await_result<ClientResult>(id);
  if (!result && result.error().kind == ErrorKind::timed_out && !state_->broken) {
    // Best effort: the time-out is what the caller must hear of.
    std::ignore =
        state_->send({.type = CommandType::stop, .job_id = id.value}, "stop", stop_patience);
    state_->jobs.erase(state_->last_id);
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
                   state_->send({.type = CommandType::watch_drops, .job = base::to_json(job)},
                                "watch for drops", start_patience));
  return state_->await_ready(JobId{id});
}

Result<probes::Drops> AgentClient::stop_drops_watch(JobId id) {
  RETURN_IF_ERROR(send_stop(id));
  return state_->await_result<probes::Drops>(id);
}

Result<ClientResult> AgentClient::run(const ClientJob& job) {
  ASSIGN_OR_RETURN(const JobId id, send_run(job));
  return await_run(id);
}

Result<int> AgentClient::await_worker_pid(JobId id) {
  RETURN_IF_ERROR(state_->known(id));
  Job& job = state_->job(id);
  RETURN_IF_ERROR(
      state_->await(job.deadline, job.what, [&] { return job.worker_pid || ended(job); }));
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
                     state_->send({.type = CommandType::ping}, "ping", ping_patience));
    Job& job = state_->job({id});
    const auto answered =
        state_->await(job.deadline, job.what, [&] { return job.pong || ended(job); });
    const auto pong = state_->forget({id}).pong;
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
