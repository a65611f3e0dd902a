// Sleeping to the point.
#pragma once

#include <algorithm>

#include <sys/prctl.h>

namespace bench {

// A sleeping thread is woken up to 50 us late by the kernel's default timer slack. While this lives
// the calling thread is not.
class NoTimerSlack {
 public:
  NoTimerSlack() : before_(::prctl(PR_GET_TIMERSLACK, 0, 0, 0, 0)) {
    ::prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
  }
  NoTimerSlack(const NoTimerSlack&) = delete;
  NoTimerSlack& operator=(const NoTimerSlack&) = delete;
  ~NoTimerSlack() { ::prctl(PR_SET_TIMERSLACK, std::max(before_, 1), 0, 0, 0); }

 private:
  int before_;
};

}  // namespace bench
