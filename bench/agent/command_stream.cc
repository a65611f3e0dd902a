#include "bench/agent/command_stream.h"

#include "bench/agent/line.h"

namespace bench {

CommandStream::CommandStream(base::UniqueFd fd, std::string beat, base::Duration interval)
    : fd_(std::move(fd)),
      beat_(std::move(beat)),
      interval_(interval),
      heart_([this](const std::stop_token& stop) { beat_until(stop); }) {}

base::Result<> CommandStream::send(std::string_view line, base::MonotonicTime deadline,
                                   int interrupt_fd) {
  const std::lock_guard lock(mutex_);
  if (!fd_) return base::fail(base::ErrorKind::peer_lost, "the stream is closed");
  auto written = write_whole(fd_.get(), line, deadline, interrupt_fd);
  if (!written) fd_.reset();
  return written;
}

void CommandStream::beat_until(const std::stop_token& stop) {
  std::unique_lock lock(mutex_);
  while (fd_ && !stop.stop_requested()) {
    // Only a stop wakes it early.
    ended_.wait_for(lock, stop, interval_, [] { return false; });
    if (!fd_ || stop.stop_requested()) return;
    // Shorter than PIPE_BUF it goes whole or not at all; one left out because the agent is slow to
    // read is made good by what it has yet to read.
    if (!write_some(fd_.get(), beat_)) return;
  }
}

}  // namespace bench
