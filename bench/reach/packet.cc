#include "bench/reach/packet.h"

#include <cstddef>
#include <cstring>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>

#include "bench/reach/reach_frame.h"

namespace bench {
namespace {

using base::Protocol;

// RFC 9293, 3.2, and RFC 7323, 3.2.
constexpr std::uint8_t option_end = 0;
constexpr std::uint8_t option_nop = 1;
constexpr std::uint8_t option_mss = 2;
constexpr std::uint8_t option_timestamps = 8;
constexpr std::uint8_t timestamps_size = 10;
constexpr std::uint16_t segment_size = 1'400;

template <typename T>
void put(Segment& segment, std::size_t at, const T& value) {
  std::memcpy(segment.bytes.data() + at, &value, sizeof(value));
}

template <typename T>
std::optional<T> take(std::span<const std::uint8_t> bytes, std::size_t at) {
  if (at > bytes.size() || bytes.size() - at < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

// RFC 1071 over whole 16-bit words; what we make has an even length.
std::uint32_t sum_words(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
    sum += (std::uint32_t{bytes[i]} << 8) | bytes[i + 1];
  }
  return sum;
}

// With the pseudo header of RFC 9293, 3.1 (UDP: RFC 768).
std::uint16_t checksum(const Segment& segment, const AddressPair& pair, std::uint8_t protocol) {
  std::uint32_t sum = protocol + static_cast<std::uint32_t>(segment.size);
  sum += sum_words(std::span(pair.source.bytes).first(4));
  sum += sum_words(std::span(pair.destination.bytes).first(4));
  sum += sum_words(std::span(segment.bytes).first(segment.size));
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  const auto folded = static_cast<std::uint16_t>(~sum);
  // Zero would say that there is none.
  return ::htons(protocol == IPPROTO_UDP && folded == 0 ? 0xffff : folded);
}

Segment make_syn(const ProbeName& name, std::uint16_t source_port, std::uint16_t destination_port) {
  Segment segment{.size = most_segment_bytes};
  tcphdr header{};
  header.source = ::htons(source_port);
  header.dest = ::htons(destination_port);
  header.seq = ::htonl(name.number);
  header.doff = most_segment_bytes / 4;
  header.syn = 1;
  header.window = ::htons(64'240);
  put(segment, 0, header);
  const std::array<std::uint8_t, 8> options{
      option_mss, 4,          segment_size >> 8, segment_size & 0xff,
      option_nop, option_nop, option_timestamps, timestamps_size};
  put(segment, sizeof(header), options);
  put(segment, sizeof(header) + options.size(), ::htonl(name.flow));
  return segment;
}

Segment make_datagram(const ProbeName& name, std::uint16_t source_port,
                      std::uint16_t destination_port) {
  Segment segment{.size = sizeof(udphdr) + sizeof(FlowDatagram)};
  udphdr header{};
  header.source = ::htons(source_port);
  header.dest = ::htons(destination_port);
  header.len = ::htons(static_cast<std::uint16_t>(segment.size));
  put(segment, 0, header);
  put(segment, sizeof(header), FlowDatagram{.flow = name.flow, .number = name.number});
  return segment;
}

std::optional<ProbeName> read_syn(std::span<const std::uint8_t> bytes) {
  const auto header = take<tcphdr>(bytes, 0);
  if (!header || header->syn == 0 || header->ack != 0) return std::nullopt;
  const std::size_t end = std::size_t{header->doff} * 4;
  if (end > bytes.size()) return std::nullopt;
  for (std::size_t at = sizeof(tcphdr); at < end;) {
    if (bytes[at] == option_end) break;
    if (bytes[at] == option_nop) {
      ++at;
      continue;
    }
    if (at + 1 >= end || bytes[at + 1] < 2 || at + bytes[at + 1] > end) break;
    if (bytes[at] == option_timestamps && bytes[at + 1] == timestamps_size) {
      const auto flow = take<std::uint32_t>(bytes, at + 2);
      if (!flow) break;
      return ProbeName{
          .flow = ::ntohl(*flow), .number = ::ntohl(header->seq), .protocol = Protocol::TCP};
    }
    at += bytes[at + 1];
  }
  return std::nullopt;
}

std::optional<ProbeName> read_datagram(std::span<const std::uint8_t> bytes) {
  const auto payload = take<FlowDatagram>(bytes, sizeof(udphdr));
  if (!payload || payload->magic != FlowDatagram::expected_magic) return std::nullopt;
  return ProbeName{.flow = payload->flow, .number = payload->number, .protocol = Protocol::UDP};
}

}  // namespace

Segment make_probe(const ProbeName& name, std::uint16_t source_port, std::uint16_t destination_port,
                   const std::optional<AddressPair>& ipv4) {
  const bool tcp = name.protocol == Protocol::TCP;
  Segment segment = tcp ? make_syn(name, source_port, destination_port)
                        : make_datagram(name, source_port, destination_port);
  if (ipv4) {
    const std::uint16_t sum = checksum(segment, *ipv4, tcp ? IPPROTO_TCP : IPPROTO_UDP);
    put(segment, tcp ? offsetof(tcphdr, check) : offsetof(udphdr, check), sum);
  }
  return segment;
}

std::size_t probe_bytes(Protocol protocol, base::AddressFamily family) {
  const std::size_t header = family == base::AddressFamily::ipv4 ? sizeof(iphdr) : sizeof(ip6_hdr);
  return header +
         (protocol == Protocol::TCP ? most_segment_bytes : sizeof(udphdr) + sizeof(FlowDatagram));
}

std::optional<ProbeName> read_probe(std::span<const std::uint8_t> packet) {
  if (packet.empty()) return std::nullopt;
  std::size_t start = 0;
  int protocol = 0;
  if (packet[0] >> 4 == 4) {
    const auto header = take<iphdr>(packet, 0);
    // A later fragment has no transport header.
    if (!header || (::ntohs(header->frag_off) & IP_OFFMASK) != 0) return std::nullopt;
    start = std::size_t{header->ihl} * 4;
    protocol = header->protocol;
  } else {
    const auto header = take<ip6_hdr>(packet, 0);
    if (!header || packet[0] >> 4 != 6) return std::nullopt;
    start = sizeof(ip6_hdr);
    protocol = header->ip6_nxt;
  }
  if (start > packet.size()) return std::nullopt;
  if (protocol == IPPROTO_TCP) return read_syn(packet.subspan(start));
  if (protocol == IPPROTO_UDP) return read_datagram(packet.subspan(start));
  return std::nullopt;
}

}  // namespace bench
