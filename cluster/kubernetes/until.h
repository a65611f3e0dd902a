// How long a wait may last: to a deadline, and no longer than the user wants.
#pragma once

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/result.h"

namespace cluster {

struct Until {
  base::MonotonicTime deadline;
  const base::Interrupt* interrupt = nullptr;  // must outlive the wait; absent: nobody interrupts

  static Until after(base::Duration patience, const base::Interrupt* interrupt = nullptr) {
    return {.deadline = base::monotonic_now() + patience, .interrupt = interrupt};
  }
  [[nodiscard]] bool passed() const { return base::monotonic_now() >= deadline; }
};

// Waits until poll(2) says `events` of the descriptor, or that its other end is gone.
// Errors: timed_out, interrupted, system.
[[nodiscard]] base::Result<> wait_for(int fd, short events, const Until& until);

// Lets `span` pass, which somebody else asked for (Retry-After), or what is left of the deadline.
// Errors: interrupted, system.
[[nodiscard]] base::Result<> let_pass(base::Duration span, const Until& until);

}  // namespace cluster
