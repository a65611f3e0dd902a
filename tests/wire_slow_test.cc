// The proof on the wire at the pace at which two sidecars nearly do no more: ./bootstrap test slow.
// Needs root, and the Envoy that ./bootstrap test unpacks.
#include <algorithm>
#include <string>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;

// Each run is told apart by what is sent while the wire is looked at, and by what is planted.
std::string scenario(std::string_view workload, std::string_view more) {
  return fmt::format(
      "question: Does one request in clear go unseen?\n"
      "topology:\n"
      "  nodes: 2\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{proxied: {{datapath: nftables, mesh: {{mode: PERMISSIVE}}}}}}\n"
      "arms: [{{name: proxied, in: proxied, dial: service/web}}]\n"
      "workloads: [{{kind: http, {}}}]\n"
      "blocks: 6\n"
      "{}",
      workload, more);
}

// The most requests a second that two sidecars carry here.
double highest_rate() {
  const auto ran = tests::run(scenario("duration: 500ms, connections: 8", ""));
  double highest = 0;
  for (const auto& sample : ran.report.value("samples", base::Json::array())) {
    highest = std::max(highest, sample["rate_per_second"].get<double>());
  }
  EXPECT_GT(highest, 0) << ran.out << ran.err;
  return highest;
}

TEST(WireSlow, OneRequestIn100000IsFoundAtSeventyPercentOfWhatTwoSidecarsCarry) {
  constexpr double requests = 100'000;
  // So many are looked at that some of those are among them; and none by a clean twin.
  constexpr double longest_s = 60;
  const double highest = highest_rate();
  ASSERT_GT(highest, 0);
  const double rate = 0.7 * highest;
  if (rate * longest_s < requests) GTEST_SKIP() << "too slow a machine for this: " << highest;
  const auto seconds = std::min(longest_s, 1.5 * requests / rate);
  const auto sent =
      fmt::format("wire: {{rate: {:.0f}/s, duration: {:.0f}ms}}\n", rate, seconds * 1e3);
  for (const bool planted : {true, false}) {
    const auto ran = tests::run(scenario(
        "duration: 30ms",
        sent + "checks: [wire_is_encrypted]\n" +
            (planted
                 ? "faults: [{kind: forwarded_in_plaintext, environment: proxied, one_in: 25000}]\n"
                 : "")));
    ASSERT_EQ(ran.report.value("checks", base::Json::array()).size(), 1U) << ran.out << ran.err;
    const auto& check = ran.report["checks"][0];
    const auto sentence = check["sentence"].get<std::string>();
    const auto& evidence = check["evidence"];
    const auto& pod = evidence["points"]["client_pod"];
    fmt::print("{:.0f} requests a second, {:.0f} at most: of {} requests {} in clear: {}\n", rate,
               highest, evidence["requests"].get<int>(), pod["canaries"]["request"].get<int>(),
               sentence);
    EXPECT_EQ(check["verdict"], planted ? "fail" : "pass") << sentence;
    EXPECT_GE(evidence["requests"], requests);
    // What one point saw the other did, and nothing was lost at either.
    EXPECT_EQ(evidence["points"]["client_node"]["canaries"], pod["canaries"]);
    EXPECT_EQ(pod["canaries"]["request"], pod["canaries"]["reply"]);
    EXPECT_EQ(pod["canaries"]["request"] > 0, planted) << sentence;
    EXPECT_LT(pod["canaries"]["request"], 30);
    for (const auto* place : {"client_pod", "client_node"}) {
      EXPECT_EQ(evidence["points"][place]["lost"], 0) << place;
    }
    if (planted) EXPECT_THAT(sentence, HasSubstr("could be read at client_pod"));
  }
}

}  // namespace
