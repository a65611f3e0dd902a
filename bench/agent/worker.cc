#include "bench/agent/worker.h"

#include <array>
#include <cstdio>
#include <string>

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/agent/line.h"
#include "bench/agent/protocol.h"

namespace bench {
namespace {

using base::ErrorKind;
using base::Result;

// How long a supervisor may take to read a result.
constexpr base::Duration patience = std::chrono::seconds(30);

// The job's line, and not a byte more: what follows it is the stop, which others wait for.
Result<std::string> read_job(int fd) {
  std::string line;
  std::array<char, 4096> chunk;
  while (line.size() <= longest_command) {
    const ssize_t peeked = ::recv(fd, chunk.data(), chunk.size(), MSG_PEEK);
    if (peeked < 0 && errno == EINTR) continue;
    if (peeked < 0) return base::system_error(errno, "reading the job");
    if (peeked == 0) return base::fail(ErrorKind::interrupted, "stopped before the job was read");
    const std::string_view seen(chunk.data(), static_cast<std::size_t>(peeked));
    const auto newline = seen.find('\n');
    const std::size_t wanted = newline == std::string_view::npos ? seen.size() : newline + 1;
    if (::recv(fd, chunk.data(), wanted, 0) != static_cast<ssize_t>(wanted)) {
      return base::system_error(errno, "reading the job");
    }
    line.append(chunk.data(), wanted);
    if (newline != std::string_view::npos) {
      line.pop_back();
      return line;
    }
  }
  return base::fail(ErrorKind::input, "job: longer than {} bytes", longest_command);
}

template <typename T>
Result<base::Json> as_json(Result<T> result) {
  if (!result) return std::unexpected(std::move(result).error());
  return base::to_json(*result);
}

// Does a job once it is read; `more` is what `invoke` takes beside it and the stop.
template <typename Job, typename Invoke, typename... More>
Result<base::Json> carry_out(Result<Job> job, const Invoke& invoke, const More&... more) {
  if (!job) return std::unexpected(std::move(job).error());
  if (!invoke) return base::fail(ErrorKind::missing, "this agent does no such job");
  return as_json(invoke(*job, STDIN_FILENO, more...));
}

Result<base::Json> do_job(const Invocations& invocations,
                          const std::function<void(const Message&)>& say) {
  ASSIGN_OR_RETURN(const std::string line, read_job(STDIN_FILENO));
  const auto command = parse_command(line);
  if (!command) return std::unexpected(command.error().error);
  const base::Json job = command->job.value_or(base::Json());
  const auto listens = [&](const std::vector<base::Endpoint>& endpoints) {
    say({.type = MessageType::ready, .endpoints = endpoints});
  };
  const auto ready = [&] { say({.type = MessageType::ready}); };
  switch (command->type) {
    case CommandType::run:
      return carry_out(parse_client_job(job), invocations.run_client);
    case CommandType::serve:
      return carry_out(parse_server_job(job), invocations.run_server, listens);
    case CommandType::observe:
      return carry_out(base::from_json<probes::TranslationJob>(job, "job"), invocations.observe,
                       ready);
    case CommandType::watch_drops:
      return carry_out(base::from_json<probes::DropsJob>(job, "job"), invocations.watch_drops,
                       ready);
    case CommandType::reach:
      return carry_out(parse_reach_job(job), invocations.reach);
    case CommandType::listen:
      return carry_out(parse_listen_job(job), invocations.listen, listens);
    case CommandType::send_flows:
      return carry_out(parse_flow_send_job(job), invocations.send_flows, ready);
    case CommandType::receive_flows:
      return carry_out(parse_flow_receive_job(job), invocations.receive_flows, ready);
    case CommandType::hold:
      return carry_out(parse_hold_job(job), invocations.hold, ready);
    case CommandType::capture:
      return carry_out(probes::parse_capture_job(job), invocations.capture, ready);
    case CommandType::tls_probe:
      return carry_out(parse_tls_probe_job(job), invocations.tls_probe);
    case CommandType::knock:
      return carry_out(parse_knock_job(job), invocations.knock, ready);
    case CommandType::attach:
    case CommandType::stop:
    case CommandType::kill:
    case CommandType::ping:
    case CommandType::heartbeat:
      break;
  }
  return base::fail(ErrorKind::input, "{}: no job for a worker", base::enum_name(command->type));
}

}  // namespace

Result<base::UniqueFd> take_stdout() {
  base::UniqueFd own(::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10));
  if (!own) return base::system_error(errno, "duplicating stdout");
  if (::dup2(STDERR_FILENO, STDOUT_FILENO) < 0) return base::system_error(errno, "dup2");
  return own;
}

int worker_main(const Invocations& invocations) {
  // Executed through /proc/self/exe, it would be called "exe" in ps and in kernel messages.
  ::prctl(PR_SET_NAME, "stackbench-work");
  const auto output = take_stdout();
  if (!output) {
    fmt::print(stderr, "stackbench-agent worker: {}\n", describe_error(output.error()));
    return 1;
  }
  Result<> written;
  const auto say = [&](const Message& message) {
    std::string line = to_line(message);
    if (line.size() > longest_message) {
      line = to_line({.type = MessageType::error,
                      .error = WireError{{.kind = ErrorKind::system,
                                          .message = fmt::format("a result of {} bytes is too long",
                                                                 line.size())}}});
    }
    // After a first failure nobody reads any more; say so once, at the end.
    if (written) {
      written = write_whole(output->get(), line, base::monotonic_now() + patience, -1);
    }
  };
  auto result = do_job(invocations, say);
  if (result) {
    say({.type = MessageType::result, .result = *std::move(result)});
  } else {
    say({.type = MessageType::error, .error = WireError{std::move(result).error()}});
  }
  if (!written) {
    fmt::print(stderr, "stackbench-agent worker: {}\n", describe_error(written.error()));
    return 1;
  }
  return 0;
}

}  // namespace bench
