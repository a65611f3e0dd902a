// For how long packets contradict a policy that was written: forbidden traffic that still passes,
// allowed traffic that is still held back. Pure arithmetic on stamps of one clock; each probe is a
// packet on a 5-tuple of its own that is never sent again (bench/reach/flow_watch.h).
//
// What is known of an edge is what the two probes around it say. A probe that arrived passed
// wherever policies are enforced between its send and its arrival. One that did not arrive was held
// back after it was sent, if it was: a receiver that is not there looks the same. So silence counts
// only where the probe did leave, the receiver lost nothing for want of room, and two neighbouring
// probes of a control flow, which is always allowed and goes to the same receiver, arrived around
// it; or where the sender's own kernel refused it by a rule (EPERM).
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/scalar.h"
#include "bench/reach/flow_watch.h"
#include "checks/finding.h"

namespace checks {

// Which way a flow was changed.
enum class PolicyChange {
  to_denied,   // allowed before: arrivals contradict
  to_allowed,  // denied before: what does not arrive contradicts
};

// The stamps of a write, as cluster::WriteStamps.
struct PolicyWrite {
  std::int64_t sent_ns = 0;
  std::int64_t acked_ns = 0;
  std::optional<std::int64_t> programmed_ns =
      {};  // since when it is enforced, as the engine claims
};

// A flow's stamps at both ends.
struct FlowStamps {
  std::span<const bench::SentProbe> sent;
  std::span<const bench::ReceivedProbe> received;
  std::uint32_t packet_bytes = 0;
  // The receiver left out nothing that came (kernel_dropped, ReceivedFlow::dropped): else what did
  // not arrive is not known.
  bool all_received = true;
};

struct WatchedFlow {
  std::string name;  // "x/a to y/b, TCP 80"
  FlowStamps flow;
  std::optional<FlowStamps> control = {};
  // False: the flow has a pod that came with the write, so that it could not be seen before it;
  // t_sent is then the first instant of the pod, and packets are judged from there on.
  bool was_there = true;
  // While both ends were watching. A probe that was sent in the last arrival_grace of it and did
  // not arrive may have been under way.
  std::int64_t from_ns = 0;
  std::int64_t until_ns = 0;
  // By which stamps of the ends and of the write may differ, the receiver's reading of its clocks
  // (FlowReceiveResult::clock_error_ns) among it.
  base::Duration clock_uncertainty{0};
};

inline constexpr base::Duration arrival_grace = std::chrono::milliseconds(20);
// Two probes of a control flow that are further apart say nothing of what was between.
inline constexpr base::Duration widest_control_gap = std::chrono::milliseconds(20);

// What is known of when the contradictions ended.
enum class WindowEdge {
  known,
  wide,      // its two probes are further apart than allowed: one end or the machine stalled
  unseen,    // no probe was sent after the last contradiction, until the end of the watch
  unproven,  // what did not arrive after it, or around it, is no proof: no control flow arrived
};

// One flow's answer to one write. Times are from t_sent or t_ack of it; "until" an instant E, from
// which on the policy held for the flow.
struct FlowWindow {
  std::string flow;
  // Why the flow says nothing of this write; empty where it does. Then what follows is zero.
  std::string not_judged = {};
  WindowEdge edge = WindowEdge::unseen;
  // Packets that contradict the policy, from t_sent on, and those from t_ack on. Of to_allowed,
  // those whose silence counts.
  std::uint64_t packets = 0;
  std::uint64_t packets_after_ack = 0;
  std::uint64_t bytes = 0;
  // The first and the last of them: to_denied the receiver's stamps, to_allowed the sender's.
  std::optional<std::int64_t> first_ns = {};
  std::optional<std::int64_t> last_ns = {};
  // To the last of them: the window as packets saw it. Without one, to t_sent: 0 from there. From
  // t_ack it may be negative: a watcher can act before the acknowledgement arrives.
  std::int64_t from_sent_ns = 0;
  std::int64_t from_ack_ns = 0;
  // What the edge's two probes leave open, with t_ack - t_sent and the clock: between which the
  // time from the write to E lies. No upper bound where the edge is unseen or nothing proves it.
  std::int64_t at_least_ns = 0;
  std::optional<std::int64_t> at_most_ns = {};
  std::int64_t bracket_ns = 0;  // between the edge's two probes
  // bracket_ns + the clock's uncertainty + t_ack - t_sent: within this from_ack_ns is right.
  std::int64_t error_ns = 0;
  // From the engine's claim to the last contradicting packet: positive where packets passed after
  // it said that they cannot. Absent without either.
  std::optional<std::int64_t> after_claim_ns = {};
  // Probes from t_sent on that did not arrive and whose silence proves nothing.
  std::uint64_t unproven = 0;
};

// What one flow saw of a write. `widest`: brackets wider than that are `wide`.
[[nodiscard]] FlowWindow window_of(const PolicyWrite& write, PolicyChange change,
                                   const WatchedFlow& watched,
                                   base::Duration widest = std::chrono::milliseconds(3));

// What a flow lost that a write should not touch: of one that is allowed before and after it. Its
// `packets` are the probes that left from t_sent on and did not arrive, and those that a rule of
// their sender's kernel refused; the edge is known where one arrived after the last of them, unseen
// where none did. at_least_ns, at_most_ns and error_ns bound when that was over, as above. Not
// judged where nothing of it arrived before the write, or where its receiver had no room for all
// that came: what is missing then is no loss.
[[nodiscard]] FlowWindow losses_of(const PolicyWrite& write, const WatchedFlow& watched,
                                   base::Duration widest = std::chrono::milliseconds(3));

// The verdict over all flows and repetitions of one direction of change. fail: a flow surely was
// contradicted beyond `budget` after the write. inconclusive: for one it cannot be told, for a
// stall, an unseen or unproven edge, or because it was not judged. Quantiles, where there are
// enough, are of windows from t_ack with a known edge; the others are counted, and judged by what
// bounds them. Evidence: budget_ns, change, judged, late, unsure, not_judged, excluded (by edge),
// packets, bytes, window {p50, p99, max, each {ns, lower_ns, upper_ns}}, resolution_ns (the largest
// error of a known edge), within_1ms, after_claim {p50, max}, worst, replaced. Where packets of a
// flow contradicted to the end of the watch, window.max has at_least: true and is no shorter than
// what was seen of it. `replaced`: how many windows that cannot be told for a stall were left out
// of `windows`, for others took their place; the sentence says so where there are any.
[[nodiscard]] Finding leak_window(PolicyChange change, base::Duration budget,
                                  const std::vector<FlowWindow>& windows,
                                  std::uint64_t replaced = 0);

}  // namespace checks

template <>
struct base::EnumNames<checks::PolicyChange> {
  static constexpr std::array names{
      std::pair{checks::PolicyChange::to_denied, std::string_view("to_denied")},
      std::pair{checks::PolicyChange::to_allowed, std::string_view("to_allowed")}};
};

template <>
struct base::EnumNames<checks::WindowEdge> {
  static constexpr std::array names{
      std::pair{checks::WindowEdge::known, std::string_view("known")},
      std::pair{checks::WindowEdge::wide, std::string_view("wide")},
      std::pair{checks::WindowEdge::unseen, std::string_view("unseen")},
      std::pair{checks::WindowEdge::unproven, std::string_view("unproven")}};
};
