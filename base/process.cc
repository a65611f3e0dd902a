#include "base/process.h"

#include <algorithm>
#include <array>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/pidfd.h"

namespace base {
namespace {

constexpr Duration kill_patience = std::chrono::seconds(5);

struct PipeEnds {
  UniqueFd read;
  UniqueFd write;
};

Result<PipeEnds> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return system_error(errno, "pipe2");
  return PipeEnds{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

// A copy above the standard descriptors, so that setting up 0, 1 and 2 in any order cannot
// overwrite a descriptor that is still to be copied.
Result<UniqueFd> copy_above_standard(int fd) {
  UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!copy) return system_error(errno, "duplicating descriptor {}", fd);
  return copy;
}

// The child's end of one standard descriptor; `ours` receives the other end of a pipe. Nothing is
// returned for an inherited descriptor.
Result<UniqueFd> child_end(const Stdio& stdio, int target, UniqueFd& ours) {
  switch (stdio.kind) {
    case Stdio::Kind::inherit:
      return UniqueFd();
    case Stdio::Kind::descriptor:
      return copy_above_standard(stdio.fd);
    case Stdio::Kind::null: {
      UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
      if (!null) return system_error(errno, "/dev/null");
      return copy_above_standard(null.get());
    }
    case Stdio::Kind::pipe:
      break;
  }
  ASSIGN_OR_RETURN(PipeEnds ends, make_pipe());
  ours = std::move(target == STDIN_FILENO ? ends.write : ends.read);
  return copy_above_standard((target == STDIN_FILENO ? ends.read : ends.write).get());
}

// What a child tells its parent when it cannot become the program, or that another one will.
struct ChildReport {
  std::int32_t successor = 0;  // the pid of the child that becomes the program; 0: a failure
  std::int32_t kind = 0;
  std::int32_t code = 0;
  std::array<char, 1000> message{};
};

[[noreturn]] void report_and_exit(int report_fd, const Error& error) {
  ChildReport failure{.kind = static_cast<std::int32_t>(error.kind),
                      .code = static_cast<std::int32_t>(error.code)};
  const std::size_t length = std::min(error.message.size(), failure.message.size() - 1);
  std::copy_n(error.message.data(), length, failure.message.data());
  // One write below PIPE_BUF arrives whole; nobody is left to tell when it fails.
  std::ignore = ::write(report_fd, &failure, sizeof(failure));
  ::_exit(127);
}

// Returns in a new child of our parent's. The raw call, because glibc's fork cannot say
// CLONE_PARENT; from here to exec the new child makes system calls only.
void hand_over_to_successor(int report_fd, std::string_view program) {
  const long pid = ::syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
  if (pid < 0) report_and_exit(report_fd, system_error(errno, "{}: clone", program).error());
  if (pid == 0) return;
  const ChildReport report{.successor = static_cast<std::int32_t>(pid)};
  std::ignore = ::write(report_fd, &report, sizeof(report));
  ::_exit(0);
}

void reset_signals() {
  struct sigaction standard{};
  standard.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &standard, nullptr);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (const auto& text : texts) result.push_back(const_cast<char*>(text.c_str()));
  result.push_back(nullptr);
  return result;
}

// Everything between fork and exec.
[[noreturn]] void become_program(const SpawnOptions& options, const std::string& path,
                                 const std::array<UniqueFd, 3>& ends, int report_fd, pid_t parent,
                                 char* const* argv, char* const* environment) {
  const auto die = [&](int code, std::string_view what) {
    report_and_exit(report_fd, system_error(code, "{}: {}", options.argv.front(), what).error());
  };
  ::setpgid(0, 0);
  for (int target = 0; target < 3; ++target) {
    const auto& end = ends[static_cast<std::size_t>(target)];
    if (end && ::dup2(end.get(), target) < 0) die(errno, "dup2");
  }
  // Whatever a library opened without close-on-exec stays out of the child, too.
  ::close_range(3, UINT_MAX, CLOSE_RANGE_CLOEXEC);
  if (!options.directory.empty() && ::chdir(options.directory.c_str()) < 0) {
    die(errno, options.directory);
  }
  if (options.before_exec) {
    if (auto done = options.before_exec(); !done) report_and_exit(report_fd, done.error());
  }
  if (options.enters_pid_namespace) {
    hand_over_to_successor(report_fd, options.argv.front());
    ::setpgid(0, 0);
  } else if (options.die_with_parent) {
    // After before_exec, because a change of credentials clears it. The parent may have ended
    // before the request took hold; it is another process's child then.
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
  }
  reset_signals();
  ::execve(path.c_str(), argv, environment);
  die(errno, "exec");
  ::_exit(127);
}

// Takes the pidfd of our unreaped child, whose pid cannot be another's yet; without one the child
// is killed and reaped.
Result<UniqueFd> open_pidfd(pid_t child) {
  UniqueFd pidfd(::pidfd_open(child, 0));
  if (pidfd) return pidfd;
  const int code = errno;
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  return system_error(code, "pidfd_open");
}

// Reads the children's reports until exec closes the pipe. Returns the successor's pid, or 0
// without one; a failure goes to `outcome`.
pid_t read_reports(int report_fd, Result<>& outcome) {
  pid_t successor = 0;
  while (true) {
    // Reports are of one size and written whole, so a read never takes half of one.
    ChildReport report;
    const ssize_t count = ::read(report_fd, &report, sizeof(report));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) outcome = system_error(errno, "reading the child's report");
    if (count <= 0) return successor;
    if (report.successor != 0) {
      successor = report.successor;
      continue;
    }
    report.message.back() = '\0';
    outcome = std::unexpected(Error{.kind = static_cast<ErrorKind>(report.kind),
                                    .message = report.message.data(),
                                    .code = report.code});
  }
}

// poll(2) until `deadline`, through EINTR. Returns whether something is ready.
Result<bool> poll_until(std::vector<pollfd>& fds, MonotonicTime deadline) {
  while (true) {
    const std::int64_t left = std::max<std::int64_t>(0, (deadline - monotonic_now()).count());
    const timespec span{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    const int ready = ::ppoll(fds.data(), fds.size(), &span, nullptr);
    if (ready > 0) return true;
    if (ready == 0) return false;
    if (errno != EINTR) return system_error(errno, "ppoll");
  }
}

// The text in an anonymous file: a stdin that needs no writer, cannot block and raises no SIGPIPE.
Result<UniqueFd> text_file(std::string_view text) {
  UniqueFd file(::memfd_create("stackbench-stdin", MFD_CLOEXEC));
  if (!file) return system_error(errno, "memfd_create");
  for (std::size_t written = 0; written < text.size();) {
    const ssize_t count = ::write(file.get(), text.data() + written, text.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(errno, "writing a program's input");
    written += static_cast<std::size_t>(count);
  }
  if (::lseek(file.get(), 0, SEEK_SET) < 0) return system_error(errno, "lseek");
  return file;
}

// Takes what a non-blocking descriptor holds; closes it at its end. Returns false when the limit
// is passed.
Result<bool> take(UniqueFd& from, std::string& into, std::size_t limit) {
  std::array<char, 65536> chunk;
  while (from) {
    const ssize_t count = ::read(from.get(), chunk.data(), chunk.size());
    if (count > 0) {
      into.append(chunk.data(), static_cast<std::size_t>(count));
      if (into.size() > limit) return false;
    } else if (count == 0) {
      from.reset();
    } else if (errno == EAGAIN) {
      break;
    } else if (errno != EINTR) {
      return system_error(errno, "reading a program's output");
    }
  }
  return true;
}

std::string command_line(const std::vector<std::string>& argv) {
  constexpr std::size_t longest = 200;
  std::string line = fmt::format("{}", fmt::join(argv, " "));
  if (line.size() > longest) line = line.substr(0, longest) + "...";
  return line;
}

// The last lines of an output, without the newline at its end.
std::string last_words(std::string_view text) {
  constexpr std::size_t longest = 2000;
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  if (text.size() > longest) text.remove_prefix(text.size() - longest);
  return std::string(text);
}

}  // namespace

std::string ExitStatus::to_string() const {
  if (signal == 0) return fmt::format("exit code {}", code);
  const char* description = ::sigdescr_np(signal);
  return fmt::format("signal {} ({})", signal, description ? description : "unknown");
}

Result<std::string> find_program(std::string_view name) {
  const auto runnable = [](const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
           ::access(path.c_str(), X_OK) == 0;
  };
  if (name.find('/') != std::string_view::npos) {
    if (runnable(std::string(name))) return std::string(name);
    return fail(ErrorKind::missing, "{}: not an executable file", name);
  }
  const char* path_variable = ::getenv("PATH");
  const std::string places = fmt::format("{}:/usr/sbin:/sbin", path_variable ? path_variable : "");
  for (std::size_t start = 0; start <= places.size() && !name.empty();) {
    const std::size_t end = std::min(places.find(':', start), places.size());
    // An empty entry of PATH means the current directory, where we take no tool from.
    if (end > start) {
      std::string candidate = fmt::format("{}/{}", places.substr(start, end - start), name);
      if (runnable(candidate)) return candidate;
    }
    start = end + 1;
  }
  // Debian's packages of the tools that are not called like them.
  constexpr std::array packages{
      std::pair<std::string_view, std::string_view>{"nft", "nftables"},
      std::pair<std::string_view, std::string_view>{"iptables-restore", "iptables"},
      std::pair<std::string_view, std::string_view>{"ip6tables-restore", "iptables"},
      std::pair<std::string_view, std::string_view>{"ip", "iproute2"},
      std::pair<std::string_view, std::string_view>{"tc", "iproute2"}};
  const auto package =
      std::ranges::find(packages, name, &std::pair<std::string_view, std::string_view>::first);
  return fail_with_mend(
      ErrorKind::missing, fmt::format("{}: not found in PATH", name),
      package == packages.end()
          ? "Install it, or add its directory to PATH."
          : fmt::format("Install it (apt-get install {}), or add its directory to PATH.",
                        package->second));
}

Result<Process> Process::spawn(const SpawnOptions& options) {
  if (options.argv.empty()) return fail(ErrorKind::input, "a program without a name");
  ASSIGN_OR_RETURN(const std::string path, find_program(options.argv.front()));

  UniqueFd in, out, err;
  ASSIGN_OR_RETURN(UniqueFd child_in, child_end(options.in, STDIN_FILENO, in));
  ASSIGN_OR_RETURN(UniqueFd child_out, child_end(options.out, STDOUT_FILENO, out));
  ASSIGN_OR_RETURN(UniqueFd child_err, child_end(options.err, STDERR_FILENO, err));
  const std::array<UniqueFd, 3> ends{std::move(child_in), std::move(child_out),
                                     std::move(child_err)};
  ASSIGN_OR_RETURN(PipeEnds report, make_pipe());
  ASSIGN_OR_RETURN(UniqueFd report_write, copy_above_standard(report.write.get()));
  report.write.reset();

  // Made before fork, so that the child allocates as little as it can.
  const std::vector<char*> argv = pointers(options.argv);
  const std::vector<char*> own_environment =
      options.environment ? pointers(*options.environment) : std::vector<char*>();
  char* const* environment = options.environment ? own_environment.data() : environ;
  const pid_t parent = ::getpid();

  const pid_t pid = ::fork();
  if (pid < 0) return system_error(errno, "fork");
  if (pid == 0) {
    become_program(options, path, ends, report_write.get(), parent, argv.data(), environment);
  }
  ASSIGN_OR_RETURN(UniqueFd pidfd, open_pidfd(pid));
  Process process(pid, std::move(pidfd));
  report_write.reset();
  Result<> outcome;
  const pid_t successor = read_reports(report.read.get(), outcome);
  if (successor != 0) {
    ASSIGN_OR_RETURN(UniqueFd successor_pidfd, open_pidfd(successor));
    // The first child ends by itself; assigning over it reaps it.
    process = Process(successor, std::move(successor_pidfd));
  }
  RETURN_IF_ERROR(outcome);
  process.in = std::move(in);
  process.out = std::move(out);
  process.err = std::move(err);
  return process;
}

Process::Process(Process&& other) noexcept
    : in(std::move(other.in)),
      out(std::move(other.out)),
      err(std::move(other.err)),
      pid_(std::exchange(other.pid_, -1)),
      pidfd_(std::move(other.pidfd_)),
      ended_(std::exchange(other.ended_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
  if (this != &other) {
    // An error here has nobody to go to: the old child could not be killed.
    if (pid_ > 0) std::ignore = kill();
    in = std::move(other.in);
    out = std::move(other.out);
    err = std::move(other.err);
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    ended_ = std::exchange(other.ended_, std::nullopt);
  }
  return *this;
}

Process::~Process() {
  if (pid_ > 0) std::ignore = kill();
}

Result<ExitStatus> Process::wait(Duration timeout) {
  if (ended_) return *ended_;
  std::vector<pollfd> fds{{.fd = pidfd_.get(), .events = POLLIN, .revents = 0}};
  ASSIGN_OR_RETURN(const bool ready, poll_until(fds, monotonic_now() + timeout));
  if (!ready) return fail(ErrorKind::timed_out, "process {} still runs", pid_);
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) < 0) {
    if (errno != EINTR) return system_error(errno, "waitid");
  }
  ended_ = info.si_code == CLD_EXITED ? ExitStatus{.code = info.si_status}
                                      : ExitStatus{.signal = info.si_status};
  return *ended_;
}

Result<> Process::signal(int number) {
  if (ended_) return {};
  if (::pidfd_send_signal(pidfd_.get(), number, nullptr, 0) < 0 && errno != ESRCH) {
    return system_error(errno, "signal {} to process {}", number, pid_);
  }
  return {};
}

void Process::detach() {
  pid_ = -1;
  pidfd_.reset();
}

Result<ExitStatus> Process::kill() {
  if (ended_) return *ended_;
  // Until it is reaped its pid, and so the number of its group, belongs to it.
  ::kill(-pid_, SIGKILL);
  // The child alone as well, in case it moved to another group.
  RETURN_IF_ERROR(signal(SIGKILL));
  return wait(kill_patience);
}

Result<RunResult> run(const std::vector<std::string>& argv, const RunOptions& options) {
  const MonotonicTime deadline = monotonic_now() + options.timeout;
  SpawnOptions spawn{.argv = argv,
                     .environment = options.environment,
                     .directory = options.directory,
                     .out = Stdio::pipe(),
                     .err = Stdio::pipe(),
                     .before_exec = options.before_exec,
                     .enters_pid_namespace = options.enters_pid_namespace};
  UniqueFd input;
  if (!options.stdin_text.empty()) {
    ASSIGN_OR_RETURN(input, text_file(options.stdin_text));
    spawn.in = Stdio::descriptor(input.get());
  }
  ASSIGN_OR_RETURN(Process process, Process::spawn(spawn));
  for (const UniqueFd* end : {&process.out, &process.err}) {
    if (::fcntl(end->get(), F_SETFL, O_NONBLOCK) < 0) return system_error(errno, "fcntl");
  }

  RunResult result;
  for (bool ended = false; !ended;) {
    // A closed descriptor is -1 here, which poll passes over.
    std::vector<pollfd> fds{{.fd = process.pidfd(), .events = POLLIN, .revents = 0},
                            {.fd = process.out.get(), .events = POLLIN, .revents = 0},
                            {.fd = process.err.get(), .events = POLLIN, .revents = 0},
                            {.fd = options.interrupt_fd, .events = POLLIN, .revents = 0}};
    ASSIGN_OR_RETURN(const bool ready, poll_until(fds, deadline));
    if (fds[3].revents != 0) {
      return fail(ErrorKind::interrupted, "{}: interrupted", command_line(argv));
    }
    // Its end is noted before the output is read, so that nothing written before it is missed.
    ended = fds[0].revents != 0;
    ASSIGN_OR_RETURN(const bool out_fits, take(process.out, result.out, options.output_limit));
    ASSIGN_OR_RETURN(const bool err_fits, take(process.err, result.err, options.output_limit));
    if (!out_fits || !err_fits) {
      return fail(ErrorKind::system, "{}: wrote more than {} bytes and was killed",
                  command_line(argv), options.output_limit);
    }
    if (!ready && !ended) {
      const std::string words = last_words(result.err);
      return fail(ErrorKind::timed_out, "{}: killed because it did not end within {} ms{}{}",
                  command_line(argv), options.timeout / std::chrono::milliseconds(1),
                  words.empty() ? "" : ": ", words);
    }
  }
  // kill() takes what it left running in its group, then reaps it with the status it already has.
  ASSIGN_OR_RETURN(result.status, process.kill());
  return result;
}

Result<std::string> run_for_output(const std::vector<std::string>& argv,
                                   const RunOptions& options) {
  ASSIGN_OR_RETURN(RunResult result, run(argv, options));
  if (result.status.success()) return std::move(result.out);
  const std::string words = last_words(result.err);
  return fail(ErrorKind::system, "{}: {}{}{}", command_line(argv), result.status.to_string(),
              words.empty() ? "" : ": ", words);
}

}  // namespace base
