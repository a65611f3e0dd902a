// What is asked of the wire and of the doors of a mesh of real Envoys, over whole runs: the planted
// faults and the clean twins. Needs root, and the Envoy that ./bootstrap test unpacks.
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class MeshWireRun : public ::testing::Test {
 protected:
  void run(std::string_view environments, std::string_view arms, std::string_view checks,
           std::string_view faults) {
    ran_ =
        tests::run(fmt::format("question: Is it encrypted?\n"
                               "topology:\n"
                               "  nodes: 2\n"
                               "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 2}}}}\n"
                               "  services: {{web: {{target: web}}}}\n"
                               "environments: {{{}}}\n"
                               "arms: [{}]\n"
                               "workloads:\n"
                               "  - {{kind: http, duration: 30ms, warm_up: 10ms}}\n"
                               "  - {{kind: http2, duration: 30ms, warm_up: 10ms}}\n"
                               "  - {{kind: tcp_crr, duration: 30ms, warm_up: 10ms}}\n"
                               "blocks: 6\n"
                               "wire: {{duration: 800ms}}\n"
                               "checks: [wire_is_encrypted, impostors_refused, {}]\n"
                               "faults: [{}]\n",
                               environments, arms, checks, faults));
  }
  // Absent: it was not judged.
  [[nodiscard]] base::Json check(std::string_view name, std::string_view arm,
                                 std::string_view workload) const {
    const auto checks = ran_.report.is_null() ? base::Json::array() : ran_.report["checks"];
    for (const auto& one : checks) {
      if (one["name"] == name && one["arm"] == arm && one["workload"] == workload) return one;
    }
    return {{"verdict", "absent"}, {"sentence", ran_.out + ran_.err}};
  }
  void expect(std::string_view name, std::string_view arm, std::string_view verdict,
              const ::testing::Matcher<std::string>& sentence) const {
    for (const auto* workload : {"http", "http2", "tcp_crr"}) {
      const auto seen = check(name, arm, workload);
      EXPECT_EQ(seen["verdict"], verdict) << name << " of " << arm << ", " << workload;
      EXPECT_THAT(seen["sentence"].get<std::string>(), sentence);
    }
  }

  tests::Ran ran_;
};

TEST_F(MeshWireRun, StrictIsProvenAndAHoleAndAnyAuthorityAreFound) {
  run("strict: {datapath: nftables, mesh: {mode: STRICT}}, "
      "any_ca: {datapath: nftables, mesh: {mode: STRICT}}, "
      "hole: {datapath: nftables, mesh: {mode: PERMISSIVE}}, "
      "leaky: {datapath: nftables, mesh: {mode: PERMISSIVE}}",
      "{name: strict, in: strict, dial: service/web}, "
      "{name: any_ca, in: any_ca, dial: service/web}, {name: hole, in: hole, dial: service/web}, "
      "{name: leaky, in: leaky, dial: service/web}",
      "plaintext_refused",
      "{kind: any_ca_trusted, environment: any_ca}, "
      "{kind: interception_hole, environment: hole}, "
      "{kind: forwarded_in_plaintext, environment: leaky, one_in: 20}");
  EXPECT_EQ(ran_.code, 1);
  // That anybody is let in is no matter of the wire.
  for (const auto* arm : {"strict", "any_ca"}) {
    expect("wire_is_encrypted", arm, "pass",
           AllOf(HasSubstr("SNI outbound_.800"), HasSubstr("ALPN istio"),
                 HasSubstr("web-0 answers as spiffe://cluster.local/ns/default/sa/web")));
    for (const auto* place : {"client_pod", "client_node"}) {
      const auto evidence = check("wire_is_encrypted", arm, "http")["evidence"];
      const auto point = evidence["points"][place];
      EXPECT_GT(evidence["requests"], 1000) << place;
      EXPECT_GE(point["records_to_servers"], evidence["requests"]) << place;
      EXPECT_EQ(point["canaries"]["request"], 0) << place;
      EXPECT_EQ(point["canaries"]["reply"], 0) << place;
      EXPECT_EQ(point["connections_midway"], 0) << place;
      EXPECT_EQ(point["bytes_elsewhere"], 0) << place;
      EXPECT_EQ(point["lost"], 0) << place;
    }
    const auto http2 = check("wire_is_encrypted", arm, "http2");
    EXPECT_THAT(http2["sentence"].get<std::string>(), HasSubstr("ALPN istio-h2 "));
    for (const auto* place : {"client_pod", "client_node"}) {
      for (const auto* when : {"samples_before", "samples_after"}) {
        const auto samples = http2["evidence"]["points"][place][when];
        ASSERT_EQ(samples.size(), 1U);
        EXPECT_EQ(samples[0]["protocol"], "http2");
      }
    }
    const auto evidence = check("wire_is_encrypted", arm, "tcp_crr")["evidence"];
    EXPECT_EQ(evidence["connections"], evidence["requests"]);
  }
  for (const auto* arm : {"hole", "leaky"}) {
    expect("wire_is_encrypted", arm, "fail", HasSubstr("could be read at client_pod"));
  }
  for (const auto* workload : {"http", "http2", "tcp_crr"}) {
    const auto evidence = check("wire_is_encrypted", "leaky", workload)["evidence"];
    EXPECT_LT(evidence["points"]["client_pod"]["canaries"]["request"].get<int>(),
              evidence["requests"].get<int>() / 10)
        << "most are encrypted";
  }
  // What is read there are DATA frames: the sanity capture's own sample, and both ways' canaries.
  const auto read = check("wire_is_encrypted", "hole", "http2")["evidence"]["points"]["client_pod"];
  EXPECT_GT(read["canaries"]["request"], 1000);
  EXPECT_GT(read["canaries"]["reply"], 1000);
  expect("impostors_refused", "strict", "pass",
         HasSubstr("at each of 2 servers: 6 of 6 impostors were refused"));
  expect("impostors_refused", "any_ca", "fail", HasSubstr("foreign_ca: "));
  expect("impostors_refused", "hole", "absent", ::testing::_);
  expect("plaintext_refused", "strict", "pass", HasSubstr("to 2 pods, each reset"));
  expect("plaintext_refused", "any_ca", "pass", HasSubstr("to 2 pods, each reset"));
}

TEST_F(MeshWireRun, ProxiesThatPassOnWhatTheyGetHideNothingAndMustBeMet) {
  run("plain: {datapath: nftables, mesh: {mode: DISABLE}}, "
      "round: {datapath: nftables, mesh: {mode: DISABLE}}",
      "{name: plain, in: plain, dial: service/web}, {name: round, in: round, dial: service/web}",
      "handshake_per_connection", "{kind: interception_hole, environment: round}");
  EXPECT_EQ(ran_.code, 1);
  expect("wire_is_encrypted", "plain", "fail", HasSubstr("could be read at client_pod"));
  expect("impostors_refused", "plain", "skip", HasSubstr("no mesh here whose authority"));
  expect("handshake_per_connection", "plain", "pass", ::testing::_);
  expect("handshake_per_connection", "round", "invalid",
         HasSubstr("did not pass the client's proxy"));
}

}  // namespace
