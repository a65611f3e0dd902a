#include "bench/flow_poll.h"

#include <cerrno>

namespace bench {

base::Result<> FlowPoll::open(int stop_fd) {
  epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_) return base::system_error(errno, "epoll_create1");
  const timespec at_once{};
  if (::epoll_pwait2(epoll_.get(), events_.data(), 1, &at_once, nullptr) < 0) {
    return base::fail_with_mend(base::ErrorKind::missing, "this kernel has no epoll_pwait2(2)",
                                "Use Linux 5.11 or newer.");
  }
  if (stop_fd < 0) return {};
  epoll_event event{.events = EPOLLIN, .data = {.u32 = stop_marker}};
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_fd, &event) < 0) {
    return base::system_error(errno, "epoll_ctl");
  }
  return {};
}

bool FlowPoll::control(int operation, int fd, std::uint32_t flow, bool room) {
  epoll_event event{.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data = {.u32 = flow}};
  if (room) event.events |= EPOLLOUT;
  return ::epoll_ctl(epoll_.get(), operation, fd, &event) == 0;
}

}  // namespace bench
