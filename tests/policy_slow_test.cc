// What takes minutes: ./bootstrap test slow. Many random policies, and the shipped scenario about
// policies in its default size with the figures it is meant to reach. Needs root.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/policy_scenario.h"
#include "tests/run_scenario.h"

namespace {

constexpr auto slow_patience = std::chrono::minutes(20);

TEST(PolicySlow, TwoThousandRandomSetsAreEnforcedAsSpecified) {
  const auto ran = tests::run(tests::policy_scenario("clean: {datapath: direct}", "",
                                                     "  random_cases: 2000\n", "policy_matrix"),
                              {"--set", "policy.matrix.timeout=100ms"}, slow_patience);
  EXPECT_EQ(ran.code, 0) << ran.out << ran.err;
  ASSERT_EQ(ran.report["policy"]["cases"].size(), 1U) << ran.err;
  const auto& cases = ran.report["policy"]["cases"][0];
  EXPECT_EQ(cases["random"], 2'000);
  EXPECT_EQ(cases["failed"], 0) << cases.dump(1);
  EXPECT_EQ(cases["cells"], cases["as_specified"]);
  fmt::print("{} random sets, {} cells, {} of them as specified, in {:.0f} s\n",
             cases["random"].get<int>(), cases["cells"].get<int>(),
             cases["as_specified"].get<int>(), cases["took_ns"].get<double>() / 1e9);
}

TEST(PolicySlow, TheShippedScenarioIsAsQuickAsItIsMeantToBe) {
  const tests::Folder folder;
  const auto report_file = folder.file("it.json");
  const auto begun = std::chrono::steady_clock::now();
  const auto result = base::run(
      {tests::command, "run", STACKBENCH_SOURCE_DIR "/scenarios/policy.yaml", "--out", report_file},
      {.timeout = slow_patience});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begun;
  ASSERT_TRUE(result) << base::describe_error(result.error());
  // A stall of the machine makes a window's verdict inconclusive; nothing fails.
  EXPECT_TRUE(result->status.code == 0 || result->status.code == 3) << result->out << result->err;
  const auto written = base::read_file(report_file);
  ASSERT_TRUE(written);
  const auto report = base::parse_json(*written).value_or(base::Json());
  const auto& matrices = report["policy"]["matrices"];
  ASSERT_FALSE(matrices.empty());
  EXPECT_EQ(matrices[0]["cells"], 486);
  EXPECT_EQ(matrices[0]["different"], 0) << matrices[0]["differences"].dump(1);
  EXPECT_LT(matrices[0]["sweep_ns"].get<double>(), 1e9);
  EXPECT_LT(took.count(), 120);
  fmt::print("the whole of it: {:.0f} s; 486 cells: {:.0f} ms\n", took.count(),
             matrices[0]["sweep_ns"].get<double>() / 1e6);
}

}  // namespace
