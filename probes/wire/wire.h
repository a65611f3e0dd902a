// What crossed the wire between a client and its servers: were canaries readable, and is each
// connection TLS from its first byte to its last? The job an observer's agent is given, and what it
// reports: figures and a bounded number of examples, never the traffic.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"

namespace probes {

// A canary to look for.
struct CanaryToken {
  std::string name;   // "request", "reply"
  std::string token;  // 32 hexadecimal digits (base/canary.h)
};

template <typename Visit, base::SelfOf<CanaryToken> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What carries it.", .required = true});
  visit("token", self.token, {.doc = "32 hexadecimal digits.", .required = true});
}

// Whether the capture sees at all: a conversation that the observer itself puts on the wire, in
// clear, addressed to the capturing interface so that no host takes it for its own. Its canaries
// must be found by the very filter that is to find none of the run's.
struct ClearSample {
  std::string protocol;        // "http"
  base::Endpoint client;       // a pod's address, and a port that nothing uses
  base::Endpoint server;       // as the traffic's own
  std::string before_request;  // what a request of that protocol has before its body
  std::string before_reply;
};

template <typename Visit, base::SelfOf<ClearSample> Self>
void describe(Visit& visit, Self& self) {
  visit("protocol", self.protocol, {.doc = "Of the traffic.", .required = true});
  visit("client", self.client, {.doc = "Its source.", .required = true});
  visit("server", self.server, {.doc = "Its destination.", .required = true});
  visit("before_request", self.before_request, {.doc = "Before a request's body."});
  visit("before_reply", self.before_reply, {.doc = "Before a reply's body."});
}

struct CaptureJob {
  std::string interface = {};  // in the observer's network namespace; empty: the default route's
  // Connections to these are accounted for byte by byte; canaries are looked for in every TCP
  // connection of their addresses.
  std::vector<base::Endpoint> servers = {};
  // The client's own addresses. Canaries are looked for in every connection of theirs, too, and
  // what leaves them for anybody but the servers is accounted for.
  std::vector<base::IpAddress> clients = {};
  std::vector<CanaryToken> canaries = {};
  std::vector<ClearSample> samples = {};
  base::Bytes ring{std::uint64_t{64} << 20};  // what the kernel may hold for us
};

template <typename Visit, base::SelfOf<CaptureJob> Self>
void describe(Visit& visit, Self& self) {
  visit("interface", self.interface, {.doc = "Where. Absent: the default route's."});
  visit("servers", self.servers, {.doc = "Whose connections are judged.", .required = true});
  visit("clients", self.clients, {.doc = "Whose other traffic is accounted for."});
  visit("canaries", self.canaries, {.doc = "What must not be readable.", .required = true});
  visit("samples", self.samples, {.doc = "What the capture is tried with."});
  visit("ring", self.ring, {.doc = "Memory for packets that were not looked at yet."});
}

// A job within bounds: 1 to 1024 servers, 1 to 16 canaries that differ, at most 16 samples, a ring
// of 1 MiB to 1 GiB. Errors: input.
[[nodiscard]] base::Result<CaptureJob> parse_capture_job(const base::Json& json);

// A canary that could be read.
struct ReadableCanary {
  std::string name;
  std::optional<std::uint32_t> number = {};  // of the request
  base::Endpoint from;
  base::Endpoint to;
  std::int64_t at_ns = 0;  // CLOCK_MONOTONIC: the kernel's stamp of the packet it ended in
};

template <typename Visit, base::SelfOf<ReadableCanary> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "What carried it.", .required = true});
  visit("number", self.number, {.doc = "Of the request."});
  visit("from", self.from, {.doc = "Who sent it.", .required = true});
  visit("to", self.to, {.doc = "To whom.", .required = true});
  visit("at_ns", self.at_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
}

// Between which packets all canaries of a name could be read, repeated ones included.
struct CanarySpan {
  std::int64_t first_ns = 0;  // CLOCK_MONOTONIC: the kernel's stamps
  std::int64_t last_ns = 0;

  bool operator==(const CanarySpan&) const = default;
};

template <typename Visit, base::SelfOf<CanarySpan> Self>
void describe(Visit& visit, Self& self) {
  visit("first_ns", self.first_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("last_ns", self.last_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
}

// Handshakes that say the same.
struct HandshakeKind {
  std::string server_name;                 // SNI
  std::vector<std::string> alpn;           // offered
  std::vector<std::string> versions;       // offered: "TLS 1.3"
  std::string version;                     // chosen by the server
  std::string cipher_suite;                // chosen: "0x1301"
  std::optional<std::string> chosen_alpn;  // where it is in clear (TLS 1.2)
  std::uint16_t server_port = 0;
  std::uint64_t connections = 0;
  std::uint64_t resumed = 0;  // of these, offered a session to resume

  // All but the counts.
  [[nodiscard]] bool says_the_same(const HandshakeKind& other) const {
    return server_name == other.server_name && alpn == other.alpn && versions == other.versions &&
           version == other.version && cipher_suite == other.cipher_suite &&
           chosen_alpn == other.chosen_alpn && server_port == other.server_port;
  }
};

template <typename Visit, base::SelfOf<HandshakeKind> Self>
void describe(Visit& visit, Self& self) {
  visit("server_name", self.server_name, {.doc = "SNI.", .required = true});
  visit("alpn", self.alpn, {.doc = "Offered by the client.", .required = true});
  visit("versions", self.versions, {.doc = "Offered by the client.", .required = true});
  visit("version", self.version, {.doc = "Chosen by the server.", .required = true});
  visit("cipher_suite", self.cipher_suite, {.doc = "Chosen by the server."});
  visit("chosen_alpn", self.chosen_alpn, {.doc = "Chosen, where that is in clear."});
  visit("server_port", self.server_port, {.doc = "The port that was dialled."});
  visit("connections", self.connections, {.doc = "How many said so.", .required = true});
  visit("resumed", self.resumed, {.doc = "Of these, offered a session to resume."});
}

// A connection that is not TLS throughout.
struct ForeignConnection {
  base::Endpoint client;
  base::Endpoint server;
  std::string why;    // "no ClientHello", "byte 0 of what the client sent is in no record"
  std::string bytes;  // the first of those, printable ones as they are
};

template <typename Visit, base::SelfOf<ForeignConnection> Self>
void describe(Visit& visit, Self& self) {
  visit("client", self.client, {.doc = "Who opened it.", .required = true});
  visit("server", self.server, {.doc = "To whom.", .required = true});
  visit("why", self.why, {.doc = "What it lacks.", .required = true});
  visit("bytes", self.bytes, {.doc = "The first bytes that are no TLS."});
}

// What the client sent to somebody who is none of the servers.
struct SentElsewhere {
  base::Endpoint to;     // without a port where the protocol has none
  std::string protocol;  // "TCP", "UDP", "other"
  std::uint64_t bytes = 0;
};

template <typename Visit, base::SelfOf<SentElsewhere> Self>
void describe(Visit& visit, Self& self) {
  visit("to", self.to, {.doc = "To whom.", .required = true});
  visit("protocol", self.protocol, {.doc = "TCP, UDP or other.", .required = true});
  visit("bytes", self.bytes, {.doc = "Of payload.", .required = true});
}

// What became of a sample.
struct SampleSeen {
  std::string protocol;
  bool request = false;  // its canary was found
  bool reply = false;
};

template <typename Visit, base::SelfOf<SampleSeen> Self>
void describe(Visit& visit, Self& self) {
  visit("protocol", self.protocol, {.doc = "Of the sample.", .required = true});
  visit("request", self.request, {.doc = "Its canary was found.", .required = true});
  visit("reply", self.reply, {.doc = "Its canary was found.", .required = true});
}

inline constexpr std::size_t canaries_listed = 4096;
inline constexpr std::size_t handshake_kinds_listed = 64;
inline constexpr std::size_t foreign_listed = 16;
inline constexpr std::size_t elsewhere_listed = 16;

struct WireReport {
  std::string interface;
  std::int64_t began_ns = 0;  // CLOCK_MONOTONIC
  std::int64_t ended_ns = 0;
  std::uint64_t packets = 0;     // of any kind, as the kernel counts them
  std::uint64_t lost = 0;        // had no room in the ring
  std::uint64_t unreadable = 0;  // cut short, fragments, headers that contradict each other
  std::uint64_t sealed = 0;      // encrypted below TCP: WireGuard, ESP
  std::uint64_t unwatched = 0;   // TCP segments for which there was no memory
  std::map<std::string, std::uint64_t> canaries = {};  // found, by name; all names are there
  std::map<std::string, CanarySpan> spans = {};        // of those that were found
  std::uint64_t canaries_again = 0;                    // of these, in bytes that came once more
  std::vector<ReadableCanary> readable = {};           // the first of them
  std::uint64_t connections = 0;                       // to the servers, that carried a byte
  std::uint64_t connections_of_tls = 0;  // each byte of both directions lies in a record
  std::uint64_t connections_midway = 0;  // were open before: their handshake was not seen
  std::uint64_t connections_with_gaps = 0;
  std::uint64_t connections_foreign = 0;  // of the rest, not TLS throughout
  std::vector<ForeignConnection> foreign = {};
  std::uint64_t bytes_to_servers = 0;  // of TCP payload, each once
  std::uint64_t bytes_to_clients = 0;
  std::uint64_t tls_bytes_to_servers = 0;  // of connections_of_tls
  std::uint64_t tls_bytes_to_clients = 0;
  // Records of application data in connections_of_tls, without the one that ends a handshake of
  // TLS 1.3 on either side.
  std::uint64_t records_to_servers = 0;
  std::uint64_t records_to_clients = 0;
  // What the job's clients sent in connections that they opened to others than the servers, or that
  // were open before, and by other protocols than TCP.
  std::uint64_t bytes_elsewhere = 0;
  std::vector<SentElsewhere> elsewhere = {};  // the first of them
  std::uint64_t tunnelled = 0;                // segments that came in a tunnel
  std::vector<HandshakeKind> handshakes = {};
  std::uint64_t handshakes_unlisted = 0;        // connections of kinds there was no room for
  std::vector<SampleSeen> samples_before = {};  // as the capture began
  std::vector<SampleSeen> samples_after = {};   // as it ended
  std::int64_t cpu_ns = 0;                      // of the capturing thread
};

template <typename Visit, base::SelfOf<WireReport> Self>
void describe(Visit& visit, Self& self) {
  visit("interface", self.interface, {.doc = "Where.", .required = true});
  visit("began_ns", self.began_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("ended_ns", self.ended_ns, {.doc = "CLOCK_MONOTONIC.", .required = true});
  visit("packets", self.packets, {.doc = "All that passed.", .required = true});
  visit("lost", self.lost, {.doc = "Those the capture had no room for.", .required = true});
  visit("unreadable", self.unreadable, {.doc = "Those that could not be read.", .required = true});
  visit("sealed", self.sealed, {.doc = "Those encrypted below TCP."});
  visit("unwatched", self.unwatched, {.doc = "TCP segments there was no memory for."});
  visit("canaries", self.canaries, {.doc = "Found in clear, by name.", .required = true});
  visit("spans", self.spans, {.doc = "From the first to the last of them, by name."});
  visit("canaries_again", self.canaries_again, {.doc = "Of these, in what was sent again."});
  visit("readable", self.readable, {.doc = "The first of them."});
  visit("connections", self.connections, {.doc = "That carried a byte.", .required = true});
  visit("connections_of_tls", self.connections_of_tls,
        {.doc = "Every byte of which lies in a TLS record.", .required = true});
  visit("connections_midway", self.connections_midway, {.doc = "Open before the capture."});
  visit("connections_with_gaps", self.connections_with_gaps, {.doc = "Not all of them was seen."});
  visit("connections_foreign", self.connections_foreign, {.doc = "Not TLS throughout."});
  visit("foreign", self.foreign, {.doc = "The first of them."});
  visit("bytes_to_servers", self.bytes_to_servers, {.doc = "TCP payload.", .required = true});
  visit("bytes_to_clients", self.bytes_to_clients, {.doc = "TCP payload.", .required = true});
  visit("tls_bytes_to_servers", self.tls_bytes_to_servers, {.doc = "Of those, in records."});
  visit("tls_bytes_to_clients", self.tls_bytes_to_clients, {.doc = "Of those, in records."});
  visit("records_to_servers", self.records_to_servers, {.doc = "Of data, behind handshakes."});
  visit("records_to_clients", self.records_to_clients, {.doc = "Of data, behind handshakes."});
  visit("bytes_elsewhere", self.bytes_elsewhere, {.doc = "That clients sent to others."});
  visit("elsewhere", self.elsewhere, {.doc = "The first of those."});
  visit("tunnelled", self.tunnelled, {.doc = "TCP segments that came in a tunnel."});
  visit("handshakes", self.handshakes, {.doc = "What the hellos said."});
  visit("handshakes_unlisted", self.handshakes_unlisted,
        {.doc = "Connections whose hellos there was no room for."});
  visit("samples_before", self.samples_before, {.doc = "The capture tried as it began."});
  visit("samples_after", self.samples_after, {.doc = "The capture tried as it ended."});
  visit("cpu_ns", self.cpu_ns, {.doc = "CPU time of the capturing thread."});
}

}  // namespace probes
