// A frame as a capture has it, read down to the TCP segment inside: Ethernet with VLAN tags, IPv4
// and IPv6, and the tunnels that pod networks wrap them in (VXLAN, RFC 7348; Geneve, RFC 8926;
// IPIP, RFC 2003; IPv6 in IPv4 and the reverse, RFC 4213 and 2473). Nothing is trusted: lengths
// that do not fit make a packet unreadable, never a read beyond the frame.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/address.h"

namespace base {

using ByteSpan = std::span<const std::uint8_t>;

// Of the first two and four bytes, in network order.
[[nodiscard]] constexpr std::uint16_t read_be16(ByteSpan bytes) {
  return static_cast<std::uint16_t>(bytes[0] << 8 | bytes[1]);
}
[[nodiscard]] constexpr std::uint32_t read_be32(ByteSpan bytes) {
  return static_cast<std::uint32_t>(read_be16(bytes)) << 16 | read_be16(bytes.subspan(2));
}

// RFC 9293, 3.1.
inline constexpr std::uint8_t tcp_fin = 0x01;
inline constexpr std::uint8_t tcp_syn = 0x02;
inline constexpr std::uint8_t tcp_rst = 0x04;
inline constexpr std::uint8_t tcp_ack = 0x10;

struct TcpSegment {
  Endpoint source = {};
  Endpoint destination = {};
  std::uint32_t sequence = 0;
  std::uint8_t flags = 0;
  ByteSpan payload = {};    // into the frame
  std::size_t missing = 0;  // bytes of the payload that the frame was cut short of
};

// What a frame holds.
enum class PacketKind : std::uint8_t {
  tcp,         // `segment` is set
  fragment,    // of an IP packet: what it belongs to is not known
  sealed,      // encrypted below TCP: WireGuard, ESP
  datagram,    // of UDP, or of another protocol that carries data
  unreadable,  // its headers are not all there, or contradict each other
  other,       // ICMP, ARP and the like
};

struct Packet {
  PacketKind kind = PacketKind::other;
  // Of `sealed` and `datagram` the addresses and the payload, of UDP the ports, too.
  TcpSegment segment = {};
  int tunnels = 0;  // how many wrappings were taken off
};

// Reads an Ethernet frame.
[[nodiscard]] Packet read_packet(ByteSpan frame);

// Its TCP segment; nothing where it holds none.
[[nodiscard]] inline std::optional<TcpSegment> read_segment(ByteSpan frame) {
  const auto packet = read_packet(frame);
  return packet.kind == PacketKind::tcp ? std::optional(packet.segment) : std::nullopt;
}

using MacAddress = std::array<std::uint8_t, 6>;

// The frame of a segment, from and to the same interface, as a capture would have it: checksums are
// left out, for nobody is to take it for a packet of its own. Both ends are of one family.
[[nodiscard]] std::vector<std::uint8_t> write_frame(const TcpSegment& segment, MacAddress mac);

}  // namespace base
