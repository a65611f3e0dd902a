#include "reports/terminal.h"

#include <string>
#include <string_view>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "reports/conclude.h"
#include "reports/example.h"
#include "reports/golden.h"

namespace reports {
namespace {

using base::Charset;
using base::Terminal;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view written_to = "results/kpr.json";

std::string rendered(const Report& report, const Terminal& terminal) {
  return render_terminal(report, terminal, std::string(written_to));
}

std::size_t widest_line(std::string_view text) {
  std::size_t widest = 0;
  while (!text.empty()) {
    const auto end = text.find('\n');
    widest = std::max(widest, base::display_width(text.substr(0, end)));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return widest;
}

TEST(TerminalReport, AtAHundredAndFortyColumns) {
  expect_golden(rendered(example_report(), {.charset = Charset::utf8, .width = 140}),
                "testdata/wide.txt");
}

TEST(TerminalReport, AtEightyColumns) {
  expect_golden(rendered(example_report(), {.charset = Charset::utf8, .width = 80}),
                "testdata/narrow.txt");
}

TEST(TerminalReport, InAsciiAndColours) {
  expect_golden(
      rendered(example_report(),
               {.interactive = true, .colour = true, .charset = Charset::ascii, .width = 100}),
      "testdata/colours.txt");
}

TEST(TerminalReport, OfARunThatWasStopped) {
  expect_golden(rendered(example_partial_report(), {.charset = Charset::utf8, .width = 80}),
                "testdata/partial.txt");
}

TEST(TerminalReport, ClocksThatDifferAreSaid) {
  auto report = example_report();
  report.plan.clock_offset_ns = -50'000'000;
  report.plan.clock_uncertainty_ns = 400'000;
  EXPECT_THAT(rendered(report, {}), HasSubstr("clocks differ, one is 50.0 ms behind the "
                                              "controller's"));
  EXPECT_THAT(rendered(report, {}), HasSubstr("400 us"));
}

TEST(TerminalReport, NoLineIsWiderThanTheTerminal) {
  for (const int width : {60, 80, 100, 120, 200}) {
    EXPECT_LE(
        widest_line(render_terminal(example_report(), {.charset = Charset::utf8, .width = width})),
        static_cast<std::size_t>(width));
  }
}

TEST(TerminalReport, WithoutColoursNoEscapeSequenceIsWritten) {
  Report report = example_report();
  report.question = "What \x1b[31mis\x1b[0m this?";
  report.arms.front().name = "di\x1b]0;title\x07rect";
  report.checks.front().sentence = "\x1b[2J";
  report.checks.front().observed =
      "\x9b"
      "2J";
  const auto text = rendered(report, {.charset = Charset::utf8, .width = 200});
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, Not(HasSubstr("\x9b")));
  EXPECT_THAT(text, Not(HasSubstr("\x07")));
}

TEST(TerminalReport, AsciiTerminalsGetAsciiOnly) {
  Report report = example_report();
  report.question = "Wie schnell l\xc3\xa4uft es?";
  for (const char c : rendered(report, {.charset = Charset::ascii, .width = 100})) {
    EXPECT_GE(c, 0) << "a byte beyond ASCII";
  }
}

TEST(TerminalReport, ADifferenceIsNeverShownWithoutSayingWhatItsIntervalIs) {
  Report report = example_report();
  for (auto& estimate : report.estimates) {
    if (estimate.difference) estimate.difference->interval_percent.reset();
  }
  EXPECT_THAT(rendered(report, {.width = 140}), HasSubstr("1: +6.5 % [no interval]"));
}

TEST(TerminalReport, FlagsOfBlocksThatDoNotCountAreNotShown) {
  Report report = example_report();
  for (auto& sample : report.samples) {
    sample.generator_limited = false;
    sample.oversubscribed =
        report.blocks[static_cast<std::size_t>(sample.block)].state != BlockState::kept;
  }
  EXPECT_THAT(rendered(report, {.width = 140}), Not(HasSubstr("[o]")));
  report.samples.back().oversubscribed = true;
  EXPECT_THAT(rendered(report, {.width = 140}), HasSubstr("[o]"));
}

TEST(TerminalReport, SaysWhereACapSetTheRate) {
  Report report = example_report();
  EXPECT_THAT(rendered(report, {.width = 140}), Not(HasSubstr("[c]")));
  report.samples.back().rate_capped = true;
  EXPECT_THAT(rendered(report, {.width = 140}), HasSubstr("[c] the rate is that of a cap"));
}

TEST(TerminalReport, FailedRequestsAndOurErrorsAreInSight) {
  Report report = example_report();
  report.samples.back().errors = {{"timed_out", 3}};
  report.errors = {{TroubleKind::setup, "agent web-0: lost", "Run it again."}};
  report.conclusion = conclude(report);
  const auto text = rendered(report, {.width = 140});
  EXPECT_THAT(text, HasSubstr("[e] requests failed"));
  EXPECT_THAT(text, HasSubstr("agent web-0: lost\n    Run it again."));
  EXPECT_THAT(text, HasSubstr("no verdict: agent web-0: lost (exit code 2)"));
}

TEST(TerminalReport, AnEmptyReportIsStillAText) {
  EXPECT_THAT(render_terminal(Report{}, {.width = 80}), HasSubstr("PARTIAL"));
}

TEST(TerminalReport, OfStreamsHasTheirColumns) {
  expect_golden(rendered(example_stream_report(), {.charset = Charset::utf8, .width = 140}),
                "testdata/streams.txt");
}

}  // namespace
}  // namespace reports
