#include "cluster/fabric/sandbox.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/pidfd.h"
#include "cluster/fabric/init.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;
using base::UniqueFd;

constexpr int end_patience_ms = 10'000;
constexpr int every_namespace = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWUTS;

struct PipeEnds {
  UniqueFd read;
  UniqueFd write;
};

Result<PipeEnds> make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) < 0) return base::system_error(errno, "pipe2");
  return PipeEnds{UniqueFd(ends[0]), UniqueFd(ends[1])};
}

std::unexpected<base::Error> refused(int code, std::string_view what) {
  auto error = base::system_error(code, "making the sandbox: {}", what);
  if (error.error().kind == ErrorKind::not_permitted) {
    error.error().mend =
        "Namespaces need root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it with sudo, or in a "
        "privileged container.";
  }
  return error;
}

// Waits for the process behind a pidfd to become a zombie.
bool ended_within(int pidfd, int milliseconds) {
  pollfd watched{.fd = pidfd, .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(milliseconds);
  while (true) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const int ready =
        ::poll(&watched, 1, static_cast<int>(std::max<std::int64_t>(0, left.count())));
    if (ready >= 0 || errno != EINTR) return ready > 0;
  }
}

// Enters these namespaces of init, and with its mounts its root directory: setns(2) leads to the
// root of the mount namespace, which is another directory where we run below chroot(1).
Result<> enter_sandbox(int init_pidfd, int init_root, int namespaces) {
  if (::setns(init_pidfd, namespaces) < 0 || ::fchdir(init_root) < 0 || ::chroot(".") < 0) {
    return base::system_error(errno, "entering the sandbox");
  }
  return {};
}

// What enters a place between fork and exec: opened beforehand, so that the child only makes
// system calls.
class Entrance {
 public:
  static Result<std::shared_ptr<Entrance>> open(int init_pidfd, int init_root, bool own_clock,
                                                const Place& place) {
    auto entrance = std::make_shared<Entrance>();
    entrance->init_pidfd_ = init_pidfd;
    if (own_clock) entrance->namespaces_ |= CLONE_NEWTIME;
    entrance->init_root_ = init_root;
    entrance->netns_ = place.netns;
    if (!place.cgroup.empty()) {
      const std::string path = place.cgroup + "/cgroup.procs";
      entrance->cgroup_.reset(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
      if (!entrance->cgroup_) return base::system_error(errno, "{}", path);
    }
    return entrance;
  }

  Result<> enter() const {
    if (cgroup_ && ::write(cgroup_.get(), "0", 1) < 0) {
      return base::system_error(errno, "joining a cgroup");
    }
    // All at once by init's pidfd (Linux 5.8), then the place's own network namespace.
    RETURN_IF_ERROR(enter_sandbox(init_pidfd_, init_root_, namespaces_));
    if (netns_ >= 0 && ::setns(netns_, CLONE_NEWNET) < 0) {
      return base::system_error(errno, "entering a network namespace");
    }
    return {};
  }

 private:
  int init_pidfd_ = -1;
  int init_root_ = -1;
  int namespaces_ = every_namespace;
  int netns_ = -1;
  UniqueFd cgroup_;
};

// clone(2) with the child's pidfd. The raw call, because glibc's fork cannot say CLONE_NEW*: the
// child makes system calls only.
long clone_with_pidfd(unsigned long flags, int* pidfd) {
  return ::syscall(SYS_clone, flags | CLONE_PIDFD | SIGCHLD, 0, pidfd, 0, 0);
}

// As our PID namespace numbers it; -1 when it is gone.
pid_t pid_behind(int pidfd) {
  const auto info = base::read_file(fmt::format("/proc/self/fdinfo/{}", pidfd), 4096);
  if (!info) return -1;
  constexpr std::string_view field = "Pid:\t";
  const auto at = info->find(field);
  if (at == std::string::npos) return -1;
  pid_t pid = -1;
  std::from_chars(info->data() + at + field.size(), info->data() + info->size(), pid);
  return pid;
}

// "mounting /var/lib", "raising lo".
std::string step_that_failed(const InitReport& report, const InitPlan& plan) {
  std::string step(init_step_name(report.step));
  if (report.step == InitStep::mounts && report.index < plan.mounts.size()) {
    return fmt::format("{} {}", step, plan.mounts[report.index].target);
  }
  if (report.step == InitStep::kept_directories && report.index < plan.kept.size()) {
    return fmt::format("{}: {}", step, plan.kept[report.index]);
  }
  return step;
}

std::string netns_batch(std::string_view verb, const std::vector<std::string>& names) {
  std::string batch;
  for (const auto& name : names) batch += fmt::format("netns {} {}\n", verb, name);
  return batch;
}

std::string sysctl_path(std::string name) {
  std::replace(name.begin(), name.end(), '.', '/');
  return "/proc/sys/" + name;
}

}  // namespace

Result<UniqueFd> Sandbox::clone_init(const SandboxOptions& options, int alive_fd, int report_fd) {
  unsigned long flags = CLONE_NEWPID | CLONE_NEWNS;
  if (options.netns < 0) flags |= CLONE_NEWNET;
  if (!options.init.hostname.empty()) flags |= CLONE_NEWUTS;
  int pidfd = -1;
  if (options.within == nullptr) {
    const long pid = clone_with_pidfd(flags, &pidfd);
    if (pid == 0) run_init(alive_fd, report_fd, options.init);
    if (pid < 0) return refused(errno, "clone");
    return UniqueFd(pidfd);
  }
  ASSIGN_OR_RETURN(const PipeEnds answer, make_pipe());
  const auto clone_twice = [&]() -> Result<> {
    // A PID namespace is made below another by a member of that one alone, and setns(2) makes
    // members of the children only. The first child shares our descriptors, so that the pidfd it is
    // given is ours; the second one is our child by CLONE_PARENT.
    const long helper = ::syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (helper < 0) return refused(errno, "clone");
    if (helper == 0) {
      const long pid = clone_with_pidfd(flags | CLONE_PARENT, &pidfd);
      if (pid == 0) run_init(alive_fd, report_fd, options.init);
      const int outcome = pid < 0 ? -errno : pidfd;
      std::ignore = ::write(answer.write.get(), &outcome, sizeof(outcome));
      ::_exit(0);
    }
    while (::waitpid(static_cast<pid_t>(helper), nullptr, 0) < 0 && errno == EINTR) {
    }
    int outcome = -EIO;
    if (::fcntl(answer.read.get(), F_SETFL, O_NONBLOCK) == 0) {
      std::ignore = ::read(answer.read.get(), &outcome, sizeof(outcome));
    }
    if (outcome < 0) return refused(-outcome, "clone");
    pidfd = outcome;
    return {};
  };
  RETURN_IF_ERROR(options.within->on_a_thread_inside(
      options.netns, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET, clone_twice));
  return UniqueFd(pidfd);
}

Result<Sandbox> Sandbox::create(const SandboxOptions& options) {
  if (options.init.kept.size() > most_kept) {
    return base::fail(ErrorKind::input, "making the sandbox: it can keep {} directories",
                      most_kept);
  }
  ASSIGN_OR_RETURN(PipeEnds alive, make_pipe());
  ASSIGN_OR_RETURN(PipeEnds report, make_pipe());
  ASSIGN_OR_RETURN(UniqueFd pidfd, clone_init(options, alive.read.get(), report.write.get()));
  const pid_t init = pid_behind(pidfd.get());
  Sandbox sandbox(init, std::move(pidfd), std::move(alive.write));
  sandbox.own_clock_ = options.init.clock_ahead.count() != 0;
  alive.read.reset();
  report.write.reset();

  InitReport ready;
  ssize_t count = 0;
  do {
    count = ::read(report.read.get(), &ready, sizeof(ready));
  } while (count < 0 && errno == EINTR);
  if (count != sizeof(ready)) {
    return base::fail(ErrorKind::system, "making the sandbox: its init ended early");
  }
  if (ready.code != 0) {
    auto error = refused(ready.code, step_that_failed(ready, options.init));
    if (ready.step == InitStep::private_mounts && ready.code == EINVAL) {
      error.error().mend = root_is_no_mount;
    }
    return error;
  }
  sandbox.root_.reset(
      ::open(fmt::format("/proc/{}/root", init).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!sandbox.root_) return refused(errno, "its root directory");
  return sandbox;
}

Sandbox::~Sandbox() { std::ignore = end(); }

Result<> Sandbox::end() {
  if (!pidfd_) return {};
  alive_.reset();
  // The pipe suffices; the signal is for an init that hangs in its set-up.
  ::pidfd_send_signal(pidfd_.get(), SIGKILL, nullptr, 0);
  if (!ended_within(pidfd_.get(), end_patience_ms)) {
    return base::fail(ErrorKind::timed_out,
                      "the sandbox's init {} does not end: one of its processes has not been "
                      "waited for",
                      init_);
  }
  siginfo_t info{};
  while (::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &info, WEXITED) < 0 && errno == EINTR) {
  }
  pidfd_.reset();
  return {};
}

Result<std::vector<Netns>> Sandbox::make_netns(const std::vector<std::string>& names) const {
  const auto open_all = [&]() -> Result<std::vector<Netns>> {
    RETURN_IF_ERROR(ip({}, netns_batch("add", names)));
    std::vector<Netns> all;
    for (const auto& name : names) {
      const std::string path = fmt::format("/proc/{}/root/run/netns/{}", init_, name);
      UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
      if (!fd) return base::system_error(errno, "{}", path);
      all.emplace_back(name, std::move(fd));
    }
    return all;
  };
  auto all = open_all();
  // One at a time, because ip stops at the first of those that were never made.
  if (!all) {
    for (const auto& name : names) std::ignore = remove_netns({name});
  }
  return all;
}

Result<> Sandbox::remove_netns(const std::vector<std::string>& names) const {
  return ip({}, netns_batch("del", names));
}

Result<base::Process> Sandbox::spawn(base::SpawnOptions options, const Place& place) const {
  ASSIGN_OR_RETURN(auto entrance, Entrance::open(pidfd_.get(), root_.get(), own_clock_, place));
  options.before_exec = [entrance] { return entrance->enter(); };
  options.enters_pid_namespace = true;
  return base::Process::spawn(options);
}

Result<std::string> Sandbox::run(const Place& place, const std::vector<std::string>& argv,
                                 std::string_view input, base::Duration timeout) const {
  ASSIGN_OR_RETURN(auto entrance, Entrance::open(pidfd_.get(), root_.get(), own_clock_, place));
  return base::run_for_output(argv, {.stdin_text = std::string(input),
                                     .timeout = timeout,
                                     .before_exec = [entrance] { return entrance->enter(); },
                                     .enters_pid_namespace = true});
}

Result<> Sandbox::ip(const Place& place, std::string_view batch) const {
  RETURN_IF_ERROR(run(place, {"ip", "-batch", "-"}, batch));
  return {};
}

Result<> Sandbox::inside(int netns, const std::function<Result<>()>& work) const {
  return on_a_thread_inside(netns, CLONE_NEWNS | CLONE_NEWNET, work);
}

Result<> Sandbox::on_a_thread_inside(int netns, int namespaces,
                                     const std::function<Result<>()>& work) const {
  Result<> outcome;
  const auto enter_and_work = [&]() -> Result<> {
    // setns(2) into a mount namespace asks for a root and working directory shared with nobody.
    if (::unshare(CLONE_FS) < 0) return base::system_error(errno, "unshare");
    RETURN_IF_ERROR(enter_sandbox(pidfd_.get(), root_.get(), namespaces));
    if (netns >= 0 && ::setns(netns, CLONE_NEWNET) < 0) {
      return base::system_error(errno, "entering a network namespace");
    }
    return work();
  };
  // A thread of its own, because a thread that has entered may fail to come back.
  try {
    std::thread([&] { outcome = enter_and_work(); }).join();
  } catch (const std::system_error& error) {
    return base::system_error(error.code().value(), "starting a thread");
  }
  return outcome;
}

Result<> write_sysctls(const std::map<std::string, std::string>& values) {
  for (const auto& [name, value] : values) {
    // /proc/sys takes one write(2) of the whole value; a file is never made or replaced there.
    const UniqueFd file(::open(sysctl_path(name).c_str(), O_WRONLY | O_CLOEXEC));
    if (!file) return base::system_error(errno, "sysctl {}", name);
    if (::write(file.get(), value.data(), value.size()) < 0) {
      return base::system_error(errno, "sysctl {}={}", name, value);
    }
  }
  return {};
}

Result<std::string> read_sysctl(const std::string& name) {
  ASSIGN_OR_RETURN(std::string text, base::read_file(sysctl_path(name), 4096));
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

}  // namespace cluster
