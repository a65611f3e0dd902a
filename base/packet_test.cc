#include "base/packet.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace base {
namespace {

using ::testing::ElementsAre;
using Octets = std::vector<std::uint8_t>;

constexpr MacAddress mac{2, 0, 0, 0, 0, 1};

Endpoint endpoint(std::string_view text) { return Endpoint::parse(text).value(); }

Octets frame_of(std::string_view from, std::string_view to, const Octets& payload) {
  return write_frame({.source = endpoint(from),
                      .destination = endpoint(to),
                      .sequence = 0xfffffff0,
                      .flags = tcp_ack,
                      .payload = payload},
                     mac);
}

Octets joined(std::initializer_list<Octets> parts) {
  Octets all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Octets after(const Octets& bytes, std::size_t from) {
  return {bytes.begin() + static_cast<std::ptrdiff_t>(from), bytes.end()};
}

// An Ethernet and an IPv4 header around something.
Octets in_ipv4(std::uint8_t protocol, const Octets& inner) {
  auto frame = frame_of("172.18.0.2:1", "172.18.0.3:2", {});
  frame.resize(34);
  const auto total = 20 + inner.size();
  frame[16] = static_cast<std::uint8_t>(total >> 8);
  frame[17] = static_cast<std::uint8_t>(total & 0xff);
  frame[23] = protocol;
  return joined({frame, inner});
}

Octets in_udp(std::uint16_t port, const Octets& inner) {
  return in_ipv4(17, joined({{0xc0, 0, static_cast<std::uint8_t>(port >> 8),
                              static_cast<std::uint8_t>(port & 0xff), 0, 0, 0, 0},
                             inner}));
}

void expect_the_segment(const Packet& packet, int tunnels) {
  ASSERT_EQ(packet.kind, PacketKind::tcp);
  EXPECT_EQ(packet.tunnels, tunnels);
  EXPECT_EQ(packet.segment.source.port, 40000);
  EXPECT_EQ(packet.segment.destination.port, 80);
  EXPECT_EQ(packet.segment.sequence, 0xfffffff0U);
  EXPECT_EQ(packet.segment.flags, tcp_ack);
  EXPECT_EQ(packet.segment.missing, 0U);
  EXPECT_THAT(packet.segment.payload, ElementsAre(1, 2, 3, 4));
}

TEST(Packet, IsReadInBothFamilies) {
  for (const auto& [from, to] :
       {std::pair{"10.0.0.1:40000", "10.0.0.2:80"}, std::pair{"[fd00::1]:40000", "[fd00::2]:80"}}) {
    const auto frame = frame_of(from, to, {1, 2, 3, 4});
    const auto packet = read_packet(frame);
    expect_the_segment(packet, 0);
    EXPECT_EQ(packet.segment.source, endpoint(from));
    EXPECT_EQ(packet.segment.destination, endpoint(to));
  }
}

TEST(Packet, IsUnwrapped) {
  const auto v4 = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1, 2, 3, 4});
  const auto v6 = frame_of("[fd00::1]:40000", "[fd00::2]:80", {1, 2, 3, 4});
  const Octets vxlan{0x08, 0, 0, 0, 0, 0, 7, 0};
  expect_the_segment(read_packet(in_udp(4789, joined({vxlan, v4}))), 1);
  expect_the_segment(read_packet(in_udp(8472, joined({vxlan, v6}))), 1);
  const Octets geneve{0x01, 0, 0x65, 0x58, 0, 0, 7, 0, 9, 9, 9, 9};
  expect_the_segment(read_packet(in_udp(6081, joined({geneve, v4}))), 1);
  expect_the_segment(read_packet(in_ipv4(4, after(v4, 14))), 1);
  expect_the_segment(read_packet(in_ipv4(41, after(v6, 14))), 1);
  const auto twice = in_udp(4789, joined({vxlan, in_ipv4(4, after(v4, 14))}));
  expect_the_segment(read_packet(twice), 2);
  const Octets tag{0x81, 0, 0, 5};
  expect_the_segment(read_packet(joined({Octets(v4.begin(), v4.begin() + 12), tag, after(v4, 12)})),
                     0);
}

TEST(Packet, IsNotUnwrappedWithoutEnd) {
  auto frame = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1});
  for (int i = 0; i < 6; ++i) frame = in_ipv4(4, after(frame, 14));
  EXPECT_EQ(read_packet(frame).kind, PacketKind::unreadable);
}

TEST(Packet, PaddingIsNoPayloadAndWhatIsCutIsMissing) {
  const auto frame = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1, 2, 3, 4});
  expect_the_segment(read_packet(joined({frame, Octets(6, 0)})), 0);
  const Octets shorter(frame.begin(), frame.end() - 3);
  const auto cut = read_packet(shorter);
  ASSERT_EQ(cut.kind, PacketKind::tcp);
  EXPECT_EQ(cut.segment.missing, 3U);
  EXPECT_THAT(cut.segment.payload, ElementsAre(1));
}

TEST(Packet, OfNoLengthInItsHeaderEndsWithItsFrame) {
  auto frame = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1, 2, 3, 4});
  frame[16] = frame[17] = 0;
  expect_the_segment(read_packet(frame), 0);
}

TEST(Packet, FragmentsAndSealedPacketsAreToldApart) {
  auto frame = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1});
  frame[20] = 0x20;  // more fragments follow
  EXPECT_EQ(read_packet(frame).kind, PacketKind::fragment);
  EXPECT_EQ(read_packet(in_udp(51820, {4, 0, 0, 0})).kind, PacketKind::sealed);
  EXPECT_EQ(read_packet(in_ipv4(50, {1, 2, 3, 4})).kind, PacketKind::sealed);
  EXPECT_EQ(read_packet(in_udp(51820, {0xab, 0xcd, 0x81, 0x80})).kind, PacketKind::datagram)
      << "a reply of somebody else's to a port that may be anybody's";
}

TEST(Packet, OfATunnelWhosePortWasDrawnIsUnwrapped) {
  const auto inner = frame_of("10.0.0.1:40000", "10.0.0.2:80", {1, 2, 3, 4});
  auto frame = in_udp(4789, joined({{0x08, 0, 0, 0, 0, 0, 7, 0}, inner}));
  for (const std::uint16_t port : {std::uint16_t{51820}, std::uint16_t{51871}}) {
    frame[34] = static_cast<std::uint8_t>(port >> 8);
    frame[35] = static_cast<std::uint8_t>(port & 0xff);
    expect_the_segment(read_packet(frame), 1);
  }
}

TEST(Packet, ThatCarriesDataWithoutTcpSaysFromWhomToWhom) {
  auto frame = in_udp(53, {1, 2});
  const auto udp = read_packet(frame);
  EXPECT_EQ(udp.kind, PacketKind::datagram);
  EXPECT_EQ(udp.segment.source, endpoint("172.18.0.2:49152"));
  EXPECT_EQ(udp.segment.destination, endpoint("172.18.0.3:53"));
  EXPECT_THAT(udp.segment.payload, ElementsAre(1, 2));
  frame = in_ipv4(47, {9, 9, 9});
  EXPECT_EQ(read_packet(frame).kind, PacketKind::datagram);
  EXPECT_EQ(read_packet(frame).segment.payload.size(), 3U);
  EXPECT_EQ(read_packet(in_ipv4(1, {8, 0, 0, 0})).kind, PacketKind::other);
}

TEST(Packet, WithoutAllOfItsHeadersIsNone) {
  for (const auto& [from, to] :
       {std::pair{"10.0.0.1:1", "10.0.0.2:80"}, std::pair{"[fd00::1]:1", "[fd00::2]:80"}}) {
    const auto frame = frame_of(from, to, {});
    for (std::size_t size = 0; size < frame.size(); ++size) {
      EXPECT_FALSE(read_segment(std::span(frame).first(size))) << size;
    }
  }
}

}  // namespace
}  // namespace base
