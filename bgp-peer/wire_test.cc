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

TEST(MessageStream, WaitsForASegmentThatIsSentAgain) {
  const auto update = message(2, announcing);
  const auto size = static_cast<std::uint32_t>(update.size());
  const auto other = message(2, withdrawing);
  const std::uint32_t begin = 4294967295U - size;  // wraps around
  MessageStream stream;
  EXPECT_THAT(stream.take(begin, update), SizeIs(1));
  const auto next = begin + size;
  EXPECT_THAT(stream.take(next + 2 * size, other), IsEmpty());
  EXPECT_THAT(stream.take(next + size, update), IsEmpty());
  const auto updates = stream.take(next, update);
  ASSERT_THAT(updates, SizeIs(3));
  EXPECT_THAT(updates[1].withdrawn, IsEmpty());
  EXPECT_THAT(updates[2].announced, IsEmpty());
  EXPECT_THAT(stream.take(next, joined({update, update})), IsEmpty()) << "all of it was known";
}

TEST(MessageStream, GoesOnWithAWholeMessageAfterAGap) {
  MessageStream stream;
  const auto update = message(2, announcing);
  EXPECT_THAT(stream.take(100, update), SizeIs(1));
  EXPECT_THAT(stream.take(500, std::span(update).subspan(5)), IsEmpty());
  EXPECT_THAT(stream.take(900, update), IsEmpty()) << "the one before it may come";
  const std::vector<std::uint8_t> much(1 << 16);
  EXPECT_THAT(stream.take(1500, much), SizeIs(1));
  EXPECT_THAT(stream.take(900 + static_cast<std::uint32_t>(update.size()), update), SizeIs(1));
}

// RFC 4271, 4.2: version 4, AS 23456 (AS_TRANS), hold time 3 s, an identifier, and one parameter of
// capabilities: four octets of AS (RFC 6793), graceful restart (RFC 4724) of 5 s with the R bit for
// IPv4 unicast with the F bit and IPv6 unicast without, and route refresh.
const Bytes opening{4, 0x5b, 0xa0, 0,  3,    172, 18, 0, 3, 22,   2, 20, 65, 4, 0, 1,
                    0, 2,    64,   10, 0x80, 5,   0,  1, 1, 0x80, 0, 2,  1,  0, 2, 0};

TEST(Open, SaysWhoSpeaksAndWhetherItRestarts) {
  const auto open = read_open(opening);
  ASSERT_TRUE(open);
  EXPECT_EQ(open->asn, Asn{0x10002});
  EXPECT_EQ(open->hold_time_s, 3);
  ASSERT_TRUE(open->graceful_restart);
  EXPECT_TRUE(open->graceful_restart->restarting);
  EXPECT_EQ(open->graceful_restart->restart_time_s, 5U);
  EXPECT_THAT(open->graceful_restart->families,
              ElementsAre(Family::ipv4_unicast, Family::ipv6_unicast));
  EXPECT_THAT(open->graceful_restart->forwarding, ElementsAre(Family::ipv4_unicast));
  // Without any capability: the AS of two octets, and no graceful restart.
  const Bytes plain{4, 0xfc, 0, 0, 90, 172, 18, 0, 3, 0};
  EXPECT_EQ(read_open(plain), (Open{.asn = {64512}, .hold_time_s = 90}));
  for (std::size_t size = 0; size < opening.size(); ++size) {
    EXPECT_FALSE(read_open(std::span(opening).first(size))) << size;
  }
}

TEST(Notification, SaysWhyInTheWordsOfItsRfc) {
  const auto words = [](std::uint8_t code, std::uint8_t subcode) {
    return read_notification(Bytes{code, subcode, 1, 2}).value().to_string();
  };
  EXPECT_EQ(words(2, 2), "OPEN Message Error, Bad Peer AS (2/2)");
  EXPECT_EQ(words(4, 0), "Hold Timer Expired (4/0)");
  EXPECT_EQ(words(6, 1), "Cease, Maximum Number of Prefixes Reached (6/1)");
  EXPECT_EQ(words(6, 99), "Cease (6/99)");
  EXPECT_EQ(words(77, 1), "(77/1)");
  EXPECT_FALSE(read_notification(Bytes{6}));
}

TEST(MessageStream, TellsEveryKindOfMessageInItsOrder) {
  MessageStream stream;
  const auto all = stream.messages(
      7, joined({message(4, {}), message(3, {6, 4}), message(9, {}), message(2, announcing)}));
  ASSERT_THAT(all, SizeIs(3));
  EXPECT_EQ(all[0].type, MessageType::keepalive);
  EXPECT_EQ(all[1].notification, (Notification{.code = 6, .subcode = 4}));
  ASSERT_TRUE(all[2].update);
}

}  // namespace
}  // namespace bgp_peer
