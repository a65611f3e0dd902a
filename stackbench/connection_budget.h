// How many connections a client may still make within a minute, so that what rests (TIME_WAIT) of
// those before leaves it local ports.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "base/clock.h"

namespace stackbench {

// Of one client. One thread.
class ConnectionBudget {
 public:
  explicit ConnectionBudget(std::uint64_t per_minute) : per_minute_(per_minute) {}

  // When `count` connections may be begun at once: now, or when enough of the last minute's are a
  // minute old. Nothing where they are more than a minute may hold.
  [[nodiscard]] std::optional<base::MonotonicTime> room_for(std::uint64_t count,
                                                            base::MonotonicTime now) const;
  // They have been made, the last at `at`; calls come in order of time.
  void spend(std::uint64_t count, base::MonotonicTime at);

 private:
  std::uint64_t per_minute_;
  std::deque<std::pair<base::MonotonicTime, std::uint64_t>> spent_;
};

}  // namespace stackbench
