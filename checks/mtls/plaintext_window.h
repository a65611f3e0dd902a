// Check no_plaintext_window: while a pod starts, its proxy ends or a mode is written, is plaintext
// answered that must not be, and does anything that a client of the mesh sends cross the wire
// readable? How long, how often, and what may have been missed.
//
// The two are different questions. STRICT keeps a server from answering plaintext, and cannot keep
// a client from sending it: what leaves before its proxy was in the way is on the wire, whatever
// becomes of it.
//
// A window has two ends, and each is known to within what was seen around it: the last knock that
// was refused before it and the first that was answered in it, the last that was answered and the
// first, begun after that, that was refused. A knock that merely met nobody (timed_out, silent)
// proves nothing. Where a write opens the window, its beginning lies between t_sent and t_ack.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/reach/knock.h"
#include "checks/finding.h"
#include "probes/wire/wire.h"

namespace checks {

// Two instants between which something happened; CLOCK_MONOTONIC of ours.
struct Bracket {
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;

  bool operator==(const Bracket&) const = default;
};

// When something that must not be was, from the first time it was seen to the last.
struct PlainWindow {
  std::uint64_t times = 0;  // requests; 0: it was not seen
  std::int64_t first_ns = 0;
  std::int64_t last_ns = 0;
  Bracket opened = {};
  std::optional<Bracket> closed = {};  // absent: it was so to the end of the watch
  std::int64_t watched_until_ns = 0;
  std::int64_t clock_ns = 0;  // by which stamps of different ends may differ

  [[nodiscard]] bool seen() const { return times > 0; }
  // From the middle of one bracket to that of the other, and by how much that may be off; of one
  // that did not close, to the end of the watch.
  [[nodiscard]] std::int64_t length_ns() const;
  [[nodiscard]] std::int64_t error_ns() const;
  // What it lasted for certain, and what it may have lasted; nothing where nobody saw it close.
  [[nodiscard]] std::int64_t at_least_ns() const;
  [[nodiscard]] std::optional<std::int64_t> at_most_ns() const;
};

// What was seen around one change. Knocks are in the order they were begun, on our clock.
struct MeshWatch {
  std::int64_t from_ns = 0;
  std::int64_t sent_ns = 0;
  std::int64_t acked_ns = 0;
  std::int64_t until_ns = 0;
  std::int64_t client_since_ns = 0;  // since when the client asks, where it began anew
  std::int64_t door_since_ns = 0;    // since when the outsider knocks at where the pod is now
  // The change forbids plaintext, which was answered until then; else it was forbidden before, too.
  bool closes = false;
  std::vector<bench::Knock> outsider = {};  // in plaintext, at a pod of the service
  std::vector<bench::Knock> client = {};    // by way of its proxy, at the service
  // Of what the client's requests carry, at its node's uplink.
  std::uint64_t readable = 0;
  std::optional<probes::CanarySpan> readable_span = {};
  std::string capture_trouble = {};  // why it proves nothing; empty: it does
  base::Duration clock_uncertainty{0};
};

// What it comes to.
struct ChangeSeen {
  PlainWindow answered;         // requests of the outsider
  PlainWindow readable;         // requests of the client
  std::uint64_t asked = 0;      // by the client while watched
  std::uint64_t failed = 0;     // of those
  std::int64_t outage_ns = 0;   // the longest time between two that it began and that were answered
  std::int64_t blind_ns = 0;    // the longest time in which nobody tried the door
  std::string not_judged = {};  // why it says nothing; empty: it does
};

// A window that is shorter than this may be missed, and nobody minds.
inline constexpr base::Duration widest_blindness = std::chrono::milliseconds(50);

// Whether a knock's request was sent, whatever came of it.
[[nodiscard]] bool was_sent(const bench::Knock& knock);

[[nodiscard]] ChangeSeen look_at(const MeshWatch& watch);

// Whether what was seen kept within the budget (0: nothing may be seen at all); where it was
// forbidden by a write, from its acknowledgement.
enum class Kept { yes, no, unsure };
[[nodiscard]] Kept kept_within(const PlainWindow& window, base::Duration budget);

// The verdict over a change's repetitions. Fails where any was surely beyond the budget.
// inconclusive where of fewer than `wanted` of them something can be said, or where it cannot be
// told whether one kept within it. Evidence: repetitions, told, budget_ns, answered and readable
// {times, windows, longest {length_ns, error_ns, at_least_ns, at_most_ns, closed}}, blind_ns,
// not_judged.
[[nodiscard]] Finding no_plaintext_window(const std::vector<ChangeSeen>& repetitions, int wanted,
                                          base::Duration budget);

}  // namespace checks
