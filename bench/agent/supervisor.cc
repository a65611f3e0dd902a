#include "bench/agent/supervisor.h"

#include <algorithm>
#include <span>
#include <vector>

#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {
namespace {

using base::ErrorKind;
using base::Result;

}  // namespace

Supervisor::Supervisor(int in, int out, const SupervisorOptions& options)
    : options_(options),
      controller_(std::in_place, in, out),
      kept_(options.most_kept),
      workers_(options.stop_grace, [this](Message message) { say_of_job(std::move(message)); }),
      last_line_(base::monotonic_now()) {}

Supervisor::Supervisor(const ListeningOn& listening, const SupervisorOptions& options)
    : options_(options),
      listening_(listening),
      kept_(options.most_kept),
      workers_(options.stop_grace, [this](Message message) { say_of_job(std::move(message)); }),
      last_line_(base::monotonic_now()) {}

Result<> Supervisor::run() {
  if (controller_) greet();
  if (options_.plan) follow(*options_.plan);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, turn());
    if (!more) break;
  }
  // Nobody may be left to read: the workers end first, then the last answers are offered. Whoever
  // stops an agent that listens waits for its end, and the controller comes by its own means.
  workers_.clear();
  if (controller_ && !listening_) {
    controller_->flush_until(base::monotonic_now() + std::chrono::seconds(1));
  }
  return {};
}

Result<bool> Supervisor::turn() {
  RETURN_IF_ERROR(flush());

  std::vector<pollfd> watched;
  for (const int fd :
       {controller_ ? controller_->in() : -1, listening_ ? listening_->listener.fd() : -1,
        listening_ && !draining_ ? listening_->stop_fd : -1,
        listening_ ? listening_->children_fd : -1}) {
    watched.push_back({.fd = fd, .events = POLLIN, .revents = 0});
  }
  watched.push_back(
      {.fd = controller_ ? controller_->waits_for_room() : -1, .events = POLLOUT, .revents = 0});
  const std::size_t others = watched.size();
  workers_.watch(watched);
  const auto deadline = next_deadline();
  if (::poll(watched.data(), watched.size(), deadline ? poll_timeout(*deadline) : -1) < 0 &&
      errno != EINTR) {
    return base::system_error(errno, "poll");
  }
  if (watched[2].revents != 0 && ends_now()) return false;

  workers_.handle(std::span(watched).subspan(others));
  if (listening_) reap_orphans();
  // Commands after the workers: a stop must meet what is still running, not what just ended.
  if (watched[0].revents != 0) {
    ASSIGN_OR_RETURN(const bool more, read_commands());
    if (!more) return false;
  }
  if (watched[1].revents != 0) RETURN_IF_ERROR(accept());
  if (draining_ && !controller_) return false;
  if (is_left_alone()) return false;
  stop_when_idle();
  workers_.enforce_deadlines();
  beat();
  return true;
}

bool Supervisor::ends_now() {
  draining_ = controller_ && workers_.any_serves();
  return !draining_;
}

Result<bool> Supervisor::read_commands() {
  const auto more = controller_->read();
  while (const auto line = controller_->next_line()) handle_line(*line);
  if (more && *more) return true;
  if (listening_) {
    lose_controller();
    return true;
  }
  if (!more) return std::unexpected(more.error());
  return false;
}

Result<> Supervisor::flush() {
  if (!controller_) return {};
  auto written = controller_->flush();
  if (written || !listening_) return written;
  lose_controller();
  return {};
}

Result<> Supervisor::accept() {
  ASSIGN_OR_RETURN(base::UniqueFd connection, listening_->listener.accept());
  if (!connection) return {};
  lose_controller();
  controller_.emplace(std::move(connection));
  greet();
  return {};
}

void Supervisor::lose_controller() {
  const bool cannot_come_back = controller_ && controller_->begun && kept_.session().empty();
  controller_.reset();
  if (cannot_come_back) workers_.clear();
}

void Supervisor::begin_session(std::string name) {
  workers_.clear();
  kept_.begin(std::move(name));
  controller_->begun = true;
  next_beat_ = base::monotonic_now() + options_.heartbeat;
}

void Supervisor::follow(const AgentPlan& plan) {
  kept_.begin(plan.session);
  for (const auto& command : plan.commands) carry_out(command);
}

void Supervisor::attach(const Command& command) {
  const std::string session = command.session.value_or("");
  if (!command.outstanding) {
    begin_session(session);
    say({.type = MessageType::attached, .id = command.id});
    return;
  }
  if (session != kept_.session()) {
    answer_error(command.id, {.kind = ErrorKind::peer_lost,
                              .message = "another controller has taken over, and what ran for "
                                         "this one was ended"});
    return;
  }
  controller_->begun = true;
  next_beat_ = base::monotonic_now() + options_.heartbeat;
  const auto resumed = kept_.resume(*command.outstanding);
  for (const auto id : resumed.given_up) workers_.stop(id);
  say({.type = MessageType::attached, .id = command.id, .unknown = resumed.unknown});
  controller_->say(resumed.again);
}

void Supervisor::greet() {
  Hello hello = own_hello({"serve", "run", "observe", "watch_drops", "reach", "listen",
                           "send_flows", "receive_flows", "hold", "capture", "tls_probe", "knock"});
  hello.instance = instance_;
  say({.type = MessageType::hello, .hello = std::move(hello)});
}

std::string Supervisor::kept_line(Message message) {
  const auto id = message.id;
  const bool last = is_last_answer(message.type);
  std::string line = to_line(std::move(message));
  if (id) kept_.keep(*id, line, last);
  return line;
}

void Supervisor::say(Message message) {
  const std::string line = kept_line(std::move(message));
  if (controller_) controller_->say(line);
}

void Supervisor::say_of_job(Message message) {
  const std::string line = kept_line(std::move(message));
  // Until it has said that the job is its own, a controller hears nothing of it.
  if (controller_ && controller_->begun) controller_->say(line);
}

void Supervisor::answer_error(std::optional<std::uint64_t> id, base::Error error) {
  say({.type = MessageType::error, .id = id, .error = WireError{std::move(error)}});
}

void Supervisor::handle_line(const Line& line) {
  if (line.too_long) {
    last_line_ = base::monotonic_now();
    answer_error(std::nullopt,
                 {.kind = ErrorKind::input,
                  .message = fmt::format("a line longer than {} bytes", longest_command)});
    return;
  }
  const auto command = parse_command(line.text);
  if (command) {
    handle_command(*command);
  } else {
    last_line_ = base::monotonic_now();
    answer_error(command.error().id, command.error().error);
  }
}

void Supervisor::handle_command(const Command& command) {
  // A heartbeat tells nothing of who it is that lives.
  if (!controller_->begun && command.type == CommandType::heartbeat) return;
  last_line_ = base::monotonic_now();
  if (command.type == CommandType::attach) return attach(command);
  if (!controller_->begun) begin_session("");
  kept_.received(command.received);
  if (const std::string said = kept_.said(command.id); !said.empty()) {
    controller_->say(said);
    return;
  }
  carry_out(command);
}

void Supervisor::carry_out(const Command& command) {
  switch (command.type) {
    case CommandType::attach:
    case CommandType::heartbeat:
      return;
    case CommandType::ping:
      return say({.type = MessageType::pong, .id = command.id});
    case CommandType::stop:
    case CommandType::kill:
      kept_.open(command.id);
      return end_job(command);
    default:  // has_job()
      break;
  }
  if (kept_.seen(command.id)) {
    return answer_error(
        command.id,
        {.kind = ErrorKind::input, .message = fmt::format("job {} was begun before", command.id)});
  }
  kept_.open(command.id);
  if (auto started = workers_.start(command); !started) {
    answer_error(command.id, std::move(started).error());
  }
}

void Supervisor::end_job(const Command& command) {
  const std::uint64_t id = command.job_id.value_or(0);
  // A kill's stamp, taken when its answer is written, is later than the signal.
  const bool ran = command.type == CommandType::kill ? workers_.kill(id) : workers_.stop(id);
  if (ran) return say({.type = MessageType::stopping, .id = command.id});
  answer_error(command.id, {.kind = ErrorKind::input,
                            .message = fmt::format("{}: no job {} is running",
                                                   base::enum_name(command.type), id)});
}

void Supervisor::stop_when_idle() {
  if (!workers_.busy() || base::monotonic_now() - last_line_ < options_.idle_after) return;
  workers_.stop_all({.kind = ErrorKind::timed_out,
                     .message = fmt::format("stopped, because the controller said nothing for {} "
                                            "ms",
                                            options_.idle_after / std::chrono::milliseconds(1))});
}

bool Supervisor::is_left_alone() const {
  return listening_ && options_.leave_after.count() > 0 &&
         base::monotonic_now() - last_line_ >= options_.leave_after;
}

std::optional<base::MonotonicTime> Supervisor::next_deadline() const {
  auto next = workers_.next_deadline();
  const auto not_after = [&](base::MonotonicTime time) {
    next = next ? std::min(*next, time) : time;
  };
  if (in_session()) not_after(next_beat_);
  // A job that is being stopped already needs no second reason.
  if (workers_.busy()) not_after(last_line_ + options_.idle_after);
  if (listening_ && options_.leave_after.count() > 0) not_after(last_line_ + options_.leave_after);
  return next;
}

bool Supervisor::in_session() const {
  return controller_ && controller_->begun && !kept_.session().empty();
}

void Supervisor::beat() {
  const auto now = base::monotonic_now();
  if (!in_session() || now < next_beat_) return;
  next_beat_ = now + options_.heartbeat;
  // Whoever has something to read needs no other sign.
  if (controller_->waits_for_room() < 0) say({.type = MessageType::heartbeat});
}

void Supervisor::reap_orphans() {
  signalfd_siginfo signal;
  while (::read(listening_->children_fd, &signal, sizeof(signal)) > 0) {
  }
  // A worker is reaped where its end is handled; whatever waits behind it comes after that.
  while (true) {
    siginfo_t ended{};
    if (::waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT) < 0 || ended.si_pid == 0) return;
    if (workers_.owns(ended.si_pid)) return;
    ::waitid(P_PID, static_cast<id_t>(ended.si_pid), &ended, WEXITED | WNOHANG);
  }
}

}  // namespace bench
