// A whole run in which certificates are rotated under traffic: three planted faults and their clean
// twin, in one run. Needs root, and the Envoy that ./bootstrap test unpacks.
#include <map>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

constexpr const char* scenario =
    "question: What breaks?\n"
    "topology:\n"
    "  pods: {client: {node: 1}, web: {node: 2}}\n"
    "  services: {web: {target: web}}\n"
    "environments:\n"
    "  clean: {datapath: nftables, mesh: {mode: STRICT, session_resumption: off}}\n"
    "  restarts: {datapath: nftables, mesh: {mode: STRICT}}\n"
    "  expires: {datapath: nftables, mesh: {mode: STRICT, session_resumption: off}}\n"
    "  untrusted: {datapath: nftables, mesh: {mode: STRICT}}\n"
    "rotation:\n"
    "  service: web\n"
    "  rate: 60/s\n"
    "  connections: 16\n"
    "  certificates_last: 4s\n"
    "  every: 1s\n"
    "  rotations: 2\n"
    "  rotate_root: true\n"
    "  budget: {gap: 900ms, renewed: 900ms}\n"
    "checks: [rotation_is_seamless, certificates_renewed, certificates_valid]\n"
    "faults:\n"
    "  - {kind: rotation_restarts_proxies, environment: restarts}\n"
    "  - {kind: certificate_not_renewed, environment: expires}\n"
    "  - {kind: new_root_untrusted, environment: untrusted}\n";

struct Judged {
  std::string verdict;
  std::string sentence;
};

// "rotation_is_seamless of clean (new_connections)".
std::map<std::string, Judged> judged(const base::Json& report) {
  std::map<std::string, Judged> all;
  for (const auto& check : report.value("checks", base::Json::array())) {
    auto name =
        fmt::format("{} of {}", check["name"].get<std::string>(), check["arm"].get<std::string>());
    if (check.contains("workload")) {
      name += fmt::format(" ({})", check["workload"].get<std::string>());
    }
    all[name] = {check["verdict"], check["sentence"]};
  }
  return all;
}

std::uint64_t failed_in(const base::Json& report, const std::string& environment,
                        const std::string& step) {
  std::uint64_t failed = 0;
  for (const auto& one : report["rotation"]["steps"]) {
    if (one["environment"] != environment || one["step"] != step) continue;
    for (const auto& traffic : one["traffic"]) {
      for (const auto& [what, count] : traffic["failed"].items()) {
        failed += count.get<std::uint64_t>();
      }
    }
  }
  return failed;
}

TEST(RotationRun, FaultsAreFoundWhereTheyArePlantedAndNowhereElse) {
  const auto ran = tests::run(scenario);
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  auto all = judged(ran.report);
  const auto expect = [&](const std::string& name, const std::string& verdict,
                          const std::string& words = "") {
    EXPECT_EQ(all[name].verdict, verdict) << name << ": " << all[name].sentence;
    EXPECT_THAT(all[name].sentence, HasSubstr(words)) << name;
  };
  expect("rotation_is_seamless of clean (new_connections)", "pass");
  expect("rotation_is_seamless of clean (kept_connections)", "pass",
         "16 connections from before the first step went on to the end");
  expect("certificates_renewed of clean", "pass", "each of 6 new certificates");
  expect("certificates_valid of clean", "pass");

  expect("rotation_is_seamless of restarts (new_connections)", "fail", "leaf (step 1)");
  expect("rotation_is_seamless of restarts (kept_connections)", "fail", "leaf (step 1)");
  expect("certificates_valid of restarts", "pass");

  expect("certificates_renewed of expires", "fail", "web-0 was given no new certificate by 3 of 5");
  expect("certificates_valid of expires", "fail", "spiffe://cluster.local/ns/default/sa/web");
  expect("rotation_is_seamless of expires (new_connections)", "fail");
  expect("rotation_is_seamless of expires (kept_connections)", "pass",
         "16 connections from before");
  ASSERT_FALSE(ran.report["rotation"]["expired"].empty());
  const auto& expired = ran.report["rotation"]["expired"][0];
  EXPECT_EQ(expired["environment"], "expires");
  EXPECT_EQ(expired["pod"], "web-0");
  EXPECT_FALSE(expired["since"][0]["failed"].empty());
  EXPECT_TRUE(expired["since"][1]["failed"].empty()) << "what is kept shows no certificate";

  expect("rotation_is_seamless of untrusted (new_connections)", "fail",
         "leaf_of_new_root (step 4)");
  expect("certificates_valid of untrusted", "pass");
  EXPECT_EQ(failed_in(ran.report, "untrusted", "leaf"), 0U);
  EXPECT_GT(failed_in(ran.report, "untrusted", "leaf_of_new_root"), 0U);
  EXPECT_EQ(failed_in(ran.report, "clean", "leaf_of_new_root"), 0U);
  EXPECT_THAT(ran.out, HasSubstr("While certificates are rotated"));
}

}  // namespace
