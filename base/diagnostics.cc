#include "base/diagnostics.h"

#include <algorithm>
#include <cassert>
#include <numeric>
#include <tuple>

#include "base/units.h"

namespace base {
namespace {

constexpr std::size_t shown_at_most = 50;
constexpr std::size_t line_width = 100;
constexpr std::size_t message_width = 400;
constexpr std::string_view replacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view ellipsis = "\xE2\x80\xA6";     // U+2026

// The text as printable characters, one element each.
std::vector<std::string_view> characters(std::string_view text) {
  std::vector<std::string_view> all;
  while (!text.empty()) {
    const auto length = utf8_length(text);
    const auto lead = static_cast<unsigned char>(text.front());
    // U+0080 to U+009F are control characters too: C1, which some terminals obey.
    const bool c1 = length == 2 && lead == 0xC2 && static_cast<unsigned char>(text[1]) < 0xA0;
    if (lead == '\t') {
      all.push_back(" ");
    } else if (length == 0 || lead < 0x20 || lead == 0x7F || c1) {
      all.push_back(replacement);
    } else {
      all.push_back(text.substr(0, length));
    }
    text.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return all;
}

std::string printable(std::string_view text, std::size_t width) {
  // Four bytes hold any character: a huge text is cut before it is looked at.
  const auto all = characters(text.substr(0, width * 4 + 4));
  std::string shown;
  for (std::size_t i = 0; i < std::min(all.size(), width); ++i) shown += all[i];
  if (all.size() > width) shown += ellipsis;
  return shown;
}

// The line and its caret below, cut to a window around the caret.
std::string excerpt(const Diagnostic& diagnostic, std::string_view text) {
  const auto all = characters(line_of(text, diagnostic.line));
  // A caret may stand one past the end: something is missing there.
  const auto column = static_cast<std::size_t>(std::max(diagnostic.column, 1));
  const auto caret = std::min(column - 1, all.size());
  std::size_t first = 0;
  if (all.size() > line_width && caret > line_width / 2) {
    first = std::min(caret - line_width / 2, all.size() - line_width);
  }
  const auto last = std::min(all.size(), first + line_width);
  std::string shown(first > 0 ? ellipsis : "");
  for (auto i = first; i < last; ++i) shown += all[i];
  if (last < all.size()) shown += ellipsis;
  const auto indent = caret - first + (first > 0 ? 1 : 0);
  // Every gutter is as wide as that of line 99999, so that blocks line up with each other.
  return fmt::format("{:>5} | {}\n{:>5} | {:>{}}", diagnostic.line, shown, "", "^", indent + 1);
}

}  // namespace

std::size_t utf8_length(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  if (text.empty()) return 0;
  const auto lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (text.size() < length) return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  if ((lead == 0xE0 && byte(1) < 0xA0) || (lead == 0xED && byte(1) > 0x9F) ||
      (lead == 0xF0 && byte(1) < 0x90) || (lead == 0xF4 && byte(1) > 0x8F)) {
    return 0;
  }
  return length;
}

std::string_view line_of(std::string_view text, int line) {
  for (int at = 1; at < line; ++at) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  if (line < 1) return {};
  text = text.substr(0, text.find('\n'));
  if (text.ends_with('\r')) text.remove_suffix(1);
  return text;
}

std::string render(const Diagnostic& diagnostic, std::string_view text) {
  std::string shown = printable(diagnostic.source, message_width);
  if (diagnostic.line > 0) {
    shown += fmt::format(":{}:{}", diagnostic.line, std::max(diagnostic.column, 1));
  }
  if (!diagnostic.path.empty()) shown += ": " + printable(diagnostic.path, message_width);
  shown += ": " + printable(diagnostic.message, message_width);
  if (diagnostic.line > 0) shown += "\n" + excerpt(diagnostic, text);
  return shown;
}

std::vector<Diagnostic> Diagnostics::sorted() const {
  std::vector<std::size_t> order(all_.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [this](std::size_t i) {
    const bool placed = all_[i].line > 0;
    return std::tuple(!placed, all_[i].line, placed ? all_[i].column : 0, i);
  });
  std::vector<Diagnostic> sorted;
  sorted.reserve(order.size());
  for (const auto i : order) sorted.push_back(all_[i]);
  return sorted;
}

Error Diagnostics::to_error(std::string_view where) const {
  assert(!all_.empty());
  std::string message;
  const auto faults = sorted();
  for (std::size_t i = 0; i < std::min(faults.size(), shown_at_most); ++i) {
    message += render(faults[i], text_) + "\n";
  }
  if (faults.size() > shown_at_most) {
    message += fmt::format("{} and {} more\n", ellipsis, faults.size() - shown_at_most);
  }
  message += fmt::format("{} in {}", format_count(faults.size(), "error"), where);
  return {.kind = ErrorKind::input, .message = std::move(message)};
}

}  // namespace base
