// Provider `processes`: a real Kubernetes as plain processes in namespaces of this machine, without
// containers of others and without a registry. What `stackbench up`, `down`, `status` and `clean`
// do.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/interrupt.h"
#include "base/result.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/state.h"

namespace cluster::processes {

using Progress = std::function<void(const std::string&)>;

// The clusters of one user, each in a directory of its name below `directory`.
class Provider {
 public:
  explicit Provider(std::string directory) : directory_(std::move(directory)) {}

  [[nodiscard]] Directory directory_of(const std::string& name) const {
    return Directory(directory_ + "/" + name);
  }

  // Brings a cluster up and returns once pods can run on every node; a process of its own keeps it.
  // One of this shape that is up only takes in images that are new. `progress` is told each step.
  // Errors: usage (one of this name has another shape, or is not well), missing (tools),
  // not_permitted, interrupted and any of a start that failed: then nothing runs any more.
  [[nodiscard]] base::Result<ClusterState> up(const Shape& shape, const base::Interrupt& interrupt,
                                              const Progress& progress) const;
  // The same, kept by this process: `ready` is called once it is up, and it ends with the
  // interrupt. Errors: as up().
  [[nodiscard]] base::Result<> up_in_foreground(
      const Shape& shape, const base::Interrupt& interrupt, const Progress& progress,
      const std::function<base::Result<>(const ClusterState&)>& ready) const;

  // Ends a cluster and removes all of it, also what a killed supervisor left. Whether there was
  // one. Errors: timed_out, interrupted, not_permitted, system.
  [[nodiscard]] base::Result<bool> down(const std::string& name,
                                        const base::Interrupt& interrupt) const;

  // A cluster as its state file says; nothing where there is none. Errors: input, not_permitted,
  // system.
  [[nodiscard]] base::Result<std::optional<ClusterState>> find(const std::string& name) const;
  // The names that have a directory, sorted. Errors: not_permitted, system.
  [[nodiscard]] base::Result<std::vector<std::string>> names() const;

  // Removes what killed supervisors and failed starts left, unless `dry_run`; a sentence for each.
  // Goes on after an error and returns the first. Errors: as down().
  [[nodiscard]] base::Result<std::vector<std::string>> clean(bool dry_run) const;

 private:
  // The cluster that is up, if it is of this shape; nothing where none of this name runs. Errors:
  // usage, when it cannot be taken for what was asked for.
  [[nodiscard]] base::Result<std::optional<ClusterState>> already_up(const Shape& shape) const;
  [[nodiscard]] base::Result<> remove_dead(const std::string& name) const;

  std::string directory_;
};

// The hidden command by which up() starts the process that keeps a cluster, and its options.
inline constexpr std::string_view supervise_command = "supervise";

// What that process does: it tells its standard output how far it is, a line of JSON each, and
// goes on alone once the cluster is up. Errors: as up(); they have been told already.
[[nodiscard]] base::Result<> supervise(const Shape& shape, const Directory& directory,
                                       const std::string& tools_root,
                                       const base::Interrupt& interrupt);

}  // namespace cluster::processes
