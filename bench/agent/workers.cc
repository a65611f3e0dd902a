#include "bench/agent/workers.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/reach/flow_watch.h"
#include "bench/reach/hold.h"
#include "bench/reach/knock.h"
#include "bench/reach/reach.h"
#include "bench/tls_probe/tls_probe.h"
#include "probes/drops.h"
#include "probes/translation.h"
#include "probes/wire/wire.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Result;

// How long a worker may take to read its job.
constexpr base::Duration job_grace = std::chrono::seconds(5);
constexpr std::size_t most_workers = 64;
constexpr std::size_t most_last_words = 2000;

bool readable_now(int fd) {
  pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

// What is wrong with a job, before a process is spent on it, and how long it may run.
Result<std::optional<base::Duration>> check_job(const Command& command) {
  const base::Json job = command.job.value_or(base::Json());
  std::optional<base::Duration> limit;
  switch (command.type) {
    case CommandType::run: {
      ASSIGN_OR_RETURN(const ClientJob client, parse_client_job(job));
      limit = run_time_limit(client);
      break;
    }
    case CommandType::reach: {
      ASSIGN_OR_RETURN(const ReachJob sweep, parse_reach_job(job));
      limit = reach_time_limit(sweep);
      break;
    }
    case CommandType::send_flows: {
      ASSIGN_OR_RETURN(const FlowSendJob flows, parse_flow_send_job(job));
      limit = flows.duration + job_grace;
      break;
    }
    case CommandType::serve:
      RETURN_IF_ERROR(parse_server_job(job));
      break;
    case CommandType::observe:
      RETURN_IF_ERROR(base::from_json<probes::TranslationJob>(job, "job"));
      break;
    case CommandType::watch_drops:
      RETURN_IF_ERROR(base::from_json<probes::DropsJob>(job, "job"));
      break;
    case CommandType::listen:
      RETURN_IF_ERROR(parse_listen_job(job));
      break;
    case CommandType::receive_flows:
      RETURN_IF_ERROR(parse_flow_receive_job(job));
      break;
    case CommandType::hold:
      RETURN_IF_ERROR(parse_hold_job(job));
      break;
    case CommandType::capture:
      RETURN_IF_ERROR(probes::parse_capture_job(job));
      break;
    case CommandType::tls_probe: {
      ASSIGN_OR_RETURN(const TlsProbeJob doors, parse_tls_probe_job(job));
      limit = tls_probe_time_limit(doors);
      break;
    }
    case CommandType::knock: {
      ASSIGN_OR_RETURN(const KnockJob knocks, parse_knock_job(job));
      limit = knocks.duration + job_grace;
      break;
    }
    case CommandType::attach:
    case CommandType::stop:
    case CommandType::kill:
    case CommandType::ping:
    case CommandType::heartbeat:
      return base::fail(ErrorKind::input, "{}: no job", base::enum_name(command.type));
  }
  return limit;
}

// Kills a worker; its answer will be `cause`, unless it has one already.
template <typename Worker>
void end_by_force(Worker& worker, base::Error cause) {
  if (!worker.cause) worker.cause = std::move(cause);
  worker.deadline.reset();
  // When this fails it has ended, and its pidfd says so.
  std::ignore = worker.process.signal(SIGKILL);
}

}  // namespace

Result<> Workers::start(const Command& command) {
  if (workers_.contains(command.id)) {
    return base::fail(ErrorKind::input, "job {} is running already", command.id);
  }
  if (workers_.size() >= most_workers) {
    return base::fail(ErrorKind::input, "{} jobs are running, and no more fit", most_workers);
  }
  ASSIGN_OR_RETURN(const auto limit, check_job(command));

  // A socket, so that its end is readable (a pipe's is only a hang-up).
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
    return base::system_error(errno, "socketpair");
  }
  base::UniqueFd ours(ends[0]);
  const base::UniqueFd theirs(ends[1]);
  ASSIGN_OR_RETURN(base::Process process,
                   base::Process::spawn({.argv = {"/proc/self/exe", "worker"},
                                         .in = base::Stdio::descriptor(theirs.get()),
                                         .out = base::Stdio::pipe(),
                                         .err = base::Stdio::pipe()}));
  const int pid = process.pid();
  RETURN_IF_ERROR(write_whole(ours.get(), to_line(command), base::monotonic_now() + job_grace, -1));
  Worker worker{.type = command.type, .process = std::move(process), .job = std::move(ours)};
  if (limit) {
    worker.deadline = base::monotonic_now() + *limit;
    worker.overdue = fmt::format("did not end within {} s", *limit / std::chrono::seconds(1));
  }
  workers_.emplace(command.id, std::move(worker));
  say_({.type = MessageType::started, .id = command.id, .worker_pid = pid});
  return {};
}

bool Workers::stop(std::uint64_t id) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return false;
  stop(found->second);
  return true;
}

void Workers::stop(Worker& worker) const {
  if (!worker.job) return;
  worker.job.reset();
  worker.deadline = base::monotonic_now() + stop_grace_;
  worker.overdue = fmt::format("did not end within {} ms of being stopped",
                               stop_grace_ / std::chrono::milliseconds(1));
}

bool Workers::kill(std::uint64_t id) {
  const auto found = workers_.find(id);
  if (found == workers_.end()) return false;
  // When this fails it has ended, and its pidfd says so.
  std::ignore = found->second.process.signal(SIGKILL);
  return true;
}

void Workers::stop_all(const base::Error& cause) {
  for (auto& [id, worker] : workers_) {
    if (!worker.job) continue;
    worker.cause = cause;
    stop(worker);
  }
}

bool Workers::busy() const {
  return std::ranges::any_of(workers_, [](const auto& entry) { return bool(entry.second.job); });
}

bool Workers::any_serves() const {
  return std::ranges::any_of(
      workers_, [](const auto& entry) { return entry.second.type == CommandType::serve; });
}

bool Workers::owns(pid_t pid) const {
  return std::ranges::any_of(workers_,
                             [&](const auto& entry) { return entry.second.process.pid() == pid; });
}

void Workers::watch(std::vector<pollfd>& watched) const {
  for (const auto& [id, worker] : workers_) {
    for (const int fd :
         {worker.process.out.get(), worker.process.err.get(), worker.process.pidfd()}) {
      watched.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    }
  }
}

void Workers::handle(std::span<const pollfd> watched) {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, worker] : workers_) ids.push_back(id);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    Worker& worker = workers_.at(ids[i]);
    const auto fds = watched.subspan(3 * i, 3);
    if (fds[0].revents != 0 || fds[1].revents != 0) handle_output(ids[i], worker);
    if (fds[2].revents != 0) handle_end(ids[i], worker);
  }
}

void Workers::answer_error(std::uint64_t id, base::Error error) const {
  say_({.type = MessageType::error, .id = id, .error = WireError{std::move(error)}});
}

void Workers::handle_output(std::uint64_t id, Worker& worker) {
  if (worker.process.out && readable_now(worker.process.out.get())) {
    const auto more = read_into(worker.process.out.get(), worker.lines);
    while (const auto line = worker.lines.next()) handle_line(id, worker, *line);
    if (!more || !*more) worker.process.out.reset();
  }
  if (!worker.process.err || !readable_now(worker.process.err.get())) return;
  std::array<char, 4096> chunk;
  const ssize_t count = ::read(worker.process.err.get(), chunk.data(), chunk.size());
  if (count <= 0) {
    worker.process.err.reset();
    return;
  }
  const std::string_view words(chunk.data(), static_cast<std::size_t>(count));
  worker.last_words.append(words);
  if (worker.last_words.size() > most_last_words) {
    worker.last_words.erase(0, worker.last_words.size() - most_last_words);
  }
  // Passed on as far as it fits: a full stderr must not stall the agent.
  std::ignore = write_some(STDERR_FILENO, words);
}

void Workers::handle_line(std::uint64_t id, Worker& worker, const Line& line) {
  auto message = line.too_long ? base::fail(ErrorKind::system, "a line that is too long")
                               : parse_message(line.text);
  if (!message) {
    end_by_force(worker, {.kind = ErrorKind::system,
                          .message = fmt::format("the worker of job {} wrote no message: {}", id,
                                                 message.error().message)});
    return;
  }
  if (message->type == MessageType::ready && !worker.cause) {
    say_({.type = MessageType::ready, .id = id, .endpoints = std::move(message->endpoints)});
  } else if (message->type == MessageType::result) {
    worker.result = std::move(message->result);
  } else if (message->type == MessageType::error) {
    worker.error = std::move(message->error);
  }
  if (worker.result || worker.error) {
    // It has nothing left to do but to end.
    worker.deadline = base::monotonic_now() + stop_grace_;
    worker.overdue = "did not end after its result";
  }
}

void Workers::handle_end(std::uint64_t id, Worker& worker) {
  // Its group goes first, so that what is left in the pipes is finite.
  const auto status = worker.process.kill();
  const auto unread = [](const base::UniqueFd& fd) { return fd && readable_now(fd.get()); };
  while (unread(worker.process.out) || unread(worker.process.err)) {
    handle_output(id, worker);
  }
  auto cause = std::move(worker.cause);
  auto error = std::move(worker.error);
  auto result = std::move(worker.result);
  std::string words = std::move(worker.last_words);
  workers_.erase(id);

  if (cause) return answer_error(id, *std::move(cause));
  if (error) return answer_error(id, std::move(error)->error);
  if (result) return say_({.type = MessageType::result, .id = id, .result = std::move(result)});
  while (!words.empty() && words.back() == '\n') words.pop_back();
  const std::string how = status ? status->to_string() : status.error().message;
  answer_error(id, {.kind = ErrorKind::workload,
                    .message = fmt::format("worker ended by {} without a result{}{}", how,
                                           words.empty() ? "" : "; its last words: ", words)});
}

std::optional<base::MonotonicTime> Workers::next_deadline() const {
  std::optional<base::MonotonicTime> next;
  for (const auto& [id, worker] : workers_) {
    if (worker.deadline && (!next || *worker.deadline < *next)) next = worker.deadline;
  }
  return next;
}

void Workers::enforce_deadlines() {
  const auto now = base::monotonic_now();
  for (auto& [id, worker] : workers_) {
    if (!worker.deadline || now < *worker.deadline) continue;
    end_by_force(worker, {.kind = ErrorKind::timed_out,
                          .message = fmt::format("the worker of job {} ({}) {} and was killed", id,
                                                 base::enum_name(worker.type), worker.overdue)});
  }
}

}  // namespace bench
