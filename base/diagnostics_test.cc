#include "base/diagnostics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace base {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Diagnostic at(int line, int column, std::string message = "wrong") {
  return {.source = "a.yaml", .line = line, .column = column, .message = std::move(message)};
}

// The part of a caret line that stands below the excerpt.
std::string caret_line(const std::string& rendered) {
  return rendered.substr(rendered.rfind('\n') + 1);
}

TEST(Diagnostic, ShowsTheLineAndACaretBelowTheFault) {
  std::string text;
  for (int line = 1; line < 19; ++line) text += "#\n";
  text += "  - {kind: tcp_rr, duration: 30}\nblocks: 12\n";
  const Diagnostic diagnostic{.source = "scenarios/kpr.yaml",
                              .line = 19,
                              .column = 30,
                              .path = "workloads[0].duration",
                              .message = "expected a duration such as 30s or 250ms, got \"30\""};
  EXPECT_EQ(render(diagnostic, text),
            "scenarios/kpr.yaml:19:30: workloads[0].duration: expected a duration such as 30s or "
            "250ms, got \"30\"\n"
            "   19 |   - {kind: tcp_rr, duration: 30}\n"
            "      |                              ^");
}

TEST(Diagnostic, WithoutAPlaceIsOneLine) {
  EXPECT_EQ(render({.source = "--set blocks", .message = "expected an integer"}, "blocks: 1\n"),
            "--set blocks: expected an integer");
}

TEST(Diagnostic, CountsCharactersNotBytes) {
  EXPECT_EQ(render(at(1, 5), "caf\xC3\xA9\xE2\x82\xAC: x"),
            "a.yaml:1:5: wrong\n"
            "    1 | caf\xC3\xA9\xE2\x82\xAC: x\n"
            "      |     ^");
}

TEST(Diagnostic, ShowsATabAsOneSpace) {
  EXPECT_EQ(render(at(1, 3), "\t\tx"),
            "a.yaml:1:3: wrong\n"
            "    1 |   x\n"
            "      |   ^");
}

TEST(Diagnostic, NeverHandsControlCharactersToATerminal) {
  const auto shown = render({.source = "a\x1b[2J.yaml",
                             .line = 1,
                             .column = 4,
                             .path = "b\x07",
                             .message = "got \"\x1b]0;title\x07\xC2\x9B\""},
                            "x: \x1b[31m\xff\x7f");
  EXPECT_THAT(shown, Not(HasSubstr("\x1b")));
  EXPECT_THAT(shown, Not(HasSubstr("\x07")));
  EXPECT_THAT(shown, Not(HasSubstr("\x7f")));
  EXPECT_THAT(shown, Not(HasSubstr("\xC2\x9B")));
  EXPECT_THAT(shown, HasSubstr("x: \xEF\xBF\xBD[31m\xEF\xBF\xBD\xEF\xBF\xBD"));
}

TEST(Diagnostic, LeavesTheCarriageReturnOut) {
  EXPECT_EQ(render(at(2, 1), "a: 1\r\nb: 2\r\n"), "a.yaml:2:1: wrong\n    2 | b: 2\n      | ^");
}

TEST(Diagnostic, CutsALongLineAroundTheCaret) {
  const std::string line = std::string(500, 'a') + "B" + std::string(500, 'c');
  const auto shown = render(at(1, 501), line);
  EXPECT_EQ(shown, "a.yaml:1:501: wrong\n    1 | \xE2\x80\xA6" + std::string(50, 'a') + "B" +
                       std::string(49, 'c') + "\xE2\x80\xA6\n      | " + std::string(51, ' ') +
                       "^");
  EXPECT_EQ(render(at(1, 3), line),
            "a.yaml:1:3: wrong\n    1 | " + std::string(100, 'a') + "\xE2\x80\xA6\n      |   ^");
  EXPECT_EQ(render(at(1, 1002), line), "a.yaml:1:1002: wrong\n    1 | \xE2\x80\xA6" +
                                           std::string(100, 'c') + "\n      | " +
                                           std::string(101, ' ') + "^");
}

TEST(Diagnostic, CutsALongMessage) {
  const auto shown = render(at(1, 1, std::string(100'000, 'x')), "a");
  EXPECT_LT(shown.size(), 600u);
}

TEST(Diagnostic, MayStandBehindTheLastCharacterButNotFurther) {
  EXPECT_EQ(caret_line(render(at(1, 4), "abc")), "      |    ^");
  EXPECT_EQ(caret_line(render(at(1, 99), "abc")), "      |    ^");
}

TEST(Diagnostic, OfAnEmptyTextHasAnEmptyLine) {
  EXPECT_EQ(render(at(1, 1), ""), "a.yaml:1:1: wrong\n    1 | \n      | ^");
  EXPECT_EQ(render(at(7, 1), "a\n"), "a.yaml:7:1: wrong\n    7 | \n      | ^");
}

TEST(Utf8, AcceptsExactlyWhatRfc3629Does) {
  EXPECT_EQ(utf8_length("a"), 1u);
  EXPECT_EQ(utf8_length("\xC2\x80"), 2u);
  EXPECT_EQ(utf8_length("\xE2\x82\xAC!"), 3u);
  EXPECT_EQ(utf8_length("\xF4\x8F\xBF\xBF"), 4u);
  EXPECT_EQ(utf8_length(""), 0u);
  EXPECT_EQ(utf8_length("\x80"), 0u);
  EXPECT_EQ(utf8_length("\xC1\xBF"), 0u);          // overlong
  EXPECT_EQ(utf8_length("\xE0\x9F\xBF"), 0u);      // overlong
  EXPECT_EQ(utf8_length("\xED\xA0\x80"), 0u);      // a surrogate
  EXPECT_EQ(utf8_length("\xF4\x90\x80\x80"), 0u);  // past U+10FFFF
  EXPECT_EQ(utf8_length("\xE2\x82"), 0u);          // cut
}

TEST(Diagnostics, ComeAllAtOnceByPlace) {
  const std::string_view text = "a: 1\nb: 2\n";
  Diagnostics diagnostics(text);
  diagnostics.add({.source = "--set c", .message = "unknown field"});
  diagnostics.add(at(2, 4, "second"));
  diagnostics.add(at(1, 4, "first, later"));
  diagnostics.add(at(1, 1, "first"));
  const auto error = diagnostics.to_error("a.yaml and --set");
  EXPECT_EQ(error.kind, ErrorKind::input);
  EXPECT_EQ(error.message,
            "a.yaml:1:1: first\n    1 | a: 1\n      | ^\n"
            "a.yaml:1:4: first, later\n    1 | a: 1\n      |    ^\n"
            "a.yaml:2:4: second\n    2 | b: 2\n      |    ^\n"
            "--set c: unknown field\n"
            "4 errors in a.yaml and --set");
}

TEST(Diagnostics, OfOneFaultSayErrorInTheSingular) {
  Diagnostics diagnostics("x");
  diagnostics.add(at(1, 1));
  EXPECT_TRUE(diagnostics.to_error("a.yaml").message.ends_with("\n1 error in a.yaml"));
}

TEST(Diagnostics, AreCountedPastTheFirstFifty) {
  Diagnostics diagnostics("x");
  for (int i = 0; i < 60; ++i) diagnostics.add(at(1, 1, fmt::format("fault {}.", i)));
  const auto message = diagnostics.to_error("a.yaml").message;
  EXPECT_THAT(message, HasSubstr("fault 49."));
  EXPECT_THAT(message, Not(HasSubstr("fault 50.")));
  EXPECT_TRUE(message.ends_with("\n\xE2\x80\xA6 and 10 more\n60 errors in a.yaml"));
}

}  // namespace
}  // namespace base
