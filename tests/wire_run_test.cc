// A whole run in the lab that asks whether the wire is encrypted where nothing encrypts it: each
// arm must be found out, by every kind of request, at the pod and at the node's uplink, and with
// nothing lost. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

constexpr const char* scenario =
    "question: Is the wire encrypted?\n"
    "topology:\n"
    "  nodes: 2\n"
    "  pods: {client: {node: 1}, web: {node: 2, replicas: 2}}\n"
    "  services: {web: {target: web}}\n"
    "environments: {iptables: {datapath: iptables}}\n"
    "arms:\n"
    "  - {name: direct, dial: pod/web}\n"
    "  - {name: cluster_ip, in: iptables, dial: service/web}\n"
    "workloads:\n"
    "  - {kind: http, duration: 30ms, warm_up: 10ms}\n"
    "  - {kind: tcp_crr, duration: 30ms, warm_up: 10ms}\n"
    "blocks: 6\n"
    "checks: [wire_is_encrypted, impostors_refused]\n";

TEST(WireRun, EveryArmWithoutAMeshIsFoundReadable) {
  const auto ran = tests::run_until_judged(scenario);
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  std::size_t readable = 0;
  for (const auto& check : ran.report["checks"]) {
    const auto sentence = check["sentence"].get<std::string>();
    if (check["name"] == "impostors_refused") {
      EXPECT_EQ(check["verdict"], "skip") << sentence;
      continue;
    }
    ASSERT_EQ(check["name"], "wire_is_encrypted");
    EXPECT_EQ(check["verdict"], "fail") << sentence;
    EXPECT_THAT(sentence, HasSubstr("could be read at client_pod"));
    ++readable;
    const auto& evidence = check["evidence"];
    EXPECT_GT(evidence["requests"], check["workload"] == "http" ? 1000 : 250);
    for (const auto* place : {"client_pod", "client_node"}) {
      const auto& point = evidence["points"][place];
      EXPECT_EQ(point["lost"], 0) << place;
      EXPECT_EQ(point["unreadable"], 0) << place;
      EXPECT_GE(point["canaries"]["request"], evidence["requests"]) << place;
      EXPECT_GE(point["canaries"]["reply"], evidence["requests"]) << place;
      EXPECT_TRUE(point["samples_before"][0]["reply"].get<bool>()) << place;
      EXPECT_TRUE(point["samples_after"][0]["request"].get<bool>()) << place;
    }
  }
  EXPECT_EQ(readable, 4U) << ran.out;
}

}  // namespace
