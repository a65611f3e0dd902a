// Held connections: one thread, one epoll, a few dozen sockets.
//
// A request is answered in the order it was asked on every kind of connection, so what is
// unanswered follows from two counters and the times of the last requests.
#include "bench/reach/hold.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <limits>

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/reach/reach_frame.h"
#include "bench/sockets.h"

namespace bench {
namespace {

using base::Duration;
using base::MonotonicTime;

constexpr std::uint64_t hold_stopped = ~std::uint64_t{0};
constexpr MonotonicTime never{std::numeric_limits<std::int64_t>::max()};
// Of how many requests the time is remembered: more are never unanswered at a time, but of UDP,
// and there only in a stall, whose beginning is remembered by itself.
constexpr std::size_t remembered = 1'024;
constexpr int held_port_attempts = 256;

// A connection and what is known of it.
class Held {
 public:
  Held(const HeldSpec& spec, const HoldJob& job, std::uint32_t nonce)
      : spec_(spec), job_(job), nonce_(std::uint64_t{nonce} << 32) {}

  // Begins to connect. What fails is in the result.
  void open(int epoll, std::uint64_t place, std::uint64_t port_seed) {
    open_until_ = base::monotonic_now() + job_.connect_timeout;
    if (const int code = try_open(epoll, place, port_seed); code != 0) not_opened(code);
  }

  // Something happened at the socket.
  void handle() {
    if (!fd_) return;
    if (!connected_) {
      if (const int code = pending_error(fd_.get()); code != 0) return not_opened(code);
      connected_ = true;
      ask(base::monotonic_now());
    }
    while (fd_ && receive()) {
    }
  }

  // What is due at `now`: a request, or giving up on the first reply.
  void act(MonotonicTime now, bool stopping) {
    if (!fd_) return;
    if (result_.opened_ns == 0 && now >= open_until_) return not_opened(0);
    if (connected_ && now >= next_due_ && may_ask(stopping)) ask(now);
  }
  // When that will be.
  [[nodiscard]] MonotonicTime next(bool stopping) const {
    if (!fd_) return never;
    MonotonicTime at = result_.opened_ns == 0 ? open_until_ : never;
    if (connected_ && may_ask(stopping)) at = std::min(at, next_due_);
    return at;
  }

  // Each is used once more, so that what it reports is how it stands now.
  void use_at_the_end() {
    if (fd_ && connected_ && !unanswered()) ask(base::monotonic_now());
  }

  // Whether there will be a first reply or was one.
  [[nodiscard]] bool opening() const { return fd_ && result_.opened_ns == 0; }
  [[nodiscard]] bool unanswered() const { return result_.first_unanswered_ns != 0; }
  [[nodiscard]] bool ended() const { return !fd_; }

  [[nodiscard]] HeldConnection take() {
    if (fd_) {
      result_.end = unanswered() ? HeldEnd::stalled : HeldEnd::surviving;
      if (result_.opened_ns == 0) result_.end = HeldEnd::not_opened;
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool udp() const { return spec_.kind == HeldKind::udp; }
  [[nodiscard]] bool may_ask(bool stopping) const {
    // While it stops a datagram more may be what an answer was missing for.
    if (udp()) return !stopping || unanswered();
    if (spec_.kind == HeldKind::idle_tcp) return false;
    return !stopping && !unanswered();
  }

  int try_open(int epoll, std::uint64_t place, std::uint64_t port_seed) {
    const int type = (udp() ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
    if (udp()) {
      fd_.reset(::socket(spec_.to.address.af(), type, 0));
      if (!fd_) return errno;
    } else {
      auto fd = tcp_socket(spec_.to, SOCK_NONBLOCK);
      if (!fd) return fd.error();
      fd_ = std::move(*fd);
    }
    if (const int code = bind_held_port(port_seed); code != 0) return code;
    const base::SocketAddress to(spec_.to);
    if (::connect(fd_.get(), to.get(), to.size()) < 0 && errno != EINPROGRESS) return errno;
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = place}};
    return ::epoll_ctl(epoll, EPOLL_CTL_ADD, fd_.get(), &event) < 0 ? errno : 0;
  }

  int bind_held_port(std::uint64_t seed) {
    for (std::uint64_t i = 0; i < held_port_attempts; ++i) {
      const base::Endpoint any{
          .address = {.family = spec_.to.address.family},
          .port = static_cast<std::uint16_t>(first_held_port + (seed + i) % held_ports)};
      const base::SocketAddress address(any);
      if (::bind(fd_.get(), address.get(), address.size()) == 0) {
        result_.local_port = any.port;
        return 0;
      }
      if (errno != EADDRINUSE) return errno;
    }
    return EADDRINUSE;
  }

  void ask(MonotonicTime now) {
    const ReachQuestion question{.nonce = nonce_ | (asked_ & 0xffffffff)};
    asked_at_[asked_ % remembered] = now.ns;
    ++asked_;
    ++result_.requests;
    if (result_.first_unanswered_ns == 0) result_.first_unanswered_ns = now.ns;
    // Requests keep their pace, but none is made up for: what matters is that there is one.
    next_due_ = std::max(next_due_ + job_.interval, now);
    if (next_due_ < now + job_.interval / 2) next_due_ = now + job_.interval;
    if (::send(fd_.get(), &question, sizeof(question), MSG_NOSIGNAL) >= 0) return;
    // A datagram that its own kernel refuses (EPERM, ENETUNREACH) is a request without an answer.
    if (udp() && errno != ECONNREFUSED) {
      result_.error_code = errno;
    } else {
      ended_by(errno);
    }
  }

  // Takes what has arrived; false when nothing is left, or this was its end.
  bool receive() {
    const auto count = ::recv(fd_.get(), answer_.data() + got_, answer_.size() - got_, 0);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return errno == EINTR;
    if (count < 0) return ended_by(errno);
    if (count == 0 && !udp()) return ended_by(0);
    got_ += static_cast<std::size_t>(count);
    const bool whole = got_ == answer_.size();
    if (!whole && !udp()) return true;
    got_ = 0;
    const auto answer = std::bit_cast<ReachAnswer>(answer_);
    if (whole && answer.magic == ReachAnswer::expected_magic &&
        (answer.nonce >> 32) == nonce_ >> 32) {
      note_reply(answer.nonce & 0xffffffff);
    }
    return true;
  }

  void note_reply(std::uint64_t number) {
    // Counted from the low half of the counter: no connection is asked four billion times.
    if (number < answered_ || number >= asked_) return;
    const std::int64_t now = base::monotonic_now().ns;
    if (result_.opened_ns == 0) {
      result_.opened_ns = now;
    } else if (Duration(now - result_.first_unanswered_ns) > job_.stall_after) {
      if (result_.stalls.size() < most_held_stalls) {
        result_.stalls.push_back({.from_ns = result_.last_reply_ns, .to_ns = now});
      } else {
        ++result_.more_stalls;
      }
    }
    ++result_.replies;
    result_.last_reply_ns = now;
    answered_ = number + 1;
    if (answered_ == asked_) {
      result_.first_unanswered_ns = 0;
    } else if (asked_ - answered_ <= remembered) {
      result_.first_unanswered_ns = asked_at_[answered_ % remembered];
    }
  }

  bool ended_by(int code) {
    if (result_.opened_ns == 0) {
      not_opened(code);
      return false;
    }
    result_.end = HeldEnd::failed;
    if (code == 0) result_.end = HeldEnd::closed;
    if (code == ECONNRESET || code == EPIPE) result_.end = HeldEnd::reset;
    if (code == ECONNREFUSED) result_.end = HeldEnd::refused;
    result_.error_code = code;
    result_.ended_ns = base::monotonic_now().ns;
    fd_.reset();
    return false;
  }
  void not_opened(int code) {
    result_.end = HeldEnd::not_opened;
    result_.error_code = code == 0 ? result_.error_code : code;
    result_.ended_ns = base::monotonic_now().ns;
    fd_.reset();
  }

  const HeldSpec& spec_;
  const HoldJob& job_;
  std::uint64_t nonce_;  // in its upper half, the number of the request in its lower
  base::UniqueFd fd_;
  bool connected_ = false;
  MonotonicTime open_until_;
  MonotonicTime next_due_;
  std::uint64_t asked_ = 0;
  std::uint64_t answered_ = 0;  // the number after the last that was answered
  std::array<std::int64_t, remembered> asked_at_{};
  std::size_t got_ = 0;
  std::array<char, sizeof(ReachAnswer)> answer_{};
  HeldConnection result_;
};

class Holder {
 public:
  Holder(const HoldJob& job, int stop_fd) : job_(job), stop_fd_(stop_fd) {}

  base::Result<HoldResult> run(const std::function<void()>& on_ready) {
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return base::system_error(errno, "epoll_create1");
    epoll_event stop{.events = EPOLLIN | EPOLLET, .data = {.u64 = hold_stopped}};
    if (stop_fd_ >= 0 && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, stop_fd_, &stop) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
    std::uint64_t random = 0;
    // So few bytes come whole.
    if (::getrandom(&random, sizeof(random), 0) != sizeof(random)) {
      return base::system_error(errno, "getrandom");
    }
    for (std::size_t i = 0; i < job_.connections.size(); ++i) {
      held_.emplace_back(job_.connections[i], job_, static_cast<std::uint32_t>(random + i));
    }
    for (std::size_t i = 0; i < held_.size(); ++i) {
      held_[i].open(epoll_.get(), i, (random >> 32) + i);
    }
    const auto none_opens = [&] { return std::ranges::none_of(held_, &Held::opening); };
    RETURN_IF_ERROR(turn_until([&] { return stopping_ || none_opens(); }, never));
    if (!stopping_) {
      on_ready();
      RETURN_IF_ERROR(turn_until([&] { return stopping_; }, never));
    }
    for (auto& held : held_) held.use_at_the_end();
    const auto settled = [](const Held& held) { return held.ended() || !held.unanswered(); };
    RETURN_IF_ERROR(turn_until([&] { return std::ranges::all_of(held_, settled); },
                               base::monotonic_now() + job_.stall_after));
    HoldResult result;
    for (auto& held : held_) result.connections.push_back(held.take());
    return result;
  }

 private:
  template <typename Done>
  base::Result<> turn_until(const Done& done, MonotonicTime deadline) {
    while (!done()) {
      const auto now = base::monotonic_now();
      if (now >= deadline) return {};
      MonotonicTime next = deadline;
      for (auto& held : held_) {
        held.act(now, stopping_);
        next = std::min(next, held.next(stopping_));
      }
      if (done()) return {};
      RETURN_IF_ERROR(wait_until(next));
    }
    return {};
  }

  base::Result<> wait_until(MonotonicTime next) {
    const auto left = std::max((next - base::monotonic_now()).count(), std::int64_t{0});
    const timespec sleep{.tv_sec = left / 1'000'000'000, .tv_nsec = left % 1'000'000'000};
    std::array<epoll_event, 64> events;
    const int ready = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                     next == never ? nullptr : &sleep, nullptr);
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "epoll_pwait2");
    for (int i = 0; i < ready; ++i) {
      const auto place = events[static_cast<std::size_t>(i)].data.u64;
      if (place == hold_stopped) {
        stopping_ = true;
      } else {
        held_[place].handle();
      }
    }
    return {};
  }

  const HoldJob& job_;
  int stop_fd_;
  base::UniqueFd epoll_;
  std::vector<Held> held_;
  bool stopping_ = false;
};

}  // namespace

base::Result<HoldResult> run_hold(const HoldJob& job, int stop_fd,
                                  const std::function<void()>& on_ready) {
  return Holder(job, stop_fd).run(on_ready);
}

}  // namespace bench
