// The init of a sandbox: what runs as pid 1 of its PID namespace. It is a fork of ours without an
// exec, made where other threads may hold locks, so it makes system calls and nothing else.
#pragma once

#include <cstdint>
#include <string_view>

namespace cluster {

enum class InitStep : std::int32_t {
  ready,
  descriptors,
  private_mounts,
  run_directory,
  proc,
  sysfs,
  loopback,
};

// What init writes once: that it is ready, or the step that failed and its errno.
struct InitReport {
  InitStep step = InitStep::ready;
  std::int32_t code = 0;
};

// "mounting /proc", for messages.
[[nodiscard]] std::string_view init_step_name(InitStep step);

// The mend where mounts cannot be made private because "/" is none: EINVAL of mount(2).
inline constexpr std::string_view root_is_no_mount =
    "The root directory is no mount point, as in a plain chroot: bind-mount it onto itself before "
    "chroot(1), or use a container.";

// Sets the namespaces up, reports on `report_fd` and then reaps children until `alive_fd` reads
// end of file.
[[noreturn]] void run_init(int alive_fd, int report_fd);

}  // namespace cluster
