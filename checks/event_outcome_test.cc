// Stamps made up, so that what is charged to whom can be worked out by hand. Times are
// milliseconds.
#include "checks/event_outcome.h"

#include <gtest/gtest.h>

namespace checks {
namespace {

using bench::FailureClass;
using cluster::EventKind;

constexpr std::int64_t ms = 1'000'000;
constexpr base::Duration budget = std::chrono::milliseconds(50);

Happened happened(EventKind kind, std::string pod, std::uint32_t identity, std::int64_t at,
                  std::int64_t sent) {
  return {.kind = kind,
          .pod = std::move(pod),
          .identity = identity,
          .happened_ns = at * ms,
          .sent_ns = sent * ms,
          .acked_ns = (sent + 1) * ms};
}

bench::FailedRequest failure(std::int64_t due, std::int64_t begun, FailureClass what) {
  return {.due_ns = due * ms, .begun_ns = begun * ms, .ended_ns = begun * ms, .what = what};
}

bench::ServerResult arrivals(std::initializer_list<std::int64_t> stamps) {
  bench::ServerResult server;
  for (const auto at : stamps) server.arrivals_ns.push_back(at * ms);
  return server;
}

// Of kept flows of datagrams, of which all is told.
Outcomes outcomes_of(const std::vector<Happened>& happened, const bench::ClientResult& client,
                     const std::map<std::string, bench::ServerResult>& servers) {
  return checks::outcomes_of(happened, {.kind = bench::WorkloadKind::udp_rr}, budget, client,
                             servers);
}

TEST(EventOutcome, AFailureIsChargedToTheLastEventBeforeItWasDue) {
  bench::ClientResult client;
  client.failures = {failure(99, 99, FailureClass::other), failure(100, 100, FailureClass::refused),
                     // Sent late, due before the second event all the same.
                     failure(199, 230, FailureClass::reset),
                     failure(200, 230, FailureClass::timed_out)};
  client.failures_lost = 7;
  const auto outcomes = outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100),
                                     happened(EventKind::ready, "web-0", 1, 200, 200)},
                                    client, {});
  using Failed = std::map<std::string, std::uint64_t>;
  EXPECT_EQ(outcomes.failures_lost, 7U);
  EXPECT_EQ(outcomes.events[0].failed, (Failed{{"refused", 1}, {"reset", 1}}));
  EXPECT_EQ(outcomes.events[1].failed, (Failed{{"timed_out", 1}}));
}

// Who joins was reached when its first connection came; that another comes every 5 ms says how well
// that is known.
TEST(EventOutcome, ABackendThatJoinsIsReachedByItsFirstArrival) {
  const bench::WorkloadSpec connects{.kind = bench::WorkloadKind::tcp_crr};
  auto replace = happened(EventKind::replace, "web-0", 1, 300, 300);
  replace.by = "web-2";
  const auto outcomes = checks::outcomes_of(
      {happened(EventKind::unready, "web-0", 1, 100, 100),
       happened(EventKind::ready, "web-0", 1, 200, 200), replace},
      connects, budget, {},
      {{"web-0", arrivals({90, 95, 230, 235, 240, 305})}, {"web-2", arrivals({312, 318})}},
      base::Duration(0));
  EXPECT_FALSE(outcomes.events[0].reached);
  ASSERT_TRUE(outcomes.events[1].reached);
  EXPECT_EQ(outcomes.events[1].reached->ns, 30 * ms);
  EXPECT_EQ(outcomes.events[1].reached->error_ns, (1 + 5) * ms);
  ASSERT_TRUE(outcomes.events[2].reached);
  EXPECT_EQ(outcomes.events[2].reached->ns, 12 * ms);
  EXPECT_EQ(outcomes.events[2].reached->error_ns, (1 + 6) * ms);
}

// A datapath that had not yet made it leave had nothing to do, and nothing can be told of how fast.
TEST(EventOutcome, ABackendThatWasReachedAllAlongDoesNotTellWhenItWasReached) {
  const bench::WorkloadSpec connects{.kind = bench::WorkloadKind::tcp_crr};
  const std::vector left_and_back{happened(EventKind::unready, "web-0", 1, 100, 100),
                                  happened(EventKind::ready, "web-0", 1, 200, 200)};
  const auto reached = [&](std::initializer_list<std::int64_t> at) {
    return checks::outcomes_of(left_and_back, connects, budget, {}, {{"web-0", arrivals(at)}},
                               base::Duration(0))
        .events[1]
        .reached.has_value();
  };
  EXPECT_FALSE(reached({90, 95, 120, 160, 195, 201, 206, 211}));
  EXPECT_TRUE(reached({90, 95, 120, 160, 165, 201, 206, 211}));
}

TEST(EventOutcome, AKilledBackendThatWasSentToAllAlongDoesNotTellWhenItWasReached) {
  const bench::WorkloadSpec connects{.kind = bench::WorkloadKind::tcp_crr};
  const std::vector killed_and_back{happened(EventKind::kill, "web-0", 1, 100, 110),
                                    happened(EventKind::restart, "web-0", 1, 200, 200)};
  const auto reached = [&](std::int64_t last_failure) {
    bench::ClientResult client;
    for (std::int64_t at = 102; at <= last_failure; at += 2) {
      client.failures.push_back(failure(at, at, FailureClass::refused));
    }
    return checks::outcomes_of(killed_and_back, connects, budget, client,
                               {{"web-0", arrivals({203, 208, 213})}}, base::Duration(0))
        .events[1]
        .reached.has_value();
  };
  EXPECT_FALSE(reached(198));
  EXPECT_TRUE(reached(140));
}

TEST(EventOutcome, WhoeverGetsNothingNewIsNotSaidToBeReached) {
  const bench::WorkloadSpec connects{.kind = bench::WorkloadKind::tcp_crr};
  const std::vector joined{happened(EventKind::ready, "web-0", 1, 200, 200)};
  auto lossy = arrivals({230, 235});
  lossy.arrivals_lost = 1;
  for (const auto& server : {arrivals({90, 95}), arrivals({230}), lossy}) {
    EXPECT_FALSE(
        checks::outcomes_of(joined, connects, budget, {}, {{"web-0", server}}, base::Duration(0))
            .events[0]
            .reached);
  }
  // Kept flows choose nobody anew.
  EXPECT_FALSE(outcomes_of(joined, {}, {{"web-0", arrivals({230, 235})}}).events[0].reached);
}

TEST(EventOutcome, ARequestUnderWayWhenABackendLeftIsChargedToThat) {
  const auto under_way = [](FailureClass what) {
    return bench::FailedRequest{
        .due_ns = 195 * ms, .begun_ns = 195 * ms, .ended_ns = 201 * ms, .what = what};
  };
  const auto charged = [&](EventKind first, EventKind second, FailureClass what) {
    bench::ClientResult client;
    client.failures = {under_way(what)};
    const auto outcomes =
        outcomes_of({happened(first, "web-0", 1, 100, 100), happened(second, "web-1", 2, 200, 200)},
                    client, {});
    return outcomes.events[0].failed.empty() ? 1 : 0;
  };
  EXPECT_EQ(charged(EventKind::unready, EventKind::kill, FailureClass::reset), 1);
  // A backend that comes breaks nothing.
  EXPECT_EQ(charged(EventKind::kill, EventKind::restart, FailureClass::refused), 0);
  // Nor is a timeout the doing of who left while it was waited for.
  EXPECT_EQ(charged(EventKind::unready, EventKind::kill, FailureClass::timed_out), 0);
  // Before the first event there is nothing else to blame.
  bench::ClientResult client;
  client.failures = {under_way(FailureClass::timed_out)};
  const auto outcomes = outcomes_of({happened(EventKind::kill, "web-1", 2, 200, 200)}, client, {});
  EXPECT_EQ(outcomes.events[0].failed.at("timed_out"), 1U);
}

TEST(EventOutcome, StaleIsUntilTheLastArrivalBeforeThePodIsBack) {
  const auto outcomes =
      outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100),
                   happened(EventKind::ready, "web-0", 1, 200, 200)},
                  {}, {{"web-0", arrivals({60, 70, 80, 90, 104, 130, 201, 220})}});
  ASSERT_TRUE(outcomes.events[0].stale);
  EXPECT_EQ(outcomes.events[0].stale->ns, 30 * ms);
  EXPECT_EQ(outcomes.events[0].stale->judged_by, JudgedBy::receiver);
  // Four arrivals in the 40 ms before it left, and 1 ms from t_sent to t_ack.
  EXPECT_EQ(outcomes.events[0].stale->error_ns, 11 * ms);
  EXPECT_FALSE(outcomes.events[1].stale);
}

TEST(EventOutcome, AWriteThatTookLongAndClocksNotWellKnownWidenWhatItWas) {
  auto slow = happened(EventKind::unready, "web-0", 1, 100, 100);
  slow.acked_ns = 120 * ms;
  const auto seen = [&](const std::vector<Happened>& events) {
    return checks::outcomes_of(events, {.kind = bench::WorkloadKind::udp_rr}, budget, {},
                               {{"web-0", arrivals({60, 80, 150, 195})}},
                               std::chrono::milliseconds(10))
        .events[0]
        .stale;
  };
  const auto alone = seen({slow});
  ASSERT_TRUE(alone);
  EXPECT_EQ(alone->ns, 95 * ms);
  // 20 ms between two arrivals, 20 ms of the write, 10 ms of the clocks.
  EXPECT_EQ(alone->error_ns, 50 * ms);
  EXPECT_EQ(alone->less_ns, 30 * ms);
  // The last one may as well have come because it was ready again.
  const auto back = seen({slow, happened(EventKind::ready, "web-0", 1, 200, 200)});
  ASSERT_TRUE(back);
  EXPECT_EQ(back->ns, 50 * ms);
  EXPECT_EQ(back->error_ns, (50 + 45) * ms);
  EXPECT_EQ(back->less_ns, 30 * ms);
}

TEST(EventOutcome, WhereNothingCameAfterItLeftItWasNotStale) {
  const auto outcomes = outcomes_of({happened(EventKind::replace, "web-0", 1, 100, 100)}, {},
                                    {{"web-0", arrivals({90, 99})}});
  ASSERT_TRUE(outcomes.events[0].stale);
  EXPECT_EQ(outcomes.events[0].stale->ns, 0);
}

TEST(EventOutcome, WhereNothingCameBeforeItLeftNobodyCanTell) {
  const auto outcomes = outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100)}, {},
                                    {{"web-0", arrivals({})}});
  EXPECT_FALSE(outcomes.events[0].stale);
}

TEST(EventOutcome, APodThatJoinsByReplacementIsReadyFromThenOn) {
  auto first = happened(EventKind::replace, "web-0", 1, 100, 100);
  first.by = "web-1";
  const auto outcomes =
      outcomes_of({first, happened(EventKind::unready, "web-1", 2, 200, 200)}, {},
                  {{"web-0", arrivals({50})}, {"web-1", arrivals({10, 150, 210})}});
  ASSERT_TRUE(outcomes.events[1].stale);
  // What reached it before it joined is no measure of how often it was drawn.
  EXPECT_EQ(outcomes.events[1].stale->error_ns, 51 * ms);
  EXPECT_EQ(outcomes.events[1].stale->ns, 10 * ms);
}

TEST(EventOutcome, OfAKilledBackendTheSenderTells) {
  bench::ClientResult client;
  client.failures = {failure(110, 110, FailureClass::refused),
                     failure(150, 150, FailureClass::refused),
                     failure(220, 225, FailureClass::refused),
                     // Charged to the next event, so no word on this one.
                     failure(320, 320, FailureClass::refused)};
  const auto outcomes = outcomes_of({happened(EventKind::kill, "web-0", 1, 100, 200),
                                     happened(EventKind::restart, "web-0", 1, 300, 300)},
                                    client, {{"web-0", arrivals({310, 320})}});
  ASSERT_TRUE(outcomes.events[0].stale);
  EXPECT_EQ(outcomes.events[0].stale->judged_by, JudgedBy::sender);
  EXPECT_EQ(outcomes.events[0].stale->ns, 25 * ms);
  // Two failures in the 100 ms until it was written, and 1 ms from t_sent to t_ack.
  EXPECT_EQ(outcomes.events[0].stale->error_ns, 51 * ms);
}

TEST(EventOutcome, StampsThatDiedWithTheirServerAreNotTakenForNone) {
  const auto outcomes = outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100),
                                     happened(EventKind::ready, "web-0", 1, 150, 150),
                                     happened(EventKind::kill, "web-0", 1, 200, 210),
                                     happened(EventKind::restart, "web-0", 1, 300, 300)},
                                    {}, {{"web-0", arrivals({310})}});
  EXPECT_FALSE(outcomes.events[0].stale);
}

TEST(EventOutcome, MovesAreOfTheLeavingBackendOrOfOthers) {
  bench::ClientResult client;
  client.flows_of = {{"1", 10}, {"2", 12}};
  client.moves = {{.at_ns = 110 * ms, .from = 1, .to = 2},
                  {.at_ns = 120 * ms, .from = 2, .to = 1},
                  // Late off the one that had left, though it is back by now.
                  {.at_ns = 210 * ms, .from = 1, .to = 2}};
  client.moves_lost = 3;
  const auto outcomes = outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100),
                                     happened(EventKind::ready, "web-0", 1, 200, 200),
                                     happened(EventKind::unready, "web-1", 2, 300, 300)},
                                    client, {});
  EXPECT_EQ(outcomes.moves_lost, 3U);
  EXPECT_EQ(outcomes.events[0].flows_held, 10U);
  EXPECT_EQ(outcomes.events[0].flows_moved, 2U);
  EXPECT_EQ(outcomes.events[0].others_moved, 1U);
  EXPECT_EQ(outcomes.events[1].flows_moved, 0U);
  EXPECT_EQ(outcomes.events[1].others_moved, 0U);
  EXPECT_EQ(outcomes.events[2].flows_held, 13U);
}

TEST(EventOutcome, AMoveBeforeAnyEventIsNoEventsDoing) {
  bench::ClientResult client;
  client.moves = {{.at_ns = 50 * ms, .from = 2, .to = 1}};
  const auto outcomes =
      outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100)}, client, {});
  EXPECT_EQ(outcomes.events[0].flows_moved + outcomes.events[0].others_moved, 0U);
  EXPECT_EQ(outcomes.events[0].flows_held, 1U);
}

TEST(EventOutcome, OnlyWhatABackendThatLeftMustCostIsExcused) {
  const auto excused = [](EventKind kind, bench::WorkloadKind workload, bench::FailedRequest what) {
    bench::ClientResult client;
    client.failures = {what};
    return checks::outcomes_of({happened(kind, "web-0", 1, 100, 100)}, {.kind = workload}, budget,
                               client, {})
        .excused;
  };
  using enum bench::WorkloadKind;
  EXPECT_EQ(excused(EventKind::kill, tcp_crr, failure(120, 130, FailureClass::refused)), 1U);
  // Long after nobody may be sent there any more.
  EXPECT_EQ(excused(EventKind::kill, tcp_crr, failure(190, 195, FailureClass::refused)), 0U);
  EXPECT_EQ(excused(EventKind::kill, udp_rr, failure(190, 195, FailureClass::timed_out)), 1U);
  // It went on answering.
  EXPECT_EQ(excused(EventKind::unready, udp_rr, failure(190, 195, FailureClass::timed_out)), 0U);
  // Nothing that a pod can do to a client.
  EXPECT_EQ(excused(EventKind::kill, tcp_crr, failure(120, 130, FailureClass::bad_reply)), 0U);
  EXPECT_EQ(excused(EventKind::kill, tcp_crr, failure(120, 130, FailureClass::address_unavailable)),
            0U);
  // A backend that comes costs nothing.
  EXPECT_EQ(excused(EventKind::restart, tcp_crr, failure(120, 130, FailureClass::refused)), 0U);
}

TEST(EventOutcome, KeptConnectionsNeitherMoveNorTellWhereNewOnesGo) {
  bench::ClientResult client;
  client.flows_of = {{"1", 5}};
  client.moves = {{.at_ns = 150 * ms, .from = 1, .to = 2}};
  const auto outcomes = checks::outcomes_of({happened(EventKind::unready, "web-0", 1, 100, 100)},
                                            {.kind = bench::WorkloadKind::tcp_rr}, budget, client,
                                            {{"web-0", arrivals({50})}});
  EXPECT_FALSE(outcomes.events[0].stale);
  EXPECT_EQ(outcomes.events[0].flows_held, 0U);
  EXPECT_EQ(outcomes.events[0].flows_moved, 0U);
}

}  // namespace
}  // namespace checks
