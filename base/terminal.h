// What the reader's terminal can do, text laid out for it, and a progress line that goes away.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/units.h"

namespace base {

// How to write to a stream.
struct Terminal {
  bool interactive = false;  // a person's terminal: a line may be painted over
  bool colour = false;
  Charset charset = Charset::ascii;
  int width = 100;  // columns
};

// The value of an environment variable; nothing when it is not set.
using Environment = std::function<std::optional<std::string>(const char* name)>;
[[nodiscard]] std::optional<std::string> process_environment(const char* name);

// Decides for the stream behind `fd`: isatty(3) and TIOCGWINSZ, then choose_terminal().
[[nodiscard]] Terminal detect_terminal(int fd,
                                       const Environment& environment = process_environment);

// The decision itself. Colours only on a terminal, and not where NO_COLOR is set to anything
// (no-color.org) or TERM is "dumb" or unset; a dumb terminal is not interactive either. The
// character set follows LC_ALL, LC_CTYPE, LANG, the first that is set. The width is COLUMNS where
// no terminal says one, else 100; never below 40.
[[nodiscard]] Terminal choose_terminal(bool is_terminal, std::optional<int> columns,
                                       const Environment& environment);

enum class Paint { plain, bold, dim, red, green, yellow };

// The text in that colour (SGR sequences), or the text alone when `colour` is false.
[[nodiscard]] std::string painted(std::string_view text, Paint paint, bool colour);

// Text from outside made safe to print: control characters (an escape sequence in a question) and
// invalid UTF-8 become '?', and in ASCII so does every other character. A line feed is kept.
[[nodiscard]] std::string printable(std::string_view text, Charset charset);

// Columns a terminal needs for UTF-8 text without escape sequences: wide characters take two,
// combining ones none (wcwidth(3) in C.UTF-8).
[[nodiscard]] std::size_t display_width(std::string_view text);

// The text with spaces up to `width` columns, behind it or before it. Longer text stays as it is.
[[nodiscard]] std::string pad_right(std::string_view text, std::size_t width);
[[nodiscard]] std::string pad_left(std::string_view text, std::size_t width);

// The text cut to `width` columns, its end replaced by "..".
[[nodiscard]] std::string shorten(std::string_view text, std::size_t width);

// The text broken at spaces into lines of at most `width` columns, the first led by `first`, the
// others by as many spaces. A longer word stands alone and sticks out. Ends with a line feed.
[[nodiscard]] std::string wrapped(std::string_view text, std::size_t width,
                                  std::string_view first = "");

// How far a long run is. On a terminal: one line, painted over at most ten times a second, with the
// time left. In a pipe: only what step_done() and note() say, one plain line each. One thread.
class Progress {
 public:
  // `sink` gets what is to be written, complete sequences at a time; `now` is the clock.
  Progress(Terminal terminal, std::function<void(std::string_view)> sink,
           std::function<MonotonicTime()> now = monotonic_now);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  // Clears the line.
  ~Progress() { finish(); }

  // `done` of `total` pieces of equal length are done, and `doing` goes on. The total may grow.
  void update(std::size_t done, std::size_t total, std::string_view doing);
  // A step that deserves a line of its own in a log (a block): "block 3 of 13, 40 s left". On a
  // terminal the moving line says so already.
  void step_done(std::string_view step);
  // A line that stays, on a terminal as in a pipe.
  void note(std::string_view line);
  // Clears the line; a later update() paints it again.
  void finish();

 private:
  [[nodiscard]] std::optional<Duration> time_left() const;
  void paint();

  Terminal terminal_;
  std::function<void(std::string_view)> sink_;
  std::function<MonotonicTime()> now_;
  MonotonicTime started_;
  std::optional<MonotonicTime> painted_at_;
  bool visible_ = false;
  std::size_t done_ = 0;
  std::size_t total_ = 0;
  std::string doing_;
};

}  // namespace base
