// What the two closed loops with a single requester share: their phases, and how they go on after
// a failure.
#pragma once

#include <poll.h>

#include "base/clock.h"
#include "base/result.h"
#include "bench/exchange.h"
#include "bench/measure.h"

namespace bench {

// A closed loop whose request just failed rests this long, so that a refusing server is not
// hammered and a count of errors stays a count of separate attempts.
inline constexpr base::Duration failure_rest = std::chrono::milliseconds(1);

[[nodiscard]] inline std::unexpected<base::Error> stopped_early() {
  return base::fail(base::ErrorKind::interrupted, "stopped before the invocation was over");
}

// Warm-up, then the window. One call per request, with the stamp that ended the one before.
class Phases {
 public:
  Phases(const WorkloadSpec& spec, Meter& meter, int stop_fd)
      : meter_(meter),
        stop_fd_(stop_fd),
        duration_(spec.duration),
        phase_end_(base::monotonic_now() + spec.warm_up) {}

  enum class Next { go_on, finished, stopped };

  // Moves on when `now` has reached the end of a phase; sets `now` to the window's beginning when
  // it opens it.
  Next at(base::MonotonicTime& now) {
    if (now >= next_look_) [[unlikely]] {
      if (readable(stop_fd_)) return Next::stopped;
      next_look_ = now + look_interval;
    }
    if (now < phase_end_) [[likely]]
      return Next::go_on;
    if (meter_.window_open()) {
      meter_.close_window(now);
      return Next::finished;
    }
    now = meter_.open_window();
    phase_end_ = now + duration_;
    return Next::go_on;
  }

 private:
  Meter& meter_;
  int stop_fd_;
  base::Duration duration_;
  base::MonotonicTime phase_end_;
  base::MonotonicTime next_look_;
};

// Rests after a failure; ends at once when stopped.
inline void rest_after_failure(int stop_fd) {
  pollfd wait{.fd = stop_fd, .events = POLLIN, .revents = 0};
  ::poll(&wait, 1,
         static_cast<int>(
             std::chrono::duration_cast<std::chrono::milliseconds>(failure_rest).count()));
}

}  // namespace bench
