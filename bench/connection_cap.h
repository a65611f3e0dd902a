// How often a generator may connect. On a cluster a client and a backend share a pair of addresses
// and 28,000 local ports, each of which rests for a minute (TIME_WAIT) after its connection: beyond
// that rate the ports are measured, not the datapath.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/clock.h"
#include "base/scalar.h"
#include "bench/exchange.h"
#include "bench/measure.h"
#include "bench/paced_wait.h"

namespace bench {

// Hands out turns that are at least 1 / cap apart: no minute holds more, and a turn that nobody
// took in time is not made good by a burst. Without a cap every turn is now. One thread.
class ConnectionCap {
 public:
  explicit ConnectionCap(std::optional<std::uint32_t> per_minute)
      : interval_(per_minute && *per_minute > 0
                      ? base::Duration(std::chrono::minutes(1)) / *per_minute
                      : base::Duration(0)) {}

  [[nodiscard]] bool set() const { return interval_.count() > 0; }
  // Takes the next turn: now, or when it comes.
  base::MonotonicTime take_turn(base::MonotonicTime now) {
    const auto turn = std::max(now, next_);
    next_ = turn + interval_;
    return turn;
  }
  // The rate itself where it is below the cap, else the cap.
  [[nodiscard]] base::RequestRate within(base::RequestRate rate) const {
    if (!set()) return rate;
    return {std::min(rate.per_second, 1e9 / static_cast<double>(interval_.count()))};
  }

 private:
  base::Duration interval_;
  base::MonotonicTime next_;
};

// A lone requester's wait for its turn, as its strategy says; ends early when stopped. Returns the
// time after it.
template <WaitStrategy wait>
base::MonotonicTime await_turn(ConnectionCap& cap, base::MonotonicTime now, int stop_fd,
                               Meter& meter) {
  const auto turn = cap.take_turn(now);
  if (turn > now) meter.rate_was_capped();
  while (now < turn && !readable(stop_fd)) now = wait_towards<wait>(now, turn, stop_fd, meter);
  return now;
}

}  // namespace bench
