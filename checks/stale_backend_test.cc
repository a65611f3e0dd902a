#include "checks/stale_backend.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using cluster::EventKind;
using testing::HasSubstr;

constexpr base::Duration budget = std::chrono::milliseconds(200);

Outcomes departures(std::initializer_list<std::optional<std::int64_t>> stale_ms) {
  Outcomes outcomes;
  for (const auto& ms : stale_ms) {
    EventOutcome event;
    event.what.kind = EventKind::unready;
    event.what.pod = "web-0";
    if (ms) event.stale = Stale{.ns = *ms * 1'000'000, .error_ns = 3'000'000};
    outcomes.events.push_back(event);
  }
  return outcomes;
}

TEST(StaleBackend, PassesWhereEveryDepartureWasFeltInTime) {
  const auto finding = stale_backend(budget, {departures({30, 5}), departures({197})});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "stale 197 ms");
  EXPECT_EQ(finding.evidence["judged"], 3);
}

TEST(StaleBackend, CannotTellWhereMoreMayHaveGoneUnseen) {
  // 198 ms and 3 ms unseen.
  const auto unsure = stale_backend(budget, {departures({30}), departures({198})});
  EXPECT_EQ(unsure.verdict, Verdict::inconclusive);
  EXPECT_THAT(unsure.sentence, HasSubstr("of 1 of 2 departures"));
  const auto unjudged = stale_backend(budget, {departures({30, std::nullopt}), departures({5})});
  EXPECT_EQ(unjudged.verdict, Verdict::inconclusive);
  EXPECT_EQ(unjudged.evidence["not_judged"], 1);
}

TEST(StaleBackend, OneLateDepartureFails) {
  const auto finding = stale_backend(budget, {departures({30, 201}), departures({5})});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence, HasSubstr("1 of 3 departures"));
  EXPECT_THAT(finding.sentence, HasSubstr("201 ms"));
  EXPECT_THAT(finding.sentence, HasSubstr("receiver's stamp"));
}

TEST(StaleBackend, AWriteThatTookLongIsNoFailureOfTheDatapath) {
  // The API server took 5 s for it: the backend may have been reached because it had not left.
  auto slow = departures({900});
  slow.events[0].stale->error_ns = 5'000'000'000;
  slow.events[0].stale->less_ns = 900'000'000;
  const auto unsure = stale_backend(budget, {departures({30}), slow});
  EXPECT_EQ(unsure.verdict, Verdict::inconclusive);
  EXPECT_EQ(unsure.evidence["late"], 0);
  EXPECT_EQ(unsure.evidence["unsure"], 1);
  // Beside one that surely was late, that one is told of.
  const auto late = stale_backend(budget, {slow, departures({201})});
  EXPECT_EQ(late.verdict, Verdict::fail);
  EXPECT_EQ(late.observed, "stale 201 ms");
}

TEST(StaleBackend, CannotTellWithoutArrivalsOrWithLostStamps) {
  EXPECT_EQ(stale_backend(budget, {departures({std::nullopt})}).verdict, Verdict::inconclusive);
  auto lossy = departures({30});
  lossy.arrivals_lost = 1;
  EXPECT_EQ(stale_backend(budget, {lossy}).verdict, Verdict::inconclusive);
  // What was noted is enough to fail it.
  auto late = departures({300});
  late.failures_lost = 1;
  EXPECT_EQ(stale_backend(budget, {late}).verdict, Verdict::fail);
}

TEST(StaleBackend, EventsThatMakeNobodyLeaveAreNoDepartures) {
  auto outcomes = departures({30});
  outcomes.events[0].what.kind = EventKind::restart;
  EXPECT_EQ(stale_backend(budget, {outcomes}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
