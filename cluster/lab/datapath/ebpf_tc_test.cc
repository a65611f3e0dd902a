// The programs and the connection table against real sockets. Needs root.
#include <cerrno>
#include <set>

#include <gmock/gmock.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "cluster/lab/datapath/testing/ebpf_tc_fixture.h"

namespace cluster {
namespace {

using base::testing::Transport;

class EbpfTc : public EbpfTcFixture, public ::testing::WithParamInterface<bool> {
 protected:
  const TcAddresses at = tc_addresses(GetParam());
};

INSTANTIATE_TEST_SUITE_P(, EbpfTc, ::testing::Bool(),
                         [](const auto& tested) { return tested.param ? "ipv4" : "ipv6"; });

void bind_to(const base::UniqueFd& fd, std::uint16_t port) {
  const int yes = 1;
  ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)), 0);
  sockaddr_storage any{};
  socklen_t size = sizeof(any);
  ASSERT_EQ(::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&any), &size), 0);
  if (any.ss_family == AF_INET) {
    reinterpret_cast<sockaddr_in&>(any).sin_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in6&>(any).sin6_port = htons(port);
  }
  ASSERT_EQ(::bind(fd.get(), reinterpret_cast<const sockaddr*>(&any), size), 0) << errno;
}

// With the checksums of packets left to the device, and made by the sender.
TEST_P(EbpfTc, EveryWayLeadsToABackendWhoeverMakesChecksums) {
  hook();
  for (const bool offload : {true, false}) {
    if (!offload) {
      for (auto* place : {&*client, &*server, &*outside}) {
        place->inside([] {
          const base::UniqueFd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
          ethtool_value off{.cmd = ETHTOOL_STXCSUM, .data = 0};
          ifreq request{};
          std::string_view("eth0").copy(request.ifr_name, IFNAMSIZ);
          request.ifr_data = reinterpret_cast<char*>(&off);
          ASSERT_EQ(::ioctl(fd.get(), SIOCETHTOOL, &request), 0) << errno;
        });
      }
    }
    for (const auto transport : {Transport::tcp, Transport::udp}) {
      for (const auto& [pod, name] :
           {std::pair(at.server, "local"), std::pair(at.remote, "remote")}) {
        sync(table_of(at, {pod}));
        EXPECT_EQ(answer(*client, at.service, transport), name) << offload;
        EXPECT_EQ(answer(*client, at.balancer, transport), name) << offload;
        EXPECT_EQ(answer(*outside, at.balancer, transport), name) << offload;
      }
      // A pod behind the Service it dials sees itself as its node, or would drop its own packets.
      sync(table_of(at, {at.client}));
      EXPECT_EQ(answer(*client, at.service, transport), "itself") << offload;
    }
  }
  EXPECT_EQ(counted("misses"), 0U);
  EXPECT_EQ(counted("evicted"), 0U);
  EXPECT_EQ(counted("unplaced"), 0U);
}

// IPv6 has no such datagrams.
TEST_F(EbpfTcFixture, ADatagramWithoutAChecksumKeepsHavingNone) {
  const auto at = tc_addresses(true);
  hook();
  sync(table_of(at, {at.server}));
  const auto socket = dial(*client, at.service, Transport::udp);
  ASSERT_TRUE(socket);
  const int yes = 1;
  ASSERT_EQ(::setsockopt(socket->get(), SOL_SOCKET, SO_NO_CHECK, &yes, sizeof(yes)), 0);
  const auto text = base::testing::ask(socket->get());
  ASSERT_TRUE(text) << base::describe_error(text.error());
  EXPECT_EQ(*text, "local");
}

TEST_P(EbpfTc, AFullTableThrowsOutTheConnectionUnusedForLongestAndCountsIt) {
  hook({.table = {.connections = 4}});
  sync(table_of(at, {at.server}));
  std::vector<base::UniqueFd> sockets;
  const auto one_more = [&] {
    auto socket = dial(*client, at.service, Transport::udp);
    ASSERT_TRUE(socket);
    sockets.push_back(std::move(*socket));
    ASSERT_TRUE(base::testing::ask(sockets.back().get()));
  };
  for (int i = 0; i < 4; ++i) one_more();
  EXPECT_EQ(counted("made"), 4U);
  EXPECT_EQ(counted("evicted"), 0U);
  for (int i = 0; i < 3; ++i) one_more();
  EXPECT_EQ(counted("made"), 7U);
  EXPECT_EQ(counted("evicted"), 3U);
  // Traffic goes on for all of them: those thrown out begin anew.
  for (const auto& socket : sockets) EXPECT_TRUE(base::testing::ask(socket.get()));
  EXPECT_GT(counted("evicted"), 3U);
  EXPECT_EQ(counted("made") - counted("evicted"), 4U);
  EXPECT_EQ(counted("aged"), 0U);
}

TEST_P(EbpfTc, APacketInMidStreamWithoutItsConnectionIsCounted) {
  hook({.table = {.connections = 1}});
  sync(table_of(at, {at.server}));
  const auto first = dial(*client, at.service, Transport::tcp);
  ASSERT_TRUE(first);
  ASSERT_TRUE(base::testing::ask(first->get()));
  const auto second = dial(*client, at.other_service, Transport::tcp);
  ASSERT_TRUE(second);
  EXPECT_EQ(counted("evicted"), 1U);
  EXPECT_EQ(counted("misses"), 0U);
  // The only backend is the right one.
  EXPECT_TRUE(base::testing::ask(first->get()));
  EXPECT_GE(counted("misses"), 1U);
}

TEST_P(EbpfTc, ConnectionsThatAreOverMakeRoomForNewOnes) {
  hook({.table = {.connections = 2}});
  sync(table_of(at, {at.server}));
  for (int i = 0; i < 40; ++i) {
    ASSERT_EQ(answer(*client, at.service, Transport::tcp), "local");
    // The server's goodbye must have come before the next connection needs the room.
    ASSERT_TRUE(base::testing::eventually([&] {
      const auto text = server->run("ss -Htn state established state close-wait state last-ack");
      return text && text->empty();
    }));
  }
  EXPECT_EQ(counted("made"), 40U);
  EXPECT_EQ(counted("aged"), 38U);
  EXPECT_EQ(counted("evicted"), 0U);
  EXPECT_EQ(counted("misses"), 0U);
}

TEST_P(EbpfTc, ADatagramFlowUnusedForTooLongIsOver) {
  hook({.table = {.datagrams = std::chrono::milliseconds(50),
                  .datagrams_answered = std::chrono::milliseconds(50)}});
  sync(table_of(at, {at.server}));
  const auto socket = dial(*client, at.service, Transport::udp);
  ASSERT_TRUE(socket);
  EXPECT_TRUE(base::testing::ask(socket->get()));
  const auto begun = std::chrono::steady_clock::now();
  EXPECT_TRUE(base::testing::eventually(
      [&] { return std::chrono::steady_clock::now() - begun > std::chrono::milliseconds(100); }));
  EXPECT_TRUE(base::testing::ask(socket->get()));
  EXPECT_EQ(counted("aged"), 1U);
  EXPECT_EQ(counted("made"), 2U);
}

TEST_P(EbpfTc, APortThatIsUsedAgainBeginsANewConnection) {
  hook();
  sync(table_of(at, {at.server, at.remote}));
  std::set<std::string> seen;
  for (int i = 0; i < 40; ++i) {
    auto socket =
        client->inside([&] { return base::testing::open_socket(at.service, Transport::tcp); });
    ASSERT_TRUE(socket);
    bind_to(*socket, 5555);
    const base::SocketAddress address(at.service);
    ASSERT_EQ(::connect(socket->get(), address.get(), address.size()), 0) << i << " " << errno;
    const auto text = base::testing::ask(socket->get());
    ASSERT_TRUE(text) << i << base::describe_error(text.error());
    seen.insert(*text);
    // With a reset, so that no port waits.
    const linger now{.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(::setsockopt(socket->get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  }
  // One of two, 40 times in a row: 2 of 10^12.
  EXPECT_THAT(seen, ::testing::ElementsAre("local", "remote"));
  EXPECT_EQ(counted("made"), 40U);
  EXPECT_EQ(counted("aged"), 39U);
}

// What a pod answers to one who dialled it must not be taken for the answer of a Service that was
// dialled from the same port before.
TEST_P(EbpfTc, APodDialledAfterItsServiceFromTheSamePortShowsItself) {
  hook();
  sync(table_of(at, {at.server}));
  const base::Endpoint pod{at.server, tc_port};
  for (const auto& peer : {at.service, pod, at.service, pod}) {
    auto socket = client->inside([&] { return base::testing::open_socket(peer, Transport::tcp); });
    ASSERT_TRUE(socket);
    bind_to(*socket, 5555);
    const base::SocketAddress address(peer);
    ASSERT_EQ(::connect(socket->get(), address.get(), address.size()), 0)
        << peer.to_string() << errno;
    EXPECT_EQ(base::testing::ask(socket->get()).value_or(""), "local");
    const linger now{.l_onoff = 1, .l_linger = 0};
    ASSERT_EQ(::setsockopt(socket->get(), SOL_SOCKET, SO_LINGER, &now, sizeof(now)), 0);
  }
  const auto datagrams =
      client->inside([&] { return base::testing::open_socket(pod, Transport::udp); });
  ASSERT_TRUE(datagrams);
  for (const auto& peer : {at.service, pod, at.service, pod}) {
    const auto answer = base::testing::ask_at(datagrams->get(), peer);
    ASSERT_TRUE(answer) << base::describe_error(answer.error());
    EXPECT_EQ(answer->from, peer);
  }
  EXPECT_EQ(counted("misses"), 0U);
}

TEST_P(EbpfTc, OneClientPortMayTalkToOneBackendThroughTwoServices) {
  hook();
  sync(table_of(at, {at.server}));
  const auto socket =
      client->inside([&] { return base::testing::open_socket(at.service, Transport::udp); });
  ASSERT_TRUE(socket);
  for (int i = 0; i < 3; ++i) {
    for (const auto& service : {at.service, at.other_service}) {
      const auto answer = base::testing::ask_at(socket->get(), service);
      ASSERT_TRUE(answer) << base::describe_error(answer.error());
      EXPECT_EQ(answer->from, service);
    }
  }
  EXPECT_EQ(counted("made"), 2U);
}

TEST_P(EbpfTc, ClientsBehindTheNodeHaveDifferentPortsUntilThereAreNone) {
  hook({.table = {.ports = 4}});
  sync(table_of(at, {at.remote}));
  std::vector<base::UniqueFd> sockets;
  std::set<std::string> seen;
  for (int i = 0; i < 4; ++i) {
    auto socket = dial(*outside, at.balancer, Transport::tcp);
    ASSERT_TRUE(socket) << i << base::describe_error(socket.error());
    const auto from = base::testing::ask_where_from(socket->get());
    ASSERT_TRUE(from);
    EXPECT_THAT(*from, ::testing::HasSubstr(at.node.to_string()));
    seen.insert(*from);
    sockets.push_back(std::move(*socket));
  }
  EXPECT_EQ(seen.size(), 4U);
  auto fifth =
      outside->inside([&] { return base::testing::open_socket(at.balancer, Transport::tcp); });
  ASSERT_TRUE(fifth);
  const timeval bound{.tv_sec = 0, .tv_usec = 300'000};
  ASSERT_EQ(::setsockopt(fifth->get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)), 0);
  const base::SocketAddress address(at.balancer);
  EXPECT_EQ(::connect(fifth->get(), address.get(), address.size()), -1);
  EXPECT_GE(counted("unplaced"), 1U);
  fifth->reset();
  // A port whose connection is over is given away again.
  sockets.pop_back();
  EXPECT_TRUE(base::testing::eventually(
      [&] { return dial(*outside, at.balancer, Transport::tcp).has_value(); }));
}

TEST_P(EbpfTc, AnUnreachablePortIsToldToTheClientThroughTheTranslation) {
  hook();
  const auto refused = [&](const base::testing::TestNetns& from, const base::Endpoint& peer) {
    const auto socket = dial(from, peer, Transport::udp);
    ASSERT_TRUE(socket);
    const auto text = base::testing::ask(socket->get());
    ASSERT_FALSE(text) << *text;
    EXPECT_EQ(text.error().code, ECONNREFUSED) << text.error().message;
  };
  // Pods at whose port nobody listens, and none at all.
  for (const auto& pods :
       {std::vector{at.server}, std::vector{at.remote}, std::vector<base::IpAddress>{}}) {
    sync(table_of(at, pods, tc_port + 1));
    refused(*client, at.service);
    refused(*outside, at.balancer);
  }
  EXPECT_EQ(counted("refused"), 2U);
}

TEST_P(EbpfTc, FragmentsAreCountedAndNotTranslated) {
  hook();
  sync(table_of(at, {at.server}));
  const auto socket = dial(*client, at.service, Transport::udp);
  ASSERT_TRUE(socket);
  const std::string large(4000, 'x');
  ASSERT_EQ(::send(socket->get(), large.data(), large.size(), 0), 4000);
  EXPECT_TRUE(base::testing::eventually([&] { return counted("fragments") == 3; }))
      << counted("fragments");
  EXPECT_EQ(counted("made"), 0U);
}

TEST_P(EbpfTc, EstablishedConnectionsKeepABackendThatLeavesAndDatagramsDoNot) {
  hook();
  sync(table_of(at, {at.server}));
  const auto stream = dial(*client, at.service, Transport::tcp);
  const auto datagrams = dial(*client, at.service, Transport::udp);
  ASSERT_TRUE(stream && datagrams);
  EXPECT_EQ(base::testing::ask(stream->get()).value_or(""), "local");
  EXPECT_EQ(base::testing::ask(datagrams->get()).value_or(""), "local");
  sync(table_of(at, {at.remote}));
  EXPECT_EQ(base::testing::ask(stream->get()).value_or(""), "local");
  EXPECT_EQ(base::testing::ask(datagrams->get()).value_or(""), "remote");
  EXPECT_EQ(counted("moved"), 1U);
}

TEST_P(EbpfTc, UnderLocalAClientOutsideKeepsItsAddressOrIsDroppedAndTheFaultHidesIt) {
  const auto local = [&](const base::IpAddress& pod) {
    auto table = table_of(at, {pod});
    for (auto& entry : table.entries) entry.external_local = true;
    return table;
  };
  const auto seen = [&] {
    const auto socket = dial(*outside, at.balancer, Transport::tcp);
    return socket ? base::testing::ask_where_from(socket->get()).value_or("nobody") : "nobody";
  };
  hook();
  sync(local(at.server));
  EXPECT_THAT(seen(), ::testing::HasSubstr(at.outside.to_string()));
  sync(local(at.remote));
  const auto socket = dial(*outside, at.balancer, Transport::udp);
  ASSERT_TRUE(socket);
  ASSERT_EQ(::send(socket->get(), "?", 1, 0), 1);
  EXPECT_EQ(counted("refused"), 0U);
  EXPECT_EQ(counted("made"), 1U);

  datapath.reset();
  hook({.hides_clients = true});
  sync(table_of(at, {at.server}));
  EXPECT_THAT(seen(), ::testing::HasSubstr(at.node.to_string()));
}

TEST_P(EbpfTc, TwoServicesAtOneAddressAreRefused) {
  hook();
  auto table = table_of(at, {at.server});
  table.entries.push_back(table.entries.front());
  const auto synced = datapath->sync(table);
  ASSERT_FALSE(synced);
  EXPECT_THAT(synced.error().message, ::testing::StartsWith("ebpf_tc: two Service ports at "));
}

}  // namespace
}  // namespace cluster
