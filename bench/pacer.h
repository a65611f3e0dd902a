// When an open loop sends. All times are decided before the run; how late the caller is changes
// none of them, so a stall shows as latency of every request that was due meanwhile.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/scalar.h"
#include "bench/workload.h"

namespace bench {

// Offsets from the start of the run, ascending. One request is due in every slot of 1 / rate, at a
// place in the slot drawn uniformly from a generator seeded with `seed`: the number of requests and
// the rate over any second are exact (a Poisson process adds its own spread to both), and, unlike
// equal gaps, the times never lock onto a timer tick or another generator's beat.
// Errors: input, when the rate is not positive or the schedule would exceed 50 million requests.
[[nodiscard]] base::Result<std::vector<base::Duration>> arrival_schedule(base::RequestRate rate,
                                                                         base::Duration span,
                                                                         std::uint64_t seed);

// Hands out due times in order. One thread.
class OpenLoopPacer {
 public:
  OpenLoopPacer(std::vector<base::Duration> schedule, base::MonotonicTime start)
      : schedule_(std::move(schedule)), start_(start) {}

  [[nodiscard]] bool exhausted() const { return next_ == schedule_.size(); }
  // When the next request is due; nothing when none is left.
  [[nodiscard]] std::optional<base::MonotonicTime> next_due() const {
    if (exhausted()) return std::nullopt;
    return start_ + schedule_[next_];
  }
  // The due time of the next request if it has come, and moves on to the one after. Requests that
  // fell due while the caller was away come out one by one, each with its own due time.
  std::optional<base::MonotonicTime> take_due(base::MonotonicTime now) {
    const auto due = next_due();
    if (!due || *due > now) return std::nullopt;
    ++next_;
    return due;
  }

 private:
  std::vector<base::Duration> schedule_;
  base::MonotonicTime start_;
  std::size_t next_ = 0;
};

// A sleeping thread wakes up to 50 us late (the kernel's default timer slack) and needs some time
// to run again, so hybrid waiting gives up sleeping this long before the due time. Without a due
// time it is how long hybrid waiting spins before it sleeps.
inline constexpr base::Duration spin_margin = std::chrono::microseconds(60);

// How long a thread may sleep at `now` when it must act at `until` at the latest and last had
// something to do at `active`; zero means look again without sleeping. `due` is set when `until` is
// the due time of a request, not mere housekeeping.
template <WaitStrategy wait>
[[nodiscard]] constexpr base::Duration sleep_budget(base::MonotonicTime now,
                                                    base::MonotonicTime until, bool due,
                                                    base::MonotonicTime active) {
  constexpr base::Duration none{0};
  if constexpr (wait == WaitStrategy::spin) return none;
  auto budget = until - now;
  if constexpr (wait == WaitStrategy::hybrid) {
    if (due) {
      budget -= spin_margin;
    } else if (now - active < spin_margin) {
      return none;
    }
  }
  return budget > none ? budget : none;
}

}  // namespace bench
