#include "stackbench/bgp/convergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/bgp/testing.h"

namespace stackbench::bgp {
namespace {

using base::Verdict;
using bgp_peer::testing::prefix;
using ::testing::AllOf;
using testing::at;
using ::testing::HasSubstr;
using testing::ms;
using testing::node1;
using testing::node2;
using ::testing::StartsWith;

const auto reached = prefix("172.20.0.1/32");

Transition transition(bool announced) {
  return {.sent = at(100),
          .acked = at(101),
          .programmed = at(103),
          .announced = announced,
          .prefix = reached,
          .next_hops = announced ? std::vector{node1, node2} : std::vector<base::IpAddress>{},
          .speakers = {node1, node2}};
}

bgp_peer::CapturedUpdate update(std::int64_t passed, const base::IpAddress& from, bool announced) {
  bgp_peer::CapturedUpdate one{.from = from, .passed = at(passed)};
  (announced ? one.update.announced : one.update.withdrawn) = {reached};
  return one;
}

bgp_peer::RouteMonitor::Change change(std::int64_t received, std::vector<base::IpAddress> hops) {
  return {.route = {reached, hops}, .removed = hops.empty(), .received = at(received)};
}

// A probe a millisecond, from 90 to 200, answered from one time on, or up to it.
std::vector<Probe> probes(std::int64_t edge, bool from_it_on) {
  std::vector<Probe> all;
  for (std::int64_t time = 90; time <= 200; ++time) {
    Probe probe{.sent = at(time)};
    if (from_it_on ? time >= edge : time <= edge) probe.answered = at(time);
    all.push_back(probe);
  }
  return all;
}

Seen announcement() {
  return {.updates = {update(50, node1, true), update(104, node1, true), update(106, node2, true)},
          .routes = {change(105, {node1}), change(109, {node1, node2})},
          .probes = probes(110, true)};
}

TEST(Convergence, OfAnAnnouncementHasEveryTime) {
  const auto result = analyse(transition(true), announcement());
  EXPECT_TRUE(result.announced);
  EXPECT_EQ(result.acked_ns, 1 * ms);
  EXPECT_EQ(result.programmed_ns, 3 * ms);
  EXPECT_EQ(result.first_update_ns, 4 * ms);  // what came before the write is another's
  EXPECT_EQ(result.update_ns, 6 * ms);
  EXPECT_EQ(result.route_ns, 3 * ms);
  EXPECT_EQ(result.first_route_ns, 5 * ms);
  EXPECT_EQ(result.answer_ns, 10 * ms);
  EXPECT_EQ(result.answer_error_ns, 1 * ms);
  EXPECT_EQ(result.lost, 5);  // 105 to 109: there was a route, and no answer
  EXPECT_EQ(result.lost_ns, 5 * ms);
}

// A flow in two goes to a next hop that does not answer before 140.
TEST(Convergence, OfAnAnnouncementCountsWhatASecondNextHopLost) {
  auto seen = announcement();
  for (auto& probe : seen.probes) {
    const bool by_the_other = probe.sent >= at(110) && (probe.sent.ns / ms) % 2 == 1;
    if (by_the_other && probe.sent < at(140)) probe.answered.reset();
  }
  const auto result = analyse(transition(true), seen);
  EXPECT_EQ(result.answer_ns, 10 * ms);
  EXPECT_EQ(result.lost, 5 + 15);
  EXPECT_EQ(result.lost_ns, (5 + 28) * ms + ProbeStream::interval / std::chrono::nanoseconds(1));
  EXPECT_EQ(not_announced_early({result}, {}).verdict, Verdict::fail);
  EXPECT_FALSE(answers_hold(std::span(seen.probes).first(50), at(100))) << "139 is the last";
  EXPECT_TRUE(answers_hold(seen.probes, at(100)));
}

TEST(Probes, HoldOnceSoManyWereAnsweredInARow) {
  auto all = probes(110, true);  // to 200
  EXPECT_TRUE(answers_hold(all, at(100)));
  EXPECT_TRUE(answers_hold(all, at(176)));
  EXPECT_FALSE(answers_hold(all, at(177))) << "24 are too few";
  EXPECT_FALSE(answers_hold({}, at(0)));
  all.push_back({.sent = at(201)});
  EXPECT_TRUE(answers_hold(all, at(100))) << "it may be answered still";
  all[100].answered.reset();
  EXPECT_FALSE(answers_hold(all, at(100)));
}

TEST(Convergence, OfAnAnnouncementThatOneSpeakerLacksIsNotWhole) {
  auto seen = announcement();
  seen.updates.pop_back();
  seen.routes.pop_back();
  const auto result = analyse(transition(true), seen);
  EXPECT_EQ(result.first_update_ns, 4 * ms);
  EXPECT_FALSE(result.update_ns);
  EXPECT_FALSE(result.route_ns);
}

TEST(Convergence, OfAWithdrawalCountsWhatTheStaleRouteAttracted) {
  const Seen seen{.updates = {update(110, node1, false), update(112, node2, false)},
                  .routes = {change(111, {node2}), change(120, {})},
                  .probes = probes(103, false)};
  const auto result = analyse(transition(false), seen);
  EXPECT_EQ(result.update_ns, 12 * ms);
  EXPECT_EQ(result.answer_ns, 3 * ms);
  EXPECT_EQ(result.stale_ns, 19 * ms);
  EXPECT_EQ(result.lost, 17);  // 104 to 120
  EXPECT_EQ(result.lost_ns, 16 * ms);
}

TEST(Convergence, OfAWithdrawalThatIsOverBeforeItIsAcknowledgedHasNoStaleRoute) {
  const Seen seen{.updates = {update(101, node1, false), update(102, node2, false)},
                  .routes = {change(103, {})},
                  .probes = probes(103, false)};
  auto slow = transition(false);
  slow.acked = at(140);
  const auto result = analyse(slow, seen);
  EXPECT_EQ(result.stale_ns, 0);
  EXPECT_EQ(result.acked_ns, 40 * ms);
}

TEST(Convergence, IsDescribedWithHowOftenItWasSeen) {
  const auto good = analyse(transition(true), announcement());
  auto never = good;
  never.answer_ns.reset();
  EXPECT_THAT(described({good, good, never}, true),
              AllOf(StartsWith("3 announcements: datapath programmed after 3.00 ms"),
                    HasSubstr("first answered packet after 10.0 ms, seen in 2 of 3, which is known "
                              "to 1.00 ms")));
  EXPECT_THAT(described({never}, true), HasSubstr("first answered packet after: never seen"));
  EXPECT_EQ(described({good}, false), "");
}

// A daemon tells of a prefix's paths anew whenever one of them changes.
TEST(Convergence, OfARouterOutOfReachIsMadeOfItsDaemonsWord) {
  Announcers announcers;
  bgp_peer::Event event{.kind = bgp_peer::Event::Kind::paths, .received = at(104)};
  event.paths = {{.prefix = reached, .next_hop = node1, .neighbor = node1}};
  EXPECT_EQ(stands_for(event, announcers).updates.size(), 1U);
  event.received = at(106);
  event.paths.push_back({.prefix = reached, .next_hop = node2, .neighbor = node2});
  const auto both = stands_for(event, announcers);
  ASSERT_EQ(both.updates.size(), 1U) << "node 1 said nothing new";
  EXPECT_EQ(both.updates[0].from, node2);
  EXPECT_EQ(both.updates[0].passed, at(106));
  ASSERT_EQ(both.routes.size(), 1U);
  EXPECT_EQ(both.routes[0].route.next_hops, (std::vector{node1, node2}));
  event.paths = {{.prefix = reached, .neighbor = node1, .withdrawn = true}};
  const auto gone = stands_for(event, announcers);
  EXPECT_EQ(gone.updates.size(), 2U);
  ASSERT_EQ(gone.routes.size(), 1U);
  EXPECT_TRUE(gone.routes[0].removed);
}

TEST(Convergence, IsDescribedByWhatCouldBeSeen) {
  auto unseen = analyse(transition(true), announcement());
  unseen.programmed_ns.reset();
  const auto by_its_word = described({unseen}, true, SeenAt::peer_table);
  EXPECT_THAT(by_its_word,
              StartsWith("1 announcement: in the peer's table, as its watch told, after 6.00 ms, "
                         "first answered packet after 10.0 ms"));
  EXPECT_THAT(described({unseen}, true), StartsWith("1 announcement: UPDATE on the wire after"));
}

TEST(Budgets, AreJudgedByTheWorst) {
  const auto good = analyse(transition(true), announcement());
  auto slow = good;
  slow.answer_ns = 600 * ms;
  auto never = good;
  never.answer_ns.reset();
  const Budget budget;
  EXPECT_EQ(announced_in_time({good, good}, budget).verdict, Verdict::pass);
  const auto late = announced_in_time({good, slow, never}, budget);
  EXPECT_EQ(late.verdict, Verdict::fail);
  EXPECT_THAT(late.sentence,
              HasSubstr("600 ms in 3 announcements, of 500 ms granted, 1 too late, 1 "
                        "never seen"));
  EXPECT_EQ(announced_in_time({}, budget).verdict, Verdict::inconclusive);
  EXPECT_EQ(withdrawn_in_time({good}, budget).verdict, Verdict::inconclusive);
}

TEST(Budgets, AreNotMetByAnAddressReachedWithoutItsRoute) {
  auto seen = announcement();
  seen.routes.clear();
  const auto result = analyse(transition(true), seen);
  EXPECT_EQ(result.answer_ns, 10 * ms);
  EXPECT_FALSE(result.first_route_ns);
  EXPECT_EQ(announced_in_time({result}, {}).verdict, Verdict::fail);
  EXPECT_EQ(not_announced_early({result}, {}).verdict, Verdict::fail);
}

TEST(Convergence, KnowsNothingOfWhatFollowedTheNextWrite) {
  auto all = announcement();
  const auto its = between_writes(all, at(100), at(109));
  ASSERT_EQ(its.updates.size(), 2U);  // the one at 50 was another's
  ASSERT_EQ(its.routes.size(), 1U);
  EXPECT_EQ(its.routes[0].received, at(105));
  EXPECT_EQ(its.probes.front().sent, at(99));
  EXPECT_EQ(its.probes.back().sent, at(108));
  EXPECT_FALSE(analyse(transition(true), its).answer_ns);
  EXPECT_EQ(analyse(transition(true), between_writes(all, at(100), {})).answer_ns, 10 * ms);
}

TEST(Budgets, SeeAnAnnouncementThatComesTooEarly) {
  auto early = analyse(transition(true), announcement());
  EXPECT_EQ(not_announced_early({early}, {}).verdict, Verdict::pass);
  early.lost_ns = 40 * ms;
  EXPECT_EQ(not_announced_early({early}, {}).verdict, Verdict::fail);
}

TEST(Budgets, CannotTellWhatNobodyProbed) {
  // The route came at 105 and was answered from 145 on; but between 104 and 145 nobody asked.
  auto seen = announcement();
  seen.probes = probes(145, true);
  std::erase_if(seen.probes,
                [](const Probe& probe) { return probe.sent > at(104) && probe.sent < at(145); });
  const auto unprobed = analyse(transition(true), seen);
  EXPECT_EQ(unprobed.lost, 0);
  EXPECT_EQ(not_announced_early({unprobed}, {}).verdict, Verdict::inconclusive);
  const auto good = analyse(transition(true), announcement());
  const auto both = not_announced_early({good, unprobed}, {});
  EXPECT_EQ(both.verdict, Verdict::pass);
  EXPECT_THAT(both.sentence, HasSubstr("1 announcement left out"));
  auto early = good;
  early.lost_ns = 40 * ms;
  EXPECT_EQ(not_announced_early({early, unprobed}, {}).verdict, Verdict::fail);
}

}  // namespace
}  // namespace stackbench::bgp
