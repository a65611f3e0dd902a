#include "base/terminal.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include <fmt/format.h>
#include <locale.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

namespace base {
namespace {

constexpr int narrowest = 40;
constexpr int width_of_a_pipe = 100;
constexpr Duration repaint_every = std::chrono::milliseconds(100);

// wcwidth(3) and mbrtowc(3) answer for the thread's locale: C.UTF-8 while one of these lives, so
// that a user's LANG=C changes nothing in how files are laid out.
class Utf8Locale {
 public:
  Utf8Locale() : previous_(::uselocale(utf8())) {}
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;
  ~Utf8Locale() { ::uselocale(previous_); }

 private:
  static locale_t utf8() {
    // Part of the C library itself since glibc 2.35. Kept for the life of the process.
    static const locale_t locale = ::newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;
  }
  locale_t previous_;
};

struct Character {
  std::string_view bytes;
  int columns = 1;
  bool printable = true;
};

// Takes the first character off `text`, which is not empty. A byte that is not UTF-8 is a character
// of its own.
Character take_character(std::string_view& text) {
  wchar_t wide = 0;
  mbstate_t state{};
  const std::size_t length = ::mbrtowc(&wide, text.data(), text.size(), &state);
  Character character;
  if (length == 0 || length > text.size()) {
    character = {text.substr(0, 1), 1, false};
  } else {
    const int columns = ::wcwidth(wide);
    character = {text.substr(0, length), std::max(columns, 0), columns >= 0};
  }
  text.remove_prefix(character.bytes.size());
  return character;
}

std::string_view escape_of(Paint paint) {
  switch (paint) {
    case Paint::bold:
      return "\x1b[1m";
    case Paint::dim:
      return "\x1b[2m";
    case Paint::red:
      return "\x1b[1;31m";
    case Paint::green:
      return "\x1b[32m";
    case Paint::yellow:
      return "\x1b[33m";
    case Paint::plain:
      break;
  }
  return "";
}

std::optional<int> positive_number(const std::string& text) {
  int value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, value);
  if (problem != std::errc{} || rest != end || value <= 0) return std::nullopt;
  return value;
}

Charset charset_of(const Environment& environment) {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    auto value = environment(name);
    if (!value || value->empty()) continue;
    std::ranges::transform(*value, value->begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    const bool utf8 =
        value->find("utf-8") != std::string::npos || value->find("utf8") != std::string::npos;
    return utf8 ? Charset::utf8 : Charset::ascii;
  }
  return Charset::ascii;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

Terminal detect_terminal(int fd, const Environment& environment) {
  std::optional<int> columns;
  winsize size{};
  if (::ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) columns = size.ws_col;
  return choose_terminal(::isatty(fd) == 1, columns, environment);
}

Terminal choose_terminal(bool is_terminal, std::optional<int> columns,
                         const Environment& environment) {
  const auto term = environment("TERM").value_or("");
  const auto no_color = environment("NO_COLOR").value_or("");
  Terminal terminal;
  terminal.interactive = is_terminal && !term.empty() && term != "dumb";
  terminal.colour = terminal.interactive && no_color.empty();
  terminal.charset = charset_of(environment);
  if (!columns) columns = positive_number(environment("COLUMNS").value_or(""));
  terminal.width = std::max(narrowest, columns.value_or(width_of_a_pipe));
  return terminal;
}

std::string painted(std::string_view text, Paint paint, bool colour) {
  if (!colour || paint == Paint::plain || text.empty()) return std::string(text);
  return fmt::format("{}{}\x1b[0m", escape_of(paint), text);
}

std::string printable(std::string_view text, Charset charset) {
  const Utf8Locale locale;
  std::string safe;
  while (!text.empty()) {
    const Character character = take_character(text);
    const bool kept =
        character.bytes == "\n" ||
        (character.printable && (charset == Charset::utf8 || character.bytes.size() == 1));
    safe += kept ? character.bytes : "?";
  }
  return safe;
}

std::size_t display_width(std::string_view text) {
  const Utf8Locale locale;
  std::size_t columns = 0;
  while (!text.empty()) columns += static_cast<std::size_t>(take_character(text).columns);
  return columns;
}

std::string pad_right(std::string_view text, std::size_t width) {
  const std::size_t columns = display_width(text);
  return std::string(text) + std::string(width > columns ? width - columns : 0, ' ');
}

std::string pad_left(std::string_view text, std::size_t width) {
  const std::size_t columns = display_width(text);
  return std::string(width > columns ? width - columns : 0, ' ') + std::string(text);
}

std::string shorten(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  const std::string_view end = std::string_view("..").substr(0, width);
  const Utf8Locale locale;
  std::string cut;
  std::size_t columns = 0;
  while (!text.empty()) {
    const Character character = take_character(text);
    columns += static_cast<std::size_t>(character.columns);
    if (columns + end.size() > width) break;
    cut += character.bytes;
  }
  return cut.append(end);
}

std::string wrapped(std::string_view text, std::size_t width, std::string_view first) {
  const std::string indent(display_width(first), ' ');
  std::string lines(first);
  std::size_t column = indent.size();
  bool line_is_empty = true;
  while (true) {
    const auto start = text.find_first_not_of(" \n");
    if (start == std::string_view::npos) break;
    text.remove_prefix(start);
    const auto word = text.substr(0, text.find_first_of(" \n"));
    text.remove_prefix(word.size());
    const std::size_t columns = display_width(word);
    if (!line_is_empty && column + 1 + columns > width) {
      lines += "\n" + indent;
      column = indent.size();
      line_is_empty = true;
    }
    if (!line_is_empty) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += columns;
    line_is_empty = false;
  }
  return lines + "\n";
}

Progress::Progress(Terminal terminal, std::function<void(std::string_view)> sink,
                   std::function<MonotonicTime()> now)
    : terminal_(terminal), sink_(std::move(sink)), now_(std::move(now)), started_(now_()) {}

std::optional<Duration> Progress::time_left() const {
  if (done_ == 0 || done_ > total_) return std::nullopt;
  const auto elapsed = static_cast<double>((now_() - started_).count());
  const double left = elapsed / static_cast<double>(done_) * static_cast<double>(total_ - done_);
  return Duration(static_cast<std::int64_t>(left));
}

void Progress::update(std::size_t done, std::size_t total, std::string_view doing) {
  done_ = done;
  total_ = total;
  doing_ = printable(doing, terminal_.charset);
  if (!terminal_.interactive) return;
  const MonotonicTime time = now_();
  if (painted_at_ && time - *painted_at_ < repaint_every) return;
  painted_at_ = time;
  paint();
}

void Progress::paint() {
  std::string line = fmt::format("{}/{} {}", done_, total_, doing_);
  if (const auto left = time_left()) line += fmt::format(", {} left", format_wait(left->count()));
  // One column stays free: a full line would wrap and could not be painted over.
  line = shorten(line, static_cast<std::size_t>(terminal_.width) - 1);
  sink_("\r\x1b[K" + painted(line, Paint::dim, terminal_.colour));
  visible_ = true;
}

void Progress::step_done(std::string_view step) {
  if (terminal_.interactive) return;
  std::string line = printable(step, terminal_.charset);
  if (const auto left = time_left()) line += fmt::format(", {} left", format_wait(left->count()));
  sink_(line + "\n");
}

void Progress::note(std::string_view line) {
  const bool was_visible = visible_;
  finish();
  sink_(printable(line, terminal_.charset) + "\n");
  if (was_visible) paint();
}

void Progress::finish() {
  if (!visible_) return;
  sink_("\r\x1b[K");
  visible_ = false;
  painted_at_.reset();
}

}  // namespace base
