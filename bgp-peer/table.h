// What a watch has seen, as people read it: the sessions, the routes and the last changes with
// their times. And the same for programs, a line of JSON each.
#pragma once

#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/terminal.h"
#include "bgp-peer/client.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

// The state of a daemon as its events tell it. One thread.
class WatchedTable {
 public:
  // `address` and `global` are the heading.
  WatchedTable(std::string address, std::optional<Global> global)
      : address_(std::move(address)), global_(std::move(global)) {}

  // Takes an event in. What it changed, a line each, in the words of the last changes; what only
  // repeats what is known changes nothing.
  std::vector<std::string> apply(const Event& event);
  // What events do not carry of neighbours (timers, counts): takes it from a listing that was asked
  // for at `asked`. Neighbours that it has not, and that told nothing since, are gone.
  void refresh(const std::vector<Peer>& peers, base::MonotonicTime asked = latest);
  // The same of routes that are kept while their speaker restarts: no event says so.
  void refresh_stale(const std::vector<Path>& listed);
  // Whether that is worth a listing: a route is marked so, or is of a neighbour whose session is
  // not up. GoBGP 3.10 says of no neighbour that it restarts.
  [[nodiscard]] bool may_be_stale() const;
  // BGP has been started, or stopped, since.
  void set_global(std::optional<Global> global) { global_ = std::move(global); }
  // When the daemon answered last; more than some seconds ago is shown.
  void set_answered(base::MonotonicTime at) { answered_ = at; }

  // The whole table, each line ended by a line feed and none wider than the terminal. `now` counts
  // how long sessions and routes have been as they are. Of `rows` lines it leaves the last one for
  // the cursor, and says of what does not fit how much it is; 0: as many as it takes.
  [[nodiscard]] std::string render(const base::Terminal& terminal, base::MonotonicTime now,
                                   std::size_t rows = 0) const;

 private:
  static constexpr base::MonotonicTime latest{std::numeric_limits<std::int64_t>::max()};
  struct SeenPeer {
    Peer peer;
    base::MonotonicTime told;   // by the last event
    base::MonotonicTime since;  // in this state, as far as we saw
    bool seen_change = false;   // else `since` is when we began to watch
  };
  struct SeenRoute {
    std::vector<Path> paths;
    base::MonotonicTime since;
    bool seen_change = false;
  };
  struct Change {
    std::int64_t realtime_ns = 0;
    std::string text;
  };

  std::vector<std::string> apply_peer(const Event& event);
  std::vector<std::string> apply_paths(const Event& event);
  // The rows of each neighbour and of each prefix, which stand or go together.
  using Rows = std::vector<std::vector<std::string>>;
  [[nodiscard]] std::vector<Rows> session_rows(base::MonotonicTime now) const;
  [[nodiscard]] std::vector<Rows> route_rows(base::MonotonicTime now) const;
  [[nodiscard]] std::string heading(base::MonotonicTime now) const;
  [[nodiscard]] std::string routes_heading() const;

  std::string address_;
  std::optional<Global> global_;
  std::map<base::IpAddress, SeenPeer> peers_;
  std::map<Prefix, SeenRoute> routes_;
  std::deque<Change> changes_;
  std::uint64_t other_families_ = 0;  // paths told of families that are not shown
  std::optional<base::MonotonicTime> answered_;
};

// An event as one line of JSON per neighbour or prefix it tells of: {"type": "session",
// "received_ns":
// ..., "time": "2026-01-31T12:00:00.123456789Z", "neighbor": ..., "state": ...}, {"type": "route",
// ..., "prefix": "10.201.0.7/32", "paths": [...]} with no paths when it was withdrawn, {"type":
// "other_families", ..., "paths": 2} where some were left out, {"type": "ended", ..., "error":
// ...}. received_ns is CLOCK_MONOTONIC.
[[nodiscard]] std::vector<base::Json> event_lines(const Event& event);

// "12:00:00.123" of the local time of day.
[[nodiscard]] std::string clock_time(std::int64_t realtime_ns);

}  // namespace bgp_peer
