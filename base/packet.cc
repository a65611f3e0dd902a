#include "base/packet.h"

#include <algorithm>
#include <initializer_list>

#include <net/ethernet.h>
#include <netinet/in.h>

namespace base {
namespace {

constexpr int most_tunnels = 4;
constexpr std::uint16_t ethertype_service_vlan = 0x88a8;  // IEEE 802.1ad
constexpr std::uint16_t ethertype_bridged = 0x6558;       // an Ethernet frame inside Geneve
constexpr std::uint16_t vxlan_port = 4789;
constexpr std::uint16_t vxlan_port_of_linux = 8472;  // its default, and so Cilium's and Flannel's
constexpr std::uint16_t geneve_port = 6081;
constexpr std::uint16_t wireguard_port = 51820;
constexpr std::uint16_t wireguard_port_of_cilium = 51871;

// One frame being read: every function takes what is left of it.
class Reading {
 public:
  Packet ethernet(ByteSpan bytes) {
    if (bytes.size() < ETH_HLEN) return unreadable();
    auto type = read_be16(bytes.subspan(12));
    bytes = bytes.subspan(ETH_HLEN);
    while (type == ETHERTYPE_VLAN || type == ethertype_service_vlan) {
      if (bytes.size() < 4) return unreadable();
      type = read_be16(bytes.subspan(2));
      bytes = bytes.subspan(4);
    }
    if (type == ETHERTYPE_IP) return ipv4(bytes);
    if (type == ETHERTYPE_IPV6) return ipv6(bytes);
    return packet_;
  }

 private:
  Packet unreadable() {
    packet_.kind = PacketKind::unreadable;
    return packet_;
  }
  Packet of_kind(PacketKind kind) {
    packet_.kind = kind;
    return packet_;
  }
  Packet carrying(PacketKind kind, ByteSpan payload) {
    packet_.segment.payload = payload;
    return of_kind(kind);
  }

  void address(Endpoint& endpoint, AddressFamily family, ByteSpan bytes) {
    endpoint.address = {.family = family, .bytes = {}};
    std::ranges::copy(bytes, endpoint.address.bytes.begin());
  }

  Packet ipv4(ByteSpan bytes) {
    if (bytes.size() < 20) return unreadable();
    const std::size_t header = static_cast<std::size_t>(bytes[0] & 0xf) * 4;
    // 0: more than 65,535 bytes in one go, as between an interface and its segmentation (BIG TCP).
    const std::size_t stated = read_be16(bytes.subspan(2));
    const std::size_t total = stated == 0 ? bytes.size() : stated;
    if (bytes[0] >> 4 != 4 || header < 20 || total < header || bytes.size() < header) {
      return unreadable();
    }
    constexpr std::uint16_t more_fragments_or_offset = 0x3fff;
    if ((read_be16(bytes.subspan(6)) & more_fragments_or_offset) != 0) {
      return of_kind(PacketKind::fragment);
    }
    address(packet_.segment.source, AddressFamily::ipv4, bytes.subspan(12, 4));
    address(packet_.segment.destination, AddressFamily::ipv4, bytes.subspan(16, 4));
    return inside(bytes[9], bytes.subspan(header), total - header);
  }

  Packet ipv6(ByteSpan bytes) {
    constexpr std::size_t header = 40;
    if (bytes.size() < header || bytes[0] >> 4 != 6) return unreadable();
    address(packet_.segment.source, AddressFamily::ipv6, bytes.subspan(8, 16));
    address(packet_.segment.destination, AddressFamily::ipv6, bytes.subspan(24, 16));
    auto next = bytes[6];
    // 0: a jumbogram (RFC 2675), whose length the frame itself says here.
    const std::size_t stated = read_be16(bytes.subspan(4));
    bytes = bytes.subspan(header);
    std::size_t size = stated == 0 ? bytes.size() : stated;
    while (next == IPPROTO_HOPOPTS || next == IPPROTO_ROUTING || next == IPPROTO_DSTOPTS ||
           next == IPPROTO_FRAGMENT) {
      if (bytes.size() < 8) return unreadable();
      std::size_t length = (static_cast<std::size_t>(bytes[1]) + 1) * 8;
      if (next == IPPROTO_FRAGMENT) {
        length = 8;
        // One that is whole is allowed to have such a header (RFC 8200, 4.5).
        if ((read_be16(bytes.subspan(2)) & 0xfff9) != 0) return of_kind(PacketKind::fragment);
      }
      if (bytes.size() < length || size < length) return unreadable();
      next = bytes[0];
      bytes = bytes.subspan(length);
      size -= length;
    }
    return inside(next, bytes, size);
  }

  // What an IP packet carries; `size` is what its header says, which a short frame's padding
  // exceeds.
  Packet inside(std::uint8_t protocol, ByteSpan bytes, std::size_t size) {
    const std::size_t missing = size - std::min(size, bytes.size());
    bytes = bytes.first(std::min(size, bytes.size()));
    switch (protocol) {
      case IPPROTO_TCP:
        return tcp(bytes, missing);
      case IPPROTO_UDP:
        return udp(bytes);
      case IPPROTO_IPIP:
        return unwrap() ? ipv4(bytes) : unreadable();
      case IPPROTO_IPV6:
        return unwrap() ? ipv6(bytes) : unreadable();
      case IPPROTO_ESP:
        return carrying(PacketKind::sealed, bytes);
      case IPPROTO_ICMP:
      case IPPROTO_ICMPV6:
      case IPPROTO_IGMP:
      case IPPROTO_NONE:
        return packet_;
      default:
        return carrying(PacketKind::datagram, bytes);
    }
  }

  bool unwrap() { return ++packet_.tunnels <= most_tunnels; }

  Packet udp(ByteSpan bytes) {
    constexpr std::size_t header = 8;
    if (bytes.size() < header) return unreadable();
    const auto from = read_be16(bytes);
    const auto to = read_be16(bytes.subspan(2));
    packet_.segment.source.port = from;
    packet_.segment.destination.port = to;
    bytes = bytes.subspan(header);
    // A tunnel's source port is drawn from a wide range, and may be one of those below.
    if (to == vxlan_port || to == vxlan_port_of_linux) {
      constexpr std::uint8_t names_a_network = 0x08;
      if (bytes.size() >= 8 && (bytes[0] & names_a_network) != 0) {
        return unwrap() ? ethernet(bytes.subspan(8)) : unreadable();
      }
    } else if (to == geneve_port) {
      if (bytes.size() < 8) return unreadable();
      const std::size_t length = 8 + static_cast<std::size_t>(bytes[0] & 0x3f) * 4;
      if (read_be16(bytes.subspan(2)) == ethertype_bridged) {
        if (bytes.size() < length) return unreadable();
        return unwrap() ? ethernet(bytes.subspan(length)) : unreadable();
      }
    }
    const auto of_wireguard = [](std::uint16_t port) {
      return port == wireguard_port || port == wireguard_port_of_cilium;
    };
    if ((of_wireguard(from) || of_wireguard(to)) && is_wireguard(bytes)) {
      return carrying(PacketKind::sealed, bytes);
    }
    return carrying(PacketKind::datagram, bytes);
  }

  // Its four kinds of message: the kind, and three bytes that are zero.
  static bool is_wireguard(ByteSpan bytes) {
    return bytes.size() >= 4 && bytes[0] >= 1 && bytes[0] <= 4 && bytes[1] == 0 && bytes[2] == 0 &&
           bytes[3] == 0;
  }

  Packet tcp(ByteSpan bytes, std::size_t missing) {
    if (bytes.size() < 20) return unreadable();
    const std::size_t header = static_cast<std::size_t>(bytes[12] >> 4) * 4;
    if (header < 20 || bytes.size() < header) return unreadable();
    auto& segment = packet_.segment;
    segment.source.port = read_be16(bytes);
    segment.destination.port = read_be16(bytes.subspan(2));
    segment.sequence = read_be32(bytes.subspan(4));
    segment.flags = bytes[13];
    segment.payload = bytes.subspan(header);
    segment.missing = missing;
    return of_kind(PacketKind::tcp);
  }

  Packet packet_;
};

}  // namespace

Packet read_packet(ByteSpan frame) { return Reading().ethernet(frame); }

std::vector<std::uint8_t> write_frame(const TcpSegment& segment, MacAddress mac) {
  constexpr std::size_t tcp_header = 20;
  std::vector<std::uint8_t> frame;
  const auto put = [&](std::initializer_list<std::size_t> bytes) {
    for (const auto byte : bytes) frame.push_back(static_cast<std::uint8_t>(byte));
  };
  const auto put16 = [&](std::size_t value) { put({value >> 8, value & 0xff}); };
  const auto put_address = [&](const IpAddress& address) {
    const auto size = address.family == AddressFamily::ipv4 ? 4 : 16;
    frame.insert(frame.end(), address.bytes.begin(), address.bytes.begin() + size);
  };
  const std::size_t carried = tcp_header + segment.payload.size();
  constexpr std::size_t hops = 64;
  frame.insert(frame.end(), mac.begin(), mac.end());
  frame.insert(frame.end(), mac.begin(), mac.end());
  if (segment.source.address.family == AddressFamily::ipv4) {
    put16(ETHERTYPE_IP);
    put({0x45, 0});
    put16(20 + carried);
    put({0, 0, 0, 0, hops, IPPROTO_TCP, 0, 0});
  } else {
    put16(ETHERTYPE_IPV6);
    put({0x60, 0, 0, 0});
    put16(carried);
    put({IPPROTO_TCP, hops});
  }
  put_address(segment.source.address);
  put_address(segment.destination.address);
  put16(segment.source.port);
  put16(segment.destination.port);
  put16(segment.sequence >> 16);
  put16(segment.sequence & 0xffff);
  put({0, 0, 0, 0, tcp_header / 4 << 4, segment.flags, 0xff, 0xff, 0, 0, 0, 0});
  frame.insert(frame.end(), segment.payload.begin(), segment.payload.end());
  return frame;
}

}  // namespace base
