// Checks on a mesh over whole runs: their planted faults and the clean twins. Needs root, and the
// Envoy that ./bootstrap test unpacks.
#include <map>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

std::string scenario(std::string_view environments, std::string_view arms,
                     std::string_view workloads, std::string_view faults) {
  return fmt::format(
      "question: Is it encrypted?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{{}}}\n"
      "arms: [{}]\n"
      "workloads: [{}]\n"
      "blocks: 6\n"
      "checks: [plaintext_refused, handshake_per_connection, certificates_valid]\n"
      "faults: [{}]\n",
      environments, arms, workloads, faults);
}

// "plaintext_refused of strict (tcp_crr)" -> "pass".
std::map<std::string, std::string> verdicts(const base::Json& report) {
  std::map<std::string, std::string> all;
  for (const auto& check : report.value("checks", base::Json::array())) {
    auto name =
        fmt::format("{} of {}", check["name"].get<std::string>(), check["arm"].get<std::string>());
    if (check.contains("workload"))
      name += fmt::format(" ({})", check["workload"].get<std::string>());
    all[name] = check["verdict"];
  }
  return all;
}

TEST(MeshRun, APortLeftOutOfStrictIsFoundThoughTrafficIsEncrypted) {
  const auto ran = tests::run(scenario(
      "strict: {datapath: nftables, mesh: {mode: STRICT, session_resumption: off}}, "
      "left_out: {datapath: nftables, mesh: {mode: STRICT}}",
      "{name: strict, in: strict, dial: service/web}, "
      "{name: left_out, in: left_out, dial: service/web}",
      "{kind: tcp_crr, duration: 60ms, warm_up: 15ms}, {kind: http, duration: 60ms, warm_up: 15ms}",
      "{kind: port_left_out_of_strict, environment: left_out}"));
  const std::map<std::string, std::string> expected{
      {"plaintext_refused of strict (tcp_crr)", "pass"},
      {"plaintext_refused of strict (http)", "pass"},
      {"plaintext_refused of left_out (tcp_crr)", "fail"},
      {"plaintext_refused of left_out (http)", "pass"},
      {"handshake_per_connection of strict (tcp_crr)", "pass"},
      {"handshake_per_connection of left_out (tcp_crr)", "pass"},
      {"certificates_valid of strict", "pass"},
      {"certificates_valid of left_out", "pass"}};
  EXPECT_EQ(verdicts(ran.report), expected) << ran.out << ran.err;
  // Costs are of blocks that were kept; on a disturbed machine (exit code 4) there may be none.
  if (ran.report["noise"]["kept"] > 0) EXPECT_THAT(ran.out, HasSubstr("What the mesh costs"));
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_TRUE(sample["errors"].empty());
    ASSERT_EQ(sample["proxies"].size(), 2U);
    for (const auto& proxy : sample["proxies"]) EXPECT_GT(proxy["memory_bytes"], 1'000'000);
  }
  for (const auto& proxy : ran.report["mesh"]["proxies"]) {
    EXPECT_GT(proxy["vcpu_per_1000_rps"], 0);
    if (proxy["workload"] != "tcp_crr") continue;
    EXPECT_NEAR(proxy["handshakes_per_connection"].get<double>(), 1, 0.01);
    EXPECT_EQ(proxy["resumed_share"] > 0, proxy["arm"] == "left_out");
  }
}

TEST(MeshRun, AHoleInInterceptionAndACertificateThatExpiredAreNamed) {
  const auto ran = tests::run(scenario(
      "hole: {datapath: nftables, mesh: {mode: PERMISSIVE}}, "
      "expired: {datapath: nftables, mesh: {mode: STRICT}}",
      "{name: hole, in: hole, dial: service/web}, {name: expired, in: expired, dial: service/web}",
      "{kind: tcp_crr, duration: 60ms, warm_up: 15ms}",
      "{kind: interception_hole, environment: hole}, "
      "{kind: certificate_not_renewed, environment: expired}"));
  auto seen = verdicts(ran.report);
  EXPECT_EQ(seen["handshake_per_connection of hole (tcp_crr)"], "invalid") << ran.out << ran.err;
  EXPECT_EQ(seen["certificates_valid of hole"], "pass");
  EXPECT_EQ(seen["certificates_valid of expired"], "fail");
  EXPECT_EQ(seen["plaintext_refused of expired (tcp_crr)"], "pass");
  for (const auto& sample : ran.report["samples"]) {
    // What leaves by the hole is answered as if nothing were.
    const bool hole = sample["arm"] == "hole";
    EXPECT_EQ(sample["errors"].empty(), hole);
    EXPECT_EQ(sample["requests"] > 0, hole);
  }
}

}  // namespace
