#include "checks/mesh/routes_as_specified.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::int64_t ms = 1'000'000;

bench::DoorTried reply(int status, std::optional<std::uint32_t> by, std::int64_t took_ms = 1) {
  bench::DoorTried door;
  door.outcome = bench::DoorOutcome::answered;
  door.http_status = status;
  door.answered_by = by;
  door.took_ns = took_ms * ms;
  return door;
}

bench::DoorTried proxys(int status, std::string body) {
  auto door = reply(status, std::nullopt);
  door.body = std::move(body);
  return door;
}

// So many in a row, begun from and to.
bench::DoorTried run_of(bench::DoorTried door, std::uint64_t tries, std::int64_t from_ms,
                        std::int64_t to_ms) {
  door.tries = tries;
  door.at_ns = from_ms * ms;
  door.last_ns = to_ms * ms;
  return door;
}

// web-0 and web-1 are 1 and 2, web-2 is 3.
RoutingCell cell_of(RoutingClaim claim, RoutedAs expected, std::vector<bench::DoorTried> replies) {
  return {.name = "it",
          .claim = claim,
          .expected = std::move(expected),
          .pods = {{1, "web-0"}, {2, "web-1"}, {3, "web-2"}},
          .proxies = {{.proxy = "client-0", .replies = std::move(replies)}}};
}

RoutingCell asked(RoutedAs expected, std::vector<bench::DoorTried> replies) {
  return cell_of(RoutingClaim::requests, std::move(expected), std::move(replies));
}

std::vector<bench::DoorTried> times(std::size_t count, const bench::DoorTried& one) {
  return std::vector(count, one);
}

std::vector<bench::DoorTried> both(std::vector<bench::DoorTried> some,
                                   const std::vector<bench::DoorTried>& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

const RoutedEnd v1{.pods = {"web-0", "web-1"}};
const RoutedEnd v2{.pods = {"web-2"}};

RoutedAs split(double first) {
  RoutedAs all{.ends = {v1, v2}};
  all.ends[0].share = first;
  all.ends[1].share = 1 - first;
  return all;
}

void expect(const RoutingCell& cell, Verdict verdict, std::string_view sentence) {
  const auto finding = routes_as_specified(cell);
  EXPECT_EQ(finding.verdict, verdict) << finding.sentence;
  EXPECT_THAT(finding.sentence, HasSubstr(sentence));
}

TEST(RoutesAsSpecified, WhatAllComeToPassesAndOneThatDoesNotFails) {
  const RoutedAs to_v2{.ends = {v2}};
  expect(asked(to_v2, times(30, reply(200, 3))), Verdict::pass,
         "client-0: 30 requests came to web-2");
  expect(asked(to_v2, both(times(29, reply(200, 3)), {reply(200, 1)})), Verdict::fail,
         "1 of 30 requests came to HTTP 200 of web-0, and all should come to web-2");
  expect(asked(to_v2, {reply(200, 9)}), Verdict::fail, "HTTP 200 of a stranger (9)");
  expect(asked(to_v2, {proxys(503, "no healthy upstream")}), Verdict::fail,
         "HTTP 503 (no healthy upstream)");
}

TEST(RoutesAsSpecified, WeightsAreJudgedByChance) {
  expect(asked(split(0.8), both(times(310, reply(200, 2)), times(90, reply(200, 3)))),
         Verdict::pass, "of 400 requests came 310 to web-0 or web-1 (80 %), 90 to web-2 (20 %)");
  expect(asked(split(0.8), both(times(200, reply(200, 2)), times(200, reply(200, 3)))),
         Verdict::fail, "200 to web-2 (20 %)");
  expect(asked(split(0.8), times(10, reply(200, 2))), Verdict::inconclusive, "too few to tell");
  expect(asked(split(0.8), times(25, reply(200, 2))), Verdict::inconclusive, "too few to tell");
  expect(asked(split(0.8), times(100, reply(200, 2))), Verdict::fail, "0 to web-2");
  auto shared = split(0.5);
  shared.ambiguous = true;
  expect(asked(shared, both(times(20, reply(200, 2)), times(20, reply(200, 3)))),
         Verdict::inconclusive, "destinations share pods");
}

TEST(RoutesAsSpecified, AnAbortIsTheProxysOwnWord) {
  RoutedAs expected{.ends = {{.share = 0.5, .status = 418, .aborted = true}, v2}};
  expected.ends[1].share = 0.5;
  const auto abort = proxys(418, "fault filter abort");
  expect(asked(expected, both(times(52, abort), times(48, reply(200, 3)))), Verdict::pass,
         "52 to HTTP 418 by its fault (50 %)");
  expect(asked(expected, times(100, reply(200, 3))), Verdict::fail, "0 to HTTP 418");
  expect(asked(expected, times(100, reply(418, 3))), Verdict::fail, "HTTP 418 of web-2");
}

TEST(RoutesAsSpecified, DelayedRequestsTakeAsLongAsIsSaid) {
  const RoutedAs expected{.ends = {v2}, .delay = {{.delay = milliseconds(100), .share = 1}}};
  expect(asked(expected, times(20, reply(200, 3, 103))), Verdict::pass,
         "20 held up by 100 ms (100 %), median latency 103 ms");
  expect(asked(expected, times(20, reply(200, 3, 91))), Verdict::pass, "20 held up");
  expect(asked(expected, times(20, reply(200, 3, 2))), Verdict::fail, "0 held up by 100 ms");
  expect(asked(expected, both(times(19, reply(200, 3, 103)), {reply(200, 3, 2)})), Verdict::fail,
         "19 held up");
  expect(asked(expected, times(20, reply(200, 3, 200))), Verdict::fail, "median latency 200 ms");
  const RoutedAs half{.ends = {v2}, .delay = {{.delay = milliseconds(100), .share = 0.5}}};
  expect(asked(half, both(times(45, reply(200, 3, 101)), times(55, reply(200, 3, 1)))),
         Verdict::pass, "45 held up by 100 ms (50 %)");
  expect(asked(half, times(100, reply(200, 3, 1))), Verdict::fail, "0 held up");
}

RoutedAs small() {
  base::kube::ConnectionPool pool{
      .tcp = {{.max_connections = 1}},
      .http = {{.http1_max_pending_requests = 2, .max_requests_per_connection = 1}}};
  return {.ends = {v2}, .policy = base::kube::DestinationPolicy{.connection_pool = pool}};
}

TEST(RoutesAsSpecified, BeyondThePoolRequestsAreRefused) {
  const auto refused = proxys(503,
                              "upstream connect error or disconnect/reset before headers. "
                              "reset reason: overflow");
  auto cell =
      cell_of(RoutingClaim::at_once, small(), both(times(3, reply(200, 3)), times(5, refused)));
  cell.proxies[0].overflowed = 5;
  expect(cell, Verdict::pass,
         "of 8 requests at one time 3 answered and 5 refused (503, overflow), where 1 connection "
         "and 2 that wait leave room for 2 to 3; it counted 5 itself");
  cell.proxies[0].overflowed = 4;
  expect(cell, Verdict::fail, "it counted 4 itself");
  expect(cell_of(RoutingClaim::at_once, small(), times(8, reply(200, 3))), Verdict::fail,
         "8 answered and 0 refused");
  expect(cell_of(RoutingClaim::at_once, small(), both(times(2, reply(200, 3)), times(6, refused))),
         Verdict::pass, "2 answered and 6 refused");
  expect(cell_of(RoutingClaim::at_once, small(), both(times(1, reply(200, 3)), times(7, refused))),
         Verdict::fail, "1 answered and 7 refused");
  expect(cell_of(RoutingClaim::at_once, small(),
                 both(times(3, reply(200, 3)), times(5, proxys(503, "no healthy upstream")))),
         Verdict::fail, "5 came to HTTP 503 (no healthy upstream)");
  expect(cell_of(RoutingClaim::at_once, {.ends = {v1}}, times(8, reply(200, 1))),
         Verdict::inconclusive, "a destination of one pod");
}

TEST(RoutesAsSpecified, ConnectionsEndAfterSoManyRequests) {
  auto cell = asked(small(), times(20, reply(200, 3)));
  cell.proxies[0].connections = 20;
  expect(cell, Verdict::pass, "over 20 connections of at most 1 request");
  cell.proxies[0].connections = 1;
  expect(cell, Verdict::fail, "over 1 connection");
}

RoutingCell ejected(std::vector<bench::DoorTried> replies) {
  const base::kube::OutlierDetection outlier{.consecutive_5xx_errors = 3,
                                             .interval = milliseconds(200),
                                             .base_ejection_time = milliseconds(2000),
                                             .max_ejection_percent = 100};
  auto cell =
      cell_of(RoutingClaim::fails,
              {.ends = {v1}, .policy = base::kube::DestinationPolicy{.outlier_detection = outlier}},
              std::move(replies));
  cell.failing = "web-1";
  cell.failed_ns = 1000 * ms;
  cell.mended_ns = 1500 * ms;
  return cell;
}

TEST(RoutesAsSpecified, APodThatFailsIsLeftAloneAndIsBack) {
  const auto error = proxys(503, "upstream connect error");
  const auto sound = [&](std::int64_t back_ms) {
    return ejected({run_of(reply(200, 2), 9, 900, 990), run_of(error, 2, 1001, 1004),
                    run_of(reply(200, 1), 1, 1007, 1007), run_of(error, 1, 1010, 1010),
                    run_of(reply(200, 1), 300, 1013, back_ms - 3),
                    run_of(reply(200, 2), 1, back_ms, back_ms)});
  };
  expect(sound(3100), Verdict::pass,
         "3 requests came to HTTP 5xx after web-1 failed, and it is to be left alone after 3; it "
         "was back after 2.09 s, and should be after 2.00 s to 2.20 s, or 500 ms later");
  expect(sound(2000), Verdict::fail, "it was back after 990 ms");
  expect(sound(4000), Verdict::inconclusive, "it was back after 2.99 s");
  expect(ejected({run_of(error, 2, 1001, 1004), run_of(reply(200, 1), 1, 1007, 1007),
                  run_of(error, 60, 1010, 1490), run_of(reply(200, 2), 1, 1510, 1510)}),
         Verdict::fail, "of them came later than that");
  expect(ejected({run_of(error, 3, 1001, 1010), run_of(reply(200, 1), 900, 1013, 4200)}),
         Verdict::fail, "it was not back");
  expect(ejected({run_of(error, 2, 1001, 1010), run_of(reply(200, 1), 900, 1013, 4200)}),
         Verdict::inconclusive, "too few requests came to it");
}

TEST(RoutesAsSpecified, WhoMayNeverBeLeftAloneProvesNothing) {
  const auto with = [](int errors, std::optional<int> percent) {
    auto cell = ejected({run_of(proxys(503, "upstream connect error"), 9, 1001, 1040)});
    cell.expected.policy->outlier_detection->consecutive_5xx_errors = errors;
    cell.expected.policy->outlier_detection->max_ejection_percent = percent;
    return cell;
  };
  expect(with(0, 100), Verdict::inconclusive, "no reply has a pod left alone");
  expect(with(3, {}), Verdict::inconclusive, "of 2 pods no one may be left alone");
  // What the client's proxy says of itself is no pod's failure.
  auto own = ejected({run_of(proxys(503, "no healthy upstream"), 9, 1001, 1040)});
  expect(own, Verdict::inconclusive, "too few requests came to it");
  own.proxies[0].lost = 1;
  expect(own, Verdict::inconclusive, "lost for want of room: 1 change");
}

TEST(RoutesAsSpecified, WhatNoObjectIsAboutProvesNothing) {
  auto cell = asked({.ends = {v2}}, times(5, reply(200, 3)));
  cell.expected.said = false;
  expect(cell, Verdict::inconclusive, "no VirtualService or DestinationRule is about");
  expect(asked({.ends = {{.status = 503}}}, times(5, proxys(503, "no healthy upstream"))),
         Verdict::inconclusive, "it leads to no pod at all");
}

RoutingCell written(std::vector<bench::DoorTried> replies) {
  auto cell = cell_of(RoutingClaim::writes, {.ends = {{.status = 418, .aborted = true}}},
                      std::move(replies));
  cell.before = {.ends = {v1}};
  cell.writes = {{.acked_ns = 100 * ms, .until_ns = 300 * ms},
                 {.acked_ns = 400 * ms, .until_ns = 600 * ms, .restores = true}};
  return cell;
}

TEST(RoutesAsSpecified, AWriteIsObeyedFromSomeRequestOn) {
  const auto abort = proxys(418, "fault filter abort");
  expect(written({run_of(reply(200, 1), 30, 0, 118), run_of(abort, 60, 122, 430),
                  run_of(reply(200, 2), 30, 433, 620)}),
         Verdict::pass,
         "of 2 writes the first request that obeyed was begun 27.5 ms after the acknowledgement "
         "(median; 33.0 ms at most), and the last that did not 3.50 ms before it "
         "(median; 4.00 ms at most)");
  expect(written({run_of(reply(200, 1), 30, 0, 118), run_of(abort, 1, 122, 122),
                  run_of(reply(200, 1), 9, 126, 150), run_of(abort, 60, 155, 430),
                  run_of(reply(200, 2), 30, 433, 620)}),
         Verdict::pass, "44.0 ms after");
  expect(written({run_of(reply(200, 1), 30, 0, 620)}), Verdict::fail,
         "a write was not obeyed 200 ms after it was acknowledged");
  expect(written({run_of(reply(200, 1), 30, 0, 118), run_of(proxys(503, "x"), 1, 120, 120),
                  run_of(abort, 60, 122, 430), run_of(reply(200, 2), 30, 433, 620)}),
         Verdict::fail, "a request came to HTTP 503 (x)");
  auto same = written({run_of(reply(200, 1), 30, 0, 620)});
  same.expected = same.before;
  expect(same, Verdict::inconclusive, "the same before and after");
}

TEST(RoutesAsSpecified, EveryProxyIsJudgedAndTheWorstCounts) {
  auto cell = asked({.ends = {v2}}, times(5, reply(200, 3)));
  cell.proxies.push_back({.proxy = "client-1", .replies = times(5, reply(200, 1))});
  const auto finding = routes_as_specified(cell);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "otherwise");
  EXPECT_EQ(finding.evidence["proxies"]["client-0"]["verdict"], "pass");
  EXPECT_EQ(finding.evidence["proxies"]["client-1"]["verdict"], "fail");
}

}  // namespace
}  // namespace checks
