#include "reports/policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/conclude.h"
#include "reports/example.h"
#include "reports/golden.h"
#include "reports/prometheus.h"
#include "reports/terminal.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string shown(const Report& report, int width) {
  return render_terminal(report, {.charset = base::Charset::utf8, .width = width},
                         "results/policy.json");
}

TEST(PolicyReport, AtAHundredAndTwentyColumns) {
  expect_golden(shown(example_policy_report(), 120), "testdata/policy.txt");
}

TEST(PolicyReport, HasItsFiguresForPrometheus) {
  expect_golden(render_prometheus(example_policy_report()), "testdata/policy.prom");
}

TEST(PolicyReport, ReadsBackFromItsFile) {
  const auto json = base::to_json(example_policy_report());
  const auto again = base::from_json<Report>(json);
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(base::dump_json(base::to_json(*again)), base::dump_json(json));
}

TEST(PolicyReport, AGridTooWideForItsPortsHasAMarkForEachPair) {
  auto report = example_policy_report();
  auto& matrix = report.policy->matrices.front();
  for (auto& row : matrix.rows) {
    for (auto& cells : row.cells) cells += std::string(30, cells.front());
  }
  const auto text = shown(report, 80);
  EXPECT_THAT(text, HasSubstr("batch-0    !      +        .\n"));
  EXPECT_THAT(text, HasSubstr("Of all ports together"));
}

TEST(PolicyReport, AGridTooWideForAnythingIsInTheFileAlone) {
  auto report = example_policy_report();
  auto& matrix = report.policy->matrices.front();
  for (int i = 0; i < 60; ++i) matrix.pods.push_back("pod-" + std::to_string(i));
  const auto text = shown(report, 80);
  EXPECT_THAT(text,
              HasSubstr("The grid of 63 pods is wider than this terminal; the report file has "
                        "it."));
  EXPECT_THAT(text, Not(HasSubstr("from / to")));
}

TEST(PolicyReport, ALeakThatOutlastsTheWatchIsTheWorst) {
  auto report = example_policy_report();
  EXPECT_THAT(shown(report, 120), Not(HasSubstr("> ")));
  auto& leak = report.policy->windows.front();
  leak.unended = 1;
  leak.window->interval.reset();
  leak.window->max_ns = 111'000'000;
  leak.window->max_at_least = true;
  const auto text = shown(report, 120);
  EXPECT_THAT(text, HasSubstr("> 111 ms"));
  EXPECT_THAT(text, HasSubstr("50.4 ms"));
  EXPECT_THAT(text, HasSubstr("not over when the watch ended"));
  const auto figures = render_prometheus(report);
  EXPECT_THAT(figures, HasSubstr("policy_window_unended{"));
  EXPECT_THAT(figures, HasSubstr("0.111"));
}

TEST(PolicyReport, NoLineButACommandIsWiderThanTheTerminal) {
  for (const int width : {60, 80, 100}) {
    std::istringstream lines(shown(example_policy_report(), width));
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("    stackbench") || line.starts_with("    {")) continue;
      EXPECT_LE(base::display_width(line), static_cast<std::size_t>(width)) << line;
    }
  }
}

TEST(PolicyReport, WhatANameHoldsIsNotWrittenToTheTerminal) {
  auto report = example_policy_report();
  report.policy->matrices.front().differences.front().explanation = "\x1b[2J";
  report.policy->windows.front().what = "\x1b[2J";
  EXPECT_THAT(shown(report, 120), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace reports
