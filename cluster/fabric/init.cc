#include "cluster/fabric/init.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <tuple>

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace cluster {
namespace {

[[noreturn]] void report_and_exit(int report_fd, InitStep step, int code, std::uint32_t index) {
  const InitReport report{.step = step, .code = code, .index = index};
  std::ignore = ::write(report_fd, &report, sizeof(report));
  ::_exit(1);
}

// Lets go of everything inherited but the two pipes: an end of somebody's pipe kept here would
// keep that pipe open.
int keep_only(int alive_fd, int report_fd) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return errno;
  for (int standard = 0; standard < 3; ++standard) {
    if (::dup2(null, standard) < 0) return errno;
  }
  const auto low = static_cast<unsigned>(std::min(alive_fd, report_fd));
  const auto high = static_cast<unsigned>(std::max(alive_fd, report_fd));
  if (low > 3 && ::close_range(3, low - 1, 0) < 0) return errno;
  if (high > low + 1 && ::close_range(low + 1, high - 1, 0) < 0) return errno;
  return ::close_range(high + 1, UINT_MAX, 0) < 0 ? errno : 0;
}

int mount_run() {
  if (::mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755") < 0) return errno;
  // ip wants /run/netns, and lock files are looked for in /run/lock.
  if (::mkdir("/run/netns", 0755) < 0) return errno;
  return ::mkdir("/run/lock", 0755) < 0 ? errno : 0;
}

// A sysfs shows the network namespace it was mounted from, so ours is new; the file systems the
// host has below /sys come back on top of it.
int mount_sys() {
  constexpr std::array<const char*, 5> below{"/fs/cgroup", "/fs/bpf", "/kernel/debug",
                                             "/kernel/tracing", "/kernel/security"};
  if (::mkdir("/run/host-sys", 0700) < 0) return errno;
  if (::mount("/sys", "/run/host-sys", nullptr, MS_BIND | MS_REC, nullptr) < 0) return errno;
  if (::mount("sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) < 0) {
    return errno;
  }
  for (const char* directory : below) {
    std::array<char, 64> from{};
    std::array<char, 64> to{};
    ::snprintf(from.data(), from.size(), "/run/host-sys%s", directory);
    ::snprintf(to.data(), to.size(), "/sys%s", directory);
    if (::mount(from.data(), to.data(), nullptr, MS_BIND | MS_REC, nullptr) < 0 &&
        errno != ENOENT) {
      return errno;
    }
  }
  if (::umount2("/run/host-sys", MNT_DETACH) < 0) return errno;
  return ::rmdir("/run/host-sys") < 0 ? errno : 0;
}

const char* text_or_null(const std::string& text) { return text.empty() ? nullptr : text.c_str(); }

int mount_one(const InitMount& mount) {
  return ::mount(text_or_null(mount.source), mount.target.c_str(), text_or_null(mount.type),
                 mount.flags, text_or_null(mount.data)) < 0
             ? errno
             : 0;
}

// Takes hold of a directory with all that is mounted below it, before a mount covers it.
int take_hold(const std::string& directory) {
  return ::open_tree(AT_FDCWD, directory.c_str(),
                     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | static_cast<unsigned>(AT_RECURSIVE));
}

int raise_loopback() {
  const int control = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (control < 0) return errno;
  ifreq request{};
  ::strcpy(request.ifr_name, "lo");
  request.ifr_flags = IFF_UP;
  const int code = ::ioctl(control, SIOCSIFFLAGS, &request) < 0 ? errno : 0;
  ::close(control);
  return code;
}

// A time namespace takes its offsets before the first process is in it, and unshare(2) leads there
// only those that are made later: so the way in is setns(2).
int set_clock_ahead(base::Duration ahead) {
  if (::unshare(CLONE_NEWTIME) < 0) return errno;
  constexpr std::int64_t second = 1'000'000'000;
  const long long seconds = ahead.count() / second;
  const long long rest = ahead.count() % second;
  std::array<char, 128> text{};
  const int length =
      ::snprintf(text.data(), text.size(), "monotonic %lld %lld\nboottime %lld %lld\n", seconds,
                 rest, seconds, rest);
  const int offsets = ::open("/proc/self/timens_offsets", O_WRONLY | O_CLOEXEC);
  if (offsets < 0) return errno;
  if (::write(offsets, text.data(), static_cast<std::size_t>(length)) < 0) return errno;
  ::close(offsets);
  const int made = ::open("/proc/self/ns/time_for_children", O_RDONLY | O_CLOEXEC);
  if (made < 0) return errno;
  const int code = ::setns(made, CLONE_NEWTIME) < 0 ? errno : 0;
  ::close(made);
  return code;
}

}  // namespace

std::string_view init_step_name(InitStep step) {
  switch (step) {
    case InitStep::ready:
      return "starting";
    case InitStep::descriptors:
      return "closing descriptors";
    case InitStep::private_mounts:
      return "making mounts private";
    case InitStep::run_directory:
      return "mounting a private /run";
    case InitStep::proc:
      return "mounting /proc";
    case InitStep::sysfs:
      return "mounting /sys";
    case InitStep::loopback:
      return "raising lo";
    case InitStep::hostname:
      return "setting the host name";
    case InitStep::clock:
      return "making a time namespace";
    case InitStep::kept_directories:
      return "keeping a directory visible";
    case InitStep::mounts:
      return "mounting";
  }
  return "an unknown step";
}

void run_init(int alive_fd, int report_fd, const InitPlan& plan) {
  const auto must = [report_fd](InitStep step, int code, std::size_t index = 0) {
    if (code != 0) report_and_exit(report_fd, step, code, static_cast<std::uint32_t>(index));
  };
  const auto mount_code = [](int outcome) { return outcome < 0 ? errno : 0; };

  ::prctl(PR_SET_NAME, "stackbench-init");
  // A session of its own: no signal from our terminal comes here.
  ::setsid();
  // Ignored, children are reaped by the kernel and init has nothing else to do.
  struct sigaction ignored{};
  ignored.sa_handler = SIG_IGN;
  ::sigaction(SIGCHLD, &ignored, nullptr);

  must(InitStep::descriptors, keep_only(alive_fd, report_fd));
  must(InitStep::private_mounts,
       mount_code(::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr)));
  must(InitStep::run_directory, mount_run());
  must(InitStep::proc,
       mount_code(::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr)));
  must(InitStep::sysfs, mount_sys());
  must(InitStep::loopback, raise_loopback());
  if (!plan.hostname.empty()) {
    must(InitStep::hostname, mount_code(::sethostname(plan.hostname.data(), plan.hostname.size())));
  }
  if (plan.clock_ahead.count() != 0) must(InitStep::clock, set_clock_ahead(plan.clock_ahead));
  std::array<int, most_kept> held{};
  for (std::size_t i = 0; i < plan.kept.size(); ++i) {
    held[i] = take_hold(plan.kept[i]);
    must(InitStep::kept_directories, mount_code(held[i]), i);
  }
  for (std::size_t i = 0; i < plan.mounts.size(); ++i) {
    must(InitStep::mounts, mount_one(plan.mounts[i]), i);
  }
  for (std::size_t i = 0; i < plan.kept.size(); ++i) {
    must(InitStep::kept_directories,
         mount_code(
             ::move_mount(held[i], "", AT_FDCWD, plan.kept[i].c_str(), MOVE_MOUNT_F_EMPTY_PATH)),
         i);
    ::close(held[i]);
  }

  const InitReport ready{};
  std::ignore = ::write(report_fd, &ready, sizeof(ready));
  ::close(report_fd);
  while (true) {
    char byte = 0;
    const ssize_t count = ::read(alive_fd, &byte, 1);
    if (count == 0 || (count < 0 && errno != EINTR)) ::_exit(0);
  }
}

}  // namespace cluster
