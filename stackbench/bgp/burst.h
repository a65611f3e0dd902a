// From what was seen of many prefixes that one write announces or withdraws to their times.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "bgp-peer/route.h"
#include "checks/finding.h"
#include "reports/bgp_scale.h"
#include "stackbench/bgp/convergence.h"

namespace stackbench::bgp {

// A write, and what it must lead to for every prefix alike.
struct Burst {
  base::MonotonicTime sent = {};
  std::optional<base::MonotonicTime> programmed = {};
  bool announced = true;  // else withdrawn
  std::vector<bgp_peer::Prefix> prefixes = {};
  std::vector<base::IpAddress> next_hops = {};  // afterwards, ascending; none: they go
  std::vector<base::IpAddress> speakers = {};   // that must say so, by their sessions' addresses
};

// Its times since the write was sent; of those that were not seen there is none.
struct BurstTimes {
  std::optional<std::int64_t> programmed_ns = {};
  std::optional<std::int64_t> first_update_ns = {};
  // Of the last prefix; absent unless all are there.
  std::optional<std::int64_t> all_updates_ns = {};
  std::optional<std::int64_t> all_told_ns = {};
  std::optional<std::int64_t> all_routes_ns = {};
  // Of each prefix that has it. update: write → its last speaker's UPDATE; told and route: from
  // there on; reached: write → route.
  std::vector<std::int64_t> update_ns = {};
  std::vector<std::int64_t> told_ns = {};
  std::vector<std::int64_t> route_ns = {};
  std::vector<std::int64_t> reached_ns = {};
};

[[nodiscard]] BurstTimes analyse(const Burst& burst, const Seen& seen);

// What a burst cost beside its times.
struct BurstCost {
  reports::CostSummary peer = {};
  reports::CostSummary speakers = {};
  reports::CostSummary ours = {};
  std::int64_t receiver_limited_ns = 0;  // of the speaker that waited longest
};

struct MeasuredBurst {
  BurstTimes times = {};
  BurstCost cost = {};
};

// The rounds of one number of Services, announced or withdrawn, as a report keeps them.
[[nodiscard]] reports::BgpScalePoint summarise(int services, bool announced,
                                               const std::vector<MeasuredBurst>& rounds);

// The lower of the two in the middle, where there are two; of one value at least.
[[nodiscard]] std::int64_t middle_of(std::vector<std::int64_t> values);

// What of a burst a peer that keeps up may have left to do when the last UPDATE has passed, and
// our installer when the last prefix was told; and what it takes in any case, as both hand over in
// batches and the machine has other work.
inline constexpr double left_to_do = 0.25;
inline constexpr auto left_in_any_case = std::chrono::milliseconds(100);
// How much longer than towards a sink that only reads the speakers may take until their last
// UPDATE: a peer and its observers take their part of a machine that all of them share.
inline constexpr double behind_sink = 0.5;
// How much of the time until the last UPDATE a speaker may have waited for the peer to read.
inline constexpr double waits_for_reader = 0.1;

// Check bgp_peer_keeps_up: are the figures the speakers', and not the limit of what receives? Pass
// where the peer read as fast as the speakers sent (their TCP never waited long for its window),
// its table, its watch and our installer worked off no queue after the last UPDATE, and a sink that
// only reads was told all of it hardly sooner; invalid where one of them is what was measured,
// or where captures lost packets.
[[nodiscard]] checks::Finding bgp_peer_keeps_up(const std::vector<reports::BgpScalePoint>& points,
                                                std::uint64_t lost_by_captures);

// The largest time of waiting for the receiver in `ss -ti`'s words (rwnd_limited:12ms(3.4%)),
// nanoseconds; 0 where no connection waited.
[[nodiscard]] std::int64_t receiver_limited(std::string_view ss_output);

}  // namespace stackbench::bgp
