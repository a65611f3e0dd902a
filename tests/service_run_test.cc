// Whole runs in the lab: who answers a Service, what it makes of a client's address, what becomes
// of datagrams; what is planted is found, its clean twin is not. Needs root.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "tests/run_scenario.h"

namespace {

using tests::run;
using tests::verdicts_of;

const auto datapaths = ::testing::Values(std::string("iptables"), std::string("nftables"),
                                         std::string("ebpf_socket"), std::string("ebpf_tc"));

std::string datapath_of(const ::testing::TestParamInfo<std::string>& instance) {
  return instance.param;
}

class OutsideClients : public ::testing::TestWithParam<std::string> {};

// A Service of type LoadBalancer under externalTrafficPolicy Local, dialled from outside.
TEST_P(OutsideClients, KeepTheAddressUnderLocalAndARewrittenOneIsFound) {
  const auto ran = run(fmt::format(
      "question: Is the client's address kept?\n"
      "topology:\n"
      "  nodes: 2\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 2}}}}\n"
      "  services: {{web: {{target: web, type: LoadBalancer, external_traffic_policy: Local}}}}\n"
      "environments: {{clean: {{datapath: {0}}}, broken: {{datapath: {0}}}}}\n"
      "arms:\n"
      "  - {{name: clean_ipv4, in: clean, dial: load_balancer/web, from: external}}\n"
      "  - {{name: clean_ipv6, in: clean, dial: load_balancer/web, from: external, family: ipv6}}\n"
      "  - {{name: broken_ipv4, in: broken, dial: load_balancer/web, from: external}}\n"
      "  - {{name: broken_ipv6, in: broken, dial: load_balancer/web, from: external, family: "
      "ipv6}}\n"
      "workloads: [{{kind: tcp_crr, duration: 20ms, warm_up: 5ms}}]\n"
      "blocks: 6\n"
      "checks: [source_ip_preserved]\n"
      "faults: [{{kind: source_rewritten, environment: broken}}]\n",
      GetParam()));
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  for (const auto& [arm, verdict] : {std::pair{"clean_ipv4", "pass"},
                                     {"clean_ipv6", "pass"},
                                     {"broken_ipv4", "fail"},
                                     {"broken_ipv6", "fail"}}) {
    EXPECT_EQ(verdicts_of(ran.report, arm), std::vector<std::string>{verdict}) << arm << ran.out;
  }
}

INSTANTIATE_TEST_SUITE_P(, OutsideClients, datapaths, datapath_of);

class WhoAnswers : public ::testing::TestWithParam<std::string> {};

// A Service whose connections are drawn evenly, and one that keeps a client with its pod.
TEST_P(WhoAnswers, IsDrawnEvenlyOrKeptAndImpostorsAndIgnoredAffinityAreFound) {
  const auto ran =
      run(fmt::format("question: Who answers?\n"
                      "topology:\n"
                      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 3}}}}\n"
                      "  services:\n"
                      "    web: {{target: web}}\n"
                      "    kept: {{target: web, session_affinity: ClientIP}}\n"
                      "environments:\n"
                      "  clean: {{datapath: {0}}}\n"
                      "  doubled: {{datapath: {0}}}\n"
                      "  forgetful: {{datapath: {0}}}\n"
                      "arms:\n"
                      "  - {{name: drawn, in: clean, dial: service/web}}\n"
                      "  - {{name: kept, in: clean, dial: service/kept}}\n"
                      "  - {{name: drawn_of_doubled, in: doubled, dial: service/web}}\n"
                      "  - {{name: kept_by_forgetful, in: forgetful, dial: service/kept}}\n"
                      "workloads: [{{kind: tcp_crr, duration: 20ms, warm_up: 5ms}}]\n"
                      "blocks: 6\n"
                      "checks: [backend_identity, distribution]\n"
                      "faults:\n"
                      "  - {{kind: impostor, environment: doubled}}\n"
                      "  - {{kind: affinity_ignored, environment: forgetful}}\n",
                      GetParam()));
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  using Verdicts = std::vector<std::string>;
  EXPECT_EQ(verdicts_of(ran.report, "drawn"), (Verdicts{"pass", "pass"})) << ran.out;
  EXPECT_EQ(verdicts_of(ran.report, "kept"), (Verdicts{"pass", "pass"})) << ran.out;
  // One pod under two names also has two shares.
  EXPECT_EQ(verdicts_of(ran.report, "drawn_of_doubled"), (Verdicts{"fail", "fail"})) << ran.out;
  EXPECT_EQ(verdicts_of(ran.report, "kept_by_forgetful"), (Verdicts{"pass", "fail"})) << ran.out;
}

INSTANTIATE_TEST_SUITE_P(, WhoAnswers, datapaths, datapath_of);

// Datagrams by a Service, answered or given up within the timeout.
std::string datagram_scenario(std::string_view fault) {
  return fmt::format(
      "question: Is any datagram lost, and why?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{it: {{datapath: nftables}}}}\n"
      "arms: [{{name: service, in: it, dial: service/web}}]\n"
      "workloads: [{{kind: udp_rr, duration: 100ms, warm_up: 5ms, timeout: 100ms}}]\n"
      "blocks: 6\n"
      "faults: [{}]\n",
      fault);
}

TEST(Run, JoinsTheKernelsReasonToALostDatagramAndSaysNothingWhereNoneIsLost) {
  const auto clean = run(datagram_scenario(""));
  ASSERT_TRUE(clean.report.contains("samples")) << clean.out << clean.err;
  EXPECT_EQ(clean.report["drop_watch"]["watched"], true) << clean.report["drop_watch"];
  EXPECT_EQ(clean.report["drop_watch"]["seen"], 0) << clean.report["drop_watch"];
  EXPECT_EQ(clean.report["drop_watch"]["lost"], 0) << clean.report["drop_watch"];
  for (const auto& sample : clean.report["samples"]) {
    EXPECT_TRUE(sample["errors"].empty()) << sample;
    EXPECT_TRUE(sample["drops"].empty()) << sample;
  }

  const auto lossy = run(datagram_scenario("{kind: datagrams_lost, environment: it}"));
  EXPECT_EQ(lossy.code, 5) << lossy.out << lossy.err;
  std::uint64_t timed_out = 0;
  std::uint64_t dropped = 0;
  for (const auto& sample : lossy.report["samples"]) {
    timed_out += sample["errors"].value("timed_out", std::uint64_t{0});
    for (const auto& [reason, count] : sample["drops"].items()) {
      EXPECT_THAT(reason, ::testing::StartsWith("NETFILTER_DROP"));
      dropped += count.get<std::uint64_t>();
    }
  }
  EXPECT_GT(timed_out, 0U);
  // One may be dropped in a warm-up, or be given up after its window.
  EXPECT_GE(dropped, timed_out);
  EXPECT_THAT(lossy.out, ::testing::HasSubstr("NETFILTER_DROP"));
}

// Datagrams nobody answers: what became of them is what their receiver says.
TEST(Run, FindsOneDatagramInAThousandThatAStreamLostAndSaysWhy) {
  const auto stream = [](std::string_view fault) {
    auto text = datagram_scenario(fault);
    const std::string_view before = "kind: udp_rr, duration: 100ms";
    return text.replace(text.find(before), before.size(),
                        "kind: udp_stream, rate: 20000/s, connections: 2, duration: 100ms");
  };
  const auto clean = run(stream(""));
  ASSERT_TRUE(clean.report.contains("samples")) << clean.out << clean.err;
  EXPECT_EQ(clean.report["drop_watch"]["seen"], 0) << clean.report["drop_watch"];
  for (const auto& sample : clean.report["samples"]) {
    EXPECT_EQ(sample["datagrams"]["sent"], 2'100) << sample;
    EXPECT_EQ(sample["datagrams"]["received"], 2'100) << sample;
    EXPECT_TRUE(sample["errors"].empty()) << sample;
  }

  const auto lossy = run(stream("{kind: datagrams_lost, environment: it}"));
  EXPECT_EQ(lossy.code, 5) << lossy.out << lossy.err;
  std::uint64_t sent = 0;
  std::uint64_t lost = 0;
  std::uint64_t dropped = 0;
  for (const auto& sample : lossy.report["samples"]) {
    const auto& datagrams = sample["datagrams"];
    EXPECT_EQ(sample["errors"].value("lost", std::uint64_t{0}), datagrams["lost"]);
    EXPECT_EQ(datagrams["overflowed"], 0) << sample;
    sent += datagrams["sent"].get<std::uint64_t>();
    lost += datagrams["lost"].get<std::uint64_t>();
    for (const auto& [reason, count] : sample["drops"].items()) {
      EXPECT_THAT(reason, ::testing::StartsWith("NETFILTER_DROP"));
      dropped += count.get<std::uint64_t>();
    }
  }
  // Every thousandth is dropped, an opening or a report, which are asked for again, among them.
  EXPECT_GE(lost, sent / 1'000 - sent / 10'000);
  EXPECT_LE(lost, sent / 1'000 + sent / 10'000);
  EXPECT_GE(dropped, lost);
  EXPECT_LE(dropped, lost + sent / 10'000);
  EXPECT_THAT(lossy.out, ::testing::HasSubstr("NETFILTER_DROP"));
  EXPECT_THAT(lossy.out, ::testing::HasSubstr("requests failed (lost)"));
}

TEST(Run, SegmentsAStreamInTheStackOrBelowItAsItWasTold) {
  const auto ran =
      run("question: What does segmentation offload save?\n"
          "topology:\n"
          "  pods: {client: {node: 1}, web: {node: 2}}\n"
          "arms: [{name: direct, dial: pod/web}]\n"
          "workloads:\n"
          "  - {kind: tcp_stream, duration: 50ms, warm_up: 10ms, gso: on}\n"
          "  - {kind: tcp_stream, duration: 50ms, warm_up: 10ms, gso: off}\n"
          "  - {kind: tcp_stream, duration: 50ms, warm_up: 10ms}\n"
          "blocks: 6\n");
  ASSERT_TRUE(ran.report.contains("samples")) << ran.out << ran.err;
  constexpr double mtu = 1'500;
  for (const auto& sample : ran.report["samples"]) {
    const auto& stream = sample["stream"];
    const bool off = sample["workload"] == "tcp_stream_2";
    EXPECT_TRUE(sample["errors"].empty()) << sample;
    EXPECT_EQ(stream["interface"], "eth0");
    // It was as it is by default again, whatever the workload before it had asked for.
    const std::vector<std::string> in_force = stream["offloads"];
    EXPECT_EQ(std::ranges::count(in_force, "tso"), off ? 0 : 1) << stream;
    EXPECT_EQ(std::ranges::count(in_force, "gso"), off ? 0 : 1) << stream;
    const auto bytes = stream["bytes_per_skb"].get<double>();
    if (off) {
      EXPECT_LE(bytes, mtu + 14);  // with its Ethernet header
      EXPECT_GT(bytes, mtu * 0.8);
    } else {
      EXPECT_GT(bytes, 4 * mtu);
    }
  }
}

}  // namespace
