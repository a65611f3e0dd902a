#include "stackbench/commands/outlet.h"

#include <climits>
#include <csignal>

#include <fcntl.h>
#include <sys/stat.h>

namespace stackbench {

using base::Result;

Outlet::Outlet(int fd) : fd_(fd) {
  // A reader that went away is an error of a write, as it is of a wait, and no sudden death.
  (void)::signal(SIGPIPE, SIG_IGN);
  // Whether writes wait belongs to the open file, so a pipe or a terminal is opened once more.
  // Where that is not allowed, and for sockets, poll(2) and small pieces must do.
  struct stat kind{};
  if (::fstat(fd, &kind) < 0 || !(S_ISFIFO(kind.st_mode) || S_ISCHR(kind.st_mode))) return;
  own_.reset(::open(fmt::format("/proc/self/fd/{}", fd).c_str(),
                    O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
}

pollfd Outlet::watched() const {
  // Without a wish for POLLOUT it still tells of an error: that the reader is gone.
  return {.fd = fd(), .events = static_cast<short>(waiting_.empty() ? 0 : POLLOUT), .revents = 0};
}

Result<> Outlet::push() {
  const auto failed = [](int code) { return base::system_error(code, "write to standard output"); };
  for (;;) {
    auto ready = watched();
    if (::poll(&ready, 1, 0) < 0 && errno != EINTR) return failed(errno);
    if (waiting_.empty()) return (ready.revents & POLLERR) != 0 ? failed(EPIPE) : Result<>();
    if (ready.revents == 0) return {};
    // A pipe that is ready takes that much without waiting (pipe(7)).
    const auto size =
        ::write(fd(), waiting_.data(), std::min<std::size_t>(waiting_.size(), PIPE_BUF));
    if (size < 0 && errno == EAGAIN) return {};
    if (size < 0 && errno != EINTR) return failed(errno);
    if (size > 0) waiting_.erase(0, static_cast<std::size_t>(size));
  }
}

Result<> Outlet::finish(base::Duration patience, int interrupt_fd) {
  const auto until = base::monotonic_now() + patience;
  for (;;) {
    RETURN_IF_ERROR(push());
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(until - base::monotonic_now()).count();
    if (waiting_.empty() || left <= 0) return {};
    std::array<pollfd, 2> both{{watched(), {.fd = interrupt_fd, .events = POLLIN, .revents = 0}}};
    if (::poll(both.data(), both.size(), static_cast<int>(left)) < 0 && errno != EINTR) {
      return base::system_error(errno, "poll");
    }
    if (both[1].revents != 0) return {};
  }
}

}  // namespace stackbench
