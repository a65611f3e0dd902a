#include "checks/flows_stay.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::HasSubstr;

Outcomes moved(std::uint64_t held, std::uint64_t own, std::uint64_t others) {
  EventOutcome event;
  event.what.kind = cluster::EventKind::unready;
  event.what.pod = "web-0";
  event.flows_held = held;
  event.flows_moved = own;
  event.others_moved = others;
  return {.events = {event}};
}

TEST(FlowsStay, PassesWhereOnlyTheLeavingBackendsFlowsMove) {
  const auto finding = flows_stay(FlowPromise::move, {moved(30, 30, 0), moved(20, 19, 0)});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "98 % moved");
  EXPECT_THAT(finding.sentence, HasSubstr("of the 50 flows of backends that left 49 moved"));
}

TEST(FlowsStay, OneOtherFlowThatMovesFails) {
  const auto finding = flows_stay(FlowPromise::move, {moved(30, 30, 0), moved(20, 20, 1)});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "others moved");
  EXPECT_THAT(finding.sentence, HasSubstr("1 flow of backends that had not left"));
}

TEST(FlowsStay, UnderAPromiseToStayNoneMayMove) {
  EXPECT_EQ(flows_stay(FlowPromise::stay, {moved(30, 0, 0)}).verdict, Verdict::pass);
  EXPECT_EQ(flows_stay(FlowPromise::stay, {moved(30, 1, 0)}).verdict, Verdict::fail);
}

TEST(FlowsStay, CannotTellWithoutFlowsOrWithMovesLost) {
  EXPECT_EQ(flows_stay(FlowPromise::move, {moved(0, 0, 0)}).verdict, Verdict::inconclusive);
  auto lossy = moved(30, 30, 0);
  lossy.moves_lost = 1;
  EXPECT_EQ(flows_stay(FlowPromise::move, {lossy}).verdict, Verdict::inconclusive);
  lossy.events[0].others_moved = 1;
  EXPECT_EQ(flows_stay(FlowPromise::move, {lossy}).verdict, Verdict::fail);
}

}  // namespace
}  // namespace checks
