// The init of a sandbox: what runs as pid 1 of its PID namespace. It is a fork of ours without an
// exec, made where other threads may hold locks, so it makes system calls and nothing else.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace cluster {

enum class InitStep : std::int32_t {
  ready,
  descriptors,
  private_mounts,
  run_directory,
  proc,
  sysfs,
  loopback,
  hostname,
  clock,
  kept_directories,
  mounts,
};

// One mount(2), as it is called; an empty text is a null pointer.
struct InitMount {
  std::string source;
  std::string target;
  std::string type = {};
  unsigned long flags = 0;
  std::string data = {};
};

// How many directories a plan can keep: there is no heap where they are held.
inline constexpr std::size_t most_kept = 8;

// What init sets up beside what every sandbox has. It is made before the fork and only read there.
struct InitPlan {
  std::string hostname = {};  // empty: the one it finds
  // How far CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead of those where it is made, not negative;
  // 0: they are the same, and no time namespace is made.
  base::Duration clock_ahead{0};
  std::vector<InitMount> mounts = {};  // in their order, after its own
  // Directories that stay where they are though one of `mounts` covers them. What covers them holds
  // a directory of that path to put each on.
  std::vector<std::string> kept = {};
};

// What init writes once: that it is ready, or the step that failed and its errno.
struct InitReport {
  InitStep step = InitStep::ready;
  std::int32_t code = 0;
  std::uint32_t index = 0;  // of the mount or directory that failed
};

// "mounting /proc", for messages.
[[nodiscard]] std::string_view init_step_name(InitStep step);

// The mend where mounts cannot be made private because "/" is none: EINVAL of mount(2).
inline constexpr std::string_view root_is_no_mount =
    "The root directory is no mount point, as in a plain chroot: bind-mount it onto itself before "
    "chroot(1), or use a container.";

// Sets the namespaces up, reports on `report_fd` and then reaps children until `alive_fd` reads
// end of file.
[[noreturn]] void run_init(int alive_fd, int report_fd, const InitPlan& plan);

}  // namespace cluster
