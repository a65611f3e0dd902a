// Pins the calling thread to one core for as long as the handle lives.
#pragma once

#include <optional>

#include <sched.h>

#include "base/result.h"

namespace bench {

class PinnedThread {
 public:
  // Nothing to pin to leaves the thread as it is. Errors: input, when the machine (or the
  // container's cpuset) has no such core.
  [[nodiscard]] static base::Result<PinnedThread> to(std::optional<int> cpu);

  PinnedThread(PinnedThread&& other) noexcept : before_(other.before_) { other.before_.reset(); }
  PinnedThread(const PinnedThread&) = delete;
  PinnedThread& operator=(const PinnedThread&) = delete;
  PinnedThread& operator=(PinnedThread&&) = delete;
  // Gives the thread its former cores back.
  ~PinnedThread();

 private:
  PinnedThread() = default;
  std::optional<cpu_set_t> before_;
};

}  // namespace bench
