// What RFCs and timers predict of a fault, and whether what was seen is that and within the
// scenario's budget.
//
// A route must leave the router
//   at once  when its session ends with a closed connection or a NOTIFICATION, or when it is
//            withdrawn (RFC 4271, 6.7, 8.2.2 and 9);
//   after the hold time since the node's last message, when it falls silent (RFC 4271, 6.5);
//   after the restart time that the node told, since its connection closed, when it has told of
//            graceful restarts and does not come back (RFC 4724, 4.2);
//   not at all, when it comes back within that time with its forwarding state preserved: R and F
//            bits in its OPEN, and its routes before the End-of-RIB marker (RFC 4724, 4.1, 4.2).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "checks/finding.h"
#include "reports/bgp_faults.h"
#include "stackbench/bgp/fault_times.h"
#include "stackbench/scenario/bgp_faults.h"

namespace stackbench::bgp {

struct FaultTimers {
  std::uint32_t hold_time_s = 0;
  std::optional<std::uint32_t> restart_time_s = {};  // that the node told
};

// How far a stale route's end may be from what is predicted: of a restart time the larger of 50 ms
// and 1 % of it.
inline constexpr base::Duration at_once = std::chrono::milliseconds(100);
inline constexpr base::Duration restart_slack = std::chrono::milliseconds(50);
// A speaker of GoBGP waits 5 s after a session's end (its idle hold time, none after a start) and 5
// to 9 s before it connects, so that sessions come back within these, once nothing is in their way:
// a busy machine needs some seconds to start a daemon.
inline constexpr base::Duration back_after_start = std::chrono::seconds(13);
inline constexpr base::Duration back_after_end = std::chrono::seconds(17);

// What becomes of the session and the route.
struct FaultPrediction {
  enum class Route : std::uint8_t { leaves, stays, returns };  // returns: unpredicted in between
  Route route = Route::leaves;
  bool session_ends = true;
  bool session_recovers = true;
  base::Duration back_within = {};  // of mending
  std::string because = {};
};
[[nodiscard]] FaultPrediction predict(FaultKind kind, const FaultTimers& timers);

// When the route is to be gone, in nanoseconds since the fault, and how far from that is in time.
struct StalePrediction {
  std::int64_t at_ns = 0;
  std::int64_t slack_ns = 0;
};
// Absent where nothing of the kind was seen that it is counted from.
[[nodiscard]] std::optional<StalePrediction> predict_stale(FaultKind kind,
                                                           const FaultTimers& timers,
                                                           const FaultTimes& times);

// Every repetition of one fault, with what it was watched for.
struct FaultRun {
  FaultSpec spec = {};
  FaultTimers timers = {};
  base::AddressFamily family = base::AddressFamily::ipv4;
  std::vector<FaultTimes> times = {};
  // wrong_password: segments the router's kernel dropped for their signature, in each of them.
  std::vector<std::uint64_t> bad_signatures = {};
};

// The fault's checks by name, each of all its repetitions:
//   bgp_stale_route_in_time, bgp_restart_keeps_route, bgp_session_recovers, bgp_session_holds,
//   bgp_session_refused, bgp_fault_loss_within_budget, bgp_other_routes_unaffected
// of which those that can be asked of its kind. Inconclusive without repetitions.
[[nodiscard]] std::map<std::string, checks::Finding> judge_fault(const FaultRun& run);

// The fault as a report keeps it; its verdict is the worst of these findings.
[[nodiscard]] reports::BgpFaultRecord record_of(
    const FaultRun& run, const std::map<std::string, checks::Finding>& findings);

// What ended a session on the wire, in words; empty where nothing did.
[[nodiscard]] std::string ended_by(const FaultTimes& times);

}  // namespace stackbench::bgp
