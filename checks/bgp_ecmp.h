// Checks bgp_ecmp_distribution: does a router spread flows evenly over the nodes that announce an
// address? And bgp_flows_moved_as_predicted: when one of them leaves, do as many flows move to
// another node as the kernel's kind of next hops makes them?
#pragma once

#include <cstdint>
#include <vector>

#include "base/address.h"
#include "bgp-peer/fib.h"
#include "checks/finding.h"

namespace checks {

// An even spread is called uneven, and a prediction wrong, where chance alone would look so less
// often than this, as for the check `distribution`.
inline constexpr double wrong_by_chance = 1e-6;

// Flows by the member they went to; they are flows of different ports, so that each is a draw of
// its own.
struct SpreadFlows {
  std::vector<base::IpAddress> members = {};  // in the kernel's order of next hops
  std::vector<std::uint64_t> flows = {};      // of each
  std::uint64_t nowhere = 0;                  // that reached no member
};

// The share of flows each of `count` next hops of equal weight is given: of a resilient group by
// its buckets.
[[nodiscard]] std::vector<double> shares_of(bgp_peer::NextHopKind kind, std::size_t count);

// Judges the flows of all trials together. Fail: uneven (Pearson's chi-square test), or more than
// one in a thousand reached no member; inconclusive: too few to tell.
[[nodiscard]] Finding bgp_ecmp_distribution(bgp_peer::NextHopKind kind, const SpreadFlows& spread);

// What became of the same flows when a member left.
struct MemberLeft {
  std::size_t members = 0;         // before
  std::size_t left = 0;            // which of them, in the kernel's order
  std::uint64_t flows = 0;         // that reached a member before and after
  std::uint64_t its = 0;           // of the member that left
  std::uint64_t stuck = 0;         // of those, that still went to it
  std::uint64_t others_moved = 0;  // of the other members' flows, that went to another than before
};

// The share of other members' flows among all that moves to another of them, with next hops of
// equal weight in the same order. Under hash_threshold, the parts of the hash's range that belong
// to another next hop after it is cut anew (net/ipv4/fib_semantics.c, fib_rebalance;
// net/ipv6/route.c, rt6_multipath_rebalance); under resilient, none: only the buckets of a next hop
// that was removed change (net/ipv4/nexthop.c, nh_res_bucket_should_migrate).
[[nodiscard]] double others_moved_share(bgp_peer::NextHopKind kind, std::size_t members,
                                        std::size_t left);

// Fail: a flow still goes to a member that left, or the flows that moved are not as many as
// predicted (exact binomial intervals of both shares, all members' flows that moved and others',
// over the trials of each member). Inconclusive where there were none.
[[nodiscard]] Finding bgp_flows_moved_as_predicted(bgp_peer::NextHopKind kind,
                                                   const std::vector<MemberLeft>& trials);

}  // namespace checks
