// What was seen, by hand, and the times that follow.
#include "stackbench/bgp/fault_times.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/bgp/testing.h"

namespace stackbench::bgp {
namespace {

using base::IpAddress;
using base::MonotonicTime;
using bgp_peer::MessageType;
using bgp_peer::SessionState;

using testing::at;
using testing::ms;
using testing::node1;
using testing::node2;

const IpAddress router = bgp_peer::testing::address("172.18.0.1");
const auto prefix = bgp_peer::testing::prefix("172.20.0.1/32");

// The fault begins at 1,000.
FaultWindow window() {
  return {.begun = at(1000),
          .healed = at(1500),
          .ended = at(9000),
          .router = router,
          .sessions = {node2},
          .hops = {node2},
          .others = {node1},
          .prefix = prefix};
}

bgp_peer::CapturedSegment segment(std::int64_t when, bool from_node) {
  return {
      .from = {from_node ? node2 : router, from_node ? std::uint16_t{4711} : bgp_peer::bgp_port},
      .to = {from_node ? router : node2, from_node ? bgp_peer::bgp_port : std::uint16_t{4711}},
      .ack = true,
      .passed = at(when)};
}

bgp_peer::Event session(std::int64_t when, SessionState state) {
  return {.kind = bgp_peer::Event::Kind::peer,
          .received = at(when),
          .peer = {.address = node2, .state = state}};
}

bgp_peer::RouteMonitor::Change route(std::int64_t when, std::vector<IpAddress> hops) {
  return {.route = {prefix, hops}, .removed = hops.empty(), .received = at(when)};
}

TEST(FaultTimes, OfASpeakerThatIsKilledAndComesBack) {
  Seen seen;
  auto keepalive = segment(900, true);
  keepalive.messages = {MessageType::keepalive};
  auto fin = segment(1002, true);
  fin.fin = true;
  seen.segments = {keepalive, fin};
  seen.events = {session(1003, SessionState::idle), session(1004, SessionState::active),
                 session(8000, SessionState::established)};
  seen.routes = {route(1005, {node1}), route(8100, {node1, node2})};
  const auto times = analyse_fault(window(), seen);
  EXPECT_EQ(times.wire_end_ns, 2 * ms);
  EXPECT_FALSE(times.reset);
  EXPECT_EQ(times.last_message_ns, -100 * ms);
  EXPECT_EQ(times.down_ns, 3 * ms);
  EXPECT_EQ(times.up_ns, 7000 * ms);
  EXPECT_EQ(times.gone_ns, 5 * ms);
  EXPECT_EQ(times.back_ns, 7100 * ms);
  EXPECT_EQ(times.others_gone_ns, std::nullopt);
  EXPECT_EQ(times.healed_ns, 500 * ms);
}

TEST(FaultTimes, LackWhatWasNotSeen) {
  const auto times = analyse_fault(window(), {});
  EXPECT_FALSE(times.wire_end_ns || times.down_ns || times.up_ns || times.gone_ns);
  EXPECT_EQ(times.probes, 0U);
  // What was so before the fault tells nothing of it.
  Seen before;
  before.events = {session(500, SessionState::idle), session(800, SessionState::established)};
  before.routes = {route(500, {node1}), route(800, {node1, node2})};
  auto fin = segment(500, true);
  fin.fin = true;
  before.segments = {fin};
  const auto still = analyse_fault(window(), before);
  EXPECT_FALSE(still.wire_end_ns || still.down_ns || still.up_ns || still.gone_ns || still.back_ns);
}

TEST(FaultTimes, OfASessionThatCameDownOnceMoreEndWhenItIsBackForGood) {
  Seen seen;
  seen.events = {session(1003, SessionState::idle), session(3000, SessionState::established),
                 session(3100, SessionState::idle)};
  EXPECT_EQ(analyse_fault(window(), seen).up_ns, std::nullopt);
  seen.events.push_back(session(8000, SessionState::established));
  EXPECT_EQ(analyse_fault(window(), seen).up_ns, 7000 * ms);
}

TEST(FaultTimes, EndWithTheWindow) {
  Seen seen;
  seen.events = {session(1003, SessionState::idle), session(9100, SessionState::established)};
  seen.routes = {route(1005, {node1}), route(9200, {node1, node2})};
  const auto times = analyse_fault(window(), seen);
  EXPECT_EQ(times.up_ns, std::nullopt);
  EXPECT_EQ(times.back_ns, std::nullopt);
  EXPECT_EQ(times.ended_ns, 8000 * ms);
}

TEST(FaultTimes, AreOfEverySessionWhereTheRouterItselfRestarts) {
  auto all = window();
  all.sessions = {node1, node2};
  all.hops = {node1, node2};
  all.others = {};
  Seen seen;
  bgp_peer::Event ended{.kind = bgp_peer::Event::Kind::ended, .received = at(1010)};
  seen.events = {ended, session(7000, SessionState::established)};
  seen.routes = {route(1012, {}), route(7001, {node2})};
  EXPECT_EQ(analyse_fault(all, seen).up_ns, std::nullopt) << "node 1 is not back";
  auto first = session(8000, SessionState::established);
  first.peer.address = node1;
  seen.events.push_back(first);
  seen.routes.push_back(route(8001, {node1, node2}));
  const auto times = analyse_fault(all, seen);
  EXPECT_EQ(times.down_ns, 10 * ms);
  EXPECT_EQ(times.up_ns, 7000 * ms);
  EXPECT_EQ(times.gone_ns, 12 * ms);
  EXPECT_EQ(times.back_ns, 7001 * ms);
}

TEST(FaultTimes, NoticeThatAnotherNodesRouteGoes) {
  Seen seen;
  seen.routes = {route(1005, {}), route(1009, {node1})};
  EXPECT_EQ(analyse_fault(window(), seen).others_gone_ns, 5 * ms);
}

TEST(FaultTimes, TakeTheReasonFromTheWire) {
  Seen seen;
  auto said = segment(1100, false);
  said.notification = bgp_peer::Notification{.code = 4, .subcode = 0};
  said.messages = {MessageType::notification};
  seen.segments = {said};
  const auto times = analyse_fault(window(), seen);
  EXPECT_EQ(times.wire_end_ns, 100 * ms);
  EXPECT_TRUE(times.notified_by_router);
  EXPECT_EQ(times.notification, said.notification);
  EXPECT_EQ(times.refusal, said.notification);
}

TEST(FaultTimes, KnowARestartByItsOpenAndTheMarkerBehindIt) {
  Seen seen;
  seen.updates = {{.from = node2, .to = router, .passed = at(1200)}};
  auto open = segment(1300, true);
  open.open = bgp_peer::Open{.graceful_restart = bgp_peer::GracefulRestart{.restarting = true}};
  seen.segments = {open};
  EXPECT_FALSE(analyse_fault(window(), seen).end_of_rib) << "it was of the session before";
  seen.updates.push_back({.from = node2, .to = router, .passed = at(1400)});
  const auto times = analyse_fault(window(), seen);
  EXPECT_TRUE(times.end_of_rib);
  EXPECT_TRUE(times.open->graceful_restart->restarting);
}

TEST(FaultTimes, CountConnectionsThatNobodyAnswers) {
  Seen seen;
  auto syn = segment(1200, true);
  syn.syn = true;
  syn.ack = false;
  seen.segments = {syn, syn};
  EXPECT_EQ(analyse_fault(window(), seen).syns, 2U);
  EXPECT_EQ(analyse_fault(window(), seen).syn_acks, 0U);
  auto answer = segment(2001, false);
  answer.syn = true;
  seen.segments.push_back(answer);
  EXPECT_EQ(analyse_fault(window(), seen).syn_acks, 0U) << "it was mended by then";
  answer.passed = at(1201);
  seen.segments.push_back(answer);
  EXPECT_EQ(analyse_fault(window(), seen).syn_acks, 1U);
}

TEST(FaultTimes, AddUpOutages) {
  Seen seen;
  // Every other probe of 100 ms is lost, and one alone a second later; those before and behind the
  // window count for nothing.
  for (int i = 0; i < 2500; ++i) {
    const MonotonicTime sent{at(900).ns + i * ProbeStream::interval.count() * 1000};
    const auto after = sent - at(1000);
    const bool lost = (after >= std::chrono::milliseconds(0) &&
                       after < std::chrono::milliseconds(100) && i % 2 == 0) ||
                      i == 1500 || i < 5;
    seen.probes.push_back({.sent = sent, .answered = lost ? std::nullopt : std::optional(sent)});
  }
  auto short_window = window();
  short_window.ended = at(2800);
  const auto times = analyse_fault(short_window, seen);
  EXPECT_EQ(times.outages, 2U);
  EXPECT_EQ(times.lost, 63U);
  EXPECT_NEAR(static_cast<double>(times.loss_ns) / ms, 100 + 0.8, 1.7);
  EXPECT_EQ(times.probes, 2250U);
}

TEST(FaultTimes, TakeANextHopForGoneWhoseLinkIs) {
  auto dead = window();
  dead.dead = at(1004);
  EXPECT_EQ(analyse_fault(dead, {}).gone_ns, 4 * ms);
}

}  // namespace
}  // namespace stackbench::bgp
