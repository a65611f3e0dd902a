#include "bench/affinity.h"

#include <cerrno>

namespace bench {

base::Result<PinnedThread> PinnedThread::to(std::optional<int> cpu) {
  PinnedThread pinned;
  if (!cpu) return pinned;
  cpu_set_t before;
  if (::sched_getaffinity(0, sizeof(before), &before) < 0) {
    return base::system_error(errno, "sched_getaffinity");
  }
  cpu_set_t only;
  CPU_ZERO(&only);
  if (*cpu >= 0 && *cpu < CPU_SETSIZE) CPU_SET(static_cast<std::size_t>(*cpu), &only);
  if (::sched_setaffinity(0, sizeof(only), &only) < 0) {
    if (errno == EINVAL) {
      return base::fail(base::ErrorKind::input, "cpu: there is no core {} here to run on", *cpu);
    }
    return base::system_error(errno, "sched_setaffinity to core {}", *cpu);
  }
  pinned.before_ = before;
  return pinned;
}

PinnedThread::~PinnedThread() {
  if (before_) ::sched_setaffinity(0, sizeof(*before_), &*before_);
}

}  // namespace bench
