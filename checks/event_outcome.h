// What clients and servers noticed of the events of one invocation: pure arithmetic on their
// stamps, which are of one clock, the controller's.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/describe.h"
#include "bench/workload.h"
#include "cluster/event.h"

namespace checks {

// An event as the controller made it happen.
struct Happened {
  std::size_t event = 0;  // its place in the scenario
  cluster::EventKind kind = cluster::EventKind::unready;
  std::string pod;
  std::uint32_t identity = 0;          // by which the pod answers
  std::optional<std::string> by = {};  // replace: who joined
  // When it began to be felt: of a kill the signal's, else that of the write.
  std::int64_t happened_ns = 0;
  // The write of its readiness.
  std::int64_t sent_ns = 0;
  std::int64_t acked_ns = 0;
  std::optional<std::int64_t> published_ns = {};  // as WriteStamps
  std::optional<std::int64_t> programmed_ns = {};
};

// Whose stamp says when a backend that had left was reached last.
enum class JudgedBy {
  receiver,  // its own, of the last connection accepted (UDP: datagram received)
  sender,    // the receiver is dead: the client's, of the last request that failed
};

struct Stale {
  JudgedBy judged_by = JudgedBy::receiver;
  // From t_sent of the write to the last new connection or datagram that still went to the backend;
  // 0 where none did.
  std::int64_t ns = 0;
  // How much longer it may have lasted unseen: what lies between two probes that could have seen
  // it, here the mean time between this backend's arrivals before it left (of a killed one, between
  // failures), t_ack - t_sent, and how little is known of the clock that stamped it.
  std::int64_t error_ns = 0;
  // How much shorter it may have been: the backend had not left before the write was stored, which
  // may have been as late as t_ack; and the clock again.
  std::int64_t less_ns = 0;
};

// How long a datapath took to send traffic to a backend that joined.
struct Reached {
  // From t_sent of the write to the first new connection or datagram that came to it, by its stamp.
  std::int64_t ns = 0;
  // How much sooner it may have been had anybody tried: the mean time between its arrivals since,
  // t_ack - t_sent, and what is not known of the clocks.
  std::int64_t error_ns = 0;
};

struct EventOutcome {
  Happened what;
  std::map<std::string, std::uint64_t> failed = {};  // by class, those charged to it
  // Of one that left, where it can be told: traffic that goes on choosing, connection by connection
  // or datagram by datagram, and whose stamps all found room.
  std::optional<Stale> stale = {};
  // Of one that joined, under the same conditions, where anything came, and unless it was still
  // reached when it was to join: then nothing can be told of when.
  std::optional<Reached> reached = {};
  // Of kept flows of datagrams; a TCP connection cannot move without breaking.
  std::uint64_t flows_held = 0;    // that the pod that left answered until then
  std::uint64_t flows_moved = 0;   // off the pod that left, whenever each had something to send
  std::uint64_t others_moved = 0;  // until the next event, off pods that had not left by then
};

struct Outcomes {
  std::vector<EventOutcome> events = {};
  // Requests that failed because a backend left, as such requests must: refused, broken off or
  // never answered, no later than they may meet it. Every other failure is one.
  std::uint64_t excused = 0;
  // What there was no room to note: what is said of events then is of the part that was.
  std::uint64_t failures_lost = 0;
  std::uint64_t moves_lost = 0;
  std::uint64_t arrivals_lost = 0;
};

// `happened`: in order of time. `servers`: what each pod's servers said, by the pod's name; none of
// one that was killed. A failed request is charged to the last event before its intended send time;
// one that was under way when a backend left and did not time out (refused, reset, closed) to that
// departure; one due before the first event to that, if it failed after it. It is excused where it
// was due no later than `budget` after the datapath had the write; kept flows of datagrams to a pod
// that ended, which may have nobody to tell them, as long as it is charged to that. All stamps are
// on our clock, those of clients and servers within `clock_uncertainty`.
[[nodiscard]] Outcomes outcomes_of(const std::vector<Happened>& happened,
                                   const bench::WorkloadSpec& workload, base::Duration budget,
                                   const bench::ClientResult& client,
                                   const std::map<std::string, bench::ServerResult>& servers,
                                   base::Duration clock_uncertainty = base::Duration(0));

}  // namespace checks

template <>
struct base::EnumNames<checks::JudgedBy> {
  static constexpr std::array names{
      std::pair{checks::JudgedBy::receiver, std::string_view("receiver")},
      std::pair{checks::JudgedBy::sender, std::string_view("sender")}};
};
