#include "stackbench/bgp/burst.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/bgp/testing.h"

namespace stackbench::bgp {
namespace {

using base::Verdict;
using bgp_peer::testing::prefix;
using testing::at;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::ms;
using testing::node1;
using testing::node2;

const auto first = prefix("172.20.0.1/32");
const auto second = prefix("172.20.0.2/32");

Burst burst(bool announced) {
  return {.sent = at(100),
          .programmed = at(102),
          .announced = announced,
          .prefixes = {first, second},
          .next_hops = announced ? std::vector{node1, node2} : std::vector<base::IpAddress>{},
          .speakers = {node1, node2}};
}

bgp_peer::CapturedUpdate update(std::int64_t passed, const base::IpAddress& from, bool announced,
                                std::vector<bgp_peer::Prefix> prefixes) {
  bgp_peer::CapturedUpdate one{.from = from, .passed = at(passed)};
  (announced ? one.update.announced : one.update.withdrawn) = std::move(prefixes);
  return one;
}

bgp_peer::RouteMonitor::Change change(std::int64_t received, const bgp_peer::Prefix& its,
                                      std::vector<base::IpAddress> hops) {
  return {.route = {its, hops}, .removed = hops.empty(), .received = at(received)};
}

bgp_peer::Event told(std::int64_t received, const bgp_peer::Prefix& its,
                     const std::vector<base::IpAddress>& hops) {
  bgp_peer::Event event{.kind = bgp_peer::Event::Kind::paths, .received = at(received)};
  for (const auto& hop : hops) event.paths.push_back({.prefix = its, .next_hop = hop});
  if (hops.empty()) event.paths.push_back({.prefix = its, .withdrawn = true});
  return event;
}

Seen announcement() {
  return {.updates = {update(50, node1, true, {first}),  // another's
                      update(103, node1, true, {first, second}), update(105, node2, true, {first}),
                      update(108, node2, true, {second}), update(120, node1, true, {first})},
          .routes = {change(104, first, {node1}), change(109, first, {node1, node2}),
                     change(112, second, {node1, node2}), change(130, first, {node1, node2})},
          .events = {told(104, first, {node1}), told(106, first, {node1, node2}),
                     told(110, second, {node1, node2})}};
}

TEST(Burst, HasTheTimesOfEachPrefixAndOfAll) {
  const auto times = analyse(burst(true), announcement());
  EXPECT_EQ(times.programmed_ns, 2 * ms);
  EXPECT_EQ(times.first_update_ns, 3 * ms);
  EXPECT_EQ(times.all_updates_ns, 8 * ms);
  EXPECT_EQ(times.all_told_ns, 10 * ms);
  EXPECT_EQ(times.all_routes_ns, 12 * ms);
  EXPECT_THAT(times.update_ns, ElementsAre(5 * ms, 8 * ms));
  EXPECT_THAT(times.told_ns, ElementsAre(1 * ms, 2 * ms));
  EXPECT_THAT(times.route_ns, ElementsAre(4 * ms, 4 * ms));
  EXPECT_THAT(times.reached_ns, ElementsAre(9 * ms, 12 * ms));
}

// Sessions are captured side by side: what passed later may be handed over before.
TEST(Burst, TakesSessionsInAnyOrder) {
  auto seen = announcement();
  // Node 2's before node 1's.
  std::ranges::rotate(seen.updates.begin() + 1, seen.updates.begin() + 2, seen.updates.begin() + 4);
  const auto times = analyse(burst(true), seen);
  EXPECT_EQ(times.first_update_ns, 3 * ms);
  EXPECT_EQ(times.all_updates_ns, 8 * ms);
  EXPECT_THAT(times.update_ns, ElementsAre(5 * ms, 8 * ms));
}

TEST(Burst, OfAWithdrawalEndsWithTheRoutesThatWent) {
  const Seen seen{
      .updates = {update(103, node1, false, {first, second}),
                  update(104, node2, false, {second, first})},
      .routes = {change(104, first, {node2}), change(105, first, {}), change(107, second, {})},
      .events = {told(105, first, {}), told(105, second, {})}};
  const auto times = analyse(burst(false), seen);
  EXPECT_EQ(times.all_updates_ns, 4 * ms);
  EXPECT_EQ(times.all_told_ns, 5 * ms);
  EXPECT_EQ(times.all_routes_ns, 7 * ms);
  EXPECT_THAT(times.reached_ns, ElementsAre(5 * ms, 7 * ms));
}

TEST(Burst, ThatLacksAPrefixHasNoTimeOfAll) {
  auto seen = announcement();
  seen.updates.erase(seen.updates.begin() + 3);
  seen.routes.erase(seen.routes.begin() + 2);
  const auto times = analyse(burst(true), seen);
  EXPECT_FALSE(times.all_updates_ns);
  EXPECT_FALSE(times.all_routes_ns);
  EXPECT_EQ(times.all_told_ns, 10 * ms);
  EXPECT_THAT(times.update_ns, ElementsAre(5 * ms));
  const auto point =
      summarise(2, true, {{.times = times}, {.times = analyse(burst(true), announcement())}});
  EXPECT_EQ(point.missing_updates, 1U);
  EXPECT_EQ(point.missing_routes, 1U);
  EXPECT_FALSE(point.all_routes_ns) << "one round lacked it";
  EXPECT_EQ(point.all_told_ns, 10 * ms);
}

TEST(Burst, IsSummarisedByTheMiddleRoundAndTheWorstPrefix) {
  std::vector<MeasuredBurst> rounds;
  for (const std::int64_t slow : {1, 7, 2}) {
    MeasuredBurst round;
    for (std::int64_t i = 1; i <= 400; ++i) round.times.reached_ns.push_back(i * slow * 1000);
    round.times.all_routes_ns = 400 * slow * 1000;
    round.cost.peer = {.cpu_ns = slow, .memory_bytes = static_cast<std::uint64_t>(10 * slow)};
    round.cost.receiver_limited_ns = slow * ms;
    rounds.push_back(round);
  }
  const auto point = summarise(400, true, rounds);
  EXPECT_EQ(point.rounds, 3);
  EXPECT_EQ(point.all_routes_ns, 800'000);
  ASSERT_TRUE(point.reached);
  EXPECT_NEAR(static_cast<double>(point.reached->p50_ns), 400'000, 400);
  EXPECT_NEAR(static_cast<double>(point.reached->p99_ns.value()), 792'000, 800);
  EXPECT_EQ(point.reached->max_ns, 2'800'000);
  EXPECT_EQ(point.peer.cpu_ns, 2);
  EXPECT_EQ(point.peer.memory_bytes, 70U);
  EXPECT_EQ(point.receiver_limited_ns, 7 * ms);
  EXPECT_FALSE(summarise(400, true, {}).reached);
}

reports::BgpScalePoint point(std::int64_t updates_ms, std::int64_t told_ms,
                             std::int64_t routes_ms) {
  return {.services = 1000,
          .rounds = 1,
          .first_update_ns = 100 * ms,
          .all_updates_ns = updates_ms * ms,
          .all_told_ns = told_ms * ms,
          .all_routes_ns = routes_ms * ms};
}

TEST(PeerKeepsUp, UnlessAQueueIsLeftWhenTheLastUpdateHasPassed) {
  const auto sound = bgp_peer_keeps_up({point(1000, 1050, 1060)}, 0);
  EXPECT_EQ(sound.verdict, Verdict::pass);
  EXPECT_THAT(sound.sentence, HasSubstr("at most 60.0 ms after the last UPDATE"));
  // 40 % of the time is the peer's alone; 90 ms are a hand-over; a third is the installer's.
  const auto slow = bgp_peer_keeps_up({point(700, 1100, 1110)}, 0);
  EXPECT_EQ(slow.verdict, Verdict::invalid);
  EXPECT_THAT(slow.sentence,
              HasSubstr("1000 announced: after the last UPDATE the peer took 400 ms"));
  EXPECT_EQ(bgp_peer_keeps_up({point(110, 200, 205)}, 0).verdict, Verdict::pass);
  EXPECT_THAT(bgp_peer_keeps_up({point(700, 705, 1010)}, 0).sentence,
              HasSubstr("our installer took 305 ms"));
}

TEST(PeerKeepsUp, UnlessSpeakersWaitForItOrPacketsWereLost) {
  auto waits = point(1000, 1050, 1060);
  waits.receiver_limited_ns = 100 * ms;
  EXPECT_EQ(bgp_peer_keeps_up({waits}, 0).verdict, Verdict::pass);
  waits.receiver_limited_ns = 101 * ms;
  EXPECT_THAT(bgp_peer_keeps_up({waits}, 0).sentence, HasSubstr("waited 101 ms for the peer"));
  EXPECT_EQ(bgp_peer_keeps_up({waits}, 0).verdict, Verdict::invalid);
  EXPECT_EQ(bgp_peer_keeps_up({point(1000, 1050, 1060)}, 3).verdict, Verdict::invalid);
  EXPECT_EQ(bgp_peer_keeps_up({}, 0).verdict, Verdict::inconclusive);
}

TEST(PeerKeepsUp, UnlessASinkIsToldMuchSooner) {
  auto one = point(1000, 1050, 1060);
  one.sink_updates_ns = 700 * ms;
  EXPECT_THAT(bgp_peer_keeps_up({one}, 0).sentence,
              HasSubstr("the last UPDATE of 1000 announced after 700 ms, the peer after 1.00 s"));
  EXPECT_EQ(bgp_peer_keeps_up({one}, 0).verdict, Verdict::pass);
  one.sink_updates_ns = 600 * ms;
  EXPECT_EQ(bgp_peer_keeps_up({one}, 0).verdict, Verdict::invalid);
  EXPECT_THAT(bgp_peer_keeps_up({one}, 0).sentence,
              HasSubstr("1000 announced: a sink that only reads had the last UPDATE after 600 ms, "
                        "the peer after 1.00 s"));
  auto few = point(150, 151, 152);
  few.sink_updates_ns = 60 * ms;
  EXPECT_EQ(bgp_peer_keeps_up({few}, 0).verdict, Verdict::pass) << "a busy machine's hair";
}

TEST(ReceiverLimited, IsReadFromSs) {
  EXPECT_EQ(receiver_limited("0 0 172.18.0.2:4711 172.18.0.1:179\n\t cubic busy:12ms "
                             "rwnd_limited:8ms(66.7%) rcv_space:14600\n0 0 a b\n\t "
                             "rwnd_limited:3ms(1.0%)\n"),
            8 * ms);
  EXPECT_EQ(receiver_limited("0 0 a b\n\t cubic busy:12ms\n"), 0);
}

}  // namespace
}  // namespace stackbench::bgp
