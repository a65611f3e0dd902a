// Lines over pipes: cut out of a byte stream within a bound, and written without blocking for good.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/result.h"

namespace bench {

// A line without its newline. Of one that was too long nothing is kept.
struct Line {
  std::string text;
  bool too_long = false;

  bool operator==(const Line&) const = default;
};

// Cuts a stream into lines of at most `limit` bytes. A longer one is reported as soon as it passes
// the limit and skipped up to its newline, so a peer that never ends its line costs no memory.
class LineReader {
 public:
  explicit LineReader(std::size_t limit) : limit_(limit) {}

  // Takes bytes as they were read. Take every line out with next() before the next feed(): what is
  // held is at most one unfinished line and the last feed.
  void feed(std::string_view bytes);
  // The next whole (or too long) line; nothing when more bytes are needed.
  [[nodiscard]] std::optional<Line> next();

 private:
  std::size_t limit_;
  std::string buffer_;
  std::size_t start_ = 0;    // of the unfinished line in buffer_
  std::size_t scanned_ = 0;  // no newline between start_ and here
  bool skipping_ = false;    // the rest of a line already reported as too long
};

// Reads once what is there into `reader`. Returns false at the end of the stream; a descriptor that
// poll(2) called readable does not block. Errors: system.
[[nodiscard]] base::Result<bool> read_into(int fd, LineReader& reader);

// Writes what the descriptor takes now and returns how much that was, without blocking and without
// touching O_NONBLOCK: that flag belongs to everyone who shares the pipe. A reader that is gone is
// an error, never SIGPIPE. Errors: peer_lost, system.
[[nodiscard]] base::Result<std::size_t> write_some(int fd, std::string_view text);

// Writes everything. Errors: timed_out at the deadline, interrupted when `interrupt_fd` (-1: none)
// becomes readable, peer_lost, system; part of the text may have been written then.
[[nodiscard]] base::Result<> write_whole(int fd, std::string_view text,
                                         base::MonotonicTime deadline, int interrupt_fd);

// What is left until `deadline` in poll(2)'s milliseconds, rounded up so that a wait never ends
// before it; 0 when it has passed.
[[nodiscard]] int poll_timeout(base::MonotonicTime deadline);

}  // namespace bench
