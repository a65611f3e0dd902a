#include "bench/agent/line.h"

#include <algorithm>
#include <array>
#include <tuple>

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

namespace bench {
namespace {

// Keeps SIGPIPE from this thread while it lives, and takes the one that a write of ours raised.
class SigpipeGuard {
 public:
  SigpipeGuard() {
    ::sigemptyset(&sigpipe_);
    ::sigaddset(&sigpipe_, SIGPIPE);
    sigset_t pending;
    ::sigpending(&pending);
    was_pending_ = ::sigismember(&pending, SIGPIPE) == 1;
    ::pthread_sigmask(SIG_BLOCK, &sigpipe_, &before_);
  }
  SigpipeGuard(const SigpipeGuard&) = delete;
  SigpipeGuard& operator=(const SigpipeGuard&) = delete;
  ~SigpipeGuard() {
    if (!was_pending_) {
      const timespec now{};
      std::ignore = ::sigtimedwait(&sigpipe_, nullptr, &now);
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  }

 private:
  sigset_t sigpipe_{};
  sigset_t before_{};
  bool was_pending_ = false;
};

bool writable_now(int fd) {
  pollfd watched{.fd = fd, .events = POLLOUT, .revents = 0};
  return ::poll(&watched, 1, 0) == 1;
}

}  // namespace

void LineReader::feed(std::string_view bytes) {
  buffer_.erase(0, start_);
  scanned_ -= start_;
  start_ = 0;
  buffer_.append(bytes);
}

std::optional<Line> LineReader::next() {
  while (true) {
    const std::size_t newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos) {
      scanned_ = buffer_.size();
      const bool over = scanned_ - start_ > limit_;
      if (!over && !skipping_) return std::nullopt;
      const bool report = !skipping_;
      skipping_ = true;
      start_ = scanned_;
      if (!report) return std::nullopt;
      return Line{.text = {}, .too_long = true};
    }
    const std::size_t line_start = start_;
    start_ = scanned_ = newline + 1;
    if (skipping_) {
      skipping_ = false;
      continue;
    }
    if (newline - line_start > limit_) return Line{.text = {}, .too_long = true};
    return Line{.text = buffer_.substr(line_start, newline - line_start)};
  }
}

base::Result<bool> read_into(int fd, LineReader& reader) {
  std::array<char, 65536> chunk;
  ssize_t count = 0;
  do {
    count = ::read(fd, chunk.data(), chunk.size());
  } while (count < 0 && errno == EINTR);
  if (count < 0 && errno == EAGAIN) return true;
  // A socket whose peer was killed with unread bytes says so; for us that is its end.
  if (count < 0 && errno == ECONNRESET) return false;
  if (count < 0) return base::system_error(errno, "read");
  if (count == 0) return false;
  reader.feed(std::string_view(chunk.data(), static_cast<std::size_t>(count)));
  return true;
}

base::Result<std::size_t> write_some(int fd, std::string_view text) {
  const SigpipeGuard guard;
  std::size_t written = 0;
  // A pipe that poll(2) calls writable takes PIPE_BUF bytes at once, so a blocking descriptor does
  // not block; a Unix socket has room for more than that.
  while (written < text.size() && writable_now(fd)) {
    const std::size_t size = std::min<std::size_t>(text.size() - written, PIPE_BUF);
    const ssize_t count = ::write(fd, text.data() + written, size);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0 && (errno == EPIPE || errno == ECONNRESET)) {
      return base::fail(base::ErrorKind::peer_lost, "the other end is closed");
    }
    if (count < 0) return base::system_error(errno, "write");
    written += static_cast<std::size_t>(count);
  }
  return written;
}

base::Result<> write_whole(int fd, std::string_view text, base::MonotonicTime deadline,
                           int interrupt_fd) {
  while (true) {
    ASSIGN_OR_RETURN(const std::size_t written, write_some(fd, text));
    text.remove_prefix(written);
    if (text.empty()) return {};
    std::array<pollfd, 2> watched{pollfd{.fd = fd, .events = POLLOUT, .revents = 0},
                                  pollfd{.fd = interrupt_fd, .events = POLLIN, .revents = 0}};
    const int ready = ::poll(watched.data(), watched.size(), poll_timeout(deadline));
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "poll");
    if (ready > 0 && watched[1].revents != 0) {
      return base::fail(base::ErrorKind::interrupted, "interrupted");
    }
    if (ready == 0 && base::monotonic_now() >= deadline) {
      return base::fail(base::ErrorKind::timed_out, "the other end does not read");
    }
  }
}

int poll_timeout(base::MonotonicTime deadline) {
  const std::int64_t left_ns = (deadline - base::monotonic_now()).count();
  if (left_ns <= 0) return 0;
  return static_cast<int>(std::min<std::int64_t>((left_ns + 999'999) / 1'000'000, INT_MAX));
}

}  // namespace bench
