#include "bench/agent/supervisor.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <tuple>

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "probes/drops.h"
#include "probes/translation.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Result;

// How long a worker may take to read its job.
constexpr base::Duration job_grace = std::chrono::seconds(5);
constexpr std::size_t most_workers = 64;
// What may wait for a controller that does not read.
constexpr std::size_t most_pending = std::size_t{64} << 20;
constexpr std::size_t most_last_words = 2000;

bool readable_now(int fd) {
  pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

// What is wrong with a job, before a process is spent on it, and how long it may run.
Result<std::optional<base::Duration>> check_job(const Command& command) {
  const base::Json job = command.job.value_or(base::Json());
  std::optional<base::Duration> limit;
  if (command.type == CommandType::run) {
    ASSIGN_OR_RETURN(const ClientJob client, parse_client_job(job));
    limit = run_time_limit(client);
  } else if (command.type == CommandType::serve) {
    RETURN_IF_ERROR(parse_server_job(job));
  } else if (command.type == CommandType::watch_drops) {
    RETURN_IF_ERROR(base::from_json<probes::DropsJob>(job, "job"));
  } else {
    RETURN_IF_ERROR(base::from_json<probes::TranslationJob>(job, "job"));
  }
  return limit;
}

}  // namespace

Supervisor::Supervisor(int in, int out, const SupervisorOptions& options)
    : in_(in), out_(out), options_(options), last_line_(base::monotonic_now()) {}

Result<> Supervisor::run() {
  say({.type = MessageType::hello, .hello = own_hello({"serve", "run", "observe", "watch_drops"})});
  while (true) {
    ASSIGN_OR_RETURN(const bool more, turn());
    if (!more) break;
  }
  // Nobody may be left to read: the workers end first, then the last answers are offered.
  workers_.clear();
  std::ignore = write_whole(out_, pending_, base::monotonic_now() + std::chrono::seconds(1), -1);
  return {};
}

Result<bool> Supervisor::turn() {
  RETURN_IF_ERROR(flush());

  std::vector<pollfd> watched{
      {.fd = in_, .events = POLLIN, .revents = 0},
      {.fd = pending_.empty() ? -1 : out_, .events = POLLOUT, .revents = 0}};
  std::vector<std::uint64_t> ids;
  for (const auto& [id, worker] : workers_) {
    ids.push_back(id);
    for (const int fd :
         {worker.process.out.get(), worker.process.err.get(), worker.process.pidfd()}) {
      watched.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    }
  }
  const auto deadline = next_deadline();
  if (::poll(watched.data(), watched.size(), deadline ? poll_timeout(*deadline) : -1) < 0 &&
      errno != EINTR) {
    return base::system_error(errno, "poll");
  }

  for (std::size_t i = 0; i < ids.size(); ++i) {
    Worker& worker = workers_.at(ids[i]);
    const pollfd* const fds = &watched[2 + 3 * i];
    if (fds[0].revents != 0 || fds[1].revents != 0) handle_worker_output(ids[i], worker);
    if (fds[2].revents != 0) handle_worker_end(ids[i], worker);
  }
  // Commands after the workers: a stop must meet what is still running, not what just ended.
  if (watched[0].revents != 0) {
    ASSIGN_OR_RETURN(const bool more, read_into(in_, commands_));
    while (const auto line = commands_.next()) handle_line(*line);
    if (!more) return false;
  }
  enforce_deadlines();
  return true;
}

void Supervisor::say(Message message) { pending_ += to_line(std::move(message)); }

void Supervisor::answer_error(std::optional<std::uint64_t> id, base::Error error) {
  say({.type = MessageType::error, .id = id, .error = WireError{std::move(error)}});
}

Result<> Supervisor::flush() {
  auto written = write_some(out_, pending_);
  if (!written) return base::in_context(std::move(written).error(), "the controller's stream");
  pending_.erase(0, *written);
  if (pending_.size() > most_pending) {
    return base::fail(ErrorKind::peer_lost, "the controller does not read: {} bytes wait for it",
                      pending_.size());
  }
  return {};
}

void Supervisor::handle_line(const Line& line) {
  last_line_ = base::monotonic_now();
  if (line.too_long) {
    answer_error(std::nullopt,
                 {.kind = ErrorKind::input,
                  .message = fmt::format("a line longer than {} bytes", longest_command)});
    return;
  }
  const auto command = parse_command(line.text);
  if (command) {
    handle_command(*command);
  } else {
    answer_error(command.error().id, command.error().error);
  }
}

void Supervisor::handle_command(const Command& command) {
  switch (command.type) {
    case CommandType::heartbeat:
      return;
    case CommandType::ping:
      say({.type = MessageType::pong, .id = command.id});
      return;
    case CommandType::stop:
    case CommandType::kill: {
      const std::uint64_t job_id = command.job_id.value_or(0);
      const auto found = workers_.find(job_id);
      if (found == workers_.end()) {
        answer_error(command.id, {.kind = ErrorKind::input,
                                  .message = fmt::format("{}: no job {} is running",
                                                         base::enum_name(command.type), job_id)});
        return;
      }
      if (command.type == CommandType::kill) {
        // As a crash would: no word of its own, and the answer says how it ended. Its stamp, taken
        // when the message is written, is later than the signal.
        std::ignore = found->second.process.signal(SIGKILL);
      } else {
        stop(found->second);
      }
      say({.type = MessageType::stopping, .id = command.id});
      return;
    }
    case CommandType::serve:
    case CommandType::run:
    case CommandType::observe:
    case CommandType::watch_drops:
      break;
  }
  if (auto started = start(command); !started) {
    answer_error(command.id, std::move(started).error());
  }
}

Result<> Supervisor::start(const Command& command) {
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
  say({.type = MessageType::started, .id = command.id, .worker_pid = pid});
  return {};
}

void Supervisor::stop(Worker& worker) {
  if (!worker.job) return;
  worker.job.reset();
  worker.deadline = base::monotonic_now() + options_.stop_grace;
  worker.overdue = fmt::format("did not end within {} ms of being stopped",
                               options_.stop_grace / std::chrono::milliseconds(1));
}

void Supervisor::kill(Worker& worker, base::Error cause) {
  if (!worker.cause) worker.cause = std::move(cause);
  worker.deadline.reset();
  // When this fails it has ended, and its pidfd says so.
  std::ignore = worker.process.signal(SIGKILL);
}

void Supervisor::handle_worker_output(std::uint64_t id, Worker& worker) {
  if (worker.process.out && readable_now(worker.process.out.get())) {
    const auto more = read_into(worker.process.out.get(), worker.lines);
    while (const auto line = worker.lines.next()) handle_worker_line(id, worker, *line);
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

void Supervisor::handle_worker_line(std::uint64_t id, Worker& worker, const Line& line) {
  auto message = line.too_long ? base::fail(ErrorKind::system, "a line that is too long")
                               : parse_message(line.text);
  if (!message) {
    kill(worker, {.kind = ErrorKind::system,
                  .message = fmt::format("the worker of job {} wrote no message: {}", id,
                                         message.error().message)});
    return;
  }
  if (message->type == MessageType::ready && !worker.cause) {
    say({.type = MessageType::ready, .id = id, .endpoints = std::move(message->endpoints)});
  } else if (message->type == MessageType::result) {
    worker.result = std::move(message->result);
  } else if (message->type == MessageType::error) {
    worker.error = std::move(message->error);
  }
  if (worker.result || worker.error) {
    // It has nothing left to do but to end.
    worker.deadline = base::monotonic_now() + options_.stop_grace;
    worker.overdue = "did not end after its result";
  }
}

void Supervisor::handle_worker_end(std::uint64_t id, Worker& worker) {
  // Its group goes first, so that what is left in the pipes is finite.
  const auto status = worker.process.kill();
  const auto unread = [](const base::UniqueFd& fd) { return fd && readable_now(fd.get()); };
  while (unread(worker.process.out) || unread(worker.process.err)) {
    handle_worker_output(id, worker);
  }
  auto cause = std::move(worker.cause);
  auto error = std::move(worker.error);
  auto result = std::move(worker.result);
  std::string words = std::move(worker.last_words);
  workers_.erase(id);

  if (cause) return answer_error(id, *std::move(cause));
  if (error) return answer_error(id, std::move(error)->error);
  if (result) return say({.type = MessageType::result, .id = id, .result = std::move(result)});
  while (!words.empty() && words.back() == '\n') words.pop_back();
  const std::string how = status ? status->to_string() : status.error().message;
  answer_error(id, {.kind = ErrorKind::workload,
                    .message = fmt::format("worker ended by {} without a result{}{}", how,
                                           words.empty() ? "" : "; its last words: ", words)});
}

std::optional<base::MonotonicTime> Supervisor::next_deadline() const {
  std::optional<base::MonotonicTime> next;
  for (const auto& [id, worker] : workers_) {
    if (worker.deadline && (!next || *worker.deadline < *next)) next = worker.deadline;
    const auto idle = last_line_ + options_.idle_after;
    // A job that is being stopped already needs no second reason.
    if (worker.job && (!next || idle < *next)) next = idle;
  }
  return next;
}

void Supervisor::enforce_deadlines() {
  const auto now = base::monotonic_now();
  const bool idle = now - last_line_ >= options_.idle_after;
  for (auto& [id, worker] : workers_) {
    if (idle && worker.job) {
      worker.cause = base::Error{
          .kind = ErrorKind::timed_out,
          .message = fmt::format("stopped, because the controller said nothing for {} ms",
                                 options_.idle_after / std::chrono::milliseconds(1))};
      stop(worker);
    }
    if (worker.deadline && now >= *worker.deadline) {
      kill(worker, {.kind = ErrorKind::timed_out,
                    .message = fmt::format("the worker of job {} ({}) {} and was killed", id,
                                           base::enum_name(worker.type), worker.overdue)});
    }
  }
}

}  // namespace bench
