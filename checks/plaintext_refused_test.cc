#include "checks/plaintext_refused.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::HasSubstr;

bench::ClientResult refused(std::uint64_t count) {
  bench::ClientResult client;
  client.connections_opened = count;
  client.errors.reset = count;
  return client;
}

TEST(PlaintextRefused, AResetWhereTheReplyWasDueIsARefusal) {
  const auto finding = plaintext_refused(refused(16), {bench::ServerResult{}});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "refused");
}

TEST(PlaintextRefused, AnyAnswerIsNone) {
  auto answered = refused(15);
  answered.requests = 1;
  EXPECT_EQ(plaintext_refused(answered, {}).verdict, Verdict::fail);
  auto status = refused(0);
  status.connections_opened = 16;
  status.errors.bad_reply = 16;
  const auto finding = plaintext_refused(status, {});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "taken");
  EXPECT_THAT(finding.sentence, HasSubstr("HTTP status"));
}

TEST(PlaintextRefused, ARequestThatCameThroughIsNoneThoughItsReplyWasLost) {
  bench::ServerResult server;
  server.requests = 1;
  EXPECT_EQ(plaintext_refused(refused(16), {server}).verdict, Verdict::fail);
}

TEST(PlaintextRefused, WhatEndedInAnotherWayTellsNothing) {
  for (const auto other : {bench::FailureClass::closed_early, bench::FailureClass::timed_out,
                           bench::FailureClass::refused}) {
    auto client = refused(15);
    ++client.errors.of(other);
    EXPECT_EQ(plaintext_refused(client, {}).verdict, Verdict::inconclusive);
  }
  EXPECT_EQ(plaintext_refused(refused(0), {}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
