// What processes of pods have used so far, as whoever sees a node's processes can tell without any
// privilege: of one user's processes in the cgroups of a pod.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <sys/types.h>

#include "base/describe.h"

namespace base {

struct PodUsage {
  std::int64_t cpu_ns = 0;          // on CPUs, of all threads that are still there
  std::int64_t resident_bytes = 0;  // pages that processes share count in each of them
  int processes = 0;
};

template <typename Visit, SelfOf<PodUsage> Self>
void describe(Visit& visit, Self& self) {
  visit("cpu_ns", self.cpu_ns, {.doc = "On CPUs, in user space and the kernel."});
  visit("resident_bytes", self.resident_bytes, {.doc = "In memory."});
  visit("processes", self.processes, {.doc = "Of how many processes."});
}

// By the pods' UIDs, as Kubernetes writes them; of one without such a process nothing.
using PodUsages = std::map<std::string, PodUsage>;

// Of the user's processes below `proc` ("/proc"; a directory of made-up ones in tests) that are in
// a cgroup of one of the pods, whichever driver named it (cgroupfs, systemd). Never fails: a
// process that is gone, or cannot be read, is not counted. Any thread.
[[nodiscard]] PodUsages usage_of_pods(const std::vector<std::string>& uids, uid_t user,
                                      const std::string& proc = "/proc");

}  // namespace base
