// BGP as it is on the wire (RFC 4271, 4; RFC 4760), as far as it says which prefixes come and go,
// what a session was opened with and why it ended: for times and reasons taken from a capture
// instead of from a daemon. What the prefixes' attributes are is asked of the daemon that took
// them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/address.h"
#include "bgp-peer/route.h"

namespace bgp_peer {

inline constexpr std::uint16_t bgp_port = 179;

// An UPDATE of unicast prefixes. One without any is the End-of-RIB marker (RFC 4724, 2).
struct Update {
  std::vector<Prefix> announced = {};
  std::vector<Prefix> withdrawn = {};

  bool operator==(const Update&) const = default;
};

// The types of messages (RFC 4271, 4.1; ROUTE-REFRESH: RFC 2918).
enum class MessageType : std::uint8_t {
  open = 1,
  update = 2,
  notification = 3,
  keepalive = 4,
  route_refresh = 5,
};

// What an OPEN says (RFC 4271, 4.2), of what is judged here. Its graceful restart is that of the
// capability (RFC 4724, 3): absent where it has none.
struct Open {
  Asn asn = {};  // of four octets where it says so (RFC 6793)
  std::uint16_t hold_time_s = 0;
  std::optional<GracefulRestart> graceful_restart = {};

  bool operator==(const Open&) const = default;
};

// Why a session ended (RFC 4271, 4.5).
struct Notification {
  std::uint8_t code = 0;
  std::uint8_t subcode = 0;

  bool operator==(const Notification&) const = default;
  // "Cease, Maximum Number of Prefixes Reached (6/1)": the words of RFC 4271, 4.5 and RFC 4486, 4;
  // of one they do not name its numbers alone.
  [[nodiscard]] std::string to_string() const;
};

// A whole message; of the parts only that of its type.
struct Message {
  MessageType type = MessageType::keepalive;
  std::optional<Update> update = {};
  std::optional<Open> open = {};
  std::optional<Notification> notification = {};
};

// Reads an OPEN's or a NOTIFICATION's body; nothing where it is malformed. Capabilities of an OPEN
// that are not ours to judge are passed over.
[[nodiscard]] std::optional<Open> read_open(std::span<const std::uint8_t> body);
[[nodiscard]] std::optional<Notification> read_notification(std::span<const std::uint8_t> body);

// Reads an UPDATE's body, what follows the 19 bytes of its header; nothing where it is malformed.
[[nodiscard]] std::optional<Update> read_update(std::span<const std::uint8_t> body);

// One direction of a BGP session: TCP segments in, messages out. What is sent again is passed over;
// what overtook another segment waits for it. Where more than 64 KiB wait, it never comes: it goes
// on with a segment that begins with a message.
class MessageStream {
 public:
  // A segment's payload and its first byte's sequence number. The messages that it completed, but
  // for malformed ones.
  std::vector<Message> messages(std::uint32_t sequence, std::span<const std::uint8_t> payload);
  // The UPDATEs among them.
  std::vector<Update> take(std::uint32_t sequence, std::span<const std::uint8_t> payload);

 private:
  struct Segment {
    std::uint32_t sequence = 0;
    std::vector<std::uint8_t> payload = {};
  };
  static constexpr std::size_t most_early_bytes = 1 << 16;

  // Of one that begins where the last one ended, or before.
  void append(std::uint32_t sequence, std::span<const std::uint8_t> payload,
              std::vector<Message>& all);

  std::optional<std::uint32_t> expected_;
  std::vector<std::uint8_t> waiting_;
  std::vector<Segment> early_;
  std::size_t early_bytes_ = 0;
};

}  // namespace bgp_peer
