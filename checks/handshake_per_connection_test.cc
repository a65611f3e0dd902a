#include "checks/handshake_per_connection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::HasSubstr;

HandshakeWindow window(std::uint64_t connections, std::uint64_t handshakes, std::uint64_t resumed) {
  return {connections, handshakes, resumed, handshakes, resumed, connections, connections};
}

TEST(HandshakePerConnection, WholeOnesAreCreditedWhereNothingIsResumed) {
  const HandshakePromise off{.resumption = false};
  const auto finding = handshake_per_connection(off, {window(500, 500, 0), window(490, 490, 0)});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "whole");
  EXPECT_EQ(finding.evidence.at("client_handshakes"), 990);
  // As many connections, and a single hello that was not: a cheaper thing was measured.
  const auto resumed = handshake_per_connection(off, {window(500, 500, 0), window(490, 490, 1)});
  EXPECT_EQ(resumed.verdict, Verdict::invalid);
  EXPECT_THAT(resumed.sentence, HasSubstr("of which 1 resumed a session, where that is off"));
}

TEST(HandshakePerConnection, ResumedOnesMustBeThereWhereThatIsOn) {
  const HandshakePromise on;
  const auto finding = handshake_per_connection(on, {window(100, 100, 80)});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "resumed");
  EXPECT_THAT(finding.sentence, HasSubstr("80 % of them resumed sessions"));
  EXPECT_EQ(handshake_per_connection(on, {window(100, 100, 0)}).verdict, Verdict::invalid);
  EXPECT_EQ(handshake_per_connection(on, {window(2, 2, 0)}).verdict, Verdict::pass)
      << "too few to tell";
}

TEST(HandshakePerConnection, OnePercentIsNearEnoughAndMoreIsNot) {
  const HandshakePromise off{.resumption = false};
  EXPECT_EQ(handshake_per_connection(off, {window(1000, 990, 0)}).verdict, Verdict::pass);
  EXPECT_EQ(handshake_per_connection(off, {window(1000, 989, 0)}).verdict, Verdict::invalid);
  EXPECT_EQ(handshake_per_connection(off, {window(1000, 1011, 0)}).verdict, Verdict::invalid);
  EXPECT_EQ(handshake_per_connection(off, {window(1, 0, 0)}).verdict, Verdict::invalid);
}

TEST(HandshakePerConnection, EachInvocationIsJudgedAndNotTheirSum) {
  const HandshakePromise off{.resumption = false};
  const auto finding = handshake_per_connection(off, {window(1000, 900, 0), window(1000, 1100, 0)});
  EXPECT_EQ(finding.verdict, Verdict::invalid);
  EXPECT_EQ(finding.evidence.at("invocations_wrong"), 2);
}

TEST(HandshakePerConnection, BothSidesMustHaveCounted) {
  const HandshakePromise off{.resumption = false};
  // Pooled: the client's proxy has one connection for all of the client's.
  const auto pooled = handshake_per_connection(off, {window(1000, 1, 0)});
  EXPECT_EQ(pooled.verdict, Verdict::invalid);
  EXPECT_THAT(pooled.sentence, HasSubstr("1 handshake for 1000 connections"));
  auto one_sided = window(1000, 1000, 0);
  one_sided.server_handshakes = 0;
  const auto finding = handshake_per_connection(off, {one_sided});
  EXPECT_EQ(finding.verdict, Verdict::invalid);
  EXPECT_THAT(finding.sentence, HasSubstr("the server's proxy counted 0 handshakes"));
}

TEST(HandshakePerConnection, WithoutTlsThereIsNone) {
  const HandshakePromise plaintext{.mutual_tls = false};
  EXPECT_EQ(handshake_per_connection(plaintext, {window(1000, 0, 0)}).verdict, Verdict::pass);
  EXPECT_EQ(handshake_per_connection(plaintext, {window(1000, 1, 0)}).verdict, Verdict::invalid);
}

// As where interception has a hole: whoever goes by it meets no proxy, and costs what none cost.
TEST(HandshakePerConnection, ConnectionsThatMetNoProxyAreNotTheCostOfProxies) {
  const HandshakePromise plaintext{.mutual_tls = false};
  for (const auto field : {&HandshakeWindow::client_taken, &HandshakeWindow::server_taken}) {
    auto one = window(1000, 0, 0);
    one.*field = 990;
    EXPECT_EQ(handshake_per_connection(plaintext, {one}).verdict, Verdict::pass);
    one.*field = 0;
    const auto finding = handshake_per_connection(plaintext, {one});
    EXPECT_EQ(finding.verdict, Verdict::invalid);
    EXPECT_THAT(finding.sentence, HasSubstr("1000 of 1000 connections did not pass the"));
    EXPECT_THAT(finding.sentence, HasSubstr("not the cost of proxies"));
  }
}

TEST(HandshakePerConnection, OfPooledConnectionsOnlyTheClientsAreCounted) {
  const HandshakePromise pooled{.pooled = true};
  HandshakeWindow one{.connections = 8, .client_handshakes = 1, .client_taken = 8};
  const auto finding = handshake_per_connection(pooled, {one});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "pooled");
  one.client_taken = 7;
  EXPECT_EQ(handshake_per_connection(pooled, {one}).verdict, Verdict::invalid);
}

TEST(HandshakePerConnection, NothingConnectedTellsNothing) {
  EXPECT_EQ(handshake_per_connection({}, {}).verdict, Verdict::inconclusive);
  EXPECT_EQ(handshake_per_connection({}, {window(0, 0, 0)}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
