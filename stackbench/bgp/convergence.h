// From what was seen of an announcement or a withdrawal to its times: the write, the UPDATE on the
// wire, the route in the router's kernel, the first or last answered packet. All on
// CLOCK_MONOTONIC.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "base/clock.h"
#include "bgp-peer/capture.h"
#include "bgp-peer/client.h"
#include "bgp-peer/fib.h"
#include "checks/finding.h"
#include "stackbench/bgp/probe_stream.h"
#include "stackbench/scenario/bgp.h"

namespace stackbench::bgp {

// What observers recorded, each in its order.
struct Seen {
  std::vector<bgp_peer::CapturedUpdate> updates = {};
  std::vector<bgp_peer::CapturedSegment> segments = {};
  std::vector<bgp_peer::RouteMonitor::Change> routes = {};  // in the router
  std::vector<bgp_peer::Event> events = {};                 // of the router's daemon
  std::vector<Probe> probes = {};
};

// A write that makes an address appear or go.
struct Transition {
  base::MonotonicTime sent = {};
  base::MonotonicTime acked = {};
  std::optional<base::MonotonicTime> programmed = {};  // when every node's datapath had it
  bool announced = true;                               // else withdrawn
  bgp_peer::Prefix prefix = {};
  std::vector<base::IpAddress> next_hops = {};  // afterwards, ascending; none: it goes
  std::vector<base::IpAddress> speakers = {};   // that must say so, by their sessions' addresses
};

// Its times, in nanoseconds; absent where it was not seen.
struct Convergence {
  bool announced = true;  // else withdrawn
  // Write sent → every node's datapath had it.
  std::optional<std::int64_t> programmed_ns = {};
  std::int64_t acked_ns = 0;  // of the write, after it was sent
  std::optional<std::int64_t> first_update_ns =
      {};                                      // write sent → UPDATE on the wire, of any speaker
  std::optional<std::int64_t> update_ns = {};  // the same of the last speaker
  std::optional<std::int64_t> told_ns = {};    // UPDATE → told by the watch: GoBGP's and our delay
  std::optional<std::int64_t> route_ns = {};   // UPDATE → in the router's kernel: our installer's
  // Announced: write sent → a route of ours in the router's kernel, by any next hop.
  std::optional<std::int64_t> first_route_ns = {};
  // Announced: write sent → the first answered probe was sent; it was so after the probe before it,
  // which was sent answer_error_ns earlier. Withdrawn: write sent → the last answered one was sent.
  std::optional<std::int64_t> answer_ns = {};
  std::int64_t answer_error_ns = 0;
  // Announced: probes sent since the route was there that nobody answered: before the first answer,
  // or after it, by way of another next hop. Withdrawn: probes that the route still attracted after
  // the write, and nobody answered.
  std::int64_t lost = 0;
  std::int64_t lost_ns = 0;                   // for how long that went on, all together
  std::optional<std::int64_t> stale_ns = {};  // withdrawn: write acked → route out
};

template <typename Visit, base::SelfOf<Convergence> Self>
void describe(Visit& visit, Self& self) {
  visit("announced", self.announced, {.doc = "Announced, or withdrawn."});
  visit("acked_ns", self.acked_ns, {.doc = "Write sent to acknowledged."});
  visit("programmed_ns", self.programmed_ns, {.doc = "Write sent to programmed in every node."});
  visit("first_update_ns", self.first_update_ns, {.doc = "Write sent to the first UPDATE."});
  visit("update_ns", self.update_ns, {.doc = "Write sent to the last speaker's UPDATE."});
  visit("told_ns", self.told_ns, {.doc = "UPDATE to told by the watch: ours and GoBGP's."});
  visit("route_ns", self.route_ns, {.doc = "UPDATE to the kernel's route: our installer's."});
  visit("first_route_ns", self.first_route_ns, {.doc = "Write sent to the kernel's first route."});
  visit("answer_ns", self.answer_ns, {.doc = "Write sent to the first or last answered probe."});
  visit("answer_error_ns", self.answer_error_ns, {.doc = "How much earlier that may have been."});
  visit("lost", self.lost, {.doc = "Probes the route attracted and nobody answered."});
  visit("lost_ns", self.lost_ns, {.doc = "For how long that went on."});
  visit("stale_ns", self.stale_ns,
        {.doc = "Write acknowledged to the route's removal; 0: it went before."});
}

// Who announces each prefix, by their sessions' addresses.
using Announcers = std::map<bgp_peer::Prefix, std::set<base::IpAddress>>;

// Where nothing of the router is in reach but its daemon's word: the UPDATEs and routes that what
// it told stands for, with the time we were told. Takes it into `announcers`, of all that was told
// before.
[[nodiscard]] Seen stands_for(const bgp_peer::Event& event, Announcers& announcers);

// What was seen between a write and the one after it, which alone tells of it; and the last probe
// before it, for how exact the first answer is.
[[nodiscard]] Seen between_writes(const Seen& seen, base::MonotonicTime sent,
                                  std::optional<base::MonotonicTime> next_sent);

[[nodiscard]] Convergence analyse(const Transition& transition, const Seen& seen);

// What UPDATEs and routes were seen by: the router's link and kernel, or, where those are out of
// reach, what its daemon told of its table.
enum class SeenAt { router, peer_table };

// What became of all announcements, or of all withdrawals, as people read it: the centre of each
// time with its 95 % interval. Empty where there are none.
[[nodiscard]] std::string described(const std::vector<Convergence>& all, bool announced,
                                    SeenAt seen_at = SeenAt::router);

// Checks bgp_announced_in_time, bgp_withdrawn_in_time and bgp_not_announced_early. Inconclusive
// where there was nothing to judge. An address that is answered though no route was seen to come is
// reached some other way, and is no announcement seen.
[[nodiscard]] checks::Finding announced_in_time(const std::vector<Convergence>& all,
                                                const Budget& budget);
[[nodiscard]] checks::Finding withdrawn_in_time(const std::vector<Convergence>& all,
                                                const Budget& budget);
[[nodiscard]] checks::Finding not_announced_early(const std::vector<Convergence>& all,
                                                  const Budget& budget);

}  // namespace stackbench::bgp
