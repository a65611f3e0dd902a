// Watching a flow at a millisecond's resolution: a sender that knocks at a steady pace, each time
// on a new 5-tuple with one SYN or one datagram that is never sent again, and a receiver that
// stamps what arrives at the destination's interface whether or not anybody listens there, and
// whatever becomes of the reply.
//
// A probe names itself: of a TCP flow by the SYN's sequence number (the probe's number) and its
// timestamp option's TSval (the flow's id; RFC 7323), of a UDP flow by its payload. Neither is
// changed by address translation, so the receiver can name what it sees without the sender.
//
// Probes are made by raw sockets (raw(7)), so they pass the sender's netfilter, tc and cgroup
// egress hooks like any packet, but not its connect hooks: dial pods here, not Services that are
// translated at the socket. No socket is bound to a probe's port. A SYN-ACK therefore meets a reset
// of the sender's kernel, which is what takes the half-open connection at the listener away again;
// where either is dropped on its way, the listener's kernel gives up by itself in the end
// (net.ipv4.tcp_synack_retries). A datagram's ICMP port unreachable meets nobody.
//
// Source ports go round 10,000 to 59,999 by the clock, so that the next job goes on where the last
// one stopped: at 1,000 probes a second and flow a 5-tuple comes again after 50 s.
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

constexpr std::size_t most_sent_flows = 8;
constexpr std::size_t most_received_flows = 64;
// Of one flow, and of a job's flows together, in probes a second.
constexpr double most_flow_rate = 8'000;
constexpr double most_sender_rate = 20'000;
constexpr base::Duration longest_flow_watch = std::chrono::minutes(10);
// What a job keeps of its probes, over all flows (what a message may hold). A sender that sent more
// gives the last ones, a receiver that received more gives the first ones; either counts the rest.
constexpr std::size_t most_kept_probes = 180'000;

// A flow as its sender knows it.
struct SentFlowSpec {
  std::uint32_t id = 0;  // names it among all flows that may arrive at the same place
  base::Endpoint to;
  base::Protocol protocol = base::Protocol::TCP;

  bool operator==(const SentFlowSpec&) const = default;
};

template <typename Visit, base::SelfOf<SentFlowSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("id", self.id, {.doc = "Names the flow.", .required = true});
  visit("to", self.to, {.doc = "Where its probes go.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
}

// Sends until it is stopped or `duration` has passed. Open loop: probe n of a flow is due n / rate
// after the start, the flows' due times interleaved. Equal gaps, not drawn ones: an edge is known
// to within the gap of the two probes around it, and that must not be drawn long.
struct FlowSendJob {
  std::vector<SentFlowSpec> flows = {};          // 1 to 8, ids distinct
  base::RequestRate rate{1'000};                 // of each flow, to 8,000/s; together to 20,000/s
  base::Duration duration = longest_flow_watch;  // at most 10 min
};

template <typename Visit, base::SelfOf<FlowSendJob> Self>
void describe(Visit& visit, Self& self) {
  visit("flows", self.flows, {.doc = "What to send.", .required = true});
  visit("rate", self.rate, {.doc = "Probes a second of each flow."});
  visit("duration", self.duration, {.doc = "How long, unless it is stopped."});
}

// One probe. A number whose due time was missed by more than a gap (a stall) is never sent: it is
// absent here, and the stamps of its neighbours show the gap.
struct SentProbe {
  std::uint32_t number = 0;    // of the flow, from 0
  std::int64_t before_ns = 0;  // CLOCK_MONOTONIC around the send
  std::int64_t after_ns = 0;
  int error_code =
      0;  // errno of a probe that was not sent: ENETUNREACH before a pod's route exists

  bool operator==(const SentProbe&) const = default;
};

// In JSON: a flat list of four integers a probe, differences to the probe before: number,
// before_ns, then after_ns - before_ns, error_code.
class SentProbes {
 public:
  std::vector<SentProbe> list;

  [[nodiscard]] base::Json to_json() const;
  static base::Result<SentProbes> from_json(const base::Json& json, const std::string& path);
  static base::Json json_schema();
  bool operator==(const SentProbes&) const = default;
};

struct SentFlow {
  std::uint32_t id = 0;
  SentProbes probes;               // in the order they were sent, those not sent among them
  std::uint64_t sent = 0;          // handed to the kernel in all
  std::uint64_t not_sent = 0;      // refused by it (error_code)
  std::uint64_t skipped = 0;       // missed by a stall
  std::uint64_t dropped = 0;       // left out of `probes`: the oldest, where they were too many
  std::uint32_t packet_bytes = 0;  // of each, from the IP header on
};

template <typename Visit, base::SelfOf<SentFlow> Self>
void describe(Visit& visit, Self& self) {
  visit("id", self.id, {.doc = "The flow.", .required = true});
  visit("probes", self.probes, {.doc = "Its probes.", .required = true});
  visit("sent", self.sent, {.doc = "Handed to the kernel.", .required = true});
  visit("not_sent", self.not_sent, {.doc = "Refused by the kernel.", .required = true});
  visit("skipped", self.skipped, {.doc = "Missed by a stall.", .required = true});
  visit("dropped", self.dropped, {.doc = "Left out of the list.", .required = true});
  visit("packet_bytes", self.packet_bytes, {.doc = "Of each, IP header included."});
}

struct FlowSendResult {
  std::vector<SentFlow> flows;  // in the order of the job
  std::int64_t began_ns = 0;    // when probe 0 of the first flow was due
  std::int64_t ended_ns = 0;
};

template <typename Visit, base::SelfOf<FlowSendResult> Self>
void describe(Visit& visit, Self& self) {
  visit("flows", self.flows, {.doc = "In the order of the job.", .required = true});
  visit("began_ns", self.began_ns, {.doc = "The first due time.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "After the last probe.", .required = true});
}

// A flow as its receiver knows it: after any translation of the destination.
struct ReceivedFlowSpec {
  std::uint32_t id = 0;
  std::uint16_t port = 0;
  base::Protocol protocol = base::Protocol::TCP;

  bool operator==(const ReceivedFlowSpec&) const = default;
};

template <typename Visit, base::SelfOf<ReceivedFlowSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("id", self.id, {.doc = "As its sender names it.", .required = true});
  visit("port", self.port, {.doc = "Where it arrives.", .required = true, .at_least = 1});
  visit("protocol", self.protocol, {.doc = "TCP or UDP.", .required = true});
}

// Receives until it is stopped, at one interface or (empty) at all of the network namespace, those
// that come later included. It sees what arrives before tc and netfilter of that namespace: rules
// enforced inside the pod itself come after it.
struct FlowReceiveJob {
  std::string interface = {};
  std::vector<ReceivedFlowSpec> flows = {};  // 1 to 64, ids distinct
  std::uint32_t ring_frames = 32'768;  // packets that wait for the reader at most, 256 bytes each
};

template <typename Visit, base::SelfOf<FlowReceiveJob> Self>
void describe(Visit& visit, Self& self) {
  visit("interface", self.interface, {.doc = "Where; empty: everywhere in the namespace."});
  visit("flows", self.flows, {.doc = "What to receive.", .required = true});
  visit("ring_frames", self.ring_frames,
        {.doc = "Packets that wait at most.", .at_least = 16, .at_most = 262'144});
}

struct ReceivedProbe {
  std::uint32_t number = 0;
  // The kernel's stamp of the packet when it entered the namespace's receive path, which the reader
  // being late does not change. The kernel makes it on CLOCK_REALTIME; it is moved to
  // CLOCK_MONOTONIC by the difference of the two clocks, read when the packet is taken
  // (clock_error_ns).
  std::int64_t received_ns = 0;

  bool operator==(const ReceivedProbe&) const = default;
};

// In JSON: a flat list of two integers a probe, differences to the probe before.
class ReceivedProbes {
 public:
  std::vector<ReceivedProbe> list;

  [[nodiscard]] base::Json to_json() const;
  static base::Result<ReceivedProbes> from_json(const base::Json& json, const std::string& path);
  static base::Json json_schema();
  bool operator==(const ReceivedProbes&) const = default;
};

struct ReceivedFlow {
  std::uint32_t id = 0;
  ReceivedProbes probes;       // in the order of arrival; one that arrives twice is there twice
  std::uint64_t received = 0;  // in all
  std::uint64_t dropped = 0;   // received, but left out of `probes`: the last ones, too many
};

template <typename Visit, base::SelfOf<ReceivedFlow> Self>
void describe(Visit& visit, Self& self) {
  visit("id", self.id, {.doc = "The flow.", .required = true});
  visit("probes", self.probes, {.doc = "What arrived.", .required = true});
  visit("received", self.received, {.doc = "In all.", .required = true});
  visit("dropped", self.dropped, {.doc = "Left out of the list.", .required = true});
}

struct FlowReceiveResult {
  std::vector<ReceivedFlow> flows;   // in the order of the job
  std::uint64_t kernel_dropped = 0;  // packets of these ports that found the ring full: then what
                                     // did not arrive is not known
  std::uint64_t strangers = 0;       // to these ports, but no probes of these flows
  std::int64_t began_ns = 0;         // from here on everything is seen
  std::int64_t ended_ns = 0;
  // The most by which a received_ns may be off for reading two clocks; a step of CLOCK_REALTIME
  // while it ran is in it.
  std::int64_t clock_error_ns = 0;
};

template <typename Visit, base::SelfOf<FlowReceiveResult> Self>
void describe(Visit& visit, Self& self) {
  visit("flows", self.flows, {.doc = "In the order of the job.", .required = true});
  visit("kernel_dropped", self.kernel_dropped,
        {.doc = "Packets that found the ring full.", .required = true});
  visit("strangers", self.strangers, {.doc = "Packets that are no probes of these flows."});
  visit("began_ns", self.began_ns, {.doc = "From here on.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "Until here.", .required = true});
  visit("clock_error_ns", self.clock_error_ns, {.doc = "Of each stamp, at most."});
}

// Jobs as they travel, within the bounds above. Errors: input.
[[nodiscard]] base::Result<FlowSendJob> parse_flow_send_job(const base::Json& json);
[[nodiscard]] base::Result<FlowReceiveJob> parse_flow_receive_job(const base::Json& json);

// What an agent said on our clock (bench/stamps.h).
[[nodiscard]] FlowSendResult on_our_clock(FlowSendResult result, base::Duration ahead);
[[nodiscard]] FlowReceiveResult on_our_clock(FlowReceiveResult result, base::Duration ahead);

// Sends from the calling thread's network namespace; `on_ready` once the sockets are there, just
// before the first probe. That there is no route or no address yet is no error: such probes are
// noted as not sent, and the source address is looked up again each time until there is one.
// Returns when `stop_fd` becomes readable or the duration is over. Errors: not_permitted (no
// CAP_NET_RAW), system.
[[nodiscard]] base::Result<FlowSendResult> send_flows(const FlowSendJob& job, int stop_fd,
                                                      const std::function<void()>& on_ready);

// Receives in the calling thread's network namespace until `stop_fd` becomes readable; `on_ready`
// once nothing is missed any more. Errors: input (no such interface), not_permitted (no
// CAP_NET_RAW), system.
[[nodiscard]] base::Result<FlowReceiveResult> receive_flows(const FlowReceiveJob& job, int stop_fd,
                                                            const std::function<void()>& on_ready);

}  // namespace bench
