// What policies cost, as a run in the lab says it: a line through environments that hold more and
// more of them. Needs root.
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST(PolicyCostRun, IsALineThroughTheNumbersOfPolicies) {
  const auto ran = tests::run(
      "question: What do policies cost?\n"
      "topology:\n"
      "  nodes: 1\n"
      "  pods: {client: {node: 1}, web: {node: 1}}\n"
      "environments:\n"
      "  none: {datapath: direct, filler_policies: 0}\n"
      "  ten: {datapath: direct, filler_policies: 10}\n"
      "  hundred: {datapath: direct, filler_policies: 100}\n"
      "arms:\n"
      "  - {name: none, in: none, dial: pod/web}\n"
      "  - {name: ten, in: ten, dial: pod/web}\n"
      "  - {name: hundred, in: hundred, dial: pod/web}\n"
      "workloads:\n"
      "  - {kind: tcp_crr, duration: 20ms, warm_up: 2ms, wait: block}\n"
      "blocks: 6\n");
  // So few and so short blocks tell little, and a disturbed machine tells nothing.
  EXPECT_THAT(ran.code, AnyOf(0, 3, 4)) << ran.out << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("Growth with the number of policies"));
  EXPECT_THAT(ran.out, HasSubstr("tcp_crr connect.p50, by policies"));
  EXPECT_THAT(ran.out, HasSubstr("direct loading took"));

  std::vector<std::string> metrics;
  for (const auto& growth : ran.report.value("growth", base::Json::array())) {
    metrics.push_back(growth["metric"]);
    EXPECT_EQ(growth["by"], "policies");
    ASSERT_EQ(growth["points"].size(), 3U);
    std::int64_t memory = 0;
    for (const auto& point : growth["points"]) {
      EXPECT_GT(point["value_ns"].get<double>(), 0);
      EXPECT_GT(point["kernel_memory_bytes"].get<std::int64_t>(), memory);
      memory = point["kernel_memory_bytes"].get<std::int64_t>();
    }
    EXPECT_EQ(growth["points"][2]["loaded"], 100);
  }
  EXPECT_THAT(metrics, UnorderedElementsAre("connect.p50", "cpu_per_request"));

  // Nothing is denied (that is exit code 5), and who has policies is judged by them.
  std::map<std::string, base::Json> facts;
  for (const auto& environment : ran.report.value("environments", base::Json::array())) {
    facts[environment["name"]] = environment["facts"]["network_policy"];
  }
  for (const auto& [name, policies] :
       std::map<std::string, int>{{"none", 0}, {"ten", 10}, {"hundred", 100}}) {
    ASSERT_TRUE(facts[name].is_object()) << name;
    EXPECT_EQ(facts[name]["policies"], policies) << name;
    EXPECT_EQ(facts[name]["rule_sets"], policies > 0 ? 2 : 0) << name;
  }
}

}  // namespace
