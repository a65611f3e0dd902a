// What a neighbour hears of a sink, over a connection of our own on loopback.
#include "bgp-peer/sink.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/testing/lab.h"
#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using base::testing::eventually;
using bgp_peer::testing::address;
using bgp_peer::testing::must;
using ::testing::HasSubstr;
using Octets = std::vector<std::uint8_t>;

class Neighbour {
 public:
  explicit Neighbour(std::uint16_t port) {
    fd_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const base::SocketAddress to(base::Endpoint{address("127.0.0.1"), port});
    if (::connect(fd_.get(), to.get(), to.size()) < 0) throw std::runtime_error("connect");
  }
  void say(MessageType type, const Octets& body = {}, std::uint16_t length = 0) const {
    Octets bytes(16, 0xff);
    if (length == 0) length = static_cast<std::uint16_t>(19 + body.size());
    bytes.push_back(static_cast<std::uint8_t>(length >> 8));
    bytes.push_back(static_cast<std::uint8_t>(length & 0xff));
    bytes.push_back(static_cast<std::uint8_t>(type));
    bytes.insert(bytes.end(), body.begin(), body.end());
    if (::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) < 0) {
      throw std::runtime_error("send");
    }
  }
  // The next message; nothing once the other side has closed.
  std::optional<Message> hear() {
    while (heard_.empty()) {
      std::array<std::uint8_t, 512> bytes{};
      const auto size = ::recv(fd_.get(), bytes.data(), bytes.size(), 0);
      if (size <= 0) return std::nullopt;
      auto more =
          stream_.messages(sequence_, std::span(bytes).first(static_cast<std::size_t>(size)));
      sequence_ += static_cast<std::uint32_t>(size);
      heard_.insert(heard_.end(), more.begin(), more.end());
    }
    auto first = heard_.front();
    heard_.erase(heard_.begin());
    return first;
  }

 private:
  base::UniqueFd fd_;
  MessageStream stream_;
  std::uint32_t sequence_ = 1;
  std::vector<Message> heard_;
};

Octets open_body() { return {4, 0xfc, 0, 0, 90, 10, 0, 0, 1, 0}; }

TEST(Sink, OpensKeepsUpAndReadsOn) {
  const auto sink = must(Sink::start({.address = address("127.0.0.1"),
                                      .port = 0,
                                      .asn = {4'200'000'001},
                                      .router_id = address("10.0.0.9"),
                                      .hold_time_s = 30}));
  Neighbour neighbour(sink.port());
  neighbour.say(MessageType::open, open_body());
  const auto open = neighbour.hear();
  ASSERT_TRUE(open && open->open);
  EXPECT_EQ(open->open->asn.number, 4'200'000'001U);
  EXPECT_EQ(open->open->hold_time_s, 30);
  EXPECT_FALSE(open->open->graceful_restart);
  const auto first = neighbour.hear();
  ASSERT_TRUE(first);
  EXPECT_EQ(first->type, MessageType::keepalive);
  EXPECT_EQ(sink.established(), 0U);
  neighbour.say(MessageType::keepalive);
  EXPECT_TRUE(eventually([&] { return sink.established() == 1; }));
  for (int i = 0; i < 1000; ++i) neighbour.say(MessageType::update, Octets(100, 0));
  neighbour.say(MessageType::keepalive);
  const auto kept = neighbour.hear();
  ASSERT_TRUE(kept);
  EXPECT_EQ(kept->type, MessageType::keepalive) << "so that nobody's hold timer expires";
  EXPECT_EQ(sink.updates(), 1000U);
  {
    Neighbour second(sink.port());
    second.say(MessageType::open, open_body());
    second.say(MessageType::keepalive);
    EXPECT_TRUE(eventually([&] { return sink.established() == 2; }));
  }
  EXPECT_TRUE(eventually([&] { return sink.established() == 1; })) << "it went away";
}

TEST(Sink, TurnsAwayWhatIsNoBgp) {
  const auto sink = must(Sink::start({.address = address("127.0.0.1"), .port = 0, .asn = {64513}}));
  Neighbour nobody(sink.port());
  nobody.say(static_cast<MessageType>(9));
  EXPECT_FALSE(nobody.hear());
  Neighbour short_one(sink.port());
  short_one.say(MessageType::keepalive, {}, 3);
  EXPECT_FALSE(short_one.hear());
  EXPECT_EQ(sink.established(), 0U);
  const auto taken = Sink::start({.address = address("127.0.0.1"), .port = sink.port()});
  ASSERT_FALSE(taken);
  EXPECT_THAT(taken.error().message, HasSubstr("listen at 127.0.0.1:"));
}

}  // namespace
}  // namespace bgp_peer
