// Knocking at a door at a millisecond's resolution: a client that opens a connection of its own for
// every request, at a steady pace, and notes of each one when it was begun, when its end was known
// and what that was. It tells for how long a door stood open, or shut, to whoever comes by it:
// where it speaks in the clear, whether plaintext is answered.
//
// A knock is a whole exchange, not a SYN (flow_watch.h): a proxy that takes every connection and
// refuses what it reads is told from one that answers. Its request's body carries a canary
// (base/canary.h) with the knock's number, so that whoever sees the wire can name it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"
#include "bench/reach/flow_watch.h"
#include "bench/reach/reach.h"
#include "bench/workload.h"

namespace bench {

// Of knocks in a second; and how many may wait for their ends at a time: more are not begun.
constexpr double most_knock_rate = 8'000;
constexpr std::size_t most_knocks_in_air = 4'096;
// What a job keeps of them, the first ones: what a message may hold.
constexpr std::size_t most_kept_knocks = 100'000;

// Knocks until it is stopped or `duration` has passed. Open loop with equal gaps, as a flow watch:
// an edge is known to within the gap of the two knocks around it.
struct KnockJob {
  WorkloadKind kind = WorkloadKind::http;  // in whose words: http or tcp_crr
  base::Endpoint to;
  base::RequestRate rate{1'000};
  base::Duration timeout = std::chrono::milliseconds(200);  // of each from its beginning, 10 ms-5 s
  base::Duration duration = longest_flow_watch;             // at most 10 min
  std::optional<std::string> canary = {};  // a token that every request's body begins with
};

template <typename Visit, base::SelfOf<KnockJob> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "In whose words it asks: http or tcp_crr."});
  visit("to", self.to, {.doc = "Where it knocks.", .required = true});
  visit("rate", self.rate, {.doc = "Knocks a second."});
  visit("timeout", self.timeout, {.doc = "Of each knock."});
  visit("duration", self.duration, {.doc = "How long, unless it is stopped."});
  visit("canary", self.canary, {.doc = "A token that every request's body begins with."});
}

// One of them. One whose due time was missed by more than a gap is never begun: its number is
// absent.
struct Knock {
  std::uint32_t number = 0;    // from 0; in the canary, too
  std::int64_t before_ns = 0;  // CLOCK_MONOTONIC before its connect(2)
  std::int64_t after_ns = 0;   // when its end was known
  // answered: whole and by a server of ours; answered_by_other: by anybody else, as a proxy that
  // has nobody to pass it on to (503); cut: it was connected, and reset or closed unanswered.
  ReachOutcome outcome = ReachOutcome::failed;

  bool operator==(const Knock&) const = default;
};

// In JSON: a flat list of four integers a knock, number and before_ns as differences to the one
// before, then after_ns - before_ns and the place of the outcome among all.
class Knocks {
 public:
  std::vector<Knock> list;

  [[nodiscard]] base::Json to_json() const;
  static base::Result<Knocks> from_json(const base::Json& json, const std::string& path);
  static base::Json json_schema();
  bool operator==(const Knocks&) const = default;
};

struct KnockResult {
  Knocks knocks;              // in the order they were begun; the first most_kept_knocks
  std::uint64_t skipped = 0;  // not begun: missed by a stall, or too many were in the air
  std::uint64_t dropped = 0;  // begun, but left out of `knocks`
  std::int64_t began_ns = 0;  // when the first was due
  std::int64_t ended_ns = 0;  // no later one was begun
};

template <typename Visit, base::SelfOf<KnockResult> Self>
void describe(Visit& visit, Self& self) {
  visit("knocks", self.knocks, {.doc = "Each of them.", .required = true});
  visit("skipped", self.skipped, {.doc = "Not begun.", .required = true});
  visit("dropped", self.dropped, {.doc = "Left out of the list.", .required = true});
  visit("began_ns", self.began_ns, {.doc = "The first due time.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "No later one was begun.", .required = true});
}

// A job as it travels, within the bounds above. Errors: input.
[[nodiscard]] base::Result<KnockJob> parse_knock_job(const base::Json& json);
// What an agent said on our clock (bench/stamps.h).
[[nodiscard]] KnockResult on_our_clock(KnockResult result, base::Duration ahead);

// Knocks from the calling thread's network namespace; `on_ready` just before the first. Returns
// when `stop_fd` becomes readable or the duration is over, and the ends of all that were begun are
// known. One thread, one epoll. What becomes of a knock is its outcome. Errors: system.
[[nodiscard]] base::Result<KnockResult> run_knocks(const KnockJob& job, int stop_fd,
                                                   const std::function<void()>& on_ready);

}  // namespace bench
