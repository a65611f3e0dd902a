// Connections that are held while something changes around them: a TCP connection with traffic, an
// idle one, a UDP flow that keeps its 5-tuple. The other end is a listener (bench/reach/reach.h),
// which answers every request on a connection.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"

namespace bench {

enum class HeldKind {
  busy_tcp,  // a request every interval, as long as the one before was answered
  idle_tcp,  // one exchange at the start, and one when the job is stopped
  udp,       // a request every interval, answered or not
};

struct HeldSpec {
  HeldKind kind = HeldKind::busy_tcp;
  base::Endpoint to;

  bool operator==(const HeldSpec&) const = default;
};

template <typename Visit, base::SelfOf<HeldSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "How it is used.", .required = true});
  visit("to", self.to, {.doc = "Of a listener.", .required = true});
}

// Holds until it is stopped. Being stopped it uses each connection once more, waits for answers at
// most `stall_after`, and reports.
struct HoldJob {
  std::vector<HeldSpec> connections = {};                       // 1 to 256
  base::Duration interval = std::chrono::milliseconds(5);       // 1 ms to 10 s
  base::Duration stall_after = std::chrono::milliseconds(200);  // 10 ms to 2 s
  base::Duration connect_timeout = std::chrono::seconds(1);     // 10 ms to 10 s
};

template <typename Visit, base::SelfOf<HoldJob> Self>
void describe(Visit& visit, Self& self) {
  visit("connections", self.connections, {.doc = "What to hold.", .required = true});
  visit("interval", self.interval, {.doc = "From request to request."});
  visit("stall_after", self.stall_after, {.doc = "Without a reply for so long it stalls."});
  visit("connect_timeout", self.connect_timeout, {.doc = "To the first reply."});
}

// How a held connection stood at the end.
enum class HeldEnd {
  surviving,   // the last request was answered in time
  stalled,     // requests went unanswered to the end
  reset,       // ECONNRESET
  closed,      // by the other end
  refused,     // UDP: ICMP port unreachable
  failed,      // another errno of an established connection: error_code
  not_opened,  // there was never a reply: error_code, 0 where it timed out
};

// While requests went unanswered: from the last reply before to the first reply after.
struct HeldStall {
  std::int64_t from_ns = 0;
  std::int64_t to_ns = 0;

  bool operator==(const HeldStall&) const = default;
};

template <typename Visit, base::SelfOf<HeldStall> Self>
void describe(Visit& visit, Self& self) {
  visit("from_ns", self.from_ns, {.doc = "The last reply before.", .required = true});
  visit("to_ns", self.to_ns, {.doc = "The first reply after.", .required = true});
}

// Stalls that were overcome are listed up to so many; more are counted.
constexpr std::size_t most_held_stalls = 64;

// Stamps are CLOCK_MONOTONIC; 0 where it never happened.
struct HeldConnection {
  HeldEnd end = HeldEnd::not_opened;
  // errno of the end; of a UDP flow that goes on, the last with which its own kernel refused to
  // send.
  int error_code = 0;
  std::int64_t opened_ns = 0;  // the first reply
  std::int64_t last_reply_ns = 0;
  std::int64_t first_unanswered_ns = 0;  // the first request after the last reply
  std::int64_t ended_ns = 0;             // reset, closed, refused, failed: when it was noticed
  std::uint64_t requests = 0;
  std::uint64_t replies = 0;
  std::vector<HeldStall> stalls = {};  // overcome, each longer than stall_after
  std::uint64_t more_stalls = 0;
  std::uint16_t local_port = 0;

  bool operator==(const HeldConnection&) const = default;
};

template <typename Visit, base::SelfOf<HeldConnection> Self>
void describe(Visit& visit, Self& self) {
  visit("end", self.end, {.doc = "How it stood at the end.", .required = true});
  visit("error_code", self.error_code, {.doc = "errno of the end."});
  visit("opened_ns", self.opened_ns, {.doc = "The first reply."});
  visit("last_reply_ns", self.last_reply_ns, {.doc = "The last reply."});
  visit("first_unanswered_ns", self.first_unanswered_ns,
        {.doc = "The first request after the last reply."});
  visit("ended_ns", self.ended_ns, {.doc = "When the end was noticed."});
  visit("requests", self.requests, {.doc = "Sent.", .required = true});
  visit("replies", self.replies, {.doc = "Received.", .required = true});
  visit("stalls", self.stalls, {.doc = "Stalls that were overcome."});
  visit("more_stalls", self.more_stalls, {.doc = "Those that the list has no room for."});
  visit("local_port", self.local_port, {.doc = "Its source port."});
}

struct HoldResult {
  std::vector<HeldConnection> connections;  // in the order of the job
};

template <typename Visit, base::SelfOf<HoldResult> Self>
void describe(Visit& visit, Self& self) {
  visit("connections", self.connections, {.doc = "In the order of the job.", .required = true});
}

// A job as it travels, within the bounds above. Errors: input.
[[nodiscard]] base::Result<HoldJob> parse_hold_job(const base::Json& json);

// What an agent said on our clock (bench/stamps.h).
[[nodiscard]] HoldResult on_our_clock(HoldResult result, base::Duration ahead);

// Opens all of them, says `on_ready` once each has had its first reply or will have none, and holds
// them until `stop_fd` becomes readable. Their source ports are 60,000 and above, out of the way of
// a flow watch's (flow_watch.h). One thread. Errors: system; what becomes of a connection is in the
// result.
[[nodiscard]] base::Result<HoldResult> run_hold(const HoldJob& job, int stop_fd,
                                                const std::function<void()>& on_ready);

}  // namespace bench

template <>
struct base::EnumNames<bench::HeldKind> {
  static constexpr std::array names{
      std::pair{bench::HeldKind::busy_tcp, std::string_view("busy_tcp")},
      std::pair{bench::HeldKind::idle_tcp, std::string_view("idle_tcp")},
      std::pair{bench::HeldKind::udp, std::string_view("udp")}};
};

template <>
struct base::EnumNames<bench::HeldEnd> {
  static constexpr std::array names{
      std::pair{bench::HeldEnd::surviving, std::string_view("surviving")},
      std::pair{bench::HeldEnd::stalled, std::string_view("stalled")},
      std::pair{bench::HeldEnd::reset, std::string_view("reset")},
      std::pair{bench::HeldEnd::closed, std::string_view("closed")},
      std::pair{bench::HeldEnd::refused, std::string_view("refused")},
      std::pair{bench::HeldEnd::failed, std::string_view("failed")},
      std::pair{bench::HeldEnd::not_opened, std::string_view("not_opened")}};
};
