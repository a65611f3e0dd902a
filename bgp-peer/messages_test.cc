#include "bgp-peer/messages.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace bgp_peer {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

Path full_path(std::string_view prefix, std::string_view next_hop) {
  return {.prefix = Prefix::parse(prefix).value(),
          .next_hop = base::IpAddress::parse(next_hop).value(),
          .as_path = {{.numbers = {{64512}, {4200000000}}}, {.is_set = true, .numbers = {{7}}}},
          .origin = Origin::egp,
          .med = 0,
          .local_preference = 200,
          .communities = {{1}, {2}}};
}

TEST(PathMessage, CarriesEveryAttributeInEitherFamily) {
  for (const auto& path :
       {full_path("10.201.0.7/32", "172.18.0.2"), full_path("fd00:201::7/128", "fd00:18::2")}) {
    const auto again = from_message(to_message(path));
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_EQ(**again, path);
  }
}

TEST(PathMessage, LeavesOutWhatIsNotSet) {
  const Path plain{.prefix = Prefix::parse("10.0.0.1/32").value(),
                   .next_hop = base::IpAddress::parse("10.0.0.9").value()};
  EXPECT_THAT(to_message(plain).pattrs(), SizeIs(2));  // ORIGIN and NEXT_HOP
}

TEST(PathMessage, OfAWithdrawalKeepsNothingButItsPrefix) {
  auto message = to_message(full_path("10.201.0.7/32", "172.18.0.2"));
  message.set_is_withdraw(true);
  const auto path = from_message(message);
  ASSERT_TRUE(path && *path);
  EXPECT_TRUE((*path)->withdrawn);
  EXPECT_EQ((*path)->next_hop, base::IpAddress());
  EXPECT_TRUE((*path)->as_path.empty());
}

// Families by IANA's numbers: our part of GoBGP's messages has no names for others.
void set_family(apipb::Path& message, int afi, int safi) {
  message.mutable_family()->set_afi(static_cast<apipb::Family::Afi>(afi));
  message.mutable_family()->set_safi(static_cast<apipb::Family::Safi>(safi));
}

apipb::Path of_another_family() {
  apipb::Path message;
  set_family(message, 25, 70);  // L2VPN EVPN
  message.mutable_nlri()->set_type_url("type.googleapis.com/apipb.EVPNMACIPAdvertisementRoute");
  return message;
}

TEST(PathMessage, OfAnotherFamilyIsLeftOut) {
  auto message = of_another_family();
  for (const bool with_family : {true, false}) {
    if (!with_family) message.clear_family();
    const auto path = from_message(message);
    ASSERT_TRUE(path) << path.error().message;
    EXPECT_FALSE(*path);
  }
  // Multicast has unicast's kind of prefix.
  auto multicast = to_message(full_path("10.201.0.7/32", "172.18.0.2"));
  set_family(multicast, 1, 2);
  const auto path = from_message(multicast);
  ASSERT_TRUE(path);
  EXPECT_FALSE(*path);
}

TEST(PathMessage, OfUnicastWithoutAPrefixIsAnError) {
  auto message = of_another_family();
  *message.mutable_family() = to_message(Family::ipv4_unicast);
  const auto path = from_message(message);
  ASSERT_FALSE(path);
  EXPECT_THAT(path.error().message, HasSubstr("EVPNMACIPAdvertisementRoute that cannot be read"));
}

TEST(PathMessage, WithTooLongAPrefixIsAnError) {
  apipb::IPAddressPrefix prefix;
  prefix.set_prefix("10.0.0.1");
  prefix.set_prefix_len(64);
  apipb::Path message;
  message.mutable_nlri()->PackFrom(prefix);
  EXPECT_FALSE(from_message(message));
}

TEST(PathMessage, BrokenInsideIsAnError) {
  auto message = to_message(full_path("10.201.0.7/32", "172.18.0.2"));
  for (auto& attribute : *message.mutable_pattrs()) attribute.set_value("\xff\xff\xff");
  EXPECT_FALSE(from_message(message));
}

TEST(PeerMessage, HasTimersAndCapabilities) {
  apipb::Peer message;
  auto& state = *message.mutable_state();
  state.set_neighbor_address("172.18.0.2");
  state.set_peer_asn(64512);
  state.set_session_state(apipb::PeerState::ESTABLISHED);
  state.set_router_id("<nil>");  // Go's way to say that there is none
  message.mutable_timers()->mutable_config()->set_hold_time(90);
  message.mutable_timers()->mutable_state()->set_negotiated_hold_time(9);
  apipb::MultiProtocolCapability family;
  *family.mutable_family() = to_message(Family::ipv6_unicast);
  state.add_remote_cap()->PackFrom(family);
  state.add_remote_cap()->PackFrom(apipb::RouteRefreshCapability());
  apipb::GracefulRestartCapability restart;
  restart.set_flags(0x8);
  restart.set_time(5);
  auto* tuple = restart.add_tuples();
  *tuple->mutable_family() = to_message(Family::ipv4_unicast);
  tuple->set_flags(0x80);
  state.add_remote_cap()->PackFrom(restart);
  state.add_remote_cap()->set_type_url("type.googleapis.com/apipb.FqdnCapability");

  const auto peer = from_message(message);
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_EQ(peer->asn, Asn{64512});
  EXPECT_EQ(peer->state, SessionState::established);
  EXPECT_FALSE(peer->router_id);
  EXPECT_EQ(peer->hold_time_s, 90U);
  EXPECT_EQ(peer->negotiated_hold_time_s, 9U);
  EXPECT_THAT(peer->remote.families, ElementsAre(Family::ipv6_unicast));
  EXPECT_TRUE(peer->remote.route_refresh);
  ASSERT_TRUE(peer->remote.graceful_restart);
  EXPECT_TRUE(peer->remote.graceful_restart->restarting);
  EXPECT_EQ(peer->remote.graceful_restart->restart_time_s, 5U);
  EXPECT_THAT(peer->remote.graceful_restart->forwarding, ElementsAre(Family::ipv4_unicast));
  EXPECT_EQ(peer->remote.others, 1U);
}

TEST(EventMessage, WithoutPathsIsNoNews) {
  apipb::WatchEventResponse message;
  message.mutable_table();
  const auto event = from_message(message);
  ASSERT_TRUE(event);
  EXPECT_FALSE(*event);
}

TEST(EventMessage, KeepsItsRoutesBesideThoseOfOtherFamilies) {
  apipb::WatchEventResponse message;
  *message.mutable_table()->add_paths() = of_another_family();
  const auto others = from_message(message);
  ASSERT_TRUE(others && *others);
  EXPECT_TRUE((*others)->paths.empty());
  EXPECT_EQ((*others)->other_families, 1U);
  *message.mutable_table()->add_paths() = to_message(full_path("10.201.0.7/32", "172.18.0.2"));
  const auto event = from_message(message);
  ASSERT_TRUE(event && *event);
  EXPECT_THAT((*event)->paths, SizeIs(1));
  EXPECT_EQ((*event)->other_families, 1U);
}

TEST(PeerMessage, OfAnUnnumberedNeighbourHasItsAddress) {
  apipb::Peer message;
  message.mutable_state()->set_neighbor_address("fe80::1%eth0");
  const auto peer = from_message(message);
  ASSERT_TRUE(peer) << peer.error().message;
  EXPECT_EQ(peer->address, base::IpAddress::parse("fe80::1").value());
}

TEST(EventMessage, ThatEndsTheBeginningNamesNobody) {
  apipb::WatchEventResponse message;
  message.mutable_peer()->set_type(apipb::WatchEventResponse::PeerEvent::END_OF_INIT);
  message.mutable_peer()->mutable_peer()->mutable_state()->set_neighbor_address("<nil>");
  const auto event = from_message(message);
  ASSERT_TRUE(event) << event.error().message;
  EXPECT_EQ((*event)->kind, Event::Kind::peers_told);
}

TEST(EventMessage, OfANeighbourWithoutAddressIsAnError) {
  apipb::WatchEventResponse message;
  message.mutable_peer()->set_type(apipb::WatchEventResponse::PeerEvent::STATE);
  message.mutable_peer()->mutable_peer()->mutable_state()->set_neighbor_address("<nil>");
  EXPECT_FALSE(from_message(message));
}

}  // namespace
}  // namespace bgp_peer
