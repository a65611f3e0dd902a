#include "bench/reach/packet.h"

#include <cstring>
#include <vector>

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/ip6.h>
#include <netinet/tcp.h>

namespace bench {
namespace {

using base::Protocol;
using Bytes = std::vector<std::uint8_t>;

const AddressPair pair_v4{.source = base::IpAddress::parse("10.244.1.2").value(),
                          .destination = base::IpAddress::parse("10.244.2.3").value()};

int number_of(Protocol protocol) { return protocol == Protocol::TCP ? IPPROTO_TCP : IPPROTO_UDP; }

// The segment behind a header such as a kernel would put before it.
Bytes packet_of(const Segment& segment, Protocol protocol, bool v4) {
  Bytes packet;
  if (v4) {
    iphdr header{};
    header.version = 4;
    header.ihl = 5;
    header.protocol = static_cast<std::uint8_t>(number_of(protocol));
    packet.resize(sizeof(header));
    std::memcpy(packet.data(), &header, sizeof(header));
  } else {
    packet.resize(sizeof(ip6_hdr));
    packet[0] = 0x60;
    packet[6] = static_cast<std::uint8_t>(number_of(protocol));
  }
  packet.insert(packet.end(), segment.bytes.begin(),
                segment.bytes.begin() + static_cast<std::ptrdiff_t>(segment.size));
  return packet;
}

TEST(FlowPacket, IsNamedByWhatItCarries) {
  for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
    for (const bool v4 : {true, false}) {
      const ProbeName name{.flow = 0xfedcba98, .number = 123'456'789, .protocol = protocol};
      const auto segment = make_probe(name, 12'345, 80, v4 ? std::optional(pair_v4) : std::nullopt);
      const Bytes packet = packet_of(segment, protocol, v4);
      EXPECT_EQ(read_probe(packet), name);
      EXPECT_EQ(packet.size(),
                probe_bytes(protocol, v4 ? base::AddressFamily::ipv4 : base::AddressFamily::ipv6));
      for (std::size_t size = 0; size < packet.size(); ++size) {
        // A copy of exactly that size, so that a sanitizer sees a read beyond it.
        const Bytes cut(packet.begin(), packet.begin() + static_cast<std::ptrdiff_t>(size));
        EXPECT_EQ(read_probe(cut), std::nullopt) << size;
      }
    }
  }
}

// RFC 1071: over the pseudo header and a segment with its checksum in place the sum is all ones.
TEST(FlowPacket, HasTheChecksumThatIpv4Wants) {
  for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
    for (std::uint32_t number = 0; number < 1'000; ++number) {
      const auto segment = make_probe({.flow = 5, .number = number * 77'777, .protocol = protocol},
                                      static_cast<std::uint16_t>(10'000 + number), 80, pair_v4);
      Bytes all(pair_v4.source.bytes.begin(), pair_v4.source.bytes.begin() + 4);
      all.insert(all.end(), pair_v4.destination.bytes.begin(),
                 pair_v4.destination.bytes.begin() + 4);
      all.insert(all.end(), {0, static_cast<std::uint8_t>(number_of(protocol)), 0,
                             static_cast<std::uint8_t>(segment.size)});
      all.insert(all.end(), segment.bytes.begin(),
                 segment.bytes.begin() + static_cast<std::ptrdiff_t>(segment.size));
      std::uint32_t sum = 0;
      for (std::size_t i = 0; i < all.size(); i += 2) {
        sum += static_cast<std::uint32_t>(all[i] << 8 | all[i + 1]);
      }
      while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
      ASSERT_EQ(sum, 0xffffU) << number;
    }
  }
}

TEST(FlowPacket, OfAnotherKindHasNoName) {
  const ProbeName name{.flow = 1, .number = 2, .protocol = Protocol::TCP};
  const Bytes syn = packet_of(make_probe(name, 12'345, 80, pair_v4), Protocol::TCP, true);
  constexpr std::size_t flags = sizeof(iphdr) + 13;
  constexpr std::size_t options = sizeof(iphdr) + sizeof(tcphdr);

  Bytes syn_ack = syn;
  syn_ack[flags] = 0x12;
  EXPECT_EQ(read_probe(syn_ack), std::nullopt);
  Bytes without_timestamps = syn;
  std::fill(without_timestamps.begin() + options, without_timestamps.end(), 1);
  EXPECT_EQ(read_probe(without_timestamps), std::nullopt);
  for (const int size : {0, 1, 255}) {  // an option that says so of itself ends nowhere
    Bytes broken = syn;
    broken[options + 1] = static_cast<std::uint8_t>(size);
    EXPECT_EQ(read_probe(broken), std::nullopt) << size;
  }
  Bytes fragment = syn;
  fragment[7] = 1;
  EXPECT_EQ(read_probe(fragment), std::nullopt);

  Bytes datagram =
      packet_of(make_probe({.protocol = Protocol::UDP}, 1, 2, pair_v4), Protocol::UDP, true);
  datagram[sizeof(iphdr) + 8] ^= 1;
  EXPECT_EQ(read_probe(datagram), std::nullopt);
}

}  // namespace
}  // namespace bench
