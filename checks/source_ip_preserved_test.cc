#include "checks/source_ip_preserved.h"

#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;

const auto client = base::IpAddress::parse("172.19.0.2").value();

bench::ServerResult saw(std::map<std::string, std::uint64_t> clients) {
  bench::ServerResult server;
  server.clients = std::move(clients);
  return server;
}

TEST(SourceIpPreserved, PassesWhereEveryPodSawTheClientItself) {
  for (const bool promised : {true, false}) {
    const auto finding = source_ip_preserved(
        promised, client, {saw({{"172.19.0.2", 3}}), saw({}), saw({{"172.19.0.2", 5}})});
    EXPECT_EQ(finding.verdict, Verdict::pass);
    EXPECT_EQ(finding.observed, "kept");
    EXPECT_EQ(finding.sentence, "8 connections came from the client's own address, 172.19.0.2");
  }
}

TEST(SourceIpPreserved, FailsWhereOneConnectionCameFromElsewhereThoughItWasPromised) {
  const auto finding =
      source_ip_preserved(true, client, {saw({{"172.19.0.2", 7}, {"172.18.0.3", 1}})});
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "hidden");
  EXPECT_EQ(finding.sentence,
            "1 connection came from 172.18.0.3, not from the client's 172.19.0.2");
}

TEST(SourceIpPreserved, SaysWhoIsSeenWhereNothingWasPromised) {
  const auto finding = source_ip_preserved(false, client, {saw({{"172.18.0.2", 4}})});
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.sentence,
            "4 connections came from 172.18.0.2, not from the client's 172.19.0.2, which nobody "
            "promised here");
}

TEST(SourceIpPreserved, CannotTellWithoutConnections) {
  EXPECT_EQ(source_ip_preserved(true, client, {}).verdict, Verdict::inconclusive);
  EXPECT_EQ(source_ip_preserved(true, client, {saw({})}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
