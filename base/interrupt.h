// The user's wish to stop (Ctrl-C, SIGTERM, SIGHUP), as a descriptor that every wait can watch.
//
// The signals stay blocked and pending, and the descriptor (signalfd(2)) is never read: so it is
// readable for good once one has arrived, in every thread, and no handler runs anywhere.
#pragma once

#include "base/clock.h"
#include "base/fd.h"
#include "base/result.h"

namespace base {

class Interrupt {
 public:
  // Blocks SIGINT, SIGTERM and SIGHUP for this thread and its future threads and makes them
  // readable. Call once, from main, before any thread starts. A signal that was ignored before
  // (nohup, a shell's background job) stays ignored. Errors: system.
  static Result<Interrupt> install();
  // Never fires: for tests and for callers that nobody can interrupt.
  static Interrupt never() { return {}; }

  // Readable for good once a signal has arrived; -1 for never(), which poll(2) passes over.
  [[nodiscard]] int fd() const { return fd_.get(); }
  // Whether a signal has arrived; does not wait.
  [[nodiscard]] bool requested() const { return signal() != 0; }
  // The signal that arrived, 0 before one has: the exit code is 128 + it. When several arrived, the
  // one with the lowest number.
  [[nodiscard]] int signal() const;
  // Returns when that time has come, to the resolution of ppoll(2). Errors: interrupted, as soon as
  // a signal arrives (or has arrived); system.
  [[nodiscard]] Result<> wait_until(MonotonicTime time) const;

 private:
  Interrupt() = default;

  UniqueFd fd_;
};

}  // namespace base
