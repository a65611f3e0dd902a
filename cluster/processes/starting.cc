#include "cluster/processes/starting.h"

#include <chrono>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "base/process.h"
#include "cluster/processes/provider.h"
#include "cluster/processes/supervisor.h"

namespace cluster::processes {
namespace {

using base::ErrorKind;
using base::Result;

constexpr base::Duration end_patience = std::chrono::seconds(60);

// An error as it crosses the pipe.
struct ToldError {
  int kind = 0;
  std::string message;
  std::string mend;
};

template <typename Visit, base::SelfOf<ToldError> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind,
        {.doc = "Of base::ErrorKind.",
         .required = true,
         .at_least = 0,
         .at_most = static_cast<double>(ErrorKind::interrupted)});
  visit("message", self.message, {.doc = "What happened.", .required = true});
  visit("mend", self.mend, {.doc = "What can be done."});
}

// Reads lines from the supervisor until one says how the start ended.
class ReportReader {
 public:
  ReportReader(int fd, int interrupt_fd) : fd_(fd), interrupt_fd_(interrupt_fd) {}

  // Errors: interrupted; system, when the supervisor is gone without a word.
  Result<StartReport> next() {
    while (true) {
      if (const auto end = pending_.find('\n'); end != std::string::npos) {
        const auto line = pending_.substr(0, end);
        pending_.erase(0, end + 1);
        return from_line(line);
      }
      pollfd watched[2] = {{.fd = fd_, .events = POLLIN, .revents = 0},
                           {.fd = interrupt_fd_, .events = POLLIN, .revents = 0}};
      if (::poll(static_cast<pollfd*>(watched), 2, -1) < 0) {
        if (errno == EINTR) continue;
        return base::system_error(errno, "poll");
      }
      if (watched[1].revents != 0) return base::fail(ErrorKind::interrupted, "interrupted");
      char chunk[4096];
      const ssize_t count = ::read(fd_, static_cast<char*>(chunk), sizeof(chunk));
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return base::system_error(errno, "reading from the supervisor");
      if (count == 0) return base::fail(ErrorKind::system, "the supervisor ended without a word");
      pending_.append(static_cast<char*>(chunk), static_cast<std::size_t>(count));
    }
  }

 private:
  int fd_;
  int interrupt_fd_;
  std::string pending_;
};

void write_line(const StartReport& report) {
  // Whoever waits may be gone; the supervisor sees that by itself.
  const auto line = to_line(report);
  std::ignore = ::write(STDOUT_FILENO, line.data(), line.size());
}

// What goes on alone holds no descriptor of whoever started it.
void let_go_of_output() {
  const base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!null) return;
  for (const int fd : {STDOUT_FILENO, STDERR_FILENO}) std::ignore = ::dup2(null.get(), fd);
}

}  // namespace

std::string to_line(const StartReport& report) {
  base::Json json = base::Json::object();
  switch (report.kind) {
    case StartReport::Kind::progress:
      json["progress"] = report.text;
      break;
    case StartReport::Kind::ready:
      json["ready"] = true;
      break;
    case StartReport::Kind::failed:
      json["failed"] = base::to_json(ToldError{.kind = static_cast<int>(report.error.kind),
                                               .message = report.error.message,
                                               .mend = report.error.mend});
      break;
  }
  return base::dump_json(json) + "\n";
}

Result<StartReport> from_line(std::string_view line) {
  ASSIGN_OR_RETURN(const auto json, base::parse_json(line));
  if (json.contains("ready")) return StartReport{.kind = StartReport::Kind::ready};
  if (json.contains("progress") && json["progress"].is_string()) {
    return StartReport{.kind = StartReport::Kind::progress,
                       .text = json["progress"].get<std::string>()};
  }
  if (!json.contains("failed")) {
    return base::fail(ErrorKind::input, "the supervisor said: {}", line);
  }
  ASSIGN_OR_RETURN(auto told, base::from_json<ToldError>(json["failed"], "failed"));
  return StartReport{.kind = StartReport::Kind::failed,
                     .error = {.kind = static_cast<ErrorKind>(told.kind),
                               .message = std::move(told.message),
                               .mend = std::move(told.mend)}};
}

std::vector<std::string> supervise_words(const Shape& shape, const Directory& directory,
                                         const std::string& tools) {
  std::vector<std::string> words{std::string(supervise_command),
                                 "--directory",
                                 directory.path(),
                                 "--tools",
                                 tools,
                                 "--name",
                                 shape.name,
                                 "--nodes",
                                 std::to_string(shape.nodes),
                                 "--proxy",
                                 std::string(base::enum_name(shape.proxy)),
                                 "--cni",
                                 std::string(base::enum_name(shape.cni)),
                                 "--bgp",
                                 std::string(base::enum_name(shape.bgp)),
                                 "--mesh",
                                 std::string(base::enum_name(shape.mesh))};
  for (const auto& clock : clock_words(shape)) words.insert(words.end(), {"--clock-ahead", clock});
  return words;
}

Result<> start_supervisor(const Shape& shape, const Directory& directory, const std::string& tools,
                          const base::Interrupt& interrupt,
                          const std::function<void(const std::string&)>& progress) {
  std::error_code code;
  const auto own = std::filesystem::read_symlink("/proc/self/exe", code);
  if (code) return base::system_error(code.value(), "/proc/self/exe");
  auto argv = supervise_words(shape, directory, tools);
  argv.insert(argv.begin(), own.string());
  ASSIGN_OR_RETURN(auto supervisor,
                   base::Process::spawn({.argv = argv,
                                         .directory = "/",
                                         .out = base::Stdio::pipe(),
                                         .err = base::Stdio::null(),
                                         .die_with_parent = false,
                                         .before_exec = []() -> Result<> {
                                           // No longer the leader of a group, which may not.
                                           std::ignore = ::setpgid(0, ::getpgid(::getppid()));
                                           if (::setsid() < 0)
                                             return base::system_error(errno, "setsid");
                                           return {};
                                         }}));
  ReportReader reports(supervisor.out.get(), interrupt.fd());
  while (true) {
    auto report = reports.next();
    if (report && report->kind == StartReport::Kind::progress) {
      progress(report->text);
      continue;
    }
    if (report && report->kind == StartReport::Kind::ready) {
      supervisor.detach();
      return {};
    }
    // It takes down what it has made; only then is this over.
    RETURN_IF_ERROR(supervisor.signal(SIGTERM));
    RETURN_IF_ERROR(supervisor.wait(end_patience));
    return std::unexpected(report ? std::move(report->error) : std::move(report).error());
  }
}

Result<> supervise(const Shape& shape, const Directory& directory, const std::string& tools_root,
                   const base::Interrupt& interrupt) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto keep = [&]() -> Result<> {
    ASSIGN_OR_RETURN(auto tools, find_tools(tools_root, shape));
    Supervisor supervisor(shape, directory, std::move(tools),
                          {.interrupt_fd = interrupt.fd(), .waiting_fd = STDOUT_FILENO},
                          [](const std::string& text) {
                            write_line({.kind = StartReport::Kind::progress, .text = text});
                          });
    auto done = supervisor.bring_up();
    if (done) {
      write_line({.kind = StartReport::Kind::ready});
      let_go_of_output();
      done = supervisor.watch();
    }
    auto ended = supervisor.end();
    return done ? ended : done;
  };
  auto outcome = keep();
  if (!outcome) write_line({.kind = StartReport::Kind::failed, .error = outcome.error()});
  return outcome;
}

}  // namespace cluster::processes
