// From what was seen of one fault to its times: the session's end on the wire and as the router's
// daemon told it, the route's in the router's kernel, what the client lost. All on CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "bgp-peer/wire.h"
#include "stackbench/bgp/convergence.h"

namespace stackbench::bgp {

// What was done, and to whom.
struct FaultWindow {
  base::MonotonicTime begun = {};   // before it was done
  base::MonotonicTime healed = {};  // when mending began; what mends itself: when it had been done
  base::MonotonicTime ended = {};   // when nobody looked any more
  base::IpAddress router = {};      // its address in sessions
  // Of the nodes concerned, in their sessions and as next hops: one node, or all of them where it
  // is the router's daemon.
  std::vector<base::IpAddress> sessions = {};
  std::vector<base::IpAddress> hops = {};
  std::vector<base::IpAddress> others = {};  // the next hops of the other nodes that announce it
  bgp_peer::Prefix prefix = {};
  // When the kernel was seen to use these hops no more, though they are in its route still: it
  // tells nobody of a next hop that goes with its link.
  std::optional<base::MonotonicTime> dead = {};
};

// Its times, in nanoseconds since it began; absent where it was not seen.
struct FaultTimes {
  std::optional<std::int64_t> wire_end_ns = {};      // the first FIN, RST or NOTIFICATION
  bool reset = false;                                // it was a RST
  std::optional<std::int64_t> last_message_ns = {};  // of a node, before the end; may be negative
  std::optional<std::int64_t> down_ns = {};          // told by the router's daemon
  std::optional<std::int64_t> up_ns = {};            // the same, of every session concerned
  std::optional<std::int64_t> gone_ns = {};          // no next hop concerned is used any more
  std::optional<std::int64_t> back_ns = {};          // all of them are again
  std::optional<std::int64_t> others_gone_ns = {};   // some other next hop was not
  std::int64_t healed_ns = 0;
  std::int64_t ended_ns = 0;
  // The first NOTIFICATION, and whether the router sent it.
  std::optional<bgp_peer::Notification> notification = {};
  bool notified_by_router = false;
  // The first that the router sent.
  std::optional<bgp_peer::Notification> refusal = {};
  std::optional<bgp_peer::Open> open = {};  // the node's last
  bool end_of_rib = false;                  // sent by the node after that
  std::uint64_t syns = 0;                   // that a node sent, before it was mended
  std::uint64_t syn_acks = 0;               // that the router answered with
  std::uint64_t probes = 0;
  std::uint64_t lost = 0;
  std::int64_t loss_ns = 0;  // for how long, all outages together
  std::uint32_t outages = 0;
};

// `seen`: of the time from `begun` on, and a little before. A node's last message is looked for
// before, too.
[[nodiscard]] FaultTimes analyse_fault(const FaultWindow& window, const Seen& seen);

}  // namespace stackbench::bgp
