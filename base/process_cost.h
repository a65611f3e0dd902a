// What a process has cost so far: its time on CPUs and its memory, of /proc.
#pragma once

#include <cstdint>
#include <string>

#include <sys/types.h>

#include "base/result.h"

namespace base {

// Nanoseconds on a CPU, in user space and the kernel, of all threads that are still there
// (/proc/PID/task/*/schedstat: exact, where /proc/PID/stat counts ticks). Errors: missing (no such
// process), system. Any thread.
// `proc`: /proc, or what stands for it.
[[nodiscard]] Result<std::int64_t> cpu_time_of(pid_t pid, const std::string& proc = "/proc");

// Proportional set size in bytes (proc(5), smaps_rollup): pages that several processes share count
// in parts. Walks its page tables, which takes a millisecond for some ten MB. Errors: as above.
[[nodiscard]] Result<std::uint64_t> pss_of(pid_t pid);

}  // namespace base
