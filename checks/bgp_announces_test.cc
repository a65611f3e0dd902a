#include "checks/bgp_announces.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace checks {
namespace {

using base::Verdict;
using bgp_peer::testing::address;
using bgp_peer::testing::prefix;
using ::testing::HasSubstr;

bgp_peer::Path path_by(std::string_view next_hop) {
  return {.prefix = prefix("172.20.0.1/32"),
          .next_hop = address(next_hop),
          .as_path = {{.numbers = {{64512}}}},
          .origin = bgp_peer::Origin::igp,
          .communities = {{7}, {8}}};
}

ExpectedAnnouncement expected() {
  return {.prefix = prefix("172.20.0.1/32"),
          .next_hops = {address("172.18.0.2"), address("172.18.0.3")},
          .as_path = {{64512}},
          .communities = {{8}, {7}}};
}

Finding judged(std::vector<bgp_peer::Path> paths) {
  return bgp_announces_lb_ip({expected()}, prefix("172.20.0.0/16"), paths);
}

TEST(BgpAnnouncesLbIp, PassesWhereAllIsAsAskedFor) {
  const auto finding = judged({path_by("172.18.0.3"), path_by("172.18.0.2")});
  EXPECT_EQ(finding.verdict, Verdict::pass) << finding.sentence;
  EXPECT_EQ(finding.observed, "as expected");
}

TEST(BgpAnnouncesLbIp, NamesWhoIsMissingAndWhoIsTooMany) {
  EXPECT_THAT(judged({path_by("172.18.0.2")}).sentence,
              HasSubstr("next hops 172.18.0.2, expected 172.18.0.2, 172.18.0.3"));
  EXPECT_THAT(judged({}).sentence, HasSubstr("next hops none"));
  const auto finding =
      judged({path_by("172.18.0.2"), path_by("172.18.0.3"), path_by("172.18.0.4")});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence, HasSubstr("172.18.0.4, expected 172.18.0.2, 172.18.0.3"));
}

TEST(BgpAnnouncesLbIp, SeesEveryAttribute) {
  const auto fault = [](const std::function<void(bgp_peer::Path&)>& change,
                        std::string_view words) {
    auto odd = path_by("172.18.0.2");
    change(odd);
    const auto finding = judged({odd, path_by("172.18.0.3")});
    EXPECT_EQ(finding.verdict, Verdict::fail) << words;
    EXPECT_THAT(finding.sentence, HasSubstr(words));
    EXPECT_EQ(finding.observed, "1 fault");
  };
  fault([](auto& path) { path.as_path = {{.numbers = {{64512}, {1}}}}; }, "AS path 64512 1");
  fault([](auto& path) { path.origin = bgp_peer::Origin::egp; }, "origin egp, expected igp");
  fault([](auto& path) { path.communities.push_back({9}); }, "communities 0:7, 0:8, 0:9");
  fault([](auto& path) { path.communities.clear(); }, "communities none, expected 0:7, 0:8");
  fault([](auto& path) { path.local_preference = 100; }, "local preference 100, expected none");
}

TEST(BgpAnnouncesLbIp, SeesWhatNobodyAskedFor) {
  auto other = path_by("172.18.0.2");
  other.prefix = prefix("172.20.9.9/32");
  EXPECT_THAT(judged({path_by("172.18.0.2"), path_by("172.18.0.3"), other}).sentence,
              HasSubstr("172.20.9.9/32 is announced, which nothing has"));
  // Beyond the pool it is somebody else's.
  other.prefix = prefix("10.0.0.0/8");
  EXPECT_EQ(judged({path_by("172.18.0.2"), path_by("172.18.0.3"), other}).verdict, Verdict::pass);
}

bgp_peer::Peer peer() {
  bgp_peer::Peer one{.address = address("172.18.0.2"),
                     .asn = {64512},
                     .state = bgp_peer::SessionState::established,
                     .negotiated_hold_time_s = 9,
                     .keepalive_interval_s = 3};
  one.remote.four_octet_asn = {64512};
  one.remote.families = {bgp_peer::Family::ipv4_unicast};
  return one;
}

Finding session(const bgp_peer::Peer& one) {
  return bgp_session_established({{.neighbor = address("172.18.0.2"),
                                   .asn = {64512},
                                   .hold_time_s = 9,
                                   .families = {bgp_peer::Family::ipv4_unicast}}},
                                 {one});
}

TEST(BgpSessionEstablished, SeesEveryDifference) {
  EXPECT_EQ(session(peer()).verdict, Verdict::pass);
  const auto fault = [](const std::function<void(bgp_peer::Peer&)>& change,
                        std::string_view words) {
    auto odd = peer();
    change(odd);
    const auto finding = session(odd);
    EXPECT_EQ(finding.verdict, Verdict::fail) << words;
    EXPECT_THAT(finding.sentence, HasSubstr(words));
  };
  fault([](auto& one) { one.address = address("172.18.0.9"); }, "has not connected");
  fault([](auto& one) { one.state = bgp_peer::SessionState::active; }, "is active");
  fault([](auto& one) { one.asn = {1}; }, "AS 1, expected 64512");
  fault([](auto& one) { one.negotiated_hold_time_s = 3; }, "hold time 3 s, expected 9 s");
  fault([](auto& one) { one.keepalive_interval_s = 4; },
        "a KEEPALIVE every 4 s, with a hold time of 9 s");
  fault([](auto& one) { one.remote.four_octet_asn = {7}; },
        "AS 7 in its capabilities, expected 64512");
  fault([](auto& one) { one.remote.families.clear(); }, "does not carry ipv4_unicast");
  fault([](auto& one) { one.remote.graceful_restart.emplace().restart_time_s = 5; },
        "graceful restart 5 s, expected none");
}

}  // namespace
}  // namespace checks
