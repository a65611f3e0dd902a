#include "probes/wire/wire_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "probes/wire/testing/conversation.h"

namespace probes {
namespace {

using testing::Conversation;
using ::testing::ElementsAre;
using testing::Frame;
using ::testing::HasSubstr;
using ::testing::Optional;
using ::testing::Pair;

constexpr const char* client = "10.244.1.2:40000";
constexpr const char* server = "10.244.2.2:7004";
const std::string request_token = "00112233445566778899aabbccddeeff";
const std::string reply_token = "ffeeddccbbaa99887766554433221100";

CaptureJob job() {
  return {.servers = {testing::endpoint(server), testing::endpoint("[fd00::2]:7004")},
          .canaries = {{"request", request_token}, {"reply", reply_token}}};
}

WireReport seen(const std::vector<Frame>& frames) {
  WireWatch watch(job());
  std::int64_t at = 0;
  for (const auto& frame : frames) watch.take(frame, frame.size(), {++at});
  return watch.finish();
}

std::string post(std::string_view number) {
  return "POST /64 HTTP/1.1\r\nHost: stackbench\r\nContent-Length: 40\r\n\r\n" + request_token +
         std::string(number);
}

TEST(WireWatch, CreditsAConnectionThatIsTlsThroughout) {
  const auto report =
      seen(Conversation(client, server).open().sealed("outbound_.8004_._.web").close().frames);
  EXPECT_EQ(report.connections, 1U);
  EXPECT_EQ(report.connections_of_tls, 1U);
  EXPECT_EQ(report.tls_bytes_to_servers, report.bytes_to_servers);
  EXPECT_THAT(report.canaries, ElementsAre(Pair("reply", 0U), Pair("request", 0U)));
  ASSERT_EQ(report.handshakes.size(), 1U);
  EXPECT_EQ(report.handshakes[0].server_name, "outbound_.8004_._.web");
  EXPECT_EQ(report.handshakes[0].version, "TLS 1.3");
  EXPECT_EQ(report.handshakes[0].connections, 1U);
  EXPECT_EQ(report.handshakes[0].server_port, 7004);
  EXPECT_EQ(report.unreadable, 0U);
}

// One hello must not vouch for its neighbours.
TEST(WireWatch, JudgesEachConnectionByItself) {
  auto frames = Conversation(client, server).open().sealed("outbound").close().frames;
  const auto plain =
      Conversation("10.244.1.2:40001", server).open().client("something else\n").close().frames;
  frames.insert(frames.end(), plain.begin(), plain.end());
  const auto report = seen(frames);
  EXPECT_EQ(report.connections, 2U);
  EXPECT_EQ(report.connections_of_tls, 1U);
  EXPECT_EQ(report.connections_foreign, 1U);
  ASSERT_EQ(report.foreign.size(), 1U);
  EXPECT_EQ(report.foreign[0].client.port, 40001);
  EXPECT_EQ(report.foreign[0].why, "byte 0 of what the client sent is in no TLS record");
  EXPECT_EQ(report.foreign[0].bytes, "something else\\x0a");
}

TEST(WireWatch, FindsACanaryOverSegmentBoundsInBothDirectionsAndFamilies) {
  for (const auto& [from, to] :
       {std::pair{client, server}, std::pair{"[fd00::1]:40000", "[fd00::2]:7004"}}) {
    const auto request = post("0000002a");
    Conversation conversation(from, to);
    conversation.open().client(request.substr(0, 75)).client(request.substr(75));
    conversation.server("HTTP/1.1 200 OK\r\n\r\n" + reply_token).server("0000002a").close();
    std::swap(conversation.frames[2], conversation.frames[3]);
    const auto report = seen(conversation.frames);
    EXPECT_THAT(report.canaries, ElementsAre(Pair("reply", 1U), Pair("request", 1U)));
    ASSERT_EQ(report.readable.size(), 2U);
    EXPECT_EQ(report.readable[0].name, "request");
    for (const auto& one : report.readable) {
      EXPECT_EQ(report.spans.at(one.name), (CanarySpan{one.at_ns, one.at_ns}));
    }
    EXPECT_THAT(report.readable[0].number, Optional(42U));
    EXPECT_EQ(report.readable[0].from, testing::endpoint(from));
    EXPECT_EQ(report.readable[1].to, testing::endpoint(from));
    EXPECT_EQ(report.connections_foreign, 1U);
  }
}

TEST(WireWatch, FindsACanaryInAnotherConnectionOfTheServersAddress) {
  const auto report = seen(Conversation("10.244.2.2:51000", "10.96.0.9:9411")
                               .open()
                               .client("{\"body\":\"" + request_token + "00000001\"}")
                               .close()
                               .frames);
  EXPECT_EQ(report.canaries.at("request"), 1U);
  EXPECT_EQ(report.connections, 0U);
}

// A client whose proxy sends a copy of each request to somebody else (VirtualService.mirror), who
// has none.
TEST(WireWatch, FindsACanaryInTheClientsOtherConnectionsAndSaysWhereTheyWent) {
  auto mirrored = job();
  mirrored.clients = {testing::endpoint(client).address, testing::endpoint("[fd00::1]:1").address};
  WireWatch watch(mirrored);
  const auto take = [&](const std::vector<Frame>& frames) {
    for (const auto& frame : frames) watch.take(frame, frame.size(), {1});
  };
  const auto request = post("00000001");
  take(Conversation(client, server).open().sealed("outbound_.8004_._.web").close().frames);
  take(Conversation("10.244.1.2:40001", "10.244.3.3:7004").open().client(request).close().frames);
  take(Conversation("[fd00::1]:40001", "[fd00::3]:7004").open().client(request).close().frames);
  const auto report = watch.finish();
  EXPECT_EQ(report.canaries.at("request"), 2U);
  EXPECT_EQ(report.readable[0].to, testing::endpoint("10.244.3.3:7004"));
  EXPECT_EQ(report.connections, 1U) << "those are no connections to the servers";
  EXPECT_EQ(report.bytes_elsewhere, 2 * request.size());
  ASSERT_EQ(report.elsewhere.size(), 2U);
  EXPECT_EQ(report.elsewhere[0].protocol, "TCP");
}

TEST(WireWatch, SaysWhatTheClientSentElsewhere) {
  auto ours = job();
  ours.clients = {testing::endpoint(client).address};
  WireWatch watch(ours);
  watch.leave_out(testing::endpoint("10.244.1.2:4"));
  const auto take = [&](const std::vector<Frame>& frames) {
    for (const auto& frame : frames) watch.take(frame, frame.size(), {1});
  };
  const auto to = testing::endpoint("10.0.0.9:443");
  take(Conversation("10.244.1.2:4", server).open().client("a sample").frames);
  take(Conversation("10.0.0.1:40000", "10.244.1.2:8080")
           .open()
           .client("ready?")
           .server("yes")
           .frames);
  auto open_before = Conversation("10.244.1.2:40003", "10.0.0.9:443").open().client("abc").frames;
  open_before.erase(open_before.begin(), open_before.begin() + 2);
  take(open_before);
  auto udp = open_before.front();
  udp[23] = 17;  // its header is 20 bytes, of UDP 8: the others are payload
  watch.take(udp, udp.size(), {1});
  auto others = udp;
  others[29] = 9;  // from 10.244.1.9
  watch.take(others, others.size(), {1});
  const auto report = watch.finish();
  EXPECT_EQ(report.bytes_elsewhere, 3U + 15U);
  ASSERT_EQ(report.elsewhere.size(), 2U);
  EXPECT_EQ(report.elsewhere[0].protocol, "UDP");
  EXPECT_EQ(report.elsewhere[0].to, to);
  EXPECT_EQ(report.elsewhere[1].to, to);
  EXPECT_EQ(report.elsewhere[1].bytes, 3U);
}

TEST(WireWatch, CountsRecordsBehindHandshakes) {
  const auto report = seen(Conversation(client, server).open().sealed("outbound").close().frames);
  EXPECT_EQ(report.records_to_servers, 1U) << "of two, the first ends the handshake";
  EXPECT_EQ(report.records_to_clients, 1U);
}

TEST(WireWatch, AnotherSynOfTheSamePortsIsAnotherConnection) {
  Conversation conversation(client, server);
  conversation.open().sealed("outbound").reopen(0x50000000).client(post("00000001"));
  // The same SYN once more opens nothing.
  conversation.frames.insert(conversation.frames.begin() + 1, conversation.frames.front());
  const auto report = seen(conversation.frames);
  EXPECT_EQ(report.connections, 2U);
  EXPECT_EQ(report.connections_of_tls, 1U);
  EXPECT_EQ(report.connections_foreign, 1U);
}

TEST(WireWatch, HandshakesThereIsNoRoomForAreCounted) {
  std::vector<Frame> frames;
  for (std::size_t i = 0; i < handshake_kinds_listed + 2; ++i) {
    const auto from = fmt::format("10.244.1.2:{}", 40000 + i);
    const auto one =
        Conversation(from, server).open().sealed(fmt::format("server-{}", i)).close().frames;
    frames.insert(frames.end(), one.begin(), one.end());
  }
  const auto report = seen(frames);
  EXPECT_EQ(report.handshakes.size(), handshake_kinds_listed);
  EXPECT_EQ(report.handshakes_unlisted, 2U);
}

TEST(WireWatch, FindsWhatIsSentAgainWithOtherBytes) {
  Conversation conversation(client, server);
  conversation.open().sealed("outbound");
  Conversation again(client, server);
  again.open().client(post("00000003"));
  auto frames = conversation.frames;
  frames.push_back(again.frames.back());  // the sequence numbers of the ClientHello
  const auto report = seen(frames);
  EXPECT_EQ(report.canaries.at("request"), 1U);
  EXPECT_EQ(report.canaries_again, 1U);
}

TEST(WireWatch, CreditsNothingBehindAGapOrWithoutABeginning) {
  Conversation gap(client, server);
  gap.open().client(testing::record(22, testing::client_hello("outbound")));
  gap.lose(100).client(testing::record(23, "abc")).close();
  const auto with_gap = seen(gap.frames);
  EXPECT_EQ(with_gap.connections_with_gaps, 1U);
  EXPECT_EQ(with_gap.connections_of_tls, 0U);

  auto frames = Conversation(client, server).open().sealed("outbound").frames;
  frames.erase(frames.begin(), frames.begin() + 2);
  const auto midway = seen(frames);
  EXPECT_EQ(midway.connections_midway, 1U);
  EXPECT_EQ(midway.connections_of_tls, 0U);
}

TEST(WireWatch, CountsWhatItCannotRead) {
  auto frames = Conversation(client, server).open().client(post("00000001")).frames;
  auto fragment = frames[2];
  fragment[20] = 0x20;
  WireWatch watch(job());
  watch.take(fragment, fragment.size(), {1});
  watch.take(base::ByteSpan(frames[2]).first(60), frames[2].size(), {2});
  EXPECT_EQ(watch.finish().unreadable, 2U);
}

TEST(WireWatch, ASampleIsNoTraffic) {
  WireWatch watch(job());
  const auto token = watch.look_for("abcdefabcdefabcdefabcdefabcdefab");
  watch.leave_out(testing::endpoint(client));
  EXPECT_FALSE(watch.found(token));
  const auto frames = Conversation(client, server)
                          .open()
                          .client("x abcdefabcdefabcdefabcdefabcdefab00000000")
                          .close()
                          .frames;
  for (const auto& frame : frames) watch.take(frame, frame.size(), {1});
  EXPECT_TRUE(watch.found(token));
  const auto report = watch.finish();
  EXPECT_EQ(report.connections, 0U);
  EXPECT_TRUE(report.readable.empty());
}

TEST(WireWatch, ManyShortConnectionsTakeNoMoreThanTheirRoom) {
  WireWatch watch(job());
  for (int i = 0; i < 6000; ++i) {
    const auto from = fmt::format("10.244.1.{}:{}", 2 + i / 3000, 20000 + i % 3000);
    const auto frames = Conversation(from, server).open().sealed("outbound").close().frames;
    for (const auto& frame : frames) watch.take(frame, frame.size(), {1});
  }
  const auto report = watch.finish();
  EXPECT_EQ(report.connections_of_tls, 6000U);
  EXPECT_EQ(report.handshakes.size(), 1U);
  EXPECT_EQ(report.unwatched, 0U);
}

}  // namespace
}  // namespace probes
