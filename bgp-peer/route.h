// What BGP says of routes and sessions, as plain data: prefixes, path attributes (RFC 4271), what a
// peer's table holds and what changed in it. Nothing here knows GoBGP's messages.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/describe.h"
#include "base/json.h"
#include "base/result.h"
#include "base/scalar.h"

namespace bgp_peer {

// An autonomous system's number (RFC 6793: four octets). In JSON and YAML a plain number.
struct Asn {
  std::uint32_t number = 0;

  auto operator<=>(const Asn&) const = default;
  [[nodiscard]] base::Json to_json() const { return number; }
  static base::Result<Asn> from_json(const base::Json& json, const std::string& path);
  static base::Json json_schema();
};

// An address and how many of its bits count: `10.201.0.7/32`. Bits beyond the length are zero.
struct Prefix {
  base::IpAddress address;
  int length = 32;

  auto operator<=>(const Prefix&) const = default;
  // Errors: input, when the text is none, or has bits beyond its length.
  static base::Result<Prefix> parse(std::string_view text);
  // The route to one address.
  static Prefix host(const base::IpAddress& address) { return {address, address.host_prefix()}; }
  [[nodiscard]] std::string to_string() const;
  // Whether `other` is this or a part of it.
  [[nodiscard]] bool covers(const Prefix& other) const;
};

// RFC 1997: `65000:99`, its halves in the upper and lower 16 bits.
struct Community {
  std::uint32_t value = 0;

  auto operator<=>(const Community&) const = default;
  // Errors: input.
  static base::Result<Community> parse(std::string_view text);
  [[nodiscard]] std::string to_string() const;
};

// What a session carries (RFC 4760), of what is used here.
enum class Family : std::uint8_t { ipv4_unicast, ipv6_unicast };

[[nodiscard]] constexpr Family family_of(const base::IpAddress& address) {
  return address.family == base::AddressFamily::ipv4 ? Family::ipv4_unicast : Family::ipv6_unicast;
}

// ORIGIN (RFC 4271, 5.1.1), the values on the wire.
enum class Origin : std::uint8_t { igp = 0, egp = 1, incomplete = 2 };

// A segment of AS_PATH (RFC 4271, 5.1.2): the systems passed, in order, or a set without one.
struct AsSegment {
  bool is_set = false;
  std::vector<Asn> numbers = {};

  bool operator==(const AsSegment&) const = default;
};

// `64512 64513 {64514,64515}`, the usual way to write it; empty for a path that never left its AS.
[[nodiscard]] std::string as_path_text(const std::vector<AsSegment>& path);

// One way to reach a prefix, as one speaker announced it.
struct Path {
  Prefix prefix = {};
  base::IpAddress next_hop = {};  // unset (0.0.0.0) in a withdrawal
  std::vector<AsSegment> as_path = {};
  Origin origin = Origin::incomplete;
  std::optional<std::uint32_t> med = {};
  std::optional<std::uint32_t> local_preference = {};  // none is sent between different systems
  std::vector<Community> communities = {};
  // Where it came from; unset for a path of the daemon's own.
  std::optional<base::IpAddress> neighbor = {};
  bool best = false;       // the best one of all; only in listings. GoBGP marks no equal ones
  bool stale = false;      // kept while its speaker restarts (RFC 4724)
  bool withdrawn = false;  // in events: it is gone
  bool next_hop_invalid = false;

  bool operator==(const Path&) const = default;
};

enum class SessionState : std::uint8_t {  // RFC 4271, 8.2.2
  unknown,
  idle,
  connect,
  active,
  open_sent,
  open_confirm,
  established,
};

enum class AdminState : std::uint8_t { up, down, over_prefix_limit };

// What an OPEN said of graceful restarts (RFC 4724, 3).
struct GracefulRestart {
  bool restarting = false;              // the R bit: it comes back from a restart
  std::uint32_t restart_time_s = 0;     // how long its routes may be kept
  std::vector<Family> families = {};    // that it holds for
  std::vector<Family> forwarding = {};  // those whose F bit is set
  bool operator==(const GracefulRestart&) const = default;
};

// What one side's OPEN said it can do (RFC 5492).
struct Capabilities {
  std::vector<Family> families = {};       // unicast (RFC 4760)
  bool route_refresh = false;              // RFC 2918
  std::optional<Asn> four_octet_asn = {};  // RFC 6793
  std::optional<GracefulRestart> graceful_restart = {};
  std::uint32_t others = 0;  // capabilities beyond these, counted

  bool operator==(const Capabilities&) const = default;
};

// Counts of messages since the daemon knows the peer.
struct MessageCounts {
  std::uint64_t total = 0;
  std::uint64_t updates = 0;
  std::uint64_t keepalives = 0;
  std::uint64_t notifications = 0;

  bool operator==(const MessageCounts&) const = default;
};

// A neighbour of the daemon. An event carries only what its comment marks with *.
struct Peer {
  base::IpAddress address = {};                   // *
  Asn asn = {};                                   // * the neighbour's; 0 before it is known
  Asn local_asn = {};                             // *
  SessionState state = SessionState::unknown;     // *
  AdminState admin = AdminState::up;              // *
  std::optional<base::IpAddress> router_id = {};  // * of the neighbour, once it has said so
  // Whole seconds, as configured here, and what the session runs with: the lower of both sides'
  // hold times (RFC 4271, 4.2), 0 when it is not up.
  std::uint64_t hold_time_s = 0;
  std::uint64_t negotiated_hold_time_s = 0;
  std::uint64_t keepalive_interval_s = 0;
  std::uint64_t connect_retry_s = 0;
  // When the session came up, in whole seconds of the wall clock, as GoBGP keeps it; absent while
  // it is down. Nothing here is measured with it.
  std::optional<std::int64_t> up_since_epoch_s = {};
  Capabilities local = {};
  Capabilities remote = {};
  MessageCounts received = {};
  MessageCounts sent = {};
  std::uint64_t prefixes_received = 0;
  std::uint64_t prefixes_accepted = 0;

  bool operator==(const Peer&) const = default;
};

// Something a daemon told, stamped when it was received.
struct Event {
  enum class Kind : std::uint8_t {
    peer,        // `peer` came to be in its state
    peers_told,  // every peer there was when the watch began has been told
    paths,       // `paths` is now all there is to reach the prefixes it names
    ended,       // the stream is over, for the reason in `error`; nothing follows
  };
  Kind kind = Kind::peer;
  // Whether it tells what was so before the watch began, and not what happened now. Paths as
  // received are never marked.
  bool initial = false;
  base::MonotonicTime received = {};
  std::int64_t received_realtime_ns = 0;  // CLOCK_REALTIME at the same moment, to be read by people
  Peer peer = {};
  std::vector<Path> paths = {};
  std::uint32_t other_families = 0;  // paths of other families (EVPN, VPN), left out of `paths`
  base::Error error = {};
};

template <typename Visit, base::SelfOf<AsSegment> Self>
void describe(Visit& visit, Self& self) {
  visit("set", self.is_set, {.doc = "Whether the numbers have no order (AS_SET)."});
  visit("numbers", self.numbers, {.doc = "The systems, the nearest first."});
}

template <typename Visit, base::SelfOf<Path> Self>
void describe(Visit& visit, Self& self) {
  visit("prefix", self.prefix, {.doc = "What it reaches.", .required = true});
  visit("next_hop", self.next_hop, {.doc = "By way of whom."});
  visit("as_path", self.as_path, {.doc = "AS_PATH."});
  visit("origin", self.origin, {.doc = "ORIGIN."});
  visit("med", self.med, {.doc = "MULTI_EXIT_DISC."});
  visit("local_preference", self.local_preference, {.doc = "LOCAL_PREF."});
  visit("communities", self.communities, {.doc = "COMMUNITIES (RFC 1997)."});
  visit("neighbor", self.neighbor, {.doc = "Who announced it."});
  visit("best", self.best, {.doc = "Whether it is chosen."});
  visit("stale", self.stale, {.doc = "Whether it is kept during a graceful restart."});
  visit("withdrawn", self.withdrawn, {.doc = "Whether it is gone."});
  visit("next_hop_invalid", self.next_hop_invalid, {.doc = "Whether its next hop is unusable."});
}

template <typename Visit, base::SelfOf<GracefulRestart> Self>
void describe(Visit& visit, Self& self) {
  visit("restarting", self.restarting, {.doc = "The R bit."});
  visit("restart_time_s", self.restart_time_s, {.doc = "Restart time, seconds."});
  visit("families", self.families, {.doc = "Address families it holds for."});
  visit("forwarding", self.forwarding, {.doc = "Those whose F bit is set."});
}

template <typename Visit, base::SelfOf<Capabilities> Self>
void describe(Visit& visit, Self& self) {
  visit("families", self.families, {.doc = "Unicast address families."});
  visit("route_refresh", self.route_refresh, {.doc = "RFC 2918."});
  visit("four_octet_asn", self.four_octet_asn, {.doc = "RFC 6793."});
  visit("graceful_restart", self.graceful_restart, {.doc = "RFC 4724."});
  visit("others", self.others, {.doc = "How many beyond these."});
}

template <typename Visit, base::SelfOf<MessageCounts> Self>
void describe(Visit& visit, Self& self) {
  visit("total", self.total, {.doc = "All messages."});
  visit("updates", self.updates, {.doc = "UPDATE."});
  visit("keepalives", self.keepalives, {.doc = "KEEPALIVE."});
  visit("notifications", self.notifications, {.doc = "NOTIFICATION."});
}

template <typename Visit, base::SelfOf<Peer> Self>
void describe(Visit& visit, Self& self) {
  visit("address", self.address, {.doc = "The neighbour.", .required = true});
  visit("asn", self.asn, {.doc = "Its autonomous system."});
  visit("local_asn", self.local_asn, {.doc = "Ours."});
  visit("state", self.state, {.doc = "The session."});
  visit("admin", self.admin, {.doc = "What the operator wants of it."});
  visit("router_id", self.router_id, {.doc = "Its identifier."});
  visit("hold_time_s", self.hold_time_s, {.doc = "Configured hold time, seconds."});
  visit("negotiated_hold_time_s", self.negotiated_hold_time_s, {.doc = "The one in force."});
  visit("keepalive_interval_s", self.keepalive_interval_s, {.doc = "The one in force, seconds."});
  visit("connect_retry_s", self.connect_retry_s, {.doc = "Configured, seconds."});
  visit("up_since_epoch_s", self.up_since_epoch_s, {.doc = "Whole seconds of the wall clock."});
  visit("local", self.local, {.doc = "What our OPEN says."});
  visit("remote", self.remote, {.doc = "What its OPEN said."});
  visit("received", self.received, {.doc = "Messages from it."});
  visit("sent", self.sent, {.doc = "Messages to it."});
  visit("prefixes_received", self.prefixes_received, {.doc = "Prefixes it announces."});
  visit("prefixes_accepted", self.prefixes_accepted, {.doc = "Those that were taken."});
}

}  // namespace bgp_peer

template <>
struct base::StringScalar<bgp_peer::Prefix> {
  static Result<bgp_peer::Prefix> parse(std::string_view text) {
    return bgp_peer::Prefix::parse(text);
  }
  static std::string format(const bgp_peer::Prefix& value) { return value.to_string(); }
  static constexpr std::string_view pattern = "^[0-9a-fA-F.:]+/[0-9]+$";
  static constexpr std::string_view example = "10.201.0.0/24";
};

template <>
struct base::StringScalar<bgp_peer::Community> {
  static Result<bgp_peer::Community> parse(std::string_view text) {
    return bgp_peer::Community::parse(text);
  }
  static std::string format(const bgp_peer::Community& value) { return value.to_string(); }
  static constexpr std::string_view pattern = "^[0-9]+:[0-9]+$";
  static constexpr std::string_view example = "65000:99";
};

template <>
struct base::EnumNames<bgp_peer::Family> {
  static constexpr std::array names{
      std::pair{bgp_peer::Family::ipv4_unicast, std::string_view("ipv4_unicast")},
      std::pair{bgp_peer::Family::ipv6_unicast, std::string_view("ipv6_unicast")}};
};

template <>
struct base::EnumNames<bgp_peer::Origin> {
  static constexpr std::array names{
      std::pair{bgp_peer::Origin::igp, std::string_view("igp")},
      std::pair{bgp_peer::Origin::egp, std::string_view("egp")},
      std::pair{bgp_peer::Origin::incomplete, std::string_view("incomplete")}};
};

template <>
struct base::EnumNames<bgp_peer::SessionState> {
  static constexpr std::array names{
      std::pair{bgp_peer::SessionState::unknown, std::string_view("unknown")},
      std::pair{bgp_peer::SessionState::idle, std::string_view("idle")},
      std::pair{bgp_peer::SessionState::connect, std::string_view("connect")},
      std::pair{bgp_peer::SessionState::active, std::string_view("active")},
      std::pair{bgp_peer::SessionState::open_sent, std::string_view("open_sent")},
      std::pair{bgp_peer::SessionState::open_confirm, std::string_view("open_confirm")},
      std::pair{bgp_peer::SessionState::established, std::string_view("established")}};
};

template <>
struct base::EnumNames<bgp_peer::AdminState> {
  static constexpr std::array names{
      std::pair{bgp_peer::AdminState::up, std::string_view("up")},
      std::pair{bgp_peer::AdminState::down, std::string_view("down")},
      std::pair{bgp_peer::AdminState::over_prefix_limit, std::string_view("over_prefix_limit")}};
};
