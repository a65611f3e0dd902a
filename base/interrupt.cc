#include "base/interrupt.h"

#include <array>

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>

namespace base {
namespace {

constexpr std::array stop_signals{SIGHUP, SIGINT, SIGTERM};  // in the order of their numbers

}  // namespace

Result<Interrupt> Interrupt::install() {
  sigset_t set;
  ::sigemptyset(&set);
  for (const int number : stop_signals) {
    struct sigaction now{};
    if (::sigaction(number, nullptr, &now) < 0) return system_error(errno, "sigaction");
    // A blocked signal becomes pending even where it is ignored, so an ignored one is left alone.
    if (now.sa_handler != SIG_IGN) ::sigaddset(&set, number);
  }
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0) {
    return system_error(code, "pthread_sigmask");
  }
  Interrupt interrupt;
  interrupt.fd_.reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!interrupt.fd_) return system_error(errno, "signalfd");
  return interrupt;
}

int Interrupt::signal() const {
  if (!fd_) return 0;
  sigset_t pending;
  if (::sigpending(&pending) < 0) return 0;
  for (const int number : stop_signals) {
    if (::sigismember(&pending, number) == 1) return number;
  }
  return 0;
}

Result<> Interrupt::wait_until(MonotonicTime time) const {
  for (;;) {
    const auto left = time - monotonic_now();
    if (requested()) return fail(ErrorKind::interrupted, "interrupted");
    if (left.count() <= 0) return {};
    pollfd wait{.fd = fd(), .events = POLLIN, .revents = 0};
    const timespec timeout{.tv_sec = left.count() / 1'000'000'000,
                           .tv_nsec = left.count() % 1'000'000'000};
    if (::ppoll(&wait, 1, &timeout, nullptr) < 0 && errno != EINTR) {
      return system_error(errno, "ppoll");
    }
  }
}

}  // namespace base
