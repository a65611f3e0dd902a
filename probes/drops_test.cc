// The drop probe against drops made on purpose, between two namespaces: each with the reason it
// has, and nothing where nothing is dropped.
#include "probes/drops.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "base/testing/lab.h"

namespace probes {
namespace {

using base::testing::Transport;
using ::testing::AllOf;
using ::testing::Each;
using ::testing::Field;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

base::Endpoint at(std::string_view text) { return base::Endpoint::parse(text).value(); }

const auto host4 = at("10.244.77.1:9001");
const auto host6 = at("[fd00:244:77::1]:9001");

class DropsLab : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
    auto made = base::testing::TestPair::make();
    ASSERT_TRUE(made) << made.error().message;
    pair_.emplace(std::move(*made));
    auto probe = DropsProbe::attach({.endpoints = {host4, host6}});
    ASSERT_TRUE(probe) << base::describe_error(probe.error());
    probe_.emplace(std::move(*probe));
  }

  // Datagrams from the pod; that nobody takes them is no error.
  void send(const base::Endpoint& to, int count = 1) {
    pair_->pod.inside([&] {
      const auto socket = base::testing::open_socket(to, Transport::udp);
      ASSERT_TRUE(socket) << socket.error().message;
      for (int i = 0; i < count; ++i) {
        // An ICMP answer to an earlier one may be told instead of sending.
        if (!base::testing::send_to(socket->get(), to, "x")) {
          EXPECT_TRUE(base::testing::send_to(socket->get(), to, "x"));
        }
      }
    });
  }

  Drops take() {
    auto drops = probe_->take();
    EXPECT_TRUE(drops) << drops.error().message;
    return drops.value_or(Drops{});
  }

  std::optional<base::testing::TestPair> pair_;
  std::optional<DropsProbe> probe_;
};

TEST_F(DropsLab, ADatagramToAClosedPortHasNoSocket) {
  for (const auto& to : {host4, host6}) {
    send(to);
    const auto found = take();
    ASSERT_THAT(found.drops, SizeIs(1)) << to.to_string();
    const auto& drop = found.drops.front();
    EXPECT_EQ(drop.reason, "NO_SOCKET");
    EXPECT_EQ(drop.to, to);
    EXPECT_NE(drop.from.port, 0);
    EXPECT_EQ(drop.protocol, base::Protocol::UDP);
    EXPECT_NE(drop.netns, 0U);
    EXPECT_GT(drop.time_ns, 0);
    EXPECT_THAT(drop.where, testing::HasSubstr("udp"));
    EXPECT_EQ(found.lost, 0U);
    EXPECT_EQ(base::from_json<Drops>(base::to_json(found), "drops")->drops, found.drops);
  }
  EXPECT_THAT(take().drops, IsEmpty()) << "what was taken is not there again";
}

TEST_F(DropsLab, AConnectionToAClosedPortHasNoSocket) {
  pair_->pod.inside([&] { EXPECT_FALSE(base::testing::dial(host4, Transport::tcp)); });
  EXPECT_THAT(take().drops,
              testing::Contains(AllOf(Field(&Drop::reason, "NO_SOCKET"), Field(&Drop::to, host4),
                                      Field(&Drop::protocol, base::Protocol::TCP))));
}

TEST_F(DropsLab, ARuleThatDropsIsNetfilters) {
  const auto loaded = pair_->host.run("nft -f -",
                                      "table inet t { chain c { type filter hook input priority 0; "
                                      "udp dport 9001 drop; }; }\n");
  ASSERT_TRUE(loaded) << loaded.error().message;
  send(host4, 3);
  EXPECT_THAT(take().drops, AllOf(SizeIs(3), Each(Field(&Drop::reason, "NETFILTER_DROP"))));
}

TEST_F(DropsLab, AFullReceiveBufferIsSaid) {
  const auto silent =
      pair_->host.inside([&] { return base::testing::listen_at(host4, Transport::udp); });
  ASSERT_TRUE(silent) << silent.error().message;
  send(host4, 2000);
  EXPECT_THAT(take().drops, AllOf(Not(IsEmpty()), Each(Field(&Drop::reason, "SOCKET_RCVBUFF"))));
}

// The clean twin: as much traffic, and nothing dropped.
TEST_F(DropsLab, WhatArrivesIsNoDrop) {
  auto server = pair_->host.inside(
      [&] { return base::testing::EchoServer::start({{host4, "here"}}, Transport::udp); });
  ASSERT_TRUE(server) << server.error().message;
  pair_->pod.inside([&] {
    for (int i = 0; i < 50; ++i) {
      const auto socket = base::testing::dial(host4, Transport::udp);
      ASSERT_TRUE(socket) << socket.error().message;
      EXPECT_EQ(base::testing::ask(socket->get()).value_or(""), "here");
    }
  });
  const auto found = take();
  EXPECT_THAT(found.drops, IsEmpty());
  EXPECT_EQ(found.lost, 0U);
}

TEST_F(DropsLab, DropsOfOthersAreLeft) {
  send(at("10.244.77.1:9002"));
  EXPECT_THAT(take().drops, IsEmpty());
}

TEST_F(DropsLab, WhatTheBufferCannotHoldIsCounted) {
  const auto loaded = pair_->host.run("nft -f -",
                                      "table inet t { chain c { type filter hook input priority 0; "
                                      "udp dport 9001 drop; }; }\n");
  ASSERT_TRUE(loaded) << loaded.error().message;
  constexpr int sent = 20'000;
  send(host4, sent);
  const auto found = take();
  EXPECT_GT(found.lost, 0U);
  EXPECT_EQ(found.drops.size() + found.lost, static_cast<std::size_t>(sent));
}

TEST_F(DropsLab, WithoutEndpointsThereIsNothingToWatch) {
  const auto refused = DropsProbe::attach({});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, base::ErrorKind::input);
}

}  // namespace
}  // namespace probes
