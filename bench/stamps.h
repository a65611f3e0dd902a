// Stamps of another machine's CLOCK_MONOTONIC, read on ours.
#pragma once

#include "base/clock.h"
#include "bench/workload.h"

namespace bench {

// What a client or a server said, its stamps as our clock would have made them, where its clock is
// `ahead` of ours (negative: behind).
[[nodiscard]] ClientResult on_our_clock(ClientResult result, base::Duration ahead);
[[nodiscard]] ServerResult on_our_clock(ServerResult result, base::Duration ahead);

}  // namespace bench
