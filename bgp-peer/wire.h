// BGP as it is on the wire (RFC 4271, 4; RFC 4760), as far as it says which prefixes come and go:
// for times taken from a capture instead of from a daemon. What the prefixes' attributes are is
// asked of the daemon that took them.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
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

// Reads an UPDATE's body, what follows the 19 bytes of its header; nothing where it is malformed.
[[nodiscard]] std::optional<Update> read_update(std::span<const std::uint8_t> body);

// One direction of a BGP session: TCP segments in, messages out. What is sent again is passed over;
// after a gap it waits for a segment that begins with a message.
class MessageStream {
 public:
  // A segment's payload and its first byte's sequence number. The UPDATEs that it completed.
  std::vector<Update> take(std::uint32_t sequence, std::span<const std::uint8_t> payload);

 private:
  std::optional<std::uint32_t> expected_;
  std::vector<std::uint8_t> waiting_;
};

// A TCP segment inside an Ethernet frame.
struct Segment {
  base::Endpoint source = {};
  base::Endpoint destination = {};
  std::uint32_t sequence = 0;
  std::span<const std::uint8_t> payload = {};
};

// Reads a frame; nothing where it holds no TCP, or not all of its headers.
[[nodiscard]] std::optional<Segment> read_segment(std::span<const std::uint8_t> frame);

}  // namespace bgp_peer
