#include "base/terminal.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

namespace base {
namespace {

Environment with(const std::map<std::string, std::string>& variables) {
  return [variables](const char* name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    if (found == variables.end()) return std::nullopt;
    return found->second;
  };
}

TEST(TerminalChoice, ATerminalHasColours) {
  const auto terminal = choose_terminal(true, 120, with({{"TERM", "xterm"}}));
  EXPECT_TRUE(terminal.interactive);
  EXPECT_TRUE(terminal.colour);
  EXPECT_EQ(terminal.width, 120);
}

TEST(TerminalChoice, NoColorTurnsColoursOffAndLeavesTheRest) {
  const auto terminal = choose_terminal(true, 120, with({{"TERM", "xterm"}, {"NO_COLOR", "1"}}));
  EXPECT_TRUE(terminal.interactive);
  EXPECT_FALSE(terminal.colour);
  EXPECT_TRUE(choose_terminal(true, 80, with({{"TERM", "xterm"}, {"NO_COLOR", ""}})).colour);
}

TEST(TerminalChoice, PipesAndDumbTerminalsGetPlainLines) {
  EXPECT_FALSE(choose_terminal(false, {}, with({{"TERM", "xterm"}})).interactive);
  EXPECT_FALSE(choose_terminal(false, {}, with({{"TERM", "xterm"}})).colour);
  EXPECT_FALSE(choose_terminal(true, 80, with({{"TERM", "dumb"}})).interactive);
  EXPECT_FALSE(choose_terminal(true, 80, with({})).colour);
}

TEST(TerminalChoice, TheWidthIsTheTerminalsThenColumnsThenAHundred) {
  EXPECT_EQ(choose_terminal(true, 90, with({{"COLUMNS", "70"}})).width, 90);
  EXPECT_EQ(choose_terminal(false, {}, with({{"COLUMNS", "70"}})).width, 70);
  EXPECT_EQ(choose_terminal(false, {}, with({{"COLUMNS", "wide"}})).width, 100);
  EXPECT_EQ(choose_terminal(true, 3, with({})).width, 40);
}

TEST(TerminalChoice, TheFirstLocaleVariableThatIsSetDecidesTheCharset) {
  EXPECT_EQ(choose_terminal(false, {}, with({{"LANG", "en_US.UTF-8"}})).charset, Charset::utf8);
  EXPECT_EQ(choose_terminal(false, {}, with({{"LANG", "C.utf8"}})).charset, Charset::utf8);
  EXPECT_EQ(choose_terminal(false, {}, with({{"LC_ALL", "C"}, {"LANG", "C.UTF-8"}})).charset,
            Charset::ascii);
  EXPECT_EQ(choose_terminal(false, {}, with({{"LC_ALL", ""}, {"LANG", "C.UTF-8"}})).charset,
            Charset::utf8);
  EXPECT_EQ(choose_terminal(false, {}, with({})).charset, Charset::ascii);
}

TEST(Text, PaintIsLeftOutWithoutColours) {
  EXPECT_EQ(painted("x", Paint::green, false), "x");
  EXPECT_EQ(painted("x", Paint::green, true), "\x1b[32mx\x1b[0m");
  EXPECT_EQ(painted("x", Paint::plain, true), "x");
}

TEST(Text, ControlCharactersAndBadUtf8NeverReachTheTerminal) {
  EXPECT_EQ(printable("a\x1b[31mb\tc\nd", Charset::utf8), "a?[31mb?c\nd");
  EXPECT_EQ(printable("caf\xc3\xa9 \xff\xc3", Charset::utf8), "caf\xc3\xa9 ??");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m",
                      Charset::utf8),
            "?31m");  // CSI as one C1 character
  EXPECT_EQ(printable(std::string_view("a\0b", 3), Charset::utf8), "a?b");
}

TEST(Text, AsciiTerminalsGetAscii) {
  EXPECT_EQ(printable("caf\xc3\xa9 \xe4\xb8\xad", Charset::ascii), "caf? ?");
}

TEST(Text, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(display_width("12.3 \xc2\xb5s"), 7u);
  EXPECT_EQ(display_width("\xe4\xb8\xad"), 2u);  // a wide character
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);     // e and a combining acute
  EXPECT_EQ(display_width(""), 0u);
}

TEST(Text, PadsByColumns) {
  EXPECT_EQ(pad_left("\xc2\xb5s", 4), "  \xc2\xb5s");
  EXPECT_EQ(pad_right("\xe4\xb8\xad", 4), "\xe4\xb8\xad  ");
  EXPECT_EQ(pad_right("long", 2), "long");
}

TEST(Text, ShortensToColumns) {
  EXPECT_EQ(shorten("iptables_pod_ip", 10), "iptables..");
  EXPECT_EQ(shorten("iptables", 8), "iptables");
  EXPECT_EQ(shorten("\xe4\xb8\xad\xe4\xb8\xad\xe4\xb8\xad", 5), "\xe4\xb8\xad..");
  EXPECT_EQ(shorten("abc", 1), ".");
}

TEST(Text, WrapsAtSpacesUnderItsLead) {
  EXPECT_EQ(wrapped("one two three four", 10, "- "), "- one two\n  three\n  four\n");
  EXPECT_EQ(wrapped("a_very_long_word b", 6), "a_very_long_word\nb\n");
  EXPECT_EQ(wrapped("", 6, "- "), "- \n");
}

// A progress line whose clock stands still until it is moved.
class ProgressTest : public testing::Test {
 protected:
  Progress make(bool interactive, int width = 80) {
    return Progress(
        {.interactive = interactive, .width = width},
        [this](std::string_view text) { written_ += text; }, [this] { return now_; });
  }
  void pass(Duration time) { now_ = now_ + time; }
  // What was written since the last call.
  std::string written() { return std::exchange(written_, {}); }

  std::string written_;
  MonotonicTime now_{5'000'000'000};
};

TEST_F(ProgressTest, PaintsOverItsLineAndSaysWhatIsLeft) {
  auto progress = make(true);
  progress.update(0, 4, "direct tcp_rr");
  EXPECT_EQ(written(), "\r\x1b[K0/4 direct tcp_rr");
  pass(std::chrono::seconds(10));
  progress.update(1, 4, "iptables tcp_rr");
  EXPECT_EQ(written(), "\r\x1b[K1/4 iptables tcp_rr, 30 s left");
}

TEST_F(ProgressTest, PaintsAtMostTenTimesASecond) {
  auto progress = make(true);
  progress.update(0, 4, "a");
  written();
  pass(std::chrono::milliseconds(99));
  progress.update(1, 4, "b");
  EXPECT_EQ(written(), "");
  pass(std::chrono::milliseconds(1));
  progress.update(2, 4, "c");
  EXPECT_EQ(written(), "\r\x1b[K2/4 c, 1 s left");
}

TEST_F(ProgressTest, ClearsItsLineAtTheEndAndOnlyOnce) {
  {
    auto progress = make(true);
    progress.update(0, 1, "a");
    written();
    progress.finish();
    EXPECT_EQ(written(), "\r\x1b[K");
  }
  EXPECT_EQ(written(), "");
  {
    auto progress = make(true);
    progress.update(0, 1, "a");
    written();
  }
  EXPECT_EQ(written(), "\r\x1b[K");
}

TEST_F(ProgressTest, ANoteStaysAboveTheLine) {
  auto progress = make(true);
  progress.update(0, 2, "a");
  written();
  progress.note("block 3 was disturbed");
  EXPECT_EQ(written(), "\r\x1b[Kblock 3 was disturbed\n\r\x1b[K0/2 a");
}

TEST_F(ProgressTest, NeverFillsTheLastColumn) {
  auto progress = make(true, 40);
  progress.update(0, 2, std::string(100, 'x'));
  EXPECT_EQ(display_width(written().substr(4)), 39u);
}

TEST_F(ProgressTest, APipeGetsOnePlainLineAStep) {
  auto progress = make(false);
  for (std::size_t i = 0; i < 50; ++i) progress.update(i, 100, "tcp_rr");
  EXPECT_EQ(written(), "");
  pass(std::chrono::seconds(49));
  progress.step_done("block 6 of 12");
  EXPECT_EQ(written(), "block 6 of 12, 51 s left\n");
  progress.note("block 7 was disturbed");
  EXPECT_EQ(written(), "block 7 was disturbed\n");
  progress.finish();
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, ATerminalNeedsNoLineAStep) {
  auto progress = make(true);
  progress.step_done("block 6 of 12");
  EXPECT_EQ(written(), "");
}

TEST_F(ProgressTest, WithoutAFinishedPieceNoTimeLeftIsClaimed) {
  auto progress = make(false);
  progress.update(0, 100, "tcp_rr");
  progress.step_done("warm-up");
  EXPECT_EQ(written(), "warm-up\n");
}

}  // namespace
}  // namespace base
