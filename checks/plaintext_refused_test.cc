#include "checks/plaintext_refused.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::HasSubstr;

DialledInClear refused(std::uint64_t count, std::string pod = "web-0") {
  DialledInClear one{.pod = std::move(pod), .client = {}, .server = {}};
  one.client.connections_opened = count;
  one.client.errors.reset = count;
  return one;
}

TEST(PlaintextRefused, AResetWhereTheReplyWasDueIsARefusal) {
  const auto finding = plaintext_refused({refused(8), refused(8, "web-1")});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "refused");
  EXPECT_EQ(finding.sentence,
            "16 requests in the clear to 2 pods, each reset where its reply was due, and none came "
            "to a server");
}

TEST(PlaintextRefused, AnyAnswerIsNone) {
  auto answered = refused(15);
  answered.client.requests = 1;
  EXPECT_EQ(plaintext_refused({answered}).verdict, Verdict::fail);
  auto status = refused(0);
  status.client.connections_opened = 16;
  status.client.errors.bad_reply = 16;
  const auto finding = plaintext_refused({status});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "taken");
  EXPECT_THAT(finding.sentence, HasSubstr("HTTP status"));
  // Whoever says that in the clear speaks HTTP/2 in the clear.
  for (const auto frame : {bench::FailureClass::stream_reset, bench::FailureClass::goaway,
                           bench::FailureClass::protocol_error}) {
    auto said = refused(15);
    ++said.client.errors.of(frame);
    EXPECT_EQ(plaintext_refused({said}).observed, "taken");
  }
}

// Such as one that was made before its namespace was told to inject proxies.
TEST(PlaintextRefused, OnePodOfManyThatTakesItFails) {
  std::vector<DialledInClear> pods;
  for (int i = 0; i < 8; ++i) pods.push_back(refused(8, fmt::format("web-{}", i)));
  pods[5] = {.pod = "web-5", .client = {}, .server = {}};
  pods[5].client.connections_opened = pods[5].client.requests = 8;
  const auto finding = plaintext_refused(pods);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_THAT(finding.sentence, HasSubstr("taken by 1 of 8 pods: web-5 (8 answered"));
}

TEST(PlaintextRefused, ARequestThatCameThroughIsNoneThoughItsReplyWasLost) {
  auto one = refused(16);
  one.server.requests = 1;
  EXPECT_EQ(plaintext_refused({one}).verdict, Verdict::fail);
}

TEST(PlaintextRefused, WhatEndedInAnotherWayTellsNothing) {
  for (const auto other : {bench::FailureClass::closed_early, bench::FailureClass::timed_out,
                           bench::FailureClass::refused}) {
    auto one = refused(15);
    ++one.client.errors.of(other);
    EXPECT_EQ(plaintext_refused({one}).verdict, Verdict::inconclusive);
  }
  // One pod that nobody reached, among those that refused.
  const auto finding = plaintext_refused({refused(16), refused(0, "web-1")});
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("nothing could be connected to web-1"));
  EXPECT_EQ(plaintext_refused({}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
