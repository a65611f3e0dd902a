// Tries doors: opens a connection as whoever it is told to be, in clear or by TLS, says something
// and reads what comes of it. In TLS 1.3 a client's handshake ends before the server has judged its
// certificate, so only an application read tells who was let in: a refusal is the peer's alert or
// reset, received; what our own library would not do is an Error, never a refusal.
//
// With a door that lets it in, it also reads who is behind it: the peer's certificate, which a
// passive look at TLS 1.3 cannot see.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"

namespace bench {

enum class TlsVersion { tls_1_0, tls_1_1, tls_1_2, tls_1_3 };

// A connection to try.
struct Door {
  std::string name = {};  // of the cell it fills: "foreign_ca"
  base::Endpoint to = {};
  bool plaintext = false;
  std::string certificate = {};            // PEM, with its chain; empty: none is shown
  std::string key = {};                    // PEM
  std::string roots = {};                  // PEM: whom the peer's should be of; empty: not asked
  std::string server_name = {};            // SNI; empty: none
  std::vector<std::string> alpn = {};      // offered, in this order
  std::optional<TlsVersion> version = {};  // this one alone; absent: TLS 1.2 and 1.3
  std::string request = "GET /0 HTTP/1.1\r\nHost: stackbench\r\nConnection: close\r\n\r\n";
  base::Duration timeout = std::chrono::seconds(2);  // of the whole
};

template <typename Visit, base::SelfOf<Door> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Of its cell.", .required = true});
  visit("to", self.to, {.doc = "Whom to dial.", .required = true});
  visit("plaintext", self.plaintext, {.doc = "Without TLS."});
  visit("certificate", self.certificate, {.doc = "The client's, PEM. Empty: none is shown."});
  visit("key", self.key, {.doc = "Its key, PEM."});
  visit("roots", self.roots, {.doc = "Authorities the peer's certificate should be of, PEM."});
  visit("server_name", self.server_name, {.doc = "SNI. Empty: none."});
  visit("alpn", self.alpn, {.doc = "Protocols offered."});
  visit("version", self.version, {.doc = "This one alone. Absent: TLS 1.2 and 1.3."});
  visit("request", self.request, {.doc = "What is said once the connection is there."});
  visit("timeout", self.timeout, {.doc = "Of the whole."});
}

constexpr std::size_t most_doors = 64;

struct TlsProbeJob {
  std::vector<Door> doors;  // tried one after another
  // Set: all of them again and again, a round beginning so long after the one before, until the job
  // is stopped. Each time with a whole handshake, for nothing is kept of the one before.
  std::optional<base::Duration> every = {};
  // Set: all of them at one time, in the clear. Of every request all but the last byte is said, one
  // after the other, and that byte so long after the last of them, unless a reply came before it.
  std::optional<base::Duration> hold = {};
};

template <typename Visit, base::SelfOf<TlsProbeJob> Self>
void describe(Visit& visit, Self& self) {
  visit("doors", self.doors, {.doc = "Tried one after another.", .required = true});
  visit("every", self.every,
        {.doc = "Try all of them again and again, a round beginning so long after the one before, "
                "until the job is stopped. Absent: once."});
  visit("hold", self.hold,
        {.doc = "Try all of them at one time, in the clear, and say the last byte of each request "
                "only so long after the others."});
}

enum class DoorOutcome {
  answered,          // data came: `http_status` where it is a reply of HTTP
  alert,             // the peer's alert, received by an application read
  reset,             // RST, received by an application read
  closed,            // the peer ended the connection without a word, at an application read
  handshake_alert,   // the peer's alert in place of the rest of its handshake
  handshake_reset,   // RST there
  handshake_closed,  // FIN there
  not_tls,           // bytes that are none of TLS in answer to a TLS hello: a server in the clear
  refused,           // RST to the SYN
  unreachable,       // no route, or ICMP
  timed_out,         // nothing came in time, wherever it was waited for
};

// Whom a certificate names. Times are seconds since 1970.
struct PeerIdentity {
  std::vector<std::string> uris = {};  // of its subject alternative names: "spiffe://..."
  std::string subject = {};
  std::string issuer = {};
  std::string serial = {};  // hexadecimal
  std::int64_t not_before_s = 0;
  std::int64_t not_after_s = 0;
  // Of a door with roots: why it is not of these, or not valid now, in OpenSSL's words.
  std::optional<std::string> distrusted = {};
};

template <typename Visit, base::SelfOf<PeerIdentity> Self>
void describe(Visit& visit, Self& self) {
  visit("uris", self.uris, {.doc = "Its alternative names that are URIs.", .required = true});
  visit("subject", self.subject, {.doc = "Its subject."});
  visit("issuer", self.issuer, {.doc = "Who signed it."});
  visit("serial", self.serial, {.doc = "Hexadecimal.", .required = true});
  visit("not_before_s", self.not_before_s, {.doc = "Seconds since 1970.", .required = true});
  visit("not_after_s", self.not_after_s, {.doc = "Seconds since 1970.", .required = true});
  visit("distrusted", self.distrusted, {.doc = "Why it is not of the door's roots."});
}

struct DoorTried {
  std::string name;
  DoorOutcome outcome = DoorOutcome::timed_out;
  bool handshake_done = false;    // our side of it
  std::optional<int> alert = {};  // its description (RFC 8446, 6)
  std::string alert_name = {};    // "unknown CA"
  std::optional<int> http_status = {};
  std::string server = {};     // of an HTTP reply: who says it is answering (RFC 9110, 10.2.4)
  std::string challenge = {};  // its WWW-Authenticate
  std::string body = {};       // the beginning of its content, 200 bytes at most
  std::optional<std::uint32_t> answered_by = {};  // who our own server says it is
  std::string version = {};                       // "TLSv1.3"
  std::string cipher = {};
  std::string alpn = {};                  // chosen; empty: none
  std::optional<PeerIdentity> peer = {};  // whose certificate was shown
  std::int64_t took_ns = 0;
  // CLOCK_MONOTONIC, when it was begun. Of tries in a row that came to the same, by the same
  // certificate: the first, and when the last of so many was begun.
  std::int64_t at_ns = 0;
  std::int64_t last_ns = 0;
  std::uint64_t tries = 1;
};

template <typename Visit, base::SelfOf<DoorTried> Self>
void describe(Visit& visit, Self& self) {
  visit("name", self.name, {.doc = "Of its cell.", .required = true});
  visit("outcome", self.outcome, {.doc = "What came of it.", .required = true});
  visit("handshake_done", self.handshake_done, {.doc = "Our side of the handshake ended well."});
  visit("alert", self.alert, {.doc = "The number of the peer's alert."});
  visit("alert_name", self.alert_name, {.doc = "What it is called."});
  visit("http_status", self.http_status, {.doc = "Of an HTTP reply."});
  visit("server", self.server, {.doc = "Its field Server."});
  visit("challenge", self.challenge, {.doc = "Its field WWW-Authenticate."});
  visit("body", self.body, {.doc = "The beginning of its content."});
  visit("answered_by", self.answered_by, {.doc = "Who our own server says it is."});
  visit("version", self.version, {.doc = "Agreed on."});
  visit("cipher", self.cipher, {.doc = "Agreed on."});
  visit("alpn", self.alpn, {.doc = "Chosen."});
  visit("peer", self.peer, {.doc = "Whom the peer's certificate names."});
  visit("took_ns", self.took_ns, {.doc = "From the connect to the outcome."});
  visit("at_ns", self.at_ns, {.doc = "When it was begun, CLOCK_MONOTONIC."});
  visit("last_ns", self.last_ns,
        {.doc = "When the last of `tries` in a row that came to the same was begun."});
  visit("tries", self.tries, {.doc = "How many in a row came to the same."});
}

struct TlsProbeResult {
  // In the order of the job; of one that tries again and again in the order of time, and of tries
  // of a door in a row that came to the same one.
  std::vector<DoorTried> doors;
  std::uint64_t changes_lost = 0;  // for want of room
};

template <typename Visit, base::SelfOf<TlsProbeResult> Self>
void describe(Visit& visit, Self& self) {
  visit("doors", self.doors, {.doc = "In the order of the job, or of time.", .required = true});
  visit("changes_lost", self.changes_lost, {.doc = "Those there was no room for."});
}

// So many changes of what comes of doors are kept.
inline constexpr std::size_t most_door_changes = 2048;

// A job within bounds: 1 to 64 doors, timeouts of 10 ms to 10 s, rounds 1 ms to 10 s apart, held
// for less than any timeout. Errors: input.
[[nodiscard]] base::Result<TlsProbeJob> parse_tls_probe_job(const base::Json& json);

// How long it may take before its worker is killed: its timeouts, and 10 s for a busy machine. Of
// one that goes on until it is stopped nothing.
[[nodiscard]] std::optional<base::Duration> tls_probe_time_limit(const TlsProbeJob& job);

// Tries the doors from the calling thread's network namespace. What happens at a door is its
// outcome; Errors: input (a certificate or key that is none), missing (our library does not speak a
// version at all, as a handshake with itself showed), system (our side refused), interrupted (of a
// job that ends by itself).
[[nodiscard]] base::Result<TlsProbeResult> run_tls_probe(const TlsProbeJob& job, int stop_fd);

}  // namespace bench

template <>
struct base::EnumNames<bench::TlsVersion> {
  static constexpr std::array names{
      std::pair{bench::TlsVersion::tls_1_0, std::string_view("tls_1_0")},
      std::pair{bench::TlsVersion::tls_1_1, std::string_view("tls_1_1")},
      std::pair{bench::TlsVersion::tls_1_2, std::string_view("tls_1_2")},
      std::pair{bench::TlsVersion::tls_1_3, std::string_view("tls_1_3")}};
};

template <>
struct base::EnumNames<bench::DoorOutcome> {
  static constexpr std::array names{
      std::pair{bench::DoorOutcome::answered, std::string_view("answered")},
      std::pair{bench::DoorOutcome::alert, std::string_view("alert")},
      std::pair{bench::DoorOutcome::reset, std::string_view("reset")},
      std::pair{bench::DoorOutcome::closed, std::string_view("closed")},
      std::pair{bench::DoorOutcome::handshake_alert, std::string_view("handshake_alert")},
      std::pair{bench::DoorOutcome::handshake_reset, std::string_view("handshake_reset")},
      std::pair{bench::DoorOutcome::handshake_closed, std::string_view("handshake_closed")},
      std::pair{bench::DoorOutcome::not_tls, std::string_view("not_tls")},
      std::pair{bench::DoorOutcome::refused, std::string_view("refused")},
      std::pair{bench::DoorOutcome::unreachable, std::string_view("unreachable")},
      std::pair{bench::DoorOutcome::timed_out, std::string_view("timed_out")}};
};
