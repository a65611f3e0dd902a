#include "cluster/processes/remains.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/file.h"
#include "cluster/fabric/cgroup.h"
#include "cluster/processes/files.h"
#include "cluster/processes/state.h"

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using base::Result;

constexpr base::Duration end_patience = std::chrono::seconds(10);

// Whether the init of the cluster's root namespace still runs. As it ends, the kernel kills
// everything in there before anything else; how long it then stays depends on who waits for
// orphans.
bool root_runs(const ClusterState& state) {
  const auto stat = base::read_file(fmt::format("/proc/{}/stat", state.root), 4096);
  return state.root > 0 && stat && stat->find("(stackbench-init) ") != std::string::npos &&
         !is_ending(*stat);
}

Result<> wait_for_the_end(const ClusterState& state) {
  const auto deadline = base::monotonic_now() + end_patience;
  while (root_runs(state)) {
    if (base::monotonic_now() > deadline) {
      return base::fail(ErrorKind::timed_out, "cluster {}: its processes do not end (init is {})",
                        state.shape.name, state.root);
    }
    ::poll(nullptr, 0, 10);  // between two looks
  }
  return {};
}

Result<> remove_cgroups(const ClusterState& state) {
  if (!RunId::parse(state.cgroup)) return {};
  ASSIGN_OR_RETURN(const auto hierarchies, find_hierarchies());
  for (const auto& hierarchy : hierarchies) {
    RETURN_IF_ERROR(remove_cgroup_tree(hierarchy.path + "/" + state.cgroup));
  }
  return {};
}

Result<> remove_path(const fs::path& path) {
  const auto deadline = base::monotonic_now() + end_patience;
  std::error_code code;
  fs::remove_all(path, code);
  // What has been killed may still be writing while it is removed.
  while (code == std::errc::directory_not_empty && base::monotonic_now() < deadline) {
    ::poll(nullptr, 0, 10);
    fs::remove_all(path, code);
  }
  if (code) return base::system_error(code.value(), "remove {}", path.string());
  return {};
}

bool is_at(int fd, const std::string& path) {
  struct stat own{};
  struct stat there{};
  return ::fstat(fd, &own) == 0 && ::stat(path.c_str(), &there) == 0 &&
         own.st_ino == there.st_ino && own.st_dev == there.st_dev;
}

}  // namespace

Result<base::UniqueFd> lock_directory(const Directory& directory) {
  const auto deadline = base::monotonic_now() + end_patience;
  while (base::monotonic_now() < deadline) {
    RETURN_IF_ERROR(make_directory(directory.path()));
    if (::chmod(directory.path().c_str(), 0700) < 0 && errno != ENOENT) {
      return base::system_error(errno, "{}", directory.path());
    }
    base::UniqueFd lock(::open(directory.lock().c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!lock && errno == ENOENT) continue;  // another process is removing the directory
    if (!lock) return base::system_error(errno, "{}", directory.lock());
    if (::flock(lock.get(), LOCK_EX | LOCK_NB) < 0) {
      return base::fail_with_mend(
          ErrorKind::usage,
          fmt::format("cluster {}: another process is bringing it up or taking it down",
                      fs::path(directory.path()).filename().string()),
          "Wait for that one, or see `stackbench status`.");
    }
    // What we have locked may have been removed while we waited for it.
    if (is_at(lock.get(), directory.lock())) return lock;
  }
  return base::fail(ErrorKind::timed_out, "{}: cannot be locked", directory.lock());
}

Result<> remove_remains(const Directory& directory, bool keep_logs) {
  if (const auto state = read_state(directory)) {
    RETURN_IF_ERROR(wait_for_the_end(*state));
    RETURN_IF_ERROR(remove_cgroups(*state));
  }
  std::error_code code;
  std::vector<fs::path> below;
  for (fs::directory_iterator entry(directory.path(), code), end; !code && entry != end;
       entry.increment(code)) {
    below.push_back(entry->path());
  }
  if (code) return base::system_error(code.value(), "{}", directory.path());
  // The state last: as long as it is there, it says what else there is to remove.
  std::ranges::partition(below, [&](const auto& path) { return path != directory.state(); });
  for (const auto& path : below) {
    if (path == directory.lock() || (keep_logs && path == directory.logs())) continue;
    RETURN_IF_ERROR(remove_path(path));
  }
  return {};
}

Result<> remove_directory(const Directory& directory) { return remove_path(directory.path()); }

}  // namespace cluster::processes
