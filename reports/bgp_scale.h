// How fast many LoadBalancer addresses are announced and withdrawn at once, and what that costs.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/terminal.h"

namespace reports {

// Times of the prefixes of a burst: of its rounds, the middle one's percentiles, and the largest of
// all.
struct LatencySummary {
  std::int64_t p50_ns = 0;
  std::optional<std::int64_t> p99_ns = {};  // from 299 prefixes on
  std::int64_t max_ns = 0;
};

template <typename Visit, base::SelfOf<LatencySummary> Self>
void describe(Visit& visit, Self& self) {
  visit("p50_ns", self.p50_ns, {.doc = "Median over the prefixes.", .required = true});
  visit("p99_ns", self.p99_ns, {.doc = "99th percentile; absent under 299 prefixes."});
  visit("max_ns", self.max_ns, {.doc = "The slowest prefix of all rounds.", .required = true});
}

// What processes used during a burst, and held after it.
struct CostSummary {
  std::int64_t cpu_ns = 0;
  std::uint64_t memory_bytes = 0;
};

template <typename Visit, base::SelfOf<CostSummary> Self>
void describe(Visit& visit, Self& self) {
  visit("cpu_ns", self.cpu_ns,
        {.doc = "CPU time from the write to the end; middle of the rounds."});
  visit("memory_bytes", self.memory_bytes, {.doc = "Proportional set size; the largest."});
}

// So many addresses announced, or withdrawn, by one write. Times are of the rounds' middle, and
// absent where any round lacked one.
struct BgpScalePoint {
  int services = 0;
  bool announced = true;  // else withdrawn
  int rounds = 0;
  std::optional<std::int64_t> programmed_ns = {};
  std::optional<std::int64_t> first_update_ns = {};
  std::optional<std::int64_t> all_updates_ns = {};
  std::optional<std::int64_t> sink_updates_ns = {};
  std::optional<std::int64_t> all_told_ns = {};
  std::optional<std::int64_t> all_routes_ns = {};
  std::optional<LatencySummary> update = {};
  std::optional<LatencySummary> told = {};
  std::optional<LatencySummary> route = {};
  std::optional<LatencySummary> reached = {};
  std::uint64_t missing_updates = 0;
  std::uint64_t missing_routes = 0;
  std::int64_t receiver_limited_ns = 0;
  CostSummary peer = {};
  CostSummary speakers = {};
  CostSummary ours = {};
};

template <typename Visit, base::SelfOf<BgpScalePoint> Self>
void describe(Visit& visit, Self& self) {
  visit("services", self.services, {.doc = "How many addresses.", .required = true});
  visit("announced", self.announced, {.doc = "Announced, or withdrawn.", .required = true});
  visit("rounds", self.rounds, {.doc = "How often.", .required = true});
  visit("programmed_ns", self.programmed_ns,
        {.doc = "Write sent to programmed in every node's datapath, which an announcement waits "
                "for and a withdrawal does not."});
  visit("first_update_ns", self.first_update_ns, {.doc = "Write sent to the first UPDATE."});
  visit("all_updates_ns", self.all_updates_ns,
        {.doc = "Write sent to the UPDATE with the last prefix of the last speaker."});
  visit("sink_updates_ns", self.sink_updates_ns,
        {.doc = "The same, where a sink that only reads stands in the peer's place; of the most "
                "addresses alone."});
  visit("all_told_ns", self.all_told_ns, {.doc = "Write sent to the last told by the watch."});
  visit("all_routes_ns", self.all_routes_ns,
        {.doc = "Write sent to the last route in the router's kernel."});
  visit("update", self.update, {.doc = "Of a prefix: write sent to its last speaker's UPDATE."});
  visit("told", self.told, {.doc = "Of a prefix: that UPDATE to told by the watch."});
  visit("route", self.route, {.doc = "Of a prefix: that UPDATE to its route in the kernel."});
  visit("reached", self.reached, {.doc = "Of a prefix: write sent to its route in the kernel."});
  visit("missing_updates", self.missing_updates,
        {.doc = "Prefixes that some speaker said nothing of in time, of all rounds."});
  visit("missing_routes", self.missing_routes,
        {.doc = "Prefixes whose route was not as it must be in time, of all rounds."});
  visit("receiver_limited_ns", self.receiver_limited_ns,
        {.doc = "How long a speaker's TCP waited for the peer to read, the worst of all "
                "(tcpi_rwnd_limited, of whole milliseconds)."});
  visit("peer", self.peer, {.doc = "The router's daemon."});
  visit("speakers", self.speakers, {.doc = "The nodes' daemons together."});
  visit("ours", self.ours,
        {.doc = "Our own process: controller, clients, captures, installer of routes."});
}

// Two tables, of times and of costs; empty where there are no points.
[[nodiscard]] std::string bgp_scale_tables(const std::vector<BgpScalePoint>& points,
                                           const base::Terminal& terminal);

}  // namespace reports
