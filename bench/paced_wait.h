// How a stream's sender waits for what is due next.
#pragma once

#include <algorithm>

#include <poll.h>

#include "base/clock.h"
#include "bench/exchange.h"
#include "bench/measure.h"
#include "bench/pacer.h"

namespace bench {

// One step of the wait from `now` for `due`: sleeps, at most until the next look at the stop
// descriptor, or spins once around. Returns the time after it; spinning is noted as idle.
template <WaitStrategy wait>
base::MonotonicTime wait_towards(base::MonotonicTime now, base::MonotonicTime due, int stop_fd,
                                 Meter& meter) {
  const auto budget = sleep_budget<wait>(now, due, true, now);
  if (budget > base::Duration(0)) {
    constexpr base::Duration longest = std::chrono::milliseconds(100);
    const auto span = std::min(budget, longest).count();
    const timespec sleep{.tv_sec = 0, .tv_nsec = span};
    pollfd stop{.fd = stop_fd, .events = POLLIN, .revents = 0};
    ::ppoll(&stop, 1, &sleep, nullptr);
    return base::monotonic_now();
  }
  const auto after = base::monotonic_now();
  meter.idle_spin(after - now);
  return after;
}

}  // namespace bench
