#include "stackbench/bgp/faults.h"

#include <gtest/gtest.h>

#include "stackbench/scenario/reader.h"

namespace stackbench::bgp {
namespace {

TEST(TimeForFaults, OfTheShippedScenarioIsBelowTenMinutes) {
  const auto scenario = load_scenario(STACKBENCH_SOURCE_DIR "/scenarios/bgp-faults.yaml", {});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  const auto& spec = *scenario->bgp;
  EXPECT_EQ(spec.faults.size(), base::EnumNames<FaultKind>::names.size()) << "every kind there is";
  EXPECT_LT(time_for_faults(spec), std::chrono::minutes(10));
  auto once = spec;
  once.repetitions = 1;
  EXPECT_LT(time_for_faults(once) * 2, time_for_faults(spec));
}

TEST(SpeakersForFaults, TellOfGracefulRestartsOnlyWhereAFaultWantsIt) {
  Spec spec;
  spec.faults = {{.kind = FaultKind::speaker_restarted, .restart_time_s = 20}};
  const auto speakers = speakers_for_faults(spec);
  EXPECT_FALSE(speakers.graceful_nodes);
  EXPECT_EQ(speakers.restart_time_s, 20U) << "the router takes part";
}

TEST(AddFaults, GivesEveryCheckItsFaultAndSaysWhatStoppedIt) {
  FaultsOutcome outcome;
  FaultRun run{.spec = {.kind = FaultKind::node_drained, .node = 2}};
  run.times.push_back({.gone_ns = 1'000'000, .probes = 100});
  outcome.runs.push_back(run);
  outcome.trouble = base::Error{.kind = base::ErrorKind::timed_out, .message = "not as before"};
  reports::Report report;
  add_faults(outcome, report);
  ASSERT_EQ(report.bgp_faults.size(), 1U);
  EXPECT_EQ(report.bgp_faults[0].verdict, base::Verdict::pass);
  ASSERT_EQ(report.checks.size(), 4U);
  EXPECT_EQ(report.checks[0].arm, "node_drained/node2");
  ASSERT_EQ(report.errors.size(), 1U);
  EXPECT_EQ(report.errors[0].message, "not as before");
}

}  // namespace
}  // namespace stackbench::bgp
