// Who can reach whom: a sweep over targets from inside a pod, and the servers that answer it with
// their identity. What a sweep saw is an observation; whether it should have been so is for others
// to judge (checks/).
//
// A target is probed by a connection or datagram of its own. The answer carries the server's
// identity and the nonce of the question, so a port that somebody else answers is told from one
// that its owner answers, and a late answer to an earlier question from one to this.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/protocol.h"
#include "base/result.h"
#include "base/scalar.h"

namespace bench {

// What came of one target, by what its prober saw. A datagram's refusal is an ICMP message, and a
// Linux host sends the same peer no more of those than six and then one a second
// (net.ipv4.icmp_ratelimit, net.ipv6.icmp.ratelimit): of many refused datagrams some read
// timed_out.
enum class ReachOutcome {
  answered,           // by the server that was expected
  answered_by_other,  // by another of our servers, or by somebody who is none of ours
  silent,             // TCP: it connected, and then nothing came in time
  cut,                // TCP: it connected, and was reset or closed before the answer was whole
  refused,      // ECONNREFUSED: a reset, or ICMP port unreachable (what iptables' REJECT sends)
  unreachable,  // another ICMP error, no route, or our own kernel's rules (EPERM): error_code
  timed_out,    // nothing came: dropped on its way there or back
  failed,       // our own trouble, such as no ports or descriptors left: error_code
};

// Somewhere to knock.
struct ReachTarget {
  base::Endpoint endpoint;
  base::Protocol protocol = base::Protocol::TCP;
  std::uint32_t server_id = 0;  // who is expected to answer, from 1 (ListenJob::server_id)

  bool operator==(const ReachTarget&) const = default;
};

template <typename Visit, base::SelfOf<ReachTarget> Self>
void describe(Visit& visit, Self& self) {
  visit("endpoint", self.endpoint, {.doc = "Where to knock.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
  visit("server_id", self.server_id,
        {.doc = "Who is expected to answer.", .required = true, .at_least = 1});
}

// A job has at most so many targets; long addresses may let fewer of them fit into a command's
// line (longest_command in bench/agent/protocol.h).
constexpr std::size_t most_reach_targets = 20'000;
// A UDP target is asked so often at most, at equal distances within its timeout: a datagram lost by
// chance must not read as a rule. A TCP target is tried once; its SYN is sent again by the kernel
// only after a second.
constexpr std::uint32_t udp_attempts = 3;

// All targets, at once but for the bound on how many are in the air.
struct ReachJob {
  std::vector<ReachTarget> targets = {};
  base::Duration timeout = std::chrono::milliseconds(200);  // of each target, 10 ms to 10 s
  std::uint32_t concurrency = 1024;                         // in the air at a time, 1 to 4096
};

template <typename Visit, base::SelfOf<ReachJob> Self>
void describe(Visit& visit, Self& self) {
  visit("targets", self.targets, {.doc = "Where to knock.", .required = true});
  visit("timeout", self.timeout, {.doc = "Of each target."});
  visit("concurrency", self.concurrency,
        {.doc = "Targets in the air at a time.", .at_least = 1, .at_most = 4096});
}

// One target's outcome and its evidence. Stamps are CLOCK_MONOTONIC of the agent's machine.
struct ReachCell {
  ReachOutcome outcome = ReachOutcome::failed;
  // Who answered, where it was one of our servers: a stranger has no identity.
  std::optional<std::uint32_t> answered_by = {};
  int error_code = 0;          // errno of cut, refused, unreachable and failed; 0 otherwise
  std::uint32_t attempts = 0;  // connections tried, or datagrams sent
  std::int64_t sent_ns = 0;    // before the first attempt
  std::int64_t done_ns = 0;    // when the outcome was known

  bool operator==(const ReachCell&) const = default;
};

template <typename Visit, base::SelfOf<ReachCell> Self>
void describe(Visit& visit, Self& self) {
  visit("outcome", self.outcome, {.doc = "What came of it.", .required = true});
  visit("answered_by", self.answered_by, {.doc = "Which of our servers answered."});
  visit("error_code", self.error_code, {.doc = "errno of what is no answer."});
  visit("attempts", self.attempts, {.doc = "Connections tried, or datagrams sent."});
  visit("sent_ns", self.sent_ns, {.doc = "Before the first attempt.", .required = true});
  visit("done_ns", self.done_ns, {.doc = "When it was known.", .required = true});
}

struct ReachResult {
  std::vector<ReachCell> cells;  // in the order of the job's targets
  std::int64_t began_ns = 0;     // around all of them
  std::int64_t ended_ns = 0;
};

template <typename Visit, base::SelfOf<ReachResult> Self>
void describe(Visit& visit, Self& self) {
  visit("cells", self.cells, {.doc = "In the order of the targets.", .required = true});
  visit("began_ns", self.began_ns, {.doc = "Before the first.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "After the last.", .required = true});
}

// A port a server answers at.
struct ListenPort {
  std::uint16_t port = 0;
  base::Protocol protocol = base::Protocol::TCP;

  bool operator==(const ListenPort&) const = default;
};

template <typename Visit, base::SelfOf<ListenPort> Self>
void describe(Visit& visit, Self& self) {
  visit("port", self.port, {.doc = "Its number.", .required = true, .at_least = 1});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
}

constexpr std::size_t most_listen_ports = 1024;

// A server: at every address of its network namespace, in both families (IPv4 alone where the
// kernel has no IPv6). Ports that are not listed are not listened on, and that is all a dead port
// needs.
struct ListenJob {
  std::uint32_t server_id = 0;  // its identity, from 1
  std::vector<ListenPort> ports = {};
};

template <typename Visit, base::SelfOf<ListenJob> Self>
void describe(Visit& visit, Self& self) {
  visit("server_id", self.server_id, {.doc = "Its identity.", .required = true, .at_least = 1});
  visit("ports", self.ports, {.doc = "Where it answers.", .required = true});
}

// What a server met until it was stopped.
struct ListenResult {
  std::uint64_t connections = 0;  // accepted
  std::uint64_t requests = 0;     // answered, over both protocols
  std::uint64_t strangers = 0;    // datagrams and connections that carried no question of ours
  std::uint64_t turned_away =
      0;  // connections closed at once: too many were open, or no descriptor
};

template <typename Visit, base::SelfOf<ListenResult> Self>
void describe(Visit& visit, Self& self) {
  visit("connections", self.connections, {.doc = "Accepted.", .required = true});
  visit("requests", self.requests, {.doc = "Answered.", .required = true});
  visit("strangers", self.strangers, {.doc = "Carried no question of ours."});
  visit("turned_away", self.turned_away, {.doc = "Connections closed for want of room."});
}

// A job as it travels, within the bounds above. Errors: input, "job.targets: ...".
[[nodiscard]] base::Result<ReachJob> parse_reach_job(const base::Json& json);
[[nodiscard]] base::Result<ListenJob> parse_listen_job(const base::Json& json);

// How long a sweep may take before its worker is killed: its timeouts one after another as far as
// the concurrency makes them wait, and 10 s for a busy machine.
[[nodiscard]] base::Duration reach_time_limit(const ReachJob& job);

// What an agent said, its stamps as our clock would have made them, where its clock is `ahead` of
// ours (bench/stamps.h).
[[nodiscard]] ReachResult on_our_clock(ReachResult result, base::Duration ahead);

// Probes every target from the calling thread's network namespace and returns when each has its
// outcome. One thread, one epoll. What happens to a target is its cell; Errors: interrupted
// (`stop_fd` became readable), system (no epoll, no timer).
[[nodiscard]] base::Result<ReachResult> run_reach(const ReachJob& job, int stop_fd);

// Listens on every port, says where (`on_listening`: each endpoint once, wildcard addresses), and
// answers until `stop_fd` becomes readable. One thread. Errors: system and not_permitted, naming
// the port and protocol that cannot be bound; nothing is served then.
[[nodiscard]] base::Result<ListenResult> run_listener(
    const ListenJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening);

}  // namespace bench

template <>
struct base::EnumNames<bench::ReachOutcome> {
  static constexpr std::array names{
      std::pair{bench::ReachOutcome::answered, std::string_view("answered")},
      std::pair{bench::ReachOutcome::answered_by_other, std::string_view("answered_by_other")},
      std::pair{bench::ReachOutcome::silent, std::string_view("silent")},
      std::pair{bench::ReachOutcome::cut, std::string_view("cut")},
      std::pair{bench::ReachOutcome::refused, std::string_view("refused")},
      std::pair{bench::ReachOutcome::unreachable, std::string_view("unreachable")},
      std::pair{bench::ReachOutcome::timed_out, std::string_view("timed_out")},
      std::pair{bench::ReachOutcome::failed, std::string_view("failed")}};
};
