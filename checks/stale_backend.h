// The check `stale_backend`: does any new connection (of UDP: any datagram) still reach a backend
// longer than a budget after it was written that the backend has left? Judged by the backend's own
// stamps, not by replies: while it goes on answering, every request succeeds.
#pragma once

#include <vector>

#include "base/clock.h"
#include "checks/event_outcome.h"
#include "checks/finding.h"

namespace checks {

// Judges one arm under one workload over all invocations that count. Fail where a backend was
// surely reached later than `budget` after the write, also if that was stored no sooner than t_ack;
// pass where every departure was within it of t_sent, with what may have gone unseen; inconclusive
// between the two, where of a departure nothing can be told, or stamps found no room. `observed` is
// the longest, "stale 35.1 ms", or "none stale".
[[nodiscard]] Finding stale_backend(base::Duration budget,
                                    const std::vector<Outcomes>& invocations);

}  // namespace checks
