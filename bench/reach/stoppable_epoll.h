// An epoll that a job waits on, and by which it hears that it is to end.
#pragma once

#include <cerrno>
#include <cstdint>

#include <sys/epoll.h>

#include "base/fd.h"
#include "base/result.h"

namespace bench {

// What the epoll's events of `stop_fd` carry.
inline constexpr std::uint64_t stop_marker = ~std::uint64_t{0};

// An epoll that is readable when `stop_fd` is; -1: nobody ends it. Errors: system.
[[nodiscard]] inline base::Result<base::UniqueFd> stoppable_epoll(int stop_fd) {
  base::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return base::system_error(errno, "epoll_create1");
  if (stop_fd >= 0) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = stop_marker}};
    if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, stop_fd, &event) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
  }
  return epoll;
}

}  // namespace bench
