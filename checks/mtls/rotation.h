// What traffic and handshakes noticed while a mesh's certificates were rotated: pure arithmetic on
// stamps of one clock, the controller's CLOCK_MONOTONIC; and the checks `rotation_is_seamless`,
// `certificates_renewed` and, over such a time, `certificates_valid`.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "bench/tls_probe/tls_probe.h"
#include "bench/workload.h"
#include "checks/finding.h"
#include "cluster/rotation.h"

namespace checks {

// One kind of traffic, from before the first step to the end.
struct RotationTraffic {
  std::string name = {};         // "new_connections"
  std::optional<int> kept = {};  // how many connections were kept; absent: each is new
  base::Duration slice{0};       // of the client's answer_slices
  bench::ClientResult client = {};
};

// What the client's proxy counted so far of handshakes with the others.
struct HandshakesSoFar {
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;  // of them: nobody was shown a certificate
  std::uint64_t failed = 0;
};

struct RotationTaken {
  cluster::RotationStep step = cluster::RotationStep::leaf;
  cluster::Rotated rotated = {};
  std::optional<HandshakesSoFar> before = {};  // absent: nobody tells
};

struct RotationObservation {
  std::int64_t begins_ns = 0;  // traffic's window
  std::int64_t ends_ns = 0;
  std::vector<RotationTaken> steps = {};
  std::optional<HandshakesSoFar> at_end = {};
  std::vector<RotationTraffic> traffic = {};
  // Whole handshakes with every proxy all the time, by its pod's name.
  std::vector<std::string> watched = {};
  bench::TlsProbeResult seen = {};
  std::int64_t wall_ahead_ns = 0;  // CLOCK_REALTIME - CLOCK_MONOTONIC
};

struct TrafficDuring {
  std::string traffic = {};
  std::uint64_t answered = 0;                        // to the resolution of its slices
  std::map<std::string, std::uint64_t> failed = {};  // by class
  std::int64_t longest_gap_ns = 0;                   // between two answers, or until its end
  // Of kept ones: how many that were open before it went on to its end, at least; on whatever
  // certificate they had been opened with. Absent where some were closed between two requests,
  // which is known of the whole alone.
  std::optional<std::uint64_t> went_on = {};
};

// When a proxy showed a certificate that it was given.
struct Renewal {
  std::string pod = {};
  std::string identity = {};
  std::string serial = {};
  std::int64_t not_after_s = 0;
  // From the write to the end of the first whole handshake that it was shown in; absent: never.
  std::optional<std::int64_t> shown_ns = {};
  // How much sooner it may have been: that far back the last handshake with another certificate
  // was begun.
  std::int64_t error_ns = 0;
};

struct StepOutcome {
  cluster::RotationStep step = cluster::RotationStep::leaf;
  int number = 0;              // among the steps, from 1
  std::int64_t begins_ns = 0;  // its write
  std::int64_t ends_ns = 0;    // the next one's, or the end of traffic
  std::vector<TrafficDuring> traffic = {};
  std::vector<Renewal> renewals = {};
  std::vector<std::string> not_renewed =
      {};  // watched pods that were given none, where others were
  std::optional<HandshakesSoFar> handshakes = {};  // during it
};

// What became of one kind of traffic from an instant on.
struct TrafficSince {
  std::string traffic = {};
  std::uint64_t answered = 0;  // to the resolution of its slices
  std::map<std::string, std::uint64_t> failed = {};
};

// A certificate that was shown when it was over.
struct ExpiredCertificate {
  std::string pod = {};
  std::string identity = {};
  std::string serial = {};
  std::int64_t expired_ns = 0;
  std::int64_t shown_until_ns = 0;  // the last handshake with it that was seen
  std::vector<TrafficSince> since = {};
};

struct RotationOutcome {
  std::int64_t begins_ns = 0;
  std::vector<TrafficDuring> before = {};  // the first step
  std::vector<StepOutcome> steps = {};
  std::vector<ExpiredCertificate> expired = {};
  std::map<std::string, std::uint64_t> handshakes_seen = {};  // by watched pod: with a certificate
  std::uint64_t failures_lost = 0;  // that no step could be charged with, for want of room
  // Of kept connections: how many from before the first step went on to the end, at least.
  std::optional<std::uint64_t> from_before = {};
  std::string kept_traffic = {};  // whose they are
};

// A failed request is charged to the first step that was taken while it was under way, else to the
// last one before it was begun.
[[nodiscard]] RotationOutcome outcome_of(const RotationObservation& observation);

// Of one kind of traffic. Fail: a request failed after a step, or nothing was answered for longer
// than `gap`; which step, how. Inconclusive: so it was before the first step, or nobody answered.
// `observed`: "seamless", "errors", "gap" or "unknown".
[[nodiscard]] Finding rotation_is_seamless(const RotationOutcome& outcome,
                                           const std::string& traffic, base::Duration gap);

// Fail: a proxy was not given a new certificate when others were, or did not show it within
// `budget`. Inconclusive: with a proxy there was no handshake at all. `observed`: "renewed",
// "not_renewed", "late" or "unknown".
[[nodiscard]] Finding certificates_renewed(const RotationOutcome& outcome, base::Duration budget);

// Fail: a proxy showed a certificate that was over; whose, since when, and what became of traffic
// from then on. Inconclusive: none was shown. `observed`: "valid", "expired" or "unknown".
[[nodiscard]] Finding certificates_valid_throughout(const RotationOutcome& outcome);

// "leaf 3" for the third step, where that gives new leaves.
[[nodiscard]] std::string name_of(const StepOutcome& step);

}  // namespace checks
