#include "bgp-peer/table.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace bgp_peer {
namespace {

using bgp_peer::testing::address;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr std::int64_t second = 1'000'000'000;
// 2026-01-31T12:00:00.123Z
constexpr std::int64_t noon = 1769860800 * second + 123'000'000;

Event told(Event::Kind kind, std::int64_t at_s) {
  return {.kind = kind, .received = {at_s * second}, .received_realtime_ns = noon + at_s * second};
}

Event peer_event(std::int64_t at_s, SessionState state) {
  auto event = told(Event::Kind::peer, at_s);
  event.peer = {.address = address("172.18.0.2"), .asn = {64512}, .state = state};
  return event;
}

Path service_path(std::string_view next_hop) {
  return {.prefix = Prefix::parse("10.201.0.7/32").value(),
          .next_hop = address(next_hop),
          .as_path = {{.numbers = {{64512}}}},
          .origin = Origin::igp,
          .communities = {Community::parse("65000:99").value()}};
}

Event path_event(std::int64_t at_s, std::vector<Path> paths) {
  auto event = told(Event::Kind::paths, at_s);
  event.paths = std::move(paths);
  return event;
}

Event withdrawal(std::int64_t at_s) {
  return path_event(at_s, {{.prefix = Prefix::parse("10.201.0.7/32").value(), .withdrawn = true}});
}

WatchedTable table() {
  ::setenv("TZ", "UTC", 1);
  ::tzset();
  return {"127.0.0.1:50051", Global{.asn = {64513}, .router_id = address("172.18.0.1")}};
}

TEST(WatchedTable, ShowsSessionsRoutesAndTheLastChanges) {
  auto watched = table();
  watched.apply(peer_event(0, SessionState::active));
  watched.apply(peer_event(5, SessionState::established));
  watched.apply(path_event(7, {service_path("172.18.0.3"), service_path("172.18.0.2")}));
  watched.refresh({{.address = address("172.18.0.2"),
                    .asn = {64512},
                    .state = SessionState::established,
                    .negotiated_hold_time_s = 9,
                    .keepalive_interval_s = 3,
                    .prefixes_accepted = 1}});
  EXPECT_EQ(watched.render({}, {20 * second}),
            R"(gobgpd at 127.0.0.1:50051: AS 64513, router ID 172.18.0.1

Sessions: 1
  neighbor    AS     state        for   hold  keepalive  prefixes  restart
  172.18.0.2  64512  established  15 s  9 s   3 s        1         -

Routes: 1
  prefix         next hop    AS path  origin  communities  for
  10.201.0.7/32  172.18.0.2  64512    igp     65000:99     13 s
                 172.18.0.3  64512    igp     65000:99

Last changes
  12:00:07.123  10.201.0.7/32 via 172.18.0.2, 172.18.0.3
  12:00:05.123  172.18.0.2 (AS 64512) is established, was active
  12:00:00.123  172.18.0.2 (AS 64512) is active
)");
}

TEST(WatchedTable, SaysWhatChanged) {
  auto watched = table();
  EXPECT_THAT(watched.apply(path_event(1, {service_path("172.18.0.2")})),
              ElementsAre("10.201.0.7/32 via 172.18.0.2"));
  EXPECT_THAT(watched.apply(path_event(2, {service_path("172.18.0.2")})), IsEmpty());
  EXPECT_THAT(
      watched.apply(path_event(3, {service_path("172.18.0.2"), service_path("172.18.0.3")})),
      ElementsAre("10.201.0.7/32 via 172.18.0.2, 172.18.0.3, was via 172.18.0.2"));
  auto other = service_path("172.18.0.2");
  other.communities.clear();
  EXPECT_THAT(watched.apply(path_event(4, {other, service_path("172.18.0.3")})),
              ElementsAre(HasSubstr("with other attributes")));
  EXPECT_THAT(watched.apply(withdrawal(5)),
              ElementsAre("10.201.0.7/32 withdrawn, was via 172.18.0.2, 172.18.0.3"));
  EXPECT_THAT(watched.apply(withdrawal(6)), IsEmpty());
  EXPECT_THAT(watched.render({}, {7 * second}), HasSubstr("Routes: 0"));
}

TEST(WatchedTable, OwnsThatItDoesNotKnowSinceWhen) {
  auto watched = table();
  auto first = peer_event(0, SessionState::established);
  first.initial = true;
  watched.apply(first);
  EXPECT_THAT(watched.render({}, {20 * second}), HasSubstr(">20 s"));
  watched.apply(peer_event(5, SessionState::idle));
  EXPECT_THAT(watched.render({}, {20 * second}), Not(HasSubstr(">")));
  auto routes = path_event(0, {service_path("172.18.0.2")});
  routes.initial = true;
  watched.apply(routes);
  EXPECT_THAT(watched.render({}, {20 * second}), HasSubstr(">20 s"));
}

TEST(WatchedTable, ForgetsANeighbourThatIsGone) {
  auto watched = table();
  watched.apply(peer_event(0, SessionState::established));
  watched.refresh({});
  EXPECT_THAT(watched.render({}, {1 * second}), HasSubstr("Sessions: 0"));
}

TEST(WatchedTable, IsNoWiderThanTheTerminal) {
  auto watched = table();
  watched.apply(peer_event(0, SessionState::established));
  watched.apply(path_event(7, {service_path("172.18.0.2")}));
  std::istringstream lines(watched.render({.width = 40}, {20 * second}));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 40U) << line;
}

// What is above the first line of a terminal's own screen can never be seen.
TEST(WatchedTable, IsNoTallerThanTheTerminal) {
  auto watched = table();
  for (int i = 1; i <= 20; ++i) {
    auto event = peer_event(i, SessionState::established);
    event.peer.address = address(fmt::format("172.18.0.{}", i));
    watched.apply(event);
  }
  for (int i = 1; i <= 40; ++i) {
    auto paths = std::vector{service_path("172.18.0.2"), service_path("172.18.0.3")};
    for (auto& path : paths) path.prefix = Prefix::host(address(fmt::format("10.201.0.{}", i)));
    watched.apply(path_event(i, paths));
  }
  const auto lines_of = [&](std::size_t rows) {
    return std::ranges::count(watched.render({}, {50 * second}, rows), '\n');
  };
  for (const std::size_t rows : {2U, 5U, 8U, 9U, 10U, 11U, 12U, 24U, 50U, 100U, 117U, 118U, 200U}) {
    EXPECT_LT(lines_of(rows), static_cast<std::ptrdiff_t>(rows)) << rows;
  }
  EXPECT_GE(lines_of(24), 22);  // the two rows of a prefix stay together
  const auto small = watched.render({}, {50 * second}, 24);
  for (const auto* part : {"gobgpd at", "Sessions: 20", "172.18.0.1 ", "and 17 more", "Routes: 40",
                           "10.201.0.1/32", "and 38 more", "Last changes", "10.201.0.40/32 via"}) {
    EXPECT_THAT(small, HasSubstr(part));
  }
  EXPECT_THAT(watched.render({}, {50 * second}, 200), Not(HasSubstr("more")));
  // Where there is no last line, there is still a limit.
  EXPECT_LE(lines_of(0), 90);
}

TEST(WatchedTable, SaysWhichRoutesAreKeptWhileTheirSpeakerRestarts) {
  auto watched = table();
  watched.apply(peer_event(1, SessionState::established));
  auto kept = service_path("172.18.0.2");
  kept.neighbor = address("172.18.0.2");
  watched.apply(path_event(1, {kept, service_path("172.18.0.3")}));
  EXPECT_FALSE(watched.may_be_stale());
  watched.apply(peer_event(2, SessionState::idle));
  EXPECT_TRUE(watched.may_be_stale());
  kept.stale = true;
  watched.refresh_stale({kept, service_path("172.18.0.3")});
  EXPECT_THAT(watched.render({}, {2 * second}), HasSubstr("172.18.0.2 (stale)"));
  EXPECT_THAT(watched.render({}, {2 * second}), Not(HasSubstr("172.18.0.3 (stale)")));
  watched.apply(peer_event(3, SessionState::established));
  EXPECT_TRUE(watched.may_be_stale());  // until a listing says that it is so no more
  kept.stale = false;
  watched.refresh_stale({kept, service_path("172.18.0.3")});
  EXPECT_FALSE(watched.may_be_stale());
}

TEST(WatchedTable, SaysThatTheDaemonDoesNotAnswer) {
  auto watched = table();
  EXPECT_THAT(watched.render({}, {20 * second}), Not(HasSubstr("no answer")));
  watched.set_answered({10 * second});
  EXPECT_THAT(watched.render({}, {11 * second}), Not(HasSubstr("no answer")));
  EXPECT_THAT(watched.render({}, {20 * second}), HasSubstr("no answer for 10 s"));
  watched.set_global({});
  EXPECT_THAT(watched.render({}, {20 * second}), HasSubstr("BGP has not been started"));
}

TEST(WatchedTable, KeepsANeighbourThatCameAfterTheListing) {
  auto watched = table();
  watched.apply(peer_event(5, SessionState::established));
  watched.refresh({}, {4 * second});
  EXPECT_THAT(watched.render({}, {6 * second}), HasSubstr("Sessions: 1"));
  watched.refresh({}, {6 * second});
  EXPECT_THAT(watched.render({}, {6 * second}), HasSubstr("Sessions: 0"));
}

TEST(WatchedTable, CountsWhatItDoesNotShow) {
  auto watched = table();
  auto event = path_event(1, {service_path("172.18.0.2")});
  event.other_families = 2;
  watched.apply(event);
  EXPECT_THAT(watched.render({}, {2 * second}),
              HasSubstr("Routes: 1, and 2 changes of other families, not shown"));
  const auto lines = event_lines(event);
  ASSERT_EQ(lines.size(), 2U);
  EXPECT_EQ(lines[1]["type"], "other_families");
  EXPECT_EQ(lines[1]["paths"], 2);
}

TEST(EventLines, AreOneForEachPrefix) {
  const auto lines = event_lines(path_event(7, {service_path("172.18.0.2")}));
  ASSERT_EQ(lines.size(), 1U);
  EXPECT_EQ(lines[0]["type"], "route");
  EXPECT_EQ(lines[0]["received_ns"], 7 * second);
  EXPECT_EQ(lines[0]["time"], "2026-01-31T12:00:07.123000000Z");
  EXPECT_EQ(lines[0]["prefix"], "10.201.0.7/32");
  EXPECT_EQ(lines[0]["paths"][0]["next_hop"], "172.18.0.2");
  EXPECT_EQ(lines[0]["paths"][0]["communities"][0], "65000:99");
  const auto gone = event_lines(withdrawal(8));
  ASSERT_EQ(gone.size(), 1U);
  EXPECT_TRUE(gone[0]["paths"].empty());
}

TEST(EventLines, SayWhoAndWhy) {
  const auto session = event_lines(peer_event(1, SessionState::idle));
  ASSERT_EQ(session.size(), 1U);
  EXPECT_EQ(session[0]["state"], "idle");
  auto ended = told(Event::Kind::ended, 2);
  ended.error.message = "gone";
  EXPECT_EQ(event_lines(ended).at(0)["error"], "gone");
  EXPECT_THAT(event_lines(told(Event::Kind::peers_told, 0)), IsEmpty());
}

}  // namespace
}  // namespace bgp_peer
