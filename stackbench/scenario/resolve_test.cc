#include "stackbench/scenario/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

TEST(Resolve, ComparesAServiceWithItsPodAndThatWithNoDatapath) {
  const auto scenario = parse_scenario(sound, "s.yaml", {});
  ASSERT_TRUE(scenario);
  EXPECT_EQ(scenario->arms[0].relative_to, std::nullopt);
  EXPECT_EQ(scenario->arms[1].relative_to, "direct");
  EXPECT_EQ(scenario->arms[2].relative_to, "pod_ip");
}

TEST(Resolve, LeavesAnArmWithoutCompanionAlone) {
  const auto scenario = parse_scenario(
      with_line(11, "  - {name: cluster_ip, in: rules, dial: service/web}"), "s", {});
  ASSERT_TRUE(scenario);
  EXPECT_EQ(scenario->arms[2].relative_to, std::nullopt) << "pod_ip is in another environment";
}

TEST(Resolve, KeepsTheComparisonThatWasAskedFor) {
  const auto scenario = parse_scenario(
      with_line(11, "  - {name: cluster_ip, in: socket, dial: service/web, relative_to: direct}"),
      "s", {});
  ASSERT_TRUE(scenario);
  EXPECT_EQ(scenario->arms[2].relative_to, "direct");
}

TEST(Resolve, WaitsByBlockInAClosedLoopAndByHybridInAnOpenOne) {
  const auto scenario = parse_scenario(sound, "s.yaml", {"workloads.0.duration=10ms"});
  ASSERT_TRUE(scenario);
  EXPECT_EQ(scenario->workloads[0].wait, bench::WaitStrategy::block);
  EXPECT_EQ(scenario->workloads[1].wait, bench::WaitStrategy::hybrid);
}

TEST(Resolve, GivesStreamsTheSizesOfTheirKindAndNoReply) {
  const auto scenario = parse_scenario(
      sound, "s.yaml",
      {"workloads=[{kind: tcp_stream}, {kind: udp_stream, rate: 100/s}]", "expect=[]"});
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->workloads[0].request, base::Bytes{131'072});
  EXPECT_EQ(scenario->workloads[1].request, base::Bytes{1'200});
  EXPECT_EQ(scenario->workloads[0].response, std::nullopt);
  EXPECT_EQ(scenario->workloads[1].response, std::nullopt);
  EXPECT_EQ(scenario->workloads[0].wait, bench::WaitStrategy::block);
}

TEST(Resolve, GivesSeveralGeneratorsAPodAndAConnectionEach) {
  const auto with = [](std::string_view workload, const char* clients = "8") {
    return message_of(sound, {fmt::format("workloads.0={}", workload),
                              fmt::format("topology.pods.client.replicas={}", clients)});
  };
  EXPECT_EQ(with("{kind: tcp_rr, generators: 8, connections: 8}"), "no fault");
  EXPECT_THAT(with("{kind: tcp_rr, generators: 8, connections: 7}"),
              testing::HasSubstr("8 generators need a connection each, and connections is 7"));
  EXPECT_THAT(with("{kind: tcp_rr, generators: 8, connections: 8}", "4"),
              testing::HasSubstr("arm \"direct\" has 4 pods to generate from: give "
                                 "topology.pods.client that many replicas"));
  EXPECT_THAT(message_of(sound, {"workloads=[{kind: tcp_stream, generators: 2, connections: 2}]",
                                 "expect=[]", "topology.pods.client.replicas=2"}),
              testing::HasSubstr("a tcp_stream has one generator"));
}

TEST(Resolve, TakesTheOnlyWorkloadForAnExpectation) {
  const auto scenario = parse_scenario(
      sound, "s.yaml",
      {"workloads=[{kind: tcp_crr}]", "expect=[{metric: connect.p50, arm: direct, at_most: 1ms}]"});
  ASSERT_TRUE(scenario) << scenario.error().message;
  EXPECT_EQ(scenario->expect[0].workload, bench::WorkloadKind::tcp_crr);
}

TEST(TlsHandshake, IsOneConnectionAfterAnotherWithBothEndsKnown) {
  const auto scenario =
      parse_scenario(with_line(13, "  - {kind: tls_handshake, session_resumption: on}"), "s.yaml",
                     {"expect.0.workload=tls_handshake"});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  const auto& workload = scenario->workloads.front();
  EXPECT_EQ(workload.session_resumption, bench::Switch::on);
  EXPECT_EQ(workload.client_certificate, true);
  EXPECT_FALSE(bench::keeps_connections(workload));
  EXPECT_FALSE(bench::replies_by_tcp(workload.kind)) << "not in the clear";
}

TEST(TlsHandshake, SaysWhatItCannotDoAndWhoElseCannot) {
  const auto said = [](std::string_view workload) {
    return message_of(with_line(13, fmt::format("  - {{{}}}", workload)));
  };
  EXPECT_THAT(said("kind: tls_handshake, rate: 5/s"), testing::HasSubstr("is a closed loop"));
  EXPECT_THAT(said("kind: tls_handshake, connections: 2"), testing::HasSubstr("one at a time"));
  EXPECT_THAT(said("kind: tls_handshake, wait: spin"), testing::HasSubstr("waits by block"));
  EXPECT_THAT(said("kind: tcp_crr, session_resumption: on"),
              testing::HasSubstr("only tls_handshake makes handshakes of its own"));
  EXPECT_THAT(said("kind: http, client_certificate: false"),
              testing::HasSubstr("only tls_handshake makes handshakes of its own"));
}

TEST(Http2, HasOneStreamOfAConnectionUnlessItSaysMore) {
  const auto read = [](std::string_view workload) {
    return parse_scenario(with_line(13, fmt::format("  - {{{}}}", workload)), "s.yaml",
                          {"expect.0.workload=http2"});
  };
  const auto plain = read("kind: http2");
  ASSERT_TRUE(plain) << base::describe_error(plain.error());
  EXPECT_EQ(plain->workloads.front().streams, 1);
  EXPECT_EQ(plain->workloads.front().keep_alive, true);
  EXPECT_EQ(plain->workloads.front().request, base::Bytes{0});
  const auto many = read("kind: http2, streams: 10, connections: 4");
  ASSERT_TRUE(many) << base::describe_error(many.error());
  EXPECT_EQ(bench::requests_at_once(many->workloads.front()), 40);
  EXPECT_TRUE(read("kind: http2, keep_alive: false, streams: 1"));
}

TEST(Http2, SaysWhoHasNoStreams) {
  const auto said = [](std::string_view workload) {
    return message_of(with_line(13, fmt::format("  - {{{}}}", workload)));
  };
  EXPECT_THAT(
      said("kind: http, streams: 2"),
      testing::HasSubstr("s.yaml:13:27: workloads[0].streams: only the connections of http2 "
                         "have streams; http has connections"));
  EXPECT_THAT(said("kind: http2, keep_alive: false, streams: 2"),
              testing::HasSubstr("with keep_alive: false a connection carries one request"));
  EXPECT_THAT(said("kind: http2, streams: 0"), testing::HasSubstr("workloads[0].streams: "));
}

}  // namespace
}  // namespace stackbench
