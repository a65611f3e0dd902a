#include "cluster/kubernetes/until.h"

#include <algorithm>
#include <array>

#include <poll.h>

namespace cluster {
namespace {

using base::ErrorKind;
using base::Result;

// Returns whether the descriptor is ready; false once the deadline has passed.
Result<bool> poll_one(int fd, short events, const Until& until) {
  std::array<pollfd, 2> watched{
      pollfd{.fd = fd, .events = events, .revents = 0},
      pollfd{.fd = until.interrupt ? until.interrupt->fd() : -1, .events = POLLIN, .revents = 0}};
  while (true) {
    const auto left = std::max<std::int64_t>(0, (until.deadline - base::monotonic_now()).count());
    const timespec span{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    const int ready = ::ppoll(watched.data(), watched.size(), &span, nullptr);
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "ppoll");
    if (ready < 0) continue;
    if (watched[1].revents != 0) return base::fail(ErrorKind::interrupted, "interrupted");
    return ready > 0;
  }
}

}  // namespace

Result<> wait_for(int fd, short events, const Until& until) {
  ASSIGN_OR_RETURN(const bool ready, poll_one(fd, events, until));
  if (!ready) return base::fail(ErrorKind::timed_out, "no answer in time");
  return {};
}

Result<> let_pass(base::Duration span, const Until& until) {
  const auto end = std::min(until.deadline, base::monotonic_now() + span);
  RETURN_IF_ERROR(poll_one(-1, 0, {.deadline = end, .interrupt = until.interrupt}));
  return {};
}

}  // namespace cluster
