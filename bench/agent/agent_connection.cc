#include "bench/agent/agent_connection.h"

#include <algorithm>
#include <array>

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace bench {
namespace {

using base::ErrorKind;
using base::MonotonicTime;
using base::Result;

// How long a command may take to be written.
constexpr base::Duration send_patience = std::chrono::seconds(10);
// What a command tells at most of answers that have arrived; the rest an agent forgets by itself.
constexpr std::size_t most_received = 1024;
// How long what an agent was started with may take to say that it is at work.
constexpr base::Duration planned_patience = std::chrono::seconds(20);
// Between two attempts to have a stream again, where the first failed at once.
constexpr base::Duration attempt_interval = std::chrono::milliseconds(200);

// The end of what the agent wrote to stderr, without the newline at its end. A file of fixed size
// is full of NULs behind it.
std::string end_of(const base::UniqueFd& file) {
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

Result<Message> read_message(const Line& line) {
  if (line.too_long) return base::fail(ErrorKind::input, "a line that is too long");
  return parse_message(line.text);
}

}  // namespace

Result<std::unique_ptr<AgentConnection>> AgentConnection::open(AgentStream stream, std::string name,
                                                               ConnectOptions options) {
  std::unique_ptr<AgentConnection> it(new AgentConnection(std::move(name), std::move(options)));
  it->take(std::move(stream));
  const auto deadline = base::monotonic_now() + it->options_.timeout;
  auto opened = it->greeted(deadline);
  if (opened && it->options_.reattach) {
    it->instance_ = it->hello_.instance;
    if (it->options_.plan) {
      opened = it->take_up(*it->options_.plan, deadline);
    } else {
      it->session_ = made_up_name();
      opened = it->attach({}, deadline);
    }
  } else if (opened) {
    it->open_commands();
  }
  if (opened) return it;
  // A stream that never was a session's is not replaced.
  it->options_.reattach = {};
  if (opened.error().kind == ErrorKind::peer_lost && !it->broken_) opened = it->replace_stream();
  return std::unexpected(std::move(opened).error());
}

// ---- the stream ---------------------------------------------------------------------------------

void AgentConnection::take(AgentStream stream) {
  commands_.reset();
  to_agent_ = std::move(stream.to_agent);
  from_agent_ = std::move(stream.from_agent);
  if (stream.stderr_file) options_.stderr_file = std::move(stream.stderr_file);
  if (stream.how_it_ended) options_.how_it_ended = std::move(stream.how_it_ended);
  lines_ = LineReader(longest_message);
  hello_ = {};
  last_heard_ = base::monotonic_now();
}

int AgentConnection::interrupt_fd() const {
  return options_.interrupt ? options_.interrupt->fd() : -1;
}

std::unexpected<base::Error> AgentConnection::interrupted() const {
  return base::fail(ErrorKind::interrupted, "interrupted while {} was awaited", name_);
}

std::unexpected<base::Error> AgentConnection::give_up(base::Error error) {
  error.message = fmt::format("{} {}", name_, error.message);
  broken_ = error;
  return std::unexpected(std::move(error));
}

std::string AgentConnection::how_it_ended() const {
  const std::string how = options_.how_it_ended ? options_.how_it_ended() : std::string();
  const std::string words = end_of(options_.stderr_file);
  return fmt::format("{}{}{}{}", how.empty() ? "" : ": ", how,
                     words.empty() ? "" : "; its last words: ", words);
}

std::optional<MonotonicTime> AgentConnection::silent_until() const {
  if (session_.empty() || !commands_) return std::nullopt;
  return last_heard_ + options_.longest_silence;
}

// Nothing but the greeting is taken before our commands have a stream.
Result<bool> AgentConnection::handle_lines() {
  bool handled = false;
  while (commands_ || hello_.version.empty()) {
    const auto line = lines_.next();
    if (!line) break;
    RETURN_IF_ERROR(commands_ ? handle(*line) : handle_greeting(*line));
    handled = true;
  }
  return handled;
}

Result<AgentConnection::Heard> AgentConnection::hear(MonotonicTime deadline) {
  ASSIGN_OR_RETURN(const bool left_over, handle_lines());
  if (left_over) return Heard::something;
  const auto silent = silent_until();
  const auto until = silent ? std::min(deadline, *silent) : deadline;
  std::array<pollfd, 2> watched{pollfd{.fd = from_agent_.get(), .events = POLLIN, .revents = 0},
                                pollfd{.fd = interrupt_fd(), .events = POLLIN, .revents = 0}};
  const int ready = ::poll(watched.data(), watched.size(), poll_timeout(until));
  if (ready < 0 && errno != EINTR) return base::system_error(errno, "poll");
  if (ready < 0) return Heard::something;
  if (watched[1].revents != 0) return interrupted();
  if (ready == 0) {
    // It beats more often than that: the stream carries nothing any more.
    const bool dead = silent && base::monotonic_now() >= *silent;
    return dead ? Heard::end : Heard::nothing;
  }
  ASSIGN_OR_RETURN(const bool more, read_into(from_agent_.get(), lines_));
  last_heard_ = base::monotonic_now();
  RETURN_IF_ERROR(handle_lines());
  return more ? Heard::something : Heard::end;
}

Result<> AgentConnection::hear_until(MonotonicTime deadline, std::string_view what,
                                     const std::function<bool()>& done) {
  while (!done()) {
    ASSIGN_OR_RETURN(const Heard heard, hear(deadline));
    if (done()) break;
    if (heard == Heard::end) {
      return base::fail(ErrorKind::peer_lost, "{}: {}: it ended{}", name_, what, how_it_ended());
    }
    if (heard == Heard::nothing) {
      return base::fail(ErrorKind::timed_out, "{}: {}: no answer in time", name_, what);
    }
  }
  return {};
}

// ---- a session ----------------------------------------------------------------------------------

Result<> AgentConnection::greeted(MonotonicTime deadline) {
  RETURN_IF_ERROR(hear_until(deadline, "its greeting", [this] { return !hello_.version.empty(); }));
  if (hello_.protocol == agent_protocol && hello_.version == STACKBENCH_VERSION) return {};
  return give_up(
      {.kind = ErrorKind::missing,
       .message = fmt::format("is stackbench-agent {} (protocol {}), and this is stackbench {} "
                              "(protocol {}): both ends measure, so they must be of one version",
                              hello_.version, hello_.protocol, STACKBENCH_VERSION, agent_protocol),
       .mend = fmt::format("Use the stackbench-agent {} that was built with this command.",
                           STACKBENCH_VERSION)});
}

void AgentConnection::open_commands() {
  commands_ = std::make_unique<CommandStream>(
      std::move(to_agent_), to_line(Command{.type = CommandType::heartbeat}), options_.heartbeat);
}

Result<> AgentConnection::attach(std::optional<std::vector<std::uint64_t>> outstanding,
                                 MonotonicTime deadline) {
  open_commands();
  attached_.reset();
  attach_id_ = ++last_id_;
  received_.clear();
  RETURN_IF_ERROR(commands_->send(to_line(Command{.type = CommandType::attach,
                                                  .id = attach_id_,
                                                  .session = session_,
                                                  .outstanding = std::move(outstanding)}),
                                  deadline, interrupt_fd()));
  RETURN_IF_ERROR(hear_until(deadline, "its session", [this] { return attached_.has_value(); }));
  if (attached_->type == MessageType::attached) return {};
  const WireError refusal = attached_->error.value_or(WireError{});
  return give_up({.kind = refusal.error.kind,
                  .message = fmt::format("did not go on: {}", refusal.error.message)});
}

Result<> AgentConnection::take_up(const AgentPlan& plan, MonotonicTime deadline) {
  session_ = plan.session;
  std::vector<std::uint64_t> outstanding;
  for (const auto& command : plan.commands) {
    sent_[command.id] = {.what = fmt::format("its planned {}", base::enum_name(command.type)),
                         .deadline = base::monotonic_now() + planned_patience,
                         .line = to_line(command)};
    outstanding.push_back(command.id);
    last_id_ = std::max(last_id_, command.id);
  }
  RETURN_IF_ERROR(attach(std::move(outstanding), deadline));
  if (attached_->unknown.empty()) return {};
  return give_up({.kind = ErrorKind::peer_lost, .message = "was not started with its plan"});
}

Result<> AgentConnection::resume_on(AgentStream stream, MonotonicTime deadline) {
  take(std::move(stream));
  deadline = std::min(deadline, base::monotonic_now() + options_.timeout);
  RETURN_IF_ERROR(greeted(deadline));
  if (hello_.instance != instance_) {
    return give_up(
        {.kind = ErrorKind::peer_lost, .message = "was restarted, and what ran in it is gone"});
  }
  std::vector<std::uint64_t> outstanding;
  for (const auto& [id, command] : sent_) {
    if (!command.ended()) outstanding.push_back(id);
  }
  RETURN_IF_ERROR(attach(std::move(outstanding), deadline));
  for (auto& [id, command] : sent_) {
    if (std::ranges::find(attached_->unknown, id) == attached_->unknown.end()) continue;
    RETURN_IF_ERROR(commands_->send(command.line, deadline, interrupt_fd()));
  }
  // The agent knows one that it had already, and takes none for a job that has ended.
  for (const auto& [id, command] : sent_) {
    if (command.ended() || command.stop_line.empty()) continue;
    RETURN_IF_ERROR(commands_->send(command.stop_line, deadline, interrupt_fd()));
  }
  return {};
}

Result<> AgentConnection::replace_stream() {
  // Ctrl-C and the like end agents, too: then that is the reason, not the agent.
  if (options_.interrupt && options_.interrupt->requested()) return interrupted();
  const std::string why = how_it_ended();
  if (!options_.reattach) {
    return give_up({.kind = ErrorKind::peer_lost, .message = "ended" + why});
  }
  commands_.reset();
  from_agent_.reset();
  const auto begun = base::monotonic_now();
  const auto deadline = begun + options_.resume_within;
  while (true) {
    const auto next_attempt = base::monotonic_now() + attempt_interval;
    auto stream = options_.reattach();
    const bool had = stream.has_value();
    const Result<> resumed = had ? resume_on(*std::move(stream), deadline)
                                 : Result<>(std::unexpected(std::move(stream).error()));
    if (resumed) {
      // The time without a stream is not the agent's.
      const auto lost = base::monotonic_now() - begun;
      for (auto& [id, command] : sent_) command.deadline = command.deadline + lost;
      return {};
    }
    if (broken_) return std::unexpected(*broken_);
    if (resumed.error().kind == ErrorKind::interrupted) return interrupted();
    const bool gone = !had && resumed.error().kind == ErrorKind::peer_lost;
    if (gone || base::monotonic_now() >= deadline) {
      return give_up({.kind = ErrorKind::peer_lost,
                      .message = fmt::format("was lost{}, and could not be had again{}: {}", why,
                                             gone ? "" : " in time", resumed.error().message)});
    }
    pollfd interrupt{.fd = interrupt_fd(), .events = POLLIN, .revents = 0};
    ::poll(&interrupt, 1, poll_timeout(std::min(next_attempt, deadline)));
  }
}

// ---- what is said -------------------------------------------------------------------------------

Result<> AgentConnection::handle(const Line& line) {
  const auto received = base::monotonic_now();
  auto message = read_message(line);
  if (!message) {
    return give_up({.kind = ErrorKind::input,
                    .message = fmt::format("broke the protocol: {}", message.error().message)});
  }
  if (message->type == MessageType::heartbeat) return {};
  const std::uint64_t id = message->id.value_or(0);
  if (id == 0) {
    std::string told =
        fmt::format("broke the protocol: a {} without an id", base::enum_name(message->type));
    if (const auto& refusal = message->error; message->type == MessageType::error && refusal) {
      told = fmt::format("refused what it read: {}", refusal->error.message);
    }
    return give_up({.kind = ErrorKind::input, .message = std::move(told)});
  }
  if (id == attach_id_) {
    attached_ = *std::move(message);
    return {};
  }
  if (!session_.empty() && is_last_answer(message->type) && received_.size() < most_received) {
    received_.push_back(id);
  }
  // Nobody waits for it any more: a late result.
  const auto found = sent_.find(id);
  if (found == sent_.end()) return {};
  SentCommand& command = found->second;
  switch (message->type) {
    case MessageType::hello:
      return give_up({.kind = ErrorKind::input, .message = "broke the protocol: a second hello"});
    case MessageType::attached:
    case MessageType::heartbeat:
      break;
    case MessageType::started:
      command.worker_pid = message->worker_pid;
      break;
    case MessageType::ready:
      command.ready = std::move(message->endpoints);
      break;
    case MessageType::result:
      command.result = std::move(message->result);
      break;
    case MessageType::error:
      command.error = std::move(message->error);
      break;
    case MessageType::stopping:
      sent_.erase(found);
      break;
    case MessageType::pong:
      command.pong = {MonotonicTime{message->monotonic_ns}, received};
      break;
  }
  return {};
}

// The first line is a greeting, of whatever version; all others are answers.
Result<> AgentConnection::handle_greeting(const Line& line) {
  const auto message = read_message(line);
  Hello greeting = message ? message->hello.value_or(Hello{}) : Hello{};
  if (!message || message->type != MessageType::hello || greeting.version.empty()) {
    return give_up({.kind = ErrorKind::input,
                    .message = fmt::format(
                        "did not greet as stackbench-agent does: {}",
                        message ? std::string_view("another message") : message.error().message)});
  }
  hello_ = std::move(greeting);
  return {};
}

Result<std::uint64_t> AgentConnection::send(Command command, std::string what,
                                            base::Duration patience) {
  if (broken_) return std::unexpected(*broken_);
  command.id = ++last_id_;
  command.received = received_;
  std::string line = to_line(command);
  if (line.size() > longest_command) {
    return base::fail(ErrorKind::input, "{}: {}: a command of {} bytes is too long", name_, what,
                      line.size());
  }
  received_.clear();
  auto& sent = sent_[command.id];
  sent = {.what = std::move(what), .deadline = base::monotonic_now() + patience};
  if (!session_.empty()) sent.line = line;
  if (auto written = write(line); !written) {
    sent_.erase(command.id);
    return std::unexpected(std::move(written).error());
  }
  return command.id;
}

Result<> AgentConnection::send_stop(std::uint64_t job_id, base::Duration patience) {
  if (broken_) return std::unexpected(*broken_);
  const std::string line =
      to_line(Command{.type = CommandType::stop, .id = ++last_id_, .job_id = job_id});
  if (const auto job = sent_.find(job_id); job != sent_.end()) {
    job->second.deadline = base::monotonic_now() + patience;
    if (!session_.empty()) job->second.stop_line = line;
  }
  return write(line);
}

Result<> AgentConnection::write(std::string_view line) {
  // There is none after an interrupt that came while it was being replaced.
  if (!commands_) return replace_stream();
  const auto sent = commands_->send(line, base::monotonic_now() + send_patience, interrupt_fd());
  if (sent) return {};
  if (sent.error().kind == ErrorKind::interrupted) return interrupted();
  // With the stream comes whatever had not arrived.
  if (sent.error().kind == ErrorKind::peer_lost || !session_.empty()) return replace_stream();
  return give_up({.kind = sent.error().kind,
                  .message = fmt::format("could not be told: {}", sent.error().message)});
}

}  // namespace bench
