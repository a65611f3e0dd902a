#include "bgp-peer/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using bgp_peer::testing::prefix;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using Bytes = std::vector<std::uint8_t>;

Bytes joined(std::initializer_list<Bytes> parts) {
  Bytes all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

Bytes message(std::uint8_t type, const Bytes& body) {
  const auto length = body.size() + 19;
  return joined({Bytes(16, 0xff),
                 {static_cast<std::uint8_t>(length >> 8), static_cast<std::uint8_t>(length), type},
                 body});
}

// RFC 4271, 4.3: no withdrawn routes; ORIGIN igp; 10.201.0.7/32 announced.
const Bytes announcing{0, 0, 0, 4, 0x40, 1, 1, 0, 32, 10, 201, 0, 7};
// 10.0.0.0/9 withdrawn, which takes two bytes of its address.
const Bytes withdrawing{0, 3, 9, 10, 0, 0, 0};

TEST(Update, NamesPrefixesOfIpv4) {
  EXPECT_EQ(read_update(announcing), (Update{.announced = {prefix("10.201.0.7/32")}}));
  EXPECT_EQ(read_update(withdrawing), (Update{.withdrawn = {prefix("10.0.0.0/9")}}));
}

TEST(Update, NamesPrefixesOfIpv6) {
  // RFC 4760: AFI 2, SAFI 1, a next hop of 16 bytes, a reserved one, fd00:201::/32.
  Bytes reach{0, 2, 1, 16};
  reach.insert(reach.end(), 17, 0);
  reach.insert(reach.end(), {32, 0xfd, 0, 2, 1});
  const auto size = static_cast<std::uint8_t>(reach.size());
  EXPECT_EQ(read_update(
                joined({{0, 0, 0, static_cast<std::uint8_t>(size + 4), 0x90, 14, 0, size}, reach})),
            (Update{.announced = {prefix("fd00:201::/32")}}));
  EXPECT_EQ(read_update(Bytes{0, 0, 0, 11, 0x80, 15, 8, 0, 2, 1, 32, 0xfd, 0, 2, 1}),
            (Update{.withdrawn = {prefix("fd00:201::/32")}}));
}

TEST(Update, WithoutPrefixesEndsATable) { EXPECT_EQ(read_update(Bytes{0, 0, 0, 0}), Update()); }

TEST(Update, IsRefusedWhereItIsCutOffOrImpossible) {
  for (std::size_t size = 0; size < announcing.size(); ++size) {
    if (size == 8) continue;  // ends behind its attributes: whole, and without prefixes
    EXPECT_FALSE(read_update(std::span(announcing).first(size))) << size;
  }
  auto too_long = announcing;
  too_long[8] = 33;
  EXPECT_FALSE(read_update(too_long));
}

TEST(MessageStream, FindsUpdatesAcrossSegments) {
  const auto all = joined({message(4, {}), message(2, announcing), message(2, withdrawing)});
  for (std::size_t cut = 19; cut < all.size(); ++cut) {
    MessageStream stream;
    auto updates = stream.take(4294967290U, std::span(all).first(cut));  // wraps around
    const auto next = static_cast<std::uint32_t>(4294967290U + cut);
    std::ranges::move(stream.take(next, std::span(all).subspan(cut)), std::back_inserter(updates));
    ASSERT_THAT(updates, SizeIs(2)) << cut;
    EXPECT_THAT(updates[0].announced, ElementsAre(prefix("10.201.0.7/32")));
  }
}

TEST(MessageStream, PassesOverWhatIsSentAgain) {
  MessageStream stream;
  const auto update = message(2, announcing);
  EXPECT_THAT(stream.take(100, update), SizeIs(1));
  EXPECT_THAT(stream.take(100, update), IsEmpty());
  // Its tail again, and a message more.
  const auto more = joined({update, message(2, withdrawing)});
  EXPECT_THAT(stream.take(110, std::span(more).subspan(10)), SizeIs(1));
}

TEST(MessageStream, GoesOnWithAWholeMessageAfterAGap) {
  MessageStream stream;
  const auto update = message(2, announcing);
  EXPECT_THAT(stream.take(100, update), SizeIs(1));
  EXPECT_THAT(stream.take(500, std::span(update).subspan(5)), IsEmpty());
  EXPECT_THAT(stream.take(900, update), SizeIs(1));
}

TEST(Segment, IsReadFromAFrame) {
  Bytes frame(14, 0);
  frame[12] = 0x08;
  Bytes ip(20, 0);
  ip[0] = 0x45;
  ip[3] = 44;  // 20 of IP, 20 of TCP, 4 of payload
  ip[9] = 6;
  ip[12] = 172, ip[13] = 18, ip[15] = 2;
  ip[16] = 172, ip[17] = 18, ip[19] = 1;
  Bytes tcp(20, 0);
  tcp[2] = 0, tcp[3] = 179;
  tcp[7] = 9;
  tcp[12] = 0x50;
  const auto whole = joined({frame, ip, tcp, {1, 2, 3, 4}, Bytes(2, 0)});  // padded
  const auto segment = read_segment(whole);
  ASSERT_TRUE(segment);
  EXPECT_EQ(segment->source.address, testing::address("172.18.0.2"));
  EXPECT_EQ(segment->destination.port, bgp_port);
  EXPECT_EQ(segment->sequence, 9U);
  EXPECT_THAT(segment->payload, ElementsAre(1, 2, 3, 4));
  for (std::size_t size = 0; size < 54; ++size) {
    EXPECT_FALSE(read_segment(std::span(whole).first(size))) << size;
  }
}

}  // namespace
}  // namespace bgp_peer
