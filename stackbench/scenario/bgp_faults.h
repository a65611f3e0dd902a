// `bgp.faults`: what is done to a BGP session, its speakers and its link, one after the other, to
// see how long the session is down, how long a stale route attracts traffic and what is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/describe.h"
#include "base/scalar.h"

namespace stackbench::bgp {

enum class FaultKind {
  speaker_killed,       // SIGKILL, without graceful restart; it is started again afterwards
  speaker_lost,         // SIGKILL, with it, and back only after the restart time
  speaker_restarted,    // SIGKILL, with it, and started again at once: the R and F bits of RFC 4724
  speaker_shutdown,     // SIGTERM: it says that it goes
  speaker_silent,       // SIGSTOP: its connection stays open, until the hold timer expires
  node_silent,          // every packet of the node's link is dropped
  tcp_reset,            // the session's connection is reset
  session_flap,         // disabled by its operator, and enabled again
  link_down,            // the node's link goes down, and up again
  peer_restarted,       // the router's daemon is killed and started again
  node_drained,         // the node withdraws what it announces, its session up
  readiness_flap,       // one pod becomes unready and ready again
  rollout,              // every pod, one after the other
  wrong_asn,            // the speaker comes with another AS than the router expects
  wrong_password,       // and with another TCP MD5 password (RFC 2385)
  max_prefix_exceeded,  // it announces more than the router grants
};

// Whether it is about a speaker that has told of graceful restarts (RFC 4724).
[[nodiscard]] constexpr bool is_graceful(FaultKind kind) {
  return kind == FaultKind::speaker_lost || kind == FaultKind::speaker_restarted;
}

// Whether it is a session that must be refused, or ended for a reason.
[[nodiscard]] constexpr bool is_refused(FaultKind kind) {
  return kind == FaultKind::wrong_asn || kind == FaultKind::wrong_password ||
         kind == FaultKind::max_prefix_exceeded;
}

// Whether it is of pods, and of no node's session.
[[nodiscard]] constexpr bool is_of_pods(FaultKind kind) {
  return kind == FaultKind::readiness_flap || kind == FaultKind::rollout;
}

// What is granted; what is absent is judged against what is predicted alone.
struct FaultBudget {
  std::optional<base::Duration> downtime = {};
  std::optional<base::Duration> stale = {};
  std::optional<base::Duration> loss = {};

  bool operator==(const FaultBudget&) const = default;
};

template <typename Visit, base::SelfOf<FaultBudget> Self>
void describe(Visit& visit, Self& self) {
  visit("downtime", self.downtime, {.doc = "From the session's end until it is established."});
  visit("stale", self.stale,
        {.doc = "From the fault until the node's route is out of the router's kernel."});
  visit("loss", self.loss, {.doc = "For how long the client's packets were lost, all together."});
}

struct FaultSpec {
  FaultKind kind = FaultKind::speaker_killed;
  int node = 1;
  std::optional<std::uint32_t> restart_time_s = {};  // of the speaker; default: the scenario's
  FaultBudget budget = {};

  bool operator==(const FaultSpec&) const = default;
};

template <typename Visit, base::SelfOf<FaultSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "What is done.", .required = true});
  visit("node", self.node, {.doc = "To which node, counted from 1.", .at_least = 1});
  visit("restart_time_s", self.restart_time_s,
        {.doc = "speaker_lost and speaker_restarted: the restart time that its speaker tells, in "
                "seconds; bgp.restart_time_s by default.",
         .at_least = 1,
         .at_most = 4095});
  visit("budget", self.budget, {.doc = "What is granted."});
}

}  // namespace stackbench::bgp

template <>
struct base::EnumNames<stackbench::bgp::FaultKind> {
  using Kind = stackbench::bgp::FaultKind;
  static constexpr std::array names{
      std::pair{Kind::speaker_killed, std::string_view("speaker_killed")},
      std::pair{Kind::speaker_lost, std::string_view("speaker_lost")},
      std::pair{Kind::speaker_restarted, std::string_view("speaker_restarted")},
      std::pair{Kind::speaker_shutdown, std::string_view("speaker_shutdown")},
      std::pair{Kind::speaker_silent, std::string_view("speaker_silent")},
      std::pair{Kind::node_silent, std::string_view("node_silent")},
      std::pair{Kind::tcp_reset, std::string_view("tcp_reset")},
      std::pair{Kind::session_flap, std::string_view("session_flap")},
      std::pair{Kind::link_down, std::string_view("link_down")},
      std::pair{Kind::peer_restarted, std::string_view("peer_restarted")},
      std::pair{Kind::node_drained, std::string_view("node_drained")},
      std::pair{Kind::readiness_flap, std::string_view("readiness_flap")},
      std::pair{Kind::rollout, std::string_view("rollout")},
      std::pair{Kind::wrong_asn, std::string_view("wrong_asn")},
      std::pair{Kind::wrong_password, std::string_view("wrong_password")},
      std::pair{Kind::max_prefix_exceeded, std::string_view("max_prefix_exceeded")}};
};
