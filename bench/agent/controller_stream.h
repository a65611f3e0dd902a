// The agent's end of its controller's stream: lines in and lines out, and never a wait.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/fd.h"
#include "base/result.h"
#include "bench/agent/line.h"
#include "bench/agent/protocol.h"

namespace bench {

class ControllerStream {
 public:
  // Stdin and stdout; they stay the caller's.
  ControllerStream(int in, int out) : in_(in), out_(out) {}
  // A connection, both ways.
  explicit ControllerStream(base::UniqueFd connection)
      : connection_(std::move(connection)), in_(connection_.get()), out_(connection_.get()) {}

  // What to watch for input, and for room: -1 when nothing waits for room.
  [[nodiscard]] int in() const { return in_; }
  [[nodiscard]] int waits_for_room() const { return pending_.empty() ? -1 : out_; }

  // Takes lines to be written by flush().
  void say(std::string_view lines) { pending_ += lines; }
  // Writes what there is room for. Errors: peer_lost (the other end is closed, or does not read:
  // too much waits for it), system.
  [[nodiscard]] base::Result<> flush();
  // The same for what nobody may be left to read: waits, at most until `deadline`.
  void flush_until(base::MonotonicTime deadline);

  // Reads what is there; false at the end of the stream. Errors: system.
  [[nodiscard]] base::Result<bool> read() { return read_into(in_, commands_); }
  [[nodiscard]] std::optional<Line> next_line() { return commands_.next(); }

  // Whether the controller has said, by its first command, whose session this is.
  bool begun = false;

 private:
  base::UniqueFd connection_;
  int in_;
  int out_;
  LineReader commands_{longest_command};
  std::string pending_;  // not yet written
};

}  // namespace bench
