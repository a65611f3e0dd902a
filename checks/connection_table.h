// The check `connection_table`: did a datapath that keeps connections in a table keep all of them?
// Judged from what the table counted over a whole run, not from traffic, which mostly goes on when
// a connection is thrown out: the next datagram begins another, at another backend perhaps.
#pragma once

#include <cstdint>
#include <optional>

#include "base/json.h"
#include "checks/finding.h"

namespace checks {

// What the tables of an environment counted until a moment, all nodes together.
struct ConnectionTableCounts {
  std::uint64_t capacity = 0;  // of each node's
  std::uint64_t made = 0;
  std::uint64_t evicted = 0;   // thrown out alive, because the table was full
  std::uint64_t misses = 0;    // packets in mid-stream whose connection was not there
  std::uint64_t unplaced = 0;  // packets dropped because there was no room for their connection
};

// From what an environment says of itself; nothing where it keeps no such table.
[[nodiscard]] std::optional<ConnectionTableCounts> connection_table_of(const base::Json& facts);

// Judges what happened from `before` to `after`: pass where no connection was evicted, no packet
// missed its own and none was dropped for want of room; fail otherwise. Inconclusive where there is
// no table, or no connection was made. `observed` is "kept" or "lost".
[[nodiscard]] Finding connection_table(const std::optional<ConnectionTableCounts>& before,
                                       const std::optional<ConnectionTableCounts>& after);

}  // namespace checks
