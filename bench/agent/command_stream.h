// The writing half of an agent's connection, shared by the controller's thread and a heartbeat of
// its own.
#pragma once

#include <condition_variable>
#include <mutex>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace bench {

class CommandStream {
 public:
  // Sends `beat` (a line shorter than PIPE_BUF) every `interval` from a thread of its own, as long
  // as the other end takes it.
  CommandStream(base::UniqueFd fd, std::string beat, base::Duration interval);
  CommandStream(const CommandStream&) = delete;
  CommandStream& operator=(const CommandStream&) = delete;
  ~CommandStream() = default;

  // Writes a line. After an error the stream may end inside a line and is closed.
  // Errors: timed_out, interrupted, peer_lost, system.
  [[nodiscard]] base::Result<> send(std::string_view line, base::MonotonicTime deadline,
                                    int interrupt_fd);

 private:
  void beat_until(const std::stop_token& stop);

  std::mutex mutex_;
  std::condition_variable_any ended_;
  base::UniqueFd fd_;  // guarded by mutex_
  std::string beat_;
  base::Duration interval_;
  std::jthread heart_;  // last: it ends before what it uses
};

}  // namespace bench
