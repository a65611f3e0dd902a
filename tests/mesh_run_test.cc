// Checks on a mesh over whole runs: their planted faults and the clean twins. Needs root, and the
// Envoy that ./bootstrap test unpacks.
#include <map>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

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
      "checks: [plaintext_refused, handshake_per_connection, certificates_valid, "
      "impostors_refused]\n"
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

// The sentence of a check.
std::string sentence(const base::Json& report, std::string_view check, std::string_view arm,
                     std::string_view workload) {
  for (const auto& one : report.value("checks", base::Json::array())) {
    if (one["name"] == check && one["arm"] == arm && one.value("workload", "") == workload) {
      return one["sentence"];
    }
  }
  return "no such check";
}

TEST(MeshRun, APortLeftOutOfStrictAndAnyTrustedAuthorityAreFoundThoughTrafficIsEncrypted) {
  const auto ran = tests::run(
      scenario("strict: {datapath: nftables, mesh: {mode: STRICT, session_resumption: off}}, "
               "left_out: {datapath: nftables, mesh: {mode: STRICT}}",
               "{name: strict, in: strict, dial: service/web}, "
               "{name: left_out, in: left_out, dial: service/web}",
               "{kind: tcp_crr, duration: 60ms, warm_up: 60ms}, {kind: http, duration: 60ms, "
               "warm_up: 60ms}, "
               "{kind: tls_handshake, duration: 60ms, warm_up: 60ms}",
               "{kind: port_left_out_of_strict, environment: left_out}, "
               "{kind: any_ca_trusted, environment: left_out}"));
  const std::map<std::string, std::string> expected{
      {"plaintext_refused of strict (tcp_crr)", "pass"},
      {"plaintext_refused of strict (http)", "pass"},
      {"plaintext_refused of left_out (tcp_crr)", "fail"},
      {"plaintext_refused of left_out (http)", "pass"},
      {"handshake_per_connection of strict (tcp_crr)", "pass"},
      {"handshake_per_connection of strict (http)", "pass"},
      {"handshake_per_connection of strict (tls_handshake)", "pass"},
      {"handshake_per_connection of left_out (tls_handshake)", "pass"},
      {"handshake_per_connection of left_out (tcp_crr)", "pass"},
      {"handshake_per_connection of left_out (http)", "pass"},
      {"impostors_refused of strict (tcp_crr)", "pass"},
      {"impostors_refused of strict (http)", "pass"},
      {"impostors_refused of left_out (tcp_crr)", "fail"},
      {"impostors_refused of left_out (http)", "fail"},
      {"certificates_valid of strict", "pass"},
      {"certificates_valid of left_out", "pass"}};
  EXPECT_EQ(ran.code, 1) << ran.err;
  EXPECT_EQ(verdicts(ran.report), expected) << ran.out << ran.err;
  EXPECT_THAT(sentence(ran.report, "impostors_refused", "left_out", "http"),
              AllOf(HasSubstr("foreign_ca: HTTP "), Not(HasSubstr("plaintext"))));
  EXPECT_THAT(sentence(ran.report, "impostors_refused", "left_out", "tcp_crr"),
              AllOf(HasSubstr("foreign_ca: answered"), HasSubstr("plaintext: answered")));
  // Costs are of blocks that were kept; on a disturbed machine (exit code 4) there may be none.
  if (ran.report["noise"]["kept"] > 0) {
    EXPECT_THAT(ran.out, HasSubstr("What the mesh costs"));
    EXPECT_FALSE(ran.report["mesh"]["proxies"].empty()) << ran.out;
  }
  ASSERT_FALSE(ran.report["samples"].empty());
  int in_its_window = 0;
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_TRUE(sample["errors"].empty());
    EXPECT_EQ(sample.contains("tls"), sample["workload"] == "tls_handshake");
    if (sample.contains("tls")) {
      EXPECT_GT(sample["requests"], 0) << "each end believes the other";
      EXPECT_EQ(sample["tls"]["handshakes"], sample["requests"]);
      EXPECT_EQ(sample["tls"]["resumed"], 0);
      in_its_window += sample.contains("cpu_per_request_ns") ? 1 : 0;
    }
    ASSERT_EQ(sample["proxies"].size(), 2U);
    for (const auto& proxy : sample["proxies"]) EXPECT_GT(proxy["memory_bytes"], 1'000'000);
  }
  // A sample whose window opened late has none; where the machine was calm, not all of them did.
  if (ran.report["noise"]["kept"] > 0) {
    EXPECT_GT(in_its_window, 0) << "a tls_handshake's window is where its proxies were read";
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
  // Of checks that failed, or of requests that did, where a block was kept.
  EXPECT_TRUE(ran.code == 1 || ran.code == 5) << ran.code;
  ASSERT_FALSE(ran.report["samples"].empty()) << ran.err;
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
