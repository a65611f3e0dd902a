// Directories of ours in the cgroup2 hierarchy, one tree per run, so that pods are in cgroups of
// their own. A tree's name says whose it is, and its owner holds a lock on it, so that what a
// crashed run left can be told from what a live run uses. They are all that can outlive a run.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/fd.h"
#include "base/result.h"

namespace cluster {

// Whose a tree is. A pid alone may be another process's by now; with its start time it is not.
struct RunId {
  pid_t pid = 0;
  std::uint64_t start_ticks = 0;  // field 22 of /proc/<pid>/stat, clock ticks since boot
  unsigned serial = 0;            // of this process's trees, from 0

  bool operator==(const RunId&) const = default;
  // This process's, with the next serial. Any thread. Errors: system.
  static base::Result<RunId> next();
  // "stackbench-4711-123456-0": the name of its directory.
  [[nodiscard]] std::string to_string() const;
  // The inverse; nothing for any other name.
  static std::optional<RunId> parse(std::string_view directory);
};

// Field 22 of a /proc/<pid>/stat line; nothing when it is malformed. The command's name, in
// parentheses, may itself hold parentheses and spaces.
[[nodiscard]] std::optional<std::uint64_t> parse_start_ticks(std::string_view stat_line);

// Whether a process runs no program any more, by its /proc/<pid>/stat line: the kernel takes it
// down, or it has ended and only waits to be waited for, which a machine's init may do late or
// never.
[[nodiscard]] bool is_ending(std::string_view stat_line);

// The start time of a process; nothing when there is none of that pid, or it is ending.
[[nodiscard]] std::optional<std::uint64_t> start_ticks_of(pid_t pid);

// Where cgroup2 is mounted, by /proc/self/mountinfo (text in the form of proc(5)); a mount whose
// root is the hierarchy's own comes first. Errors: missing.
[[nodiscard]] base::Result<std::string> find_cgroup2(std::string_view mountinfo);
// The same from this process's mountinfo. Errors: missing, system.
[[nodiscard]] base::Result<std::string> find_cgroup2();

// A mounted cgroup hierarchy, of version 1 (a controller or more each) or 2.
struct CgroupHierarchy {
  std::string path;  // where it is mounted
  int version = 1;

  bool operator==(const CgroupHierarchy&) const = default;
};

// Every one of them, by /proc/self/mountinfo (text in the form of proc(5)).
[[nodiscard]] std::vector<CgroupHierarchy> find_hierarchies(std::string_view mountinfo);
// The same from this process's mountinfo. Errors: system.
[[nodiscard]] base::Result<std::vector<CgroupHierarchy>> find_hierarchies();

// The tree of one run.
class CgroupTree {
 public:
  // Makes <cgroup2>/<RunId>. Errors: missing (no cgroup2), not_permitted, system.
  static base::Result<CgroupTree> create();
  // The same in another hierarchy, of either version. Errors: not_permitted, system.
  static base::Result<CgroupTree> create_in(const std::string& hierarchy, const RunId& id);

  CgroupTree(CgroupTree&&) noexcept = default;
  CgroupTree& operator=(CgroupTree&&) = delete;
  CgroupTree(const CgroupTree&) = delete;
  CgroupTree& operator=(const CgroupTree&) = delete;
  // As remove(); an error then has nobody to go to, and `clean` finds what is left.
  ~CgroupTree();

  // Makes a directory below the tree, its parents too, and returns its path. One that exists is no
  // error. Errors: not_permitted, system.
  base::Result<std::string> make(const std::string& relative) const;
  // Kills whatever is in it and removes it all. Idempotent. Errors: as remove_cgroup_tree().
  base::Result<> remove();

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  CgroupTree(std::string path, base::UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  base::UniqueFd lock_;  // flock(2) on the directory, held while we live; empty once removed
};

// Kills every process in the tree (cgroup.kill, Linux 5.14), then removes its directories from the
// leaves up. In a hierarchy of version 1 it kills nothing and waits for what is ending there. A
// tree that is not there is no error. Errors: timed_out or system, when processes are still there
// after 5 s; not_permitted, system.
[[nodiscard]] base::Result<> remove_cgroup_tree(const std::string& path);

// Whether a tree's owner is gone: no process of that pid and start time, and nobody holds its lock
// (an owner in another PID namespace is visible by its lock alone).
[[nodiscard]] bool is_abandoned(const RunId& owner, std::optional<std::uint64_t> start_ticks_of_pid,
                                bool locked);

// The trees below `cgroup2` whose owners are gone, as paths. A lock without a visible owner is
// given a second to go: a controller killed between fork and exec leaves it with a child that is
// about to end. Errors: system.
[[nodiscard]] base::Result<std::vector<std::string>> abandoned_trees(const std::string& cgroup2);

}  // namespace cluster
