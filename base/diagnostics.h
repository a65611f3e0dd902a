// Faults of a text the user wrote: where each one is, the line with a caret, and all of them at
// once. The form is the one compilers taught everybody:
//
//   scenarios/kpr.yaml:19:30: workloads[0].duration: expected a duration such as 30s or 250ms, got
//   "30"
//      19 |   - {kind: tcp_rr, duration: 30}
//         |                              ^
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace base {

// One fault. A fault without a place in a text (a command line option, a file as a whole) has line
// 0 and is rendered without column, line and caret.
struct Diagnostic {
  std::string source;     // "scenarios/kpr.yaml", or "--set blocks"
  int line = 0;           // from 1
  int column = 0;         // from 1, in characters
  std::string path{};     // "workloads[0].duration"; may be empty
  std::string message{};  // "expected a duration such as 30s or 250ms, got \"30\""

  bool operator==(const Diagnostic&) const = default;
};

// Line `line` (from 1) of a text, without its "\n" or "\r\n"; empty where there is no such line.
[[nodiscard]] std::string_view line_of(std::string_view text, int line);

// The length in bytes of the valid UTF-8 sequence `text` begins with; 0 where it is empty or not
// valid. Overlong forms, surrogates and code points past U+10FFFF are not (RFC 3629, section 4).
[[nodiscard]] std::size_t utf8_length(std::string_view text);

// The fault as the reader sees it, without a newline at its end; `text` is what the user wrote. A
// tab is shown as one space and anything a terminal would act on or cannot show as U+FFFD, so that
// the caret stands under its character; a long line is cut around the caret and a long message at
// its end.
[[nodiscard]] std::string render(const Diagnostic& diagnostic, std::string_view text);

// The faults of one text, gathered in any order. The text must outlive them.
class Diagnostics {
 public:
  explicit Diagnostics(std::string_view text) : text_(text) {}

  void add(Diagnostic diagnostic) { all_.push_back(std::move(diagnostic)); }

  [[nodiscard]] bool empty() const { return all_.empty(); }
  [[nodiscard]] std::size_t size() const { return all_.size(); }
  // By place: faults of a text first, line by line; those without a place after them, in the order
  // they came.
  [[nodiscard]] std::vector<Diagnostic> sorted() const;
  // Every fault as one Error of kind input, closed by "3 errors in <where>". Past the first 50 they
  // are only counted. Call it with at least one fault inside.
  [[nodiscard]] Error to_error(std::string_view where) const;

 private:
  std::string_view text_;
  std::vector<Diagnostic> all_;
};

}  // namespace base
