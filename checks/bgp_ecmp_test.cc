#include "checks/bgp_ecmp.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace checks {
namespace {

using base::Verdict;
using bgp_peer::NextHopKind;
using bgp_peer::testing::address;
using ::testing::DoubleEq;
using ::testing::HasSubstr;
using ::testing::Pointwise;

constexpr auto threshold = NextHopKind::hash_threshold;
constexpr auto resilient = NextHopKind::resilient;

SpreadFlows spread(std::vector<std::uint64_t> flows, std::uint64_t nowhere = 0) {
  return {.members = {address("172.18.0.2"), address("172.18.0.3"), address("172.18.0.4")},
          .flows = std::move(flows),
          .nowhere = nowhere};
}

TEST(EcmpDistribution, TellsAnEvenSpreadFromOthers) {
  const auto even = bgp_ecmp_distribution(threshold, spread({1010, 985, 1005}));
  EXPECT_EQ(even.verdict, Verdict::pass);
  EXPECT_THAT(even.sentence, HasSubstr("3000 flows (172.18.0.2: 1010, 172.18.0.3: 985"));
  // Twice the weight, a member that is missing, one field that is the same for all.
  for (const auto& flows :
       std::vector<std::vector<std::uint64_t>>{{1500, 750, 750}, {1500, 1500, 0}, {3000, 0, 0}}) {
    EXPECT_EQ(bgp_ecmp_distribution(threshold, spread(flows)).verdict, Verdict::fail);
  }
  EXPECT_EQ(bgp_ecmp_distribution(threshold, spread({4, 5, 3})).verdict, Verdict::inconclusive);
  const auto lost = bgp_ecmp_distribution(threshold, spread({1000, 1000, 1000}, 4));
  EXPECT_EQ(lost.verdict, Verdict::fail);
  EXPECT_THAT(lost.sentence, HasSubstr("4 reached no member"));
}

TEST(EcmpDistribution, KnowsTheSharesOfBuckets) {
  EXPECT_THAT(shares_of(resilient, 3), Pointwise(DoubleEq(), {85 / 256.0, 86 / 256.0, 85 / 256.0}));
  EXPECT_THAT(shares_of(threshold, 4), Pointwise(DoubleEq(), {0.25, 0.25, 0.25, 0.25}));
}

// RFC 2992, 3.1: a quarter and a half of the middle ones, between them a quarter of all at least;
// the figures of three and five by hand.
TEST(FlowsMoved, ArePredictedFromTheRanges) {
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 3, 0), 1 / 6.0);
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 3, 1), 0);
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 3, 2), 1 / 6.0);
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 5, 2), (1 + 2 + 2 + 1 - 4) / 20.0);
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 5, 0), (1 + 2 + 3 + 0) / 20.0);
  EXPECT_DOUBLE_EQ(others_moved_share(threshold, 2, 1), 0);
  EXPECT_DOUBLE_EQ(others_moved_share(resilient, 5, 0), 0);
}

TEST(FlowsMoved, AreJudgedByWhatTheKindPredicts) {
  const MemberLeft first{.members = 3, .left = 0, .flows = 3000, .its = 1003, .others_moved = 495};
  const auto predicted = bgp_flows_moved_as_predicted(threshold, {first});
  EXPECT_EQ(predicted.verdict, Verdict::pass) << predicted.sentence;
  EXPECT_THAT(predicted.sentence, HasSubstr("49.9 % of flows moved, 50.0 % predicted"));
  // The same under the other kind, of which no other member's flow may move.
  EXPECT_EQ(bgp_flows_moved_as_predicted(resilient, {first}).verdict, Verdict::fail);
  auto none = first;
  none.others_moved = 0;
  EXPECT_EQ(bgp_flows_moved_as_predicted(resilient, {none}).verdict, Verdict::pass);
  EXPECT_EQ(bgp_flows_moved_as_predicted(threshold, {none}).verdict, Verdict::fail);
  auto one = none;
  one.others_moved = 1;
  EXPECT_EQ(bgp_flows_moved_as_predicted(resilient, {one}).verdict, Verdict::fail);
  auto stuck = first;
  stuck.stuck = 1;
  EXPECT_THAT(bgp_flows_moved_as_predicted(threshold, {stuck}).sentence,
              HasSubstr("1 flow went to a member that left"));
  EXPECT_EQ(bgp_flows_moved_as_predicted(threshold, {stuck}).verdict, Verdict::fail);
  EXPECT_EQ(bgp_flows_moved_as_predicted(threshold, {}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
