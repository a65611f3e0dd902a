// How requests fail and flows move: counted by class, and one by one where a job asks for it.
#pragma once

#include <cstdint>

#include "base/describe.h"
#include "base/scalar.h"

namespace bench {

// What became of a request that failed; the names are those of TrafficErrors.
enum class FailureClass {
  refused,
  reset,
  timed_out,
  unreachable,
  closed_early,
  bad_reply,
  address_unavailable,
  lost,
  stream_reset,
  goaway,
  protocol_error,
  other,
};

// Failed requests by class. A refused, a dropped and a wrongly answered request are different
// observations.
struct TrafficErrors {
  std::uint64_t refused = 0;              // RST to the SYN; UDP: ICMP port unreachable
  std::uint64_t reset = 0;                // RST on an open connection
  std::uint64_t timed_out = 0;            // no answer within the timeout: dropped
  std::uint64_t unreachable = 0;          // ICMP or no route
  std::uint64_t closed_early = 0;         // FIN where a reply was due
  std::uint64_t bad_reply = 0;            // bytes that are not the reply; HTTP: status not 2xx
  std::uint64_t address_unavailable = 0;  // EADDRNOTAVAIL: out of local ports
  std::uint64_t lost = 0;                 // udp_stream: sent, and not received by the server
  // http2.
  std::uint64_t stream_reset = 0;    // RST_STREAM in place of a reply, or of the rest of it
  std::uint64_t goaway = 0;          // GOAWAY: the server will not answer it
  std::uint64_t protocol_error = 0;  // what came breaks the rules of HTTP/2 (RFC 9113)
  std::uint64_t other = 0;
  [[nodiscard]] std::uint64_t total() const {
    return refused + reset + timed_out + unreachable + closed_early + bad_reply +
           address_unavailable + lost + stream_reset + goaway + protocol_error + other;
  }
  // The count of one class.
  std::uint64_t& of(FailureClass what);
};

template <typename Visit, base::SelfOf<TrafficErrors> Self>
void describe(Visit& visit, Self& self) {
  visit("refused", self.refused,
        {.doc = "Connects answered by RST; datagrams answered by ICMP port unreachable."});
  visit("reset", self.reset, {.doc = "Open connections reset."});
  visit("timed_out", self.timed_out, {.doc = "No answer within the timeout."});
  visit("unreachable", self.unreachable, {.doc = "No route, or ICMP said so."});
  visit("closed_early", self.closed_early, {.doc = "Closed where a reply was due."});
  visit("bad_reply", self.bad_reply,
        {.doc = "Bytes that are not the reply to this request; of HTTP, any status but 2xx."});
  visit("address_unavailable", self.address_unavailable, {.doc = "Out of local ports."});
  visit("lost", self.lost, {.doc = "Datagrams of a udp_stream that no server received."});
  visit("stream_reset", self.stream_reset,
        {.doc = "http2: RST_STREAM in place of a reply, or of the rest of it."});
  visit("goaway", self.goaway, {.doc = "http2: GOAWAY, and so no reply."});
  visit("protocol_error", self.protocol_error,
        {.doc = "http2: what came breaks the rules of HTTP/2."});
  visit("other", self.other, {.doc = "Anything else."});
}

// A request that failed. Of a kept connection that broke between requests all stamps are of when
// that was noticed.
struct FailedRequest {
  std::int64_t due_ns = 0;    // when it was meant to be sent
  std::int64_t begun_ns = 0;  // when it was sent, or its connect(2) called
  std::int64_t ended_ns = 0;  // when it was known to have failed
  FailureClass what = FailureClass::other;

  bool operator==(const FailedRequest&) const = default;
};

template <typename Visit, base::SelfOf<FailedRequest> Self>
void describe(Visit& visit, Self& self) {
  visit("due_ns", self.due_ns, {.doc = "Intended send, CLOCK_MONOTONIC.", .required = true});
  visit("begun_ns", self.begun_ns, {.doc = "Actual send or connect.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "When it had failed.", .required = true});
  visit("class", self.what, {.doc = "How it failed.", .required = true});
}

// A kept flow that another server than before answered.
struct FlowMove {
  std::int64_t at_ns = 0;  // when that answer came
  std::uint32_t from = 0;  // the servers' identities
  std::uint32_t to = 0;

  bool operator==(const FlowMove&) const = default;
};

template <typename Visit, base::SelfOf<FlowMove> Self>
void describe(Visit& visit, Self& self) {
  visit("at_ns", self.at_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("from", self.from, {.doc = "Who answered before.", .required = true});
  visit("to", self.to, {.doc = "Who answered then.", .required = true});
}

}  // namespace bench

template <>
struct base::EnumNames<bench::FailureClass> {
  static constexpr std::array names{
      std::pair{bench::FailureClass::refused, std::string_view("refused")},
      std::pair{bench::FailureClass::reset, std::string_view("reset")},
      std::pair{bench::FailureClass::timed_out, std::string_view("timed_out")},
      std::pair{bench::FailureClass::unreachable, std::string_view("unreachable")},
      std::pair{bench::FailureClass::closed_early, std::string_view("closed_early")},
      std::pair{bench::FailureClass::bad_reply, std::string_view("bad_reply")},
      std::pair{bench::FailureClass::address_unavailable, std::string_view("address_unavailable")},
      std::pair{bench::FailureClass::lost, std::string_view("lost")},
      std::pair{bench::FailureClass::stream_reset, std::string_view("stream_reset")},
      std::pair{bench::FailureClass::goaway, std::string_view("goaway")},
      std::pair{bench::FailureClass::protocol_error, std::string_view("protocol_error")},
      std::pair{bench::FailureClass::other, std::string_view("other")}};
};
