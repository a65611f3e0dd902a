// What clients noticed when a backend left, died, was replaced or came back.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/terminal.h"

namespace reports {

// One event of the scenario under one arm and workload, over all kept invocations.
struct EventRecord {
  std::string arm = {};
  std::string workload = {};
  std::string kind = {};  // "kill"
  std::string pod = {};
  std::int64_t at_ns = 0;  // planned, from the window's beginning
  int invocations = 0;
  std::map<std::string, std::uint64_t> failed = {};  // by class, of all invocations together
  std::uint64_t failures_lost = 0;
  std::optional<std::string> judged_by = {};  // receiver or sender; absent: nobody could tell
  std::optional<std::int64_t> stale_median_ns = {};
  std::optional<std::int64_t> stale_max_ns = {};
  std::optional<std::int64_t> stale_error_ns = {};  // the largest
  std::optional<std::int64_t> published_median_ns = {};
  std::optional<std::int64_t> followed_median_ns = {};
  std::optional<std::int64_t> followed_max_ns = {};
  std::optional<std::int64_t> programmed_median_ns = {};
  std::optional<std::int64_t> programmed_max_ns = {};
  std::optional<std::int64_t> reached_median_ns = {};
  std::optional<std::int64_t> reached_max_ns = {};
  std::optional<std::int64_t> reached_error_ns = {};  // the largest
  std::uint64_t flows_held = 0;
  std::uint64_t flows_moved = 0;
  std::uint64_t others_moved = 0;
};

template <typename Visit, base::SelfOf<EventRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("kind", self.kind, {.doc = "What happened, as the scenario spells it.", .required = true});
  visit("pod", self.pod, {.doc = "To which pod.", .required = true});
  visit("at_ns", self.at_ns, {.doc = "When it was to, after the window's beginning."});
  visit("invocations", self.invocations, {.doc = "Kept invocations behind it.", .required = true});
  visit("failed", self.failed,
        {.doc = "Failed requests by class, of all invocations together: due from this event until "
                "the next, or under way when it made a backend leave."});
  visit("failures_lost", self.failures_lost,
        {.doc = "Failed requests of these invocations that could not be charged to any event."});
  visit("judged_by", self.judged_by,
        {.doc = "receiver: the stamps of the backend that left; sender: the client's, of requests "
                "that failed, as the backend is dead; absent: neither could tell."});
  visit("stale_median_ns", self.stale_median_ns,
        {.doc = "From t_sent of the write to the last new connection or datagram that still went "
                "to the backend: middle of the invocations."});
  visit("stale_max_ns", self.stale_max_ns, {.doc = "The longest."});
  visit("stale_error_ns", self.stale_error_ns,
        {.doc = "How much longer it may have lasted unseen, the most: the mean time between probes "
                "that could have seen it, and t_ack - t_sent."});
  visit("published_median_ns", self.published_median_ns,
        {.doc = "From t_sent until a watch saw the EndpointSlice that its controller wrote."});
  visit("followed_median_ns", self.followed_median_ns,
        {.doc = "The latency of programming: from that until traffic followed, which is stale or "
                "reached less published; negative where a datapath heard of it first."});
  visit("followed_max_ns", self.followed_max_ns, {.doc = "The longest."});
  visit("programmed_median_ns", self.programmed_median_ns,
        {.doc = "From t_sent until every node's datapath had it."});
  visit("programmed_max_ns", self.programmed_max_ns, {.doc = "The longest."});
  visit("reached_median_ns", self.reached_median_ns,
        {.doc = "From t_sent of the write to the first new connection or datagram that came to the "
                "backend that joined, by its own stamp: middle of the invocations."});
  visit("reached_max_ns", self.reached_max_ns, {.doc = "The longest."});
  visit("reached_error_ns", self.reached_error_ns,
        {.doc = "How much sooner it may have been had anybody tried, the most: the mean time "
                "between arrivals there, and t_ack - t_sent."});
  visit("flows_held", self.flows_held,
        {.doc = "Kept flows of the backend that left, of all invocations together."});
  visit(
      "flows_moved", self.flows_moved,
      {.doc = "Flows that moved off the backend that left, whenever they had something to send."});
  visit("others_moved", self.others_moved,
        {.doc = "Flows that moved off backends that had not left, until the next event."});
}

// The events of one workload as a table, lines at most as wide as the terminal. Empty where there
// are none.
[[nodiscard]] std::string event_table(const std::vector<EventRecord>& events,
                                      const std::string& workload, const base::Terminal& terminal);

}  // namespace reports
