#include "checks/mtls/authorization_enforced.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::kube::Access;
using bench::DoorOutcome;
using ::testing::HasSubstr;

bench::DoorTried replied(int status, std::string body = "", std::string challenge = "") {
  bench::DoorTried door;
  door.outcome = DoorOutcome::answered;
  door.http_status = status;
  door.body = std::move(body);
  door.challenge = std::move(challenge);
  return door;
}

bench::DoorTried ended(DoorOutcome outcome) {
  bench::DoorTried door;
  door.outcome = outcome;
  return door;
}

// As a proxy that enforces answers.
AuthorizationObservation sound() {
  const auto denied = replied(403, "RBAC: access denied");
  const auto unsound = replied(401, "Jwt verification fails",
                               "Bearer realm=\"http://stackbench/0\", error=\"invalid_token\"");
  return {.requests = {{"ours", "client", "http", true, Access::allowed, replied(200)},
                       {"wrong_identity", "intruder", "http", true, Access::denied, denied},
                       {"by_path", "client", "http", true, Access::denied, denied},
                       {"bad_token", "client", "http", true, Access::unauthenticated, unsound},
                       {"tcp", "client", "tcp_rr", false, Access::allowed,
                        ended(DoorOutcome::answered)},
                       {"tcp_wrong_identity", "intruder", "tcp_rr", false, Access::denied,
                        ended(DoorOutcome::closed)}},
          .came_to_servers = 2};
}

bench::DoorTried& door(AuthorizationObservation& seen, std::string_view name) {
  return std::ranges::find(seen.requests, name, &AccessTried::name)->door;
}

void expect(const AuthorizationObservation& seen, base::Verdict verdict, std::string_view observed,
            const std::string& words) {
  const auto finding = authorization_enforced(seen);
  EXPECT_EQ(finding.verdict, verdict) << finding.sentence;
  EXPECT_EQ(finding.observed, observed);
  EXPECT_THAT(finding.sentence, HasSubstr(words));
}

TEST(AuthorizationEnforced, PassesWhereEachCameToWhatWasSaid) {
  expect(sound(), base::Verdict::pass, "enforced",
         "6 of 6 requests came to what the policies say (2 allowed, 3 denied, 1 unauthenticated)");
  const auto evidence = authorization_enforced(sound()).evidence;
  EXPECT_EQ(evidence["requests"][1]["seen"], "denied");
  EXPECT_EQ(evidence["requests"][1]["door"]["body"], "RBAC: access denied");
}

TEST(AuthorizationEnforced, WhoeverIsLetInAndShouldNotBeFails) {
  for (const char* name : {"wrong_identity", "by_path", "bad_token"}) {
    auto seen = sound();
    door(seen, name) = replied(200);
    ++seen.came_to_servers;
    expect(seen, base::Verdict::fail, "not_enforced",
           fmt::format("1 of 6 requests came to something else than the policies say: {}", name));
  }
  auto seen = sound();
  door(seen, "tcp_wrong_identity") = ended(DoorOutcome::answered);
  ++seen.came_to_servers;
  expect(seen, base::Verdict::fail, "not_enforced",
         "tcp_wrong_identity (from intruder): answered, and it should be denied");
}

TEST(AuthorizationEnforced, WhoeverIsRefusedAndShouldNotBeFails) {
  auto seen = sound();
  door(seen, "ours") = replied(403, "RBAC: access denied");
  --seen.came_to_servers;
  expect(seen, base::Verdict::fail, "refused_too_much",
         "ours (from client): HTTP 403 (RBAC: access denied), and it should be allowed");
  seen = sound();
  door(seen, "bad_token") = replied(403, "RBAC: access denied");
  expect(seen, base::Verdict::fail, "refused_too_much", "it should be unauthenticated");
}

TEST(AuthorizationEnforced, ARefusalMustBeTheProxysOwnWord) {
  for (const auto& other :
       {replied(403, "Forbidden"), replied(503, "upstream connect error"), replied(401, "who?"),
        ended(DoorOutcome::reset), ended(DoorOutcome::timed_out), ended(DoorOutcome::refused)}) {
    auto seen = sound();
    door(seen, "wrong_identity") = other;
    expect(seen, base::Verdict::inconclusive, "not_proven", "who ended these cannot be told");
  }
  auto seen = sound();
  door(seen, "tcp_wrong_identity") = ended(DoorOutcome::timed_out);
  expect(seen, base::Verdict::inconclusive, "not_proven", "tcp_wrong_identity");
}

TEST(AuthorizationEnforced, WhatWasRefusedMustNotHaveComeToAServer) {
  auto seen = sound();
  ++seen.came_to_servers;
  expect(seen, base::Verdict::fail, "not_enforced", "3 requests came to servers, though 2 were");
}

TEST(AuthorizationEnforced, WhoeverRefusesEverybodyProvesNothing) {
  auto seen = sound();
  std::erase_if(seen.requests,
                [](const AccessTried& one) { return one.expected == Access::allowed; });
  seen.came_to_servers = 0;
  expect(seen, base::Verdict::inconclusive, "not_proven", "nobody was let in");
}

TEST(AuthorizationEnforced, ARequestCarriesItsTokenAndEndsByItself) {
  const base::Endpoint to{*base::IpAddress::parse("10.96.0.7"), 8004};
  EXPECT_EQ(access_request(to, "POST", "/orders/0", "abc"),
            "POST /orders/0 HTTP/1.1\r\nHost: 10.96.0.7:8004\r\nAuthorization: Bearer abc\r\n"
            "Content-Length: 0\r\n\r\n");
  EXPECT_THAT(access_request(to, "GET", "/0", ""), ::testing::Not(HasSubstr("Authorization")));
}

}  // namespace
}  // namespace checks
