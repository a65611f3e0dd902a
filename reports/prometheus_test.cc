#include "reports/prometheus.h"

#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/example.h"
#include "reports/golden.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(Prometheus, HasEveryFigureOfTheReport) {
  expect_golden(render_prometheus(example_report()), "testdata/example.prom");
}

TEST(Prometheus, SaysOfAnUnfinishedRunThatItIsOne) {
  const auto text = render_prometheus(example_partial_report());
  EXPECT_THAT(text, HasSubstr("\nstackbench_run_complete{scenario=\"kpr\"} 0\n"));
}

TEST(Prometheus, TellsEveryVerdictByItsOwnSeries) {
  Report report;
  report.scenario.file = "it.yaml";
  report.checks.push_back({.name = "translated_at", .arm = "a \"b\"\n", .verdict = Verdict::fail});
  const auto text = render_prometheus(report);
  const std::string labels = R"(scenario="it",check="translated_at",arm="a \"b\"\n",workload="")";
  EXPECT_THAT(text, HasSubstr("check_state{" + labels + ",verdict=\"fail\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("check_state{" + labels + ",verdict=\"pass\"} 0\n"));
  // Nothing was claimed of the run as a whole.
  EXPECT_THAT(text, Not(HasSubstr("run_state{scenario=\"it\",verdict=\"pass\"} 1")));
}

TEST(Prometheus, SaysOfStreamsWhatTheyMovedAndLost) {
  expect_golden(render_prometheus(example_stream_report()), "testdata/streams.prom");
}

TEST(Prometheus, NamesTheScenarioAsAPathMayHoldIt) {
  Report report;
  report.scenario.file = "/some/where/my own,kpr.v2.yaml";
  EXPECT_EQ(prometheus_scenario(report), "my_own_kpr.v2");
  report.scenario.file = "";
  EXPECT_EQ(prometheus_scenario(report), "unnamed");
}

}  // namespace
}  // namespace reports
