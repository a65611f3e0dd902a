// What traffic is asked for and what came of it: the words shared by scenario, agent and report.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/describe.h"
#include "base/histogram.h"
#include "base/protocol.h"
#include "base/scalar.h"
#include "bench/failures.h"
#include "bench/frame.h"
#include "bench/stream_frame.h"

namespace bench {

enum class WorkloadKind {
  tcp_rr,   // one request and its reply at a time over a kept connection
  tcp_crr,  // connect, one request and its reply, close
  udp_rr,   // one datagram and its reply at a time, from a kept local port
  http,     // HTTP/1.1: one request and its reply at a time, over kept connections or one for each
  tcp_stream,     // one way, as fast as the connection takes it
  udp_stream,     // datagrams one way, on a schedule
  tls_handshake,  // connect, a TLS handshake, one request and its reply, close
  http2,  // HTTP/2 in clear, by prior knowledge: as http, and requests may share a connection
};

// How a thread waits for its next event.
enum class WaitStrategy {
  block,   // sleep in the kernel
  hybrid,  // sleep until 60 us before the due time, then spin
  spin,    // never sleep
};

// What a workload may do to an offload.
enum class Switch { off, on };

// A workload as a scenario writes it.
struct WorkloadSpec {
  WorkloadKind kind = WorkloadKind::tcp_rr;
  base::Duration duration = std::chrono::milliseconds(300);
  base::Duration warm_up = std::chrono::milliseconds(50);
  std::optional<base::RequestRate> rate = {};  // set: open loop; absent: closed loop
  int connections = 1;
  std::optional<WaitStrategy> wait = {};     // default: hybrid for open loop, block for closed
  std::optional<base::Bytes> request = {};   // default: request_size()
  std::optional<base::Bytes> response = {};  // default: response_size()
  base::Duration timeout = std::chrono::seconds(2);  // of one connect, and of one reply
  std::optional<bool> keep_alive = {};               // http and http2; absent: true
  std::optional<int> streams = {};                   // http2 only; absent: 1
  std::optional<Switch> gso = {};                    // tcp_stream; absent: left as it is
  int generators = 1;                                // that carry it together
  // tls_handshake only.
  std::optional<Switch> session_resumption = {};  // absent: off
  std::optional<bool> client_certificate = {};    // absent: true
};

template <typename Visit, base::SelfOf<WorkloadSpec> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "How traffic is made.", .required = true});
  visit("duration", self.duration, {.doc = "How long one invocation measures."});
  visit("warm_up", self.warm_up, {.doc = "Traffic before it that is not counted."});
  visit("rate", self.rate,
        {.doc = "Open loop: requests, or a stream's writes or datagrams, are due at this rate, "
                "however late replies come. Absent: closed loop, as fast as replies come, or as a "
                "tcp_stream's connection takes it; udp_stream needs one."});
  visit("connections", self.connections,
        {.doc = "Connections used at once; for UDP, sockets with a local port each.",
         .at_least = 1,
         .at_most = 4096});
  visit("wait", self.wait,
        {.doc = "How client and server wait: hybrid is the default of an open loop, block of a "
                "closed one."});
  visit("request", self.request,
        {.doc = "Bytes of a request, at least 16, 64 by default; for UDP at most 65507, one "
                "datagram. Of http and http2: of the request's body, 0 by default, a GET; more is "
                "a POST. Of "
                "a tcp_stream: of one write, 128KiB by default. Of a udp_stream: of one datagram, "
                "at least 32, 1200 by default."});
  visit(
      "response", self.response,
      {.doc = "Bytes of a reply, within the same bounds, 64 by default. Of http and http2: of its "
              "body. A stream has none."});
  visit("timeout", self.timeout, {.doc = "The longest wait for one connect or one reply."});
  visit("keep_alive", self.keep_alive,
        {.doc =
             "http, http2: whether a connection carries one request after another, the default, or "
             "one, and latency begins with its connect."});
  visit("streams", self.streams,
        {.doc = "http2: requests under way at once on each connection, 1 unless said. A peer that "
                "allows fewer lets the others wait, and that is latency.",
         .at_least = 1,
         .at_most = 1024});
  visit("gso", self.gso,
        {.doc = "tcp_stream: TCP segmentation offloads (TSO and GSO) of the interface the client "
                "sends by, for the time of an invocation. Absent: as they are."});
  visit("generators", self.generators,
        {.doc = "How many of the client's pods carry it together, each an equal share of the rate "
                "and of the connections from one instant on. Not of streams.",
         .at_least = 1,
         .at_most = 1024});
  visit("session_resumption", self.session_resumption,
        {.doc = "tls_handshake: on, each connection goes on with the session of the one before it "
                "(RFC 8446, 2.2); off, the default, each is a whole handshake."});
  visit("client_certificate", self.client_certificate,
        {.doc = "tls_handshake: whether the client shows one that the server verifies, as it does "
                "unless said; it verifies the server's always."});
}

// The port a backend listens on for a workload (targetPort) and the port a Service offers it on.
// They differ, so that a translation that forgets the port is noticed, and every workload kind has
// its own, so that two protocols never share one.
[[nodiscard]] std::uint16_t target_port(WorkloadKind kind);   // 7001, 7002, ...
[[nodiscard]] std::uint16_t service_port(WorkloadKind kind);  // 8001, 8002, ...
// What carries it.
[[nodiscard]] constexpr base::Protocol protocol_of(WorkloadKind kind) {
  return kind == WorkloadKind::udp_rr || kind == WorkloadKind::udp_stream ? base::Protocol::UDP
                                                                          : base::Protocol::TCP;
}
// Whether it goes one way: then there is no reply to wait for, and no latency.
[[nodiscard]] constexpr bool is_stream(WorkloadKind kind) {
  return kind == WorkloadKind::tcp_stream || kind == WorkloadKind::udp_stream;
}
// A lost datagram alone does not tell a server that is not there: a UDP flow's first exchange is
// tried so often, each time for a whole timeout.
inline constexpr int first_exchange_attempts = 3;
// Whether its requests and replies are those of HTTP, whatever the version.
[[nodiscard]] constexpr bool is_http(WorkloadKind kind) {
  return kind == WorkloadKind::http || kind == WorkloadKind::http2;
}
// Whether its connections outlive a request.
[[nodiscard]] constexpr bool keeps_connections(const WorkloadSpec& spec) {
  if (is_http(spec.kind)) return spec.keep_alive.value_or(true);
  return spec.kind != WorkloadKind::tcp_crr && spec.kind != WorkloadKind::tls_handshake;
}
// Requests that may be under way at once.
[[nodiscard]] constexpr int requests_at_once(const WorkloadSpec& spec) {
  return spec.connections * spec.streams.value_or(1);
}
// Whether a request of it is replied to over TCP, both in the clear.
[[nodiscard]] constexpr bool replies_by_tcp(WorkloadKind kind) {
  return protocol_of(kind) == base::Protocol::TCP && !is_stream(kind) &&
         kind != WorkloadKind::tls_handshake;
}
// Whether each connection of a client is one through whatever carries TCP as such; of HTTP proxies
// make connections of their own.
[[nodiscard]] constexpr bool connects_by_itself(WorkloadKind kind) {
  return kind == WorkloadKind::tcp_rr || kind == WorkloadKind::tcp_crr ||
         kind == WorkloadKind::tcp_stream || kind == WorkloadKind::tls_handshake;
}
// The least and the most bytes a request or a reply of it may have; of HTTP, their bodies.
struct MessageBounds {
  std::uint64_t least = header_bytes;
  std::uint64_t most = max_message_bytes;
};
[[nodiscard]] constexpr MessageBounds message_bounds(WorkloadKind kind) {
  MessageBounds bounds;
  if (protocol_of(kind) == base::Protocol::UDP) bounds.most = max_datagram_bytes;
  if (is_http(kind)) bounds.least = 0;
  if (kind == WorkloadKind::udp_stream) bounds.least = least_stamped_bytes;
  return bounds;
}
// How long this workload's messages are: as its kind has them where it does not say.
inline constexpr base::Bytes default_message{64};
inline constexpr base::Bytes default_write{std::uint64_t{128} << 10};  // iperf3's
inline constexpr base::Bytes default_datagram{1'200};  // what every path takes, as QUIC assumes
[[nodiscard]] constexpr base::Bytes request_size(const WorkloadSpec& spec) {
  if (is_http(spec.kind)) return spec.request.value_or(base::Bytes{0});
  if (spec.kind == WorkloadKind::tcp_stream) return spec.request.value_or(default_write);
  if (spec.kind == WorkloadKind::udp_stream) return spec.request.value_or(default_datagram);
  return spec.request.value_or(default_message);
}
[[nodiscard]] constexpr base::Bytes response_size(const WorkloadSpec& spec) {
  return spec.response.value_or(default_message);
}
// The name of that port in Service and EndpointSlice objects: the kind with dashes ("tcp-rr").
[[nodiscard]] std::string port_name(WorkloadKind kind);

// What an end of tls_handshake shows and believes: PEM.
struct TlsSettings {
  std::string authority;         // whose certificates are believed
  std::string certificate = {};  // its own; empty: none is shown
  std::string key = {};
  bool client_certificate = false;  // a server's: whether it asks for one and takes nobody without
  bool resumption = false;          // whether sessions go on

  bool operator==(const TlsSettings&) const = default;
};
// The name that servers of it show, and clients ask for.
inline constexpr std::string_view tls_server_name = "stackbench";

template <typename Visit, base::SelfOf<TlsSettings> Self>
void describe(Visit& visit, Self& self) {
  visit("authority", self.authority, {.doc = "Whose certificates are believed.", .required = true});
  visit("certificate", self.certificate, {.doc = "Its own. Empty: none is shown."});
  visit("key", self.key, {.doc = "Its key."});
  visit("client_certificate", self.client_certificate,
        {.doc = "Of a server: whether it takes nobody without one."});
  visit("resumption", self.resumption, {.doc = "Whether sessions go on."});
}

// What a server worker is told. It replies to the requests of one workload kind until it is
// stopped; `spin` spins only while a connection is open, so that idle servers cost nothing.
struct ServerJob {
  WorkloadKind kind = WorkloadKind::tcp_rr;
  WaitStrategy wait = WaitStrategy::block;
  std::vector<base::Endpoint> listen;  // usually [::]:port and 0.0.0.0:port
  std::uint32_t server_id = 0;         // stamped into every reply: who answered
  std::optional<int> cpu = {};         // the core its hot thread is pinned to
  bool note_arrivals = false;          // stamp every new connection; for UDP, every datagram
  // A token (base/canary.h): every reply's body that has room begins with it and the number of its
  // request.
  std::optional<std::string> canary = {};
  std::optional<TlsSettings> tls = {};  // tls_handshake
};

template <typename Visit, base::SelfOf<ServerJob> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "The workload it answers.", .required = true});
  visit("wait", self.wait, {.doc = "How it waits."});
  visit("listen", self.listen, {.doc = "Where it listens.", .required = true});
  visit("server_id", self.server_id, {.doc = "Stamped into every reply."});
  visit("cpu", self.cpu, {.doc = "The core it is pinned to."});
  visit("note_arrivals", self.note_arrivals,
        {.doc = "Stamp every new connection; for UDP, every datagram."});
  visit("canary", self.canary, {.doc = "A token that every reply's body begins with."});
  visit("tls", self.tls, {.doc = "tls_handshake: what it shows and believes."});
}

// What a client worker is told.
struct ClientJob {
  WorkloadSpec workload;
  std::vector<base::Endpoint> servers;  // at least one; each connection goes to one at random
  std::optional<int> cpu = {};
  std::uint64_t seed = 1;  // of the arrival schedule and of the choice of servers
  // The window begins then, or as soon after as everything is connected and warm.
  std::optional<std::int64_t> window_begins_ns = {};
  bool note_events =
      false;  // an open loop's: keep failed requests and flows that moved, one by one
  // Of every such part of the window it is told when answers came (AnswerSlice).
  std::optional<base::Duration> answer_slice = {};
  // Of workloads with a connection for each request: all of its connections together, whatever they
  // go to. Below it nothing changes; at it, a closed loop waits and an open loop's rate is the cap.
  std::optional<std::uint32_t> most_connections_per_minute = {};
  // The same for every request's body: of workloads that can carry one (bench/canaries.h) at a
  // rate, whose requests and replies have room for it.
  std::optional<std::string> canary = {};
  std::optional<TlsSettings> tls = {};  // tls_handshake
};

template <typename Visit, base::SelfOf<ClientJob> Self>
void describe(Visit& visit, Self& self) {
  visit("workload", self.workload, {.doc = "What to do.", .required = true});
  visit("servers", self.servers,
        {.doc = "Whom to dial: each connection goes to one of them at random.", .required = true});
  visit("cpu", self.cpu, {.doc = "The core it is pinned to."});
  visit("seed", self.seed, {.doc = "Of the arrival schedule and the choice of servers."});
  visit("window_begins_ns", self.window_begins_ns,
        {.doc = "CLOCK_MONOTONIC at which the window begins, at the earliest."});
  visit("note_events", self.note_events,
        {.doc = "Keep an open loop's failed requests and moved flows one by one."});
  visit("answer_slice", self.answer_slice,
        {.doc = "Of each part of the window of this length: when answers came."});
  visit("most_connections_per_minute", self.most_connections_per_minute,
        {.doc = "A cap on how often it connects for a request.", .at_least = 1});
  visit("canary", self.canary, {.doc = "A token that every request's body begins with."});
  visit("tls", self.tls, {.doc = "tls_handshake: what it shows and believes."});
}

// What a tcp_stream moved, and how the client's kernel sent it.
struct StreamFigures {
  std::uint64_t bytes = 0;            // acknowledged by the receivers' kernels in the window
  std::uint64_t delivered_bytes = 0;  // read by the servers altogether, as they say at the end
  double bytes_per_second = 0;
  std::string interface;  // the route to the first server leaves by
  // Of everything that left by the interface in the window: before a driver segments it, an skb of
  // up to 64 KiB counts as one packet. The loopback interface carries acknowledgements too.
  std::optional<double> bytes_per_skb = {};
  std::vector<std::string> offloads = {};  // in force there: of tso, gso, gro
};

template <typename Visit, base::SelfOf<StreamFigures> Self>
void describe(Visit& visit, Self& self) {
  visit("bytes", self.bytes, {.doc = "Acknowledged in the window."});
  visit("delivered_bytes", self.delivered_bytes,
        {.doc = "Read by the servers altogether, as they said at the end."});
  visit("bytes_per_second", self.bytes_per_second, {.doc = "Acknowledged, per second."});
  visit("interface", self.interface, {.doc = "The one the client sent by."});
  visit("bytes_per_skb", self.bytes_per_skb,
        {.doc = "Mean of what left by that interface in the window."});
  visit("offloads", self.offloads, {.doc = "In force there: of tso, gso, gro."});
}

// What became of a udp_stream's datagrams, warm-up included, by the servers' reports.
struct DatagramFigures {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;    // every datagram once
  std::uint64_t lost = 0;        // sent - received
  std::uint64_t overflowed = 0;  // dropped at the servers' sockets: receivers too slow, not a path
  std::uint64_t reordered = 0;   // came after one sent later (RFC 4737, section 3.3)
  std::uint64_t duplicates = 0;
  // Interarrival jitter of a flow at its end (RFC 3550, section 6.4.1 and appendix A.8), arrival
  // being when the server's read returned: the mean over flows, and the largest.
  double jitter_mean_ns = 0;
  double jitter_max_ns = 0;
  std::int64_t idle_spin_ns = 0;  // spun in the window while no datagram was due
};

template <typename Visit, base::SelfOf<DatagramFigures> Self>
void describe(Visit& visit, Self& self) {
  visit("sent", self.sent, {.doc = "Datagrams sent."});
  visit("received", self.received, {.doc = "Received, each counted once."});
  visit("lost", self.lost, {.doc = "Sent and not received."});
  visit("overflowed", self.overflowed,
        {.doc = "Dropped at the servers' sockets, for want of room in most cases."});
  visit("reordered", self.reordered, {.doc = "Came after one that was sent later (RFC 4737)."});
  visit("duplicates", self.duplicates, {.doc = "Came again."});
  visit("jitter_mean_ns", self.jitter_mean_ns,
        {.doc = "Interarrival jitter (RFC 3550) at the end, mean over flows."});
  visit("jitter_max_ns", self.jitter_max_ns, {.doc = "The same, of the worst flow."});
  visit("idle_spin_ns", self.idle_spin_ns, {.doc = "Spun while no datagram was due."});
}

// The handshakes of a tls_handshake's window.
struct TlsFigures {
  std::uint64_t handshakes = 0;
  std::uint64_t resumed = 0;  // of those, went on with an earlier session
  std::string version = {};   // "TLSv1.3", of the first
  std::string cipher = {};
  bool client_certificate = false;  // the client showed one
};

template <typename Visit, base::SelfOf<TlsFigures> Self>
void describe(Visit& visit, Self& self) {
  visit("handshakes", self.handshakes, {.doc = "Completed in the window.", .required = true});
  visit("resumed", self.resumed, {.doc = "Of those, sessions that went on.", .required = true});
  visit("version", self.version, {.doc = "Of the first."});
  visit("cipher", self.cipher, {.doc = "Of the first."});
  visit("client_certificate", self.client_certificate, {.doc = "Whether the client showed one."});
}

// The answers of one part of a window.
struct AnswerSlice {
  std::uint64_t answered = 0;
  std::int64_t last_ns = 0;  // CLOCK_MONOTONIC of the last of them; 0: there was none
  // Of the gaps between an answer and the one before, wherever that was, those that ended here: the
  // longest, and its end. Of a window's first answer the gap is from its beginning.
  std::int64_t longest_gap_ns = 0;
  std::int64_t gap_ended_ns = 0;

  bool operator==(const AnswerSlice&) const = default;
};

template <typename Visit, base::SelfOf<AnswerSlice> Self>
void describe(Visit& visit, Self& self) {
  visit("answered", self.answered, {.doc = "Requests of the window answered in it."});
  visit("last_ns", self.last_ns, {.doc = "When the last of them was, CLOCK_MONOTONIC."});
  visit("longest_gap_ns", self.longest_gap_ns,
        {.doc = "The longest time between two answers that ended in it."});
  visit("gap_ended_ns", self.gap_ended_ns, {.doc = "When that ended, CLOCK_MONOTONIC."});
}

// So many there are at most; what comes later counts to the last.
inline constexpr std::size_t most_answer_slices = 8192;

// So many of each are kept; a line of the agent's protocol holds them all.
inline constexpr std::size_t failures_noted = 8192;
inline constexpr std::size_t moves_noted = 1024;

// What one invocation of a client measured: one sample's worth of honest numbers. Histograms hold
// nanoseconds and count the measuring window only, never the warm-up.
struct ClientResult {
  WorkloadKind kind = WorkloadKind::tcp_rr;
  std::string loop;  // "open" or "closed"
  WaitStrategy wait = WaitStrategy::block;
  std::optional<int> cpu = {};
  std::int64_t start_ns = 0;  // CLOCK_MONOTONIC, the measuring window
  std::int64_t end_ns = 0;
  // Completed in the window: requests answered, a tcp_stream's writes acknowledged, a udp_stream's
  // datagrams received.
  std::uint64_t requests = 0;
  std::uint64_t connections_opened = 0;
  base::Histogram latency;   // open loop: from the intended send time; without kept connections:
                             // connect to reply
  base::Histogram connect;   // connect(2) to established, of kept connections their set-up; udp_rr:
                             // the first datagram of a flow to its reply; tls_handshake: to the end
                             // of the client's side of it
  base::Histogram lateness;  // open loop: actual send - intended
  double rate_per_second = 0;
  std::int64_t cpu_user_ns = 0;  // of the hot thread in the window, includes borrowed softirq
  std::int64_t cpu_system_ns = 0;
  std::int64_t cpu_per_request_ns = 0;
  double utilisation = 0;             // share of the window its core was busy with us; spin is 1
  double littles_law_residual = 0;    // |mean latency x rate / concurrency - 1|, closed loop
  bool littles_law_violated = false;  // the residual is over 2 %
  bool generator_limited = false;     // lateness p99 > 10 % of latency p99, or utilisation > 0.95
  bool rate_capped = false;           // the rate is that of most_connections_per_minute, no finding
  std::uint64_t involuntary_context_switches = 0;
  std::uint64_t tcp_retransmits = 0;  // TCP_INFO, over every connection used
  TrafficErrors errors;
  // server_id -> requests, of streams flows; those of HTTP servers that are not ours under
  // "unnamed".
  std::map<std::string, std::uint64_t> answered_by;
  std::vector<int> local_ports;                   // of the first connections, at most 16
  std::optional<StreamFigures> stream = {};       // tcp_stream
  std::optional<DatagramFigures> datagrams = {};  // udp_stream
  std::optional<TlsFigures> tls = {};             // tls_handshake
  // Where the job asked for them; in the order they were noticed.
  std::vector<FailedRequest> failures = {};
  std::uint64_t failures_lost = 0;  // for want of room
  // server_id -> kept flows it answered first: of UDP all flows, of TCP every connection opened
  std::map<std::string, std::uint64_t> flows_of = {};
  std::vector<FlowMove> moves = {};
  std::uint64_t moves_lost = 0;
  std::vector<AnswerSlice> answer_slices = {};  // from the window's beginning on
};

template <typename Visit, base::SelfOf<ClientResult> Self>
void describe(Visit& visit, Self& self) {
  visit("kind", self.kind, {.doc = "The workload.", .required = true});
  visit("loop", self.loop, {.doc = "open or closed.", .required = true});
  visit("wait", self.wait, {.doc = "How it waited."});
  visit("cpu", self.cpu, {.doc = "The core it was pinned to."});
  visit("start_ns", self.start_ns, {.doc = "Start of the window, CLOCK_MONOTONIC."});
  visit("end_ns", self.end_ns, {.doc = "End of the window, CLOCK_MONOTONIC."});
  visit("requests", self.requests,
        {.doc = "Completed in the window: requests, writes acknowledged, datagrams received."});
  visit("connections_opened", self.connections_opened,
        {.doc = "Connections opened; for UDP, flows whose first datagram was answered."});
  visit("latency_ns", self.latency, {.doc = "Per request."});
  visit("connect_ns", self.connect,
        {.doc = "Per connection, connect to established; for UDP, first datagram to its reply."});
  visit("lateness_ns", self.lateness, {.doc = "Actual send minus intended send."});
  visit("rate_per_second", self.rate_per_second, {.doc = "Completed requests per second."});
  visit("cpu_user_ns", self.cpu_user_ns, {.doc = "User CPU of the hot thread."});
  visit("cpu_system_ns", self.cpu_system_ns,
        {.doc = "System CPU of the hot thread, includes borrowed softirq."});
  visit("cpu_per_request_ns", self.cpu_per_request_ns, {.doc = "Their sum per request."});
  visit("utilisation", self.utilisation, {.doc = "Busy share of the generator's core."});
  visit("littles_law_residual", self.littles_law_residual,
        {.doc = "|mean latency x rate / concurrency - 1| of a closed loop."});
  visit("littles_law_violated", self.littles_law_violated, {.doc = "The residual is over 2 %."});
  visit("generator_limited", self.generator_limited,
        {.doc = "The generator, not the path, set this latency."});
  visit("rate_capped", self.rate_capped,
        {.doc = "A cap on connections, not the path, set this rate."});
  visit("involuntary_context_switches", self.involuntary_context_switches,
        {.doc = "Times the hot thread was preempted."});
  visit("tcp_retransmits", self.tcp_retransmits, {.doc = "Segments sent again."});
  visit("errors", self.errors, {.doc = "Failed requests by class."});
  visit("answered_by", self.answered_by,
        {.doc = "Requests, or a stream's flows, per server identity."});
  visit("local_ports", self.local_ports, {.doc = "Local ports of the first connections."});
  visit("stream", self.stream, {.doc = "What a tcp_stream moved."});
  visit("datagrams", self.datagrams, {.doc = "What became of a udp_stream's datagrams."});
  visit("tls", self.tls, {.doc = "The handshakes of a tls_handshake."});
  visit("failures", self.failures, {.doc = "Failed requests, where they were to be noted."});
  visit("failures_lost", self.failures_lost, {.doc = "Those there was no room for."});
  visit("flows_of", self.flows_of, {.doc = "Kept flows by the server that answered them first."});
  visit("moves", self.moves, {.doc = "Kept flows that another server answered than before."});
  visit("moves_lost", self.moves_lost, {.doc = "Those there was no room for."});
  visit("answer_slices", self.answer_slices,
        {.doc = "When answers came, one part of the window after the other."});
}

// What a server worker saw between its start and its stop.
struct ServerResult {
  // UDP: the first datagram of each flow among them; of streams, what opens and closes a flow.
  std::uint64_t requests = 0;
  std::uint64_t received = 0;     // a tcp_stream's bytes, a udp_stream's datagrams
  std::uint64_t connections = 0;  // UDP: client addresses and ports, at most 65,536
  // Whom the first connections came from, address by address: the first 64, so that looking costs
  // the hot path nothing.
  std::map<std::string, std::uint64_t> clients = {};
  std::uint64_t bad_requests = 0;
  std::int64_t cpu_user_ns = 0;
  std::int64_t cpu_system_ns = 0;
  // Where the job asked for them: when each new connection was accepted (UDP: each datagram
  // received), the first 16,384.
  std::vector<std::int64_t> arrivals_ns = {};
  std::uint64_t arrivals_lost = 0;
};

template <typename Visit, base::SelfOf<ServerResult> Self>
void describe(Visit& visit, Self& self) {
  visit("requests", self.requests, {.doc = "Requests answered."});
  visit("received", self.received,
        {.doc = "What came beside them: bytes of a tcp_stream, datagrams of a udp_stream."});
  visit("connections", self.connections,
        {.doc = "Connections accepted; for UDP, the addresses and ports datagrams came from."});
  visit("clients", self.clients, {.doc = "Of the first 64 connections: how many by address."});
  visit("bad_requests", self.bad_requests, {.doc = "Requests that were not ours."});
  visit("cpu_user_ns", self.cpu_user_ns, {.doc = "User CPU of the hot thread."});
  visit("cpu_system_ns", self.cpu_system_ns, {.doc = "System CPU of the hot thread."});
  visit("arrivals_ns", self.arrivals_ns,
        {.doc = "When new connections were accepted, datagrams received: CLOCK_MONOTONIC."});
  visit("arrivals_lost", self.arrivals_lost, {.doc = "Those there was no room for."});
}

}  // namespace bench

template <>
struct base::EnumNames<bench::WorkloadKind> {
  static constexpr std::array names{
      std::pair{bench::WorkloadKind::tcp_rr, std::string_view("tcp_rr")},
      std::pair{bench::WorkloadKind::tcp_crr, std::string_view("tcp_crr")},
      std::pair{bench::WorkloadKind::udp_rr, std::string_view("udp_rr")},
      std::pair{bench::WorkloadKind::http, std::string_view("http")},
      std::pair{bench::WorkloadKind::tcp_stream, std::string_view("tcp_stream")},
      std::pair{bench::WorkloadKind::udp_stream, std::string_view("udp_stream")},
      std::pair{bench::WorkloadKind::tls_handshake, std::string_view("tls_handshake")},
      std::pair{bench::WorkloadKind::http2, std::string_view("http2")}};
};

template <>
struct base::EnumNames<bench::Switch> {
  static constexpr std::array names{std::pair{bench::Switch::off, std::string_view("off")},
                                    std::pair{bench::Switch::on, std::string_view("on")}};
};

template <>
struct base::EnumNames<bench::WaitStrategy> {
  static constexpr std::array names{
      std::pair{bench::WaitStrategy::block, std::string_view("block")},
      std::pair{bench::WaitStrategy::hybrid, std::string_view("hybrid")},
      std::pair{bench::WaitStrategy::spin, std::string_view("spin")}};
};
