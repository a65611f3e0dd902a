#include "checks/translated_at.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using ::testing::HasSubstr;

// Evidence of 20 answered requests over two connections.
bench::ClientResult client_on(std::vector<int> ports) {
  bench::ClientResult client;
  client.requests = 20;
  client.local_ports = std::move(ports);
  return client;
}

probes::TranslationCounts left_for_service(std::vector<std::uint16_t> ports) {
  probes::TranslationCounts counts;
  counts.packets = counts.to_service = 52;
  counts.service_source_ports = std::move(ports);
  counts.connection_tracking_entries = 2;
  return counts;
}

probes::TranslationCounts left_for_backends(std::vector<std::uint16_t> ports) {
  probes::TranslationCounts counts;
  counts.packets = counts.to_backend = 52;
  counts.backend_source_ports = std::move(ports);
  counts.connection_tracking_entries = 0;
  return counts;
}

Finding judge(TranslatedAt expected, const probes::TranslationCounts& counts,
              const bench::ClientResult& client) {
  return translated_at(expected, counts, client);
}

std::string observed(const Finding& check) {
  return check.evidence.at("observed").get<std::string>();
}

// The clean twins: each promise kept.

TEST(TranslatedAt, PassesRulesThatRewritePackets) {
  const auto check =
      judge(TranslatedAt::packet, left_for_service({40000, 40001}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::pass);
  EXPECT_EQ(observed(check), "packet");
  EXPECT_EQ(check.observed, "per packet");
  EXPECT_EQ(check.sentence,
            "52 packets left for the Service from the client's own ports, none for a backend");
}

TEST(TranslatedAt, PassesHooksThatRewriteSockets) {
  const auto check =
      judge(TranslatedAt::socket, left_for_backends({40000, 40001}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::pass);
  EXPECT_EQ(observed(check), "socket");
  EXPECT_EQ(check.observed, "at the socket");
  EXPECT_EQ(
      check.sentence,
      "52 packets left for a backend from the client's own ports, none for the Service, and no "
      "connection is tracked");
}

TEST(TranslatedAt, PassesHooksWhereTheKernelTracksNoConnectionsAtAll) {
  auto counts = left_for_backends({40000});
  counts.connection_tracking_entries.reset();
  EXPECT_EQ(judge(TranslatedAt::socket, counts, client_on({40000})).verdict, Verdict::pass);
}

TEST(TranslatedAt, PassesAPodDialledDirectlyBesideRulesThatTrackIt) {
  auto counts = left_for_backends({40000});
  counts.connection_tracking_entries = 7;
  const auto check = judge(TranslatedAt::none, counts, client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::pass);
  EXPECT_EQ(observed(check), "none");
}

TEST(TranslatedAt, PassesAProxyThatWasPromised) {
  const auto check =
      judge(TranslatedAt::proxy, left_for_backends({51000}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::pass);
  EXPECT_EQ(observed(check), "proxy");
}

// The planted faults: traffic works in each of them.

TEST(TranslatedAt, CatchesHooksLeftOutOverRulesThatWork) {
  const auto check =
      judge(TranslatedAt::socket, left_for_service({40000, 40001}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "packet");
  EXPECT_THAT(check.sentence, HasSubstr("promised: at the socket; seen: per packet"));
}

TEST(TranslatedAt, CatchesASingleConnectionThatTheHooksMissed) {
  auto counts = left_for_backends({40000});
  counts.to_service = 1;
  counts.service_source_ports = {40001};
  const auto check = judge(TranslatedAt::socket, counts, client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_THAT(check.sentence,
              HasSubstr("1 packet left for the Service and 52 packets for a backend"));
}

TEST(TranslatedAt, CatchesConnectionTrackingUnderTheHooks) {
  auto counts = left_for_backends({40000});
  counts.connection_tracking_entries = 1;
  const auto check = judge(TranslatedAt::socket, counts, client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_THAT(check.sentence, HasSubstr("the node tracks 1 connection"));
}

TEST(TranslatedAt, CatchesAProxyThatDialsBackendsItself) {
  const auto check =
      judge(TranslatedAt::socket, left_for_backends({51000, 51001}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "proxy");
  EXPECT_THAT(check.sentence, HasSubstr("2 source ports that the client never had"));
}

TEST(TranslatedAt, CatchesAProxyThatDialsTheService) {
  const auto check =
      judge(TranslatedAt::packet, left_for_service({51000}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "proxy");
}

TEST(TranslatedAt, CatchesAProxyInFrontOfAPodDialledDirectly) {
  const auto check = judge(TranslatedAt::none, left_for_backends({51000}), client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "proxy");
}

TEST(TranslatedAt, CatchesAProxyOnPartOfTheConnections) {
  const auto check =
      judge(TranslatedAt::socket, left_for_backends({40000, 51000}), client_on({40000, 40001}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_THAT(check.sentence, HasSubstr("of the client's 2 ports only 1 left the pod"));
}

TEST(TranslatedAt, CatchesHooksWhereRulesWerePromised) {
  const auto check = judge(TranslatedAt::packet, left_for_backends({40000}), client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "socket");
}

TEST(TranslatedAt, CatchesAPodDialThatLeavesForTheService) {
  const auto check = judge(TranslatedAt::none, left_for_service({40000}), client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::fail);
  EXPECT_EQ(observed(check), "packet");
}

TEST(TranslatedAt, CatchesTrafficThatLeavesForStrangers) {
  probes::TranslationCounts counts;
  counts.packets = counts.to_other = 9;
  const auto only = judge(TranslatedAt::socket, counts, client_on({40000}));
  EXPECT_EQ(only.verdict, Verdict::fail);
  EXPECT_THAT(only.sentence, HasSubstr("neither the Service's nor a backend's"));

  auto beside = left_for_backends({40000});
  beside.to_other = 9;
  EXPECT_EQ(judge(TranslatedAt::socket, beside, client_on({40000})).verdict, Verdict::fail);
}

// Where the evidence cannot tell, it does not.

TEST(TranslatedAt, NeverPassesWithoutTraffic) {
  for (const auto expected : {TranslatedAt::none, TranslatedAt::packet, TranslatedAt::socket,
                              TranslatedAt::proxy, TranslatedAt::unknown}) {
    bench::ClientResult silent;
    const auto nothing = judge(expected, {}, silent);
    EXPECT_EQ(nothing.verdict, Verdict::inconclusive);
    EXPECT_EQ(nothing.sentence, "no traffic was seen and no request answered");
    const auto elsewhere = judge(expected, {}, client_on({40000}));
    EXPECT_EQ(elsewhere.verdict, Verdict::inconclusive);
    EXPECT_THAT(elsewhere.sentence, HasSubstr("20 requests answered, yet no packet"));
  }
}

TEST(TranslatedAt, NeverPassesWithoutAnswers) {
  auto unanswered = client_on({40000});
  unanswered.requests = 0;
  unanswered.errors.timed_out = 3;
  const auto right_place = judge(TranslatedAt::packet, left_for_service({40000}), unanswered);
  EXPECT_EQ(right_place.verdict, Verdict::inconclusive);
  EXPECT_EQ(observed(right_place), "packet");
  // Where packets leave for the wrong place, silence does not excuse them.
  EXPECT_EQ(judge(TranslatedAt::socket, left_for_service({40000}), unanswered).verdict,
            Verdict::fail);
}

TEST(TranslatedAt, DoesNotTellASocketFromAProxyWithoutPorts) {
  EXPECT_EQ(judge(TranslatedAt::socket, left_for_backends({40000}), client_on({})).verdict,
            Verdict::inconclusive);
  const auto unopened = judge(TranslatedAt::socket, left_for_backends({}), client_on({40000}));
  EXPECT_EQ(unopened.verdict, Verdict::inconclusive);
  EXPECT_EQ(observed(unopened), "unknown");
}

TEST(TranslatedAt, DoesNotCallAPortMissingThatMayBeUnrecorded) {
  auto counts = left_for_backends({40000});
  counts.lost = 1;
  EXPECT_EQ(judge(TranslatedAt::socket, counts, client_on({40000, 40001})).verdict,
            Verdict::inconclusive);
  EXPECT_EQ(judge(TranslatedAt::socket, counts, client_on({40000})).verdict, Verdict::pass);
}

TEST(TranslatedAt, DoesNotPassOverPacketsItCouldNotRead) {
  auto counts = left_for_backends({40000});
  counts.unparsed = 1;
  const auto check = judge(TranslatedAt::socket, counts, client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::inconclusive);
  EXPECT_THAT(check.sentence, HasSubstr("the ports of 1 packet could not be read"));
}

TEST(TranslatedAt, CannotTellWherePartOfTheTrafficFailed) {
  auto client = client_on({40000, 40001});
  client.errors.timed_out = 15;
  const auto check = judge(TranslatedAt::socket, left_for_backends({40000, 40001}), client);
  EXPECT_EQ(check.verdict, Verdict::inconclusive);
  EXPECT_THAT(check.sentence, HasSubstr("but 15 requests of it failed"));
}

TEST(TranslatedAt, PromisesNothingWhereNothingIsPromised) {
  const auto check = judge(TranslatedAt::unknown, left_for_backends({40000}), client_on({40000}));
  EXPECT_EQ(check.verdict, Verdict::inconclusive);
  EXPECT_EQ(observed(check), "socket");
}

TEST(TranslatedAt, ReportsItsEvidence) {
  const auto check =
      judge(TranslatedAt::socket, left_for_backends({40000, 40001}), client_on({40000, 40001}));
  EXPECT_EQ(base::dump_json(check.evidence),
            R"({"expected":"socket","observed":"socket","counts":{"packets":52,"to_service":0,)"
            R"("to_backend":52,"to_other":0,"unparsed":0,"service_source_ports":[],)"
            R"("backend_source_ports":[40000,40001],"lost":0,"connection_tracking_entries":0},)"
            R"("client_ports":[40000,40001],"requests":20,"errors":0})");
}

TEST(TranslationCounts, AreReadBackAsWritten) {
  auto counts = left_for_backends({1024, 65535});
  counts.lost = 3;
  counts.run_count = 52;
  counts.run_time_ns = 5200;
  const auto json = base::to_json(counts);
  const auto back = base::from_json<probes::TranslationCounts>(json);
  ASSERT_TRUE(back);
  EXPECT_EQ(base::to_json(*back), json);
  EXPECT_EQ(json.at("run_time_ns"), 5200);
}

}  // namespace
}  // namespace checks
