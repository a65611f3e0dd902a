// The sweep of reach.h: every target a socket of its own, all of them in one epoll.
//
// How long a target may take is the same for all, so those in the air end in the order they began,
// and deadlines need no heap. A target is given up only when a look at epoll that was made after
// its deadline found nothing for it: a prober that was away for longer than a timeout, as on a busy
// machine, must not read answers that were in time as drops.
#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <deque>

#include <linux/errqueue.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/reach/outcome.h"
#include "bench/reach/reach.h"
#include "bench/reach/reach_frame.h"
#include "bench/reach/stoppable_epoll.h"
#include "bench/sockets.h"

namespace bench {
namespace {

using base::MonotonicTime;
using base::Protocol;

// Begun in a row at most before what has arrived is looked at: opening a thousand sockets takes 20
// ms, in which no answer would be stamped.
constexpr int begun_in_a_row = 32;
// The first port of a sweep moves on so fast: a 5-tuple of UDP comes again after 100 s.
constexpr std::int64_t ns_per_port = 2'000'000;
constexpr int port_attempts = 64;

// Has the kernel tell of every ICMP error about a socket; without this only of some (ip(7),
// IP_RECVERR). 0 or errno.
int report_every_error(int fd, int af) {
  const bool v4 = af == AF_INET;
  const int on = 1;
  return ::setsockopt(fd, v4 ? IPPROTO_IP : IPPROTO_IPV6, v4 ? IP_RECVERR : IPV6_RECVERR, &on,
                      sizeof(on)) < 0
             ? errno
             : 0;
}

// The errno of the first ICMP error that waits at a socket, 0 when none does. An error that comes
// while connect(2) is still at work, as on one machine it does, is nowhere else (tcp_v6_err in
// net/ipv6/tcp_ipv6.c).
int queued_error(int fd) {
  alignas(cmsghdr) std::array<char, 512> control{};
  msghdr message{};
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (::recvmsg(fd, &message, MSG_ERRQUEUE | MSG_DONTWAIT) < 0) return 0;
  for (auto* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = CMSG_NXTHDR(&message, header)) {
    const bool v4 = header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_RECVERR;
    const bool v6 = header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_RECVERR;
    if (!v4 && !v6) continue;
    sock_extended_err error{};
    std::memcpy(&error, CMSG_DATA(header), sizeof(error));
    return static_cast<int>(error.ee_errno);
  }
  return 0;
}

class Sweep {
 public:
  Sweep(const ReachJob& job, int stop_fd)
      : job_(job), stop_fd_(stop_fd), cells_(job.targets.size()), flights_(job.targets.size()) {}

  base::Result<ReachResult> run() {
    raise_descriptor_limit();
    ASSIGN_OR_RETURN(epoll_, stoppable_epoll(stop_fd_));
    // So few bytes come whole.
    if (::getrandom(&nonce_, sizeof(nonce_), 0) != sizeof(nonce_)) {
      return base::system_error(errno, "getrandom");
    }
    ReachResult result;
    const auto began = base::monotonic_now();
    next_port_ = static_cast<std::uint64_t>(began.ns / ns_per_port);
    result.began_ns = began.ns;
    while (done_ < cells_.size()) {
      begin_some();
      if (done_ == cells_.size()) break;
      const auto looked_at = base::monotonic_now();
      RETURN_IF_ERROR(look());
      if (stopped_) return base::fail(base::ErrorKind::interrupted, "the sweep was stopped");
      ask_again(looked_at);
      give_up(looked_at);
    }
    result.ended_ns = base::monotonic_now().ns;
    result.cells = std::move(cells_);
    return result;
  }

 private:
  // A target from its first attempt to its outcome.
  struct Flight {
    base::UniqueFd fd;
    bool connected = false;  // and asked
    bool done = false;
    std::uint8_t got = 0;  // of the answer
    std::array<char, sizeof(ReachAnswer)> answer{};
  };
  struct Due {
    MonotonicTime at;
    std::size_t target;
  };

  [[nodiscard]] std::size_t in_air() const { return next_ - done_; }
  // Of a target; its lowest byte is left for the attempt.
  [[nodiscard]] std::uint64_t nonce_of(std::size_t target) const {
    return (nonce_ ^ (static_cast<std::uint64_t>(target) * 0x9e3779b97f4a7c15)) & ~0xffULL;
  }

  void end(std::size_t target, ReachOutcome outcome, int code) {
    Flight& flight = flights_[target];
    // A reset at once leaves no TIME_WAIT here, and the connection at the other end is gone.
    if (flight.fd && flight.connected) {
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(flight.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    flight.fd.reset();
    flight.done = true;
    ++done_;
    cells_[target].outcome = outcome;
    cells_[target].error_code = code;
    cells_[target].done_ns = base::monotonic_now().ns;
  }
  void end_by_errno(std::size_t target, int code) {
    const ReachOutcome outcome = outcome_of(code);
    end(target, outcome, outcome == ReachOutcome::timed_out ? 0 : code);
  }

  void begin_some() {
    for (int i = 0; i < begun_in_a_row && next_ < cells_.size() && in_air() < job_.concurrency;
         ++i) {
      const std::size_t target = next_;
      const auto now = base::monotonic_now();
      cells_[target].sent_ns = now.ns;
      const bool tcp = job_.targets[target].protocol == Protocol::TCP;
      const int code = tcp ? begin_tcp(target) : begin_udp(target);
      // Others will give their descriptors back.
      short_of_descriptors_ = (code == EMFILE || code == ENFILE) && in_air() > 0;
      if (short_of_descriptors_) return;
      ++next_;
      if (code != 0) {
        end_by_errno(target, code);
        continue;
      }
      if (flights_[target].done) continue;
      deadlines_.push_back({now + job_.timeout, target});
      if (!tcp) retries_.push_back({now + job_.timeout / udp_attempts, target});
    }
  }

  // Edge-triggered, so that one call serves connecting and reading. 0 or errno.
  int watch(std::size_t target) {
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data = {.u64 = target}};
    const int fd = flights_[target].fd.get();
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0 ? errno : 0;
  }

  int begin_tcp(std::size_t target) {
    // Its source port is left to the kernel, which moves on with every connection to the same
    // server (RFC 6056, algorithm 4), so that none comes again soon.
    auto fd = tcp_socket(job_.targets[target].endpoint, SOCK_NONBLOCK);
    if (!fd) return fd.error();
    const int af = job_.targets[target].endpoint.address.af();
    if (const int code = report_every_error(fd->get(), af); code != 0) return code;
    flights_[target].fd = std::move(*fd);
    const base::SocketAddress address(job_.targets[target].endpoint);
    cells_[target].attempts = 1;
    if (::connect(flights_[target].fd.get(), address.get(), address.size()) < 0 &&
        errno != EINPROGRESS) {
      return errno;
    }
    return watch(target);
  }

  // Where the kernel draws a source port at random, one used a moment ago comes again, and with an
  // answer in between it belongs to a flow that connection tracking takes for established, whatever
  // the rules say by now. So ports are taken in turn.
  int bind_next_port(int fd, int af) {
    for (int i = 0; i < port_attempts; ++i) {
      base::Endpoint any;
      any.address.family = af == AF_INET ? base::AddressFamily::ipv4 : base::AddressFamily::ipv6;
      any.port = static_cast<std::uint16_t>(first_probe_port + next_port_++ % probe_ports);
      const base::SocketAddress address(any);
      if (::bind(fd, address.get(), address.size()) == 0) return 0;
      if (errno != EADDRINUSE) return errno;
    }
    return EADDRINUSE;
  }

  int begin_udp(std::size_t target) {
    const base::Endpoint& endpoint = job_.targets[target].endpoint;
    const int af = endpoint.address.af();
    base::UniqueFd fd(::socket(af, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return errno;
    if (const int code = report_every_error(fd.get(), af); code != 0) return code;
    if (const int code = bind_next_port(fd.get(), af); code != 0) return code;
    const base::SocketAddress address(endpoint);
    if (::connect(fd.get(), address.get(), address.size()) < 0) return errno;
    flights_[target].fd = std::move(fd);
    if (const int code = watch(target); code != 0) return code;
    return ask_udp(target);
  }

  int ask_udp(std::size_t target) {
    const ReachQuestion question{.nonce = nonce_of(target) | cells_[target].attempts};
    ++cells_[target].attempts;
    const auto sent = ::send(flights_[target].fd.get(), &question, sizeof(question), MSG_NOSIGNAL);
    return sent < 0 ? errno : 0;
  }

  // Handles everything that has arrived, and waits for something where nothing has.
  base::Result<> look() {
    std::array<epoll_event, 256> events;
    constexpr int room = static_cast<int>(events.size());
    int timeout_ms = wait_ms();
    for (;;) {
      const int ready = ::epoll_wait(epoll_.get(), events.data(), room, timeout_ms);
      if (ready < 0 && errno != EINTR) return base::system_error(errno, "epoll_wait");
      for (int i = 0; i < ready; ++i) {
        const auto data = events[static_cast<std::size_t>(i)].data.u64;
        if (data == stop_marker) {
          stopped_ = true;
        } else if (!flights_[data].done) {
          handle(data, events[static_cast<std::size_t>(i)].events);
        }
      }
      if (ready < room) return {};
      timeout_ms = 0;
    }
  }

  // Until the next deadline or retry; not at all while there is room for more to begin.
  [[nodiscard]] int wait_ms() {
    drop_done(deadlines_);
    drop_done(retries_);
    const bool room = next_ < cells_.size() && in_air() < job_.concurrency;
    if (room && !short_of_descriptors_) return 0;
    MonotonicTime next = deadlines_.empty() ? base::monotonic_now() : deadlines_.front().at;
    if (!retries_.empty()) next = std::min(next, retries_.front().at);
    const auto left = next - base::monotonic_now();
    // Rounded up: a look that ends just before a deadline would be made for nothing.
    return static_cast<int>(std::max<std::int64_t>(0, left.count() / 1'000'000 + 1));
  }
  void drop_done(std::deque<Due>& queue) const {
    while (!queue.empty() && flights_[queue.front().target].done) queue.pop_front();
  }

  void handle(std::size_t target, std::uint32_t events) {
    if (job_.targets[target].protocol == Protocol::UDP) return handle_udp(target);
    Flight& flight = flights_[target];
    if (!flight.connected) {
      const int pending = pending_error(flight.fd.get());
      // A reset of what was not connected yet is ECONNREFUSED: this came after the handshake, both
      // before we looked.
      if (pending == ECONNRESET) return end(target, ReachOutcome::cut, pending);
      if (pending != 0) return end_by_errno(target, pending);
      if (const int code = queued_error(flight.fd.get()); code != 0) {
        return end_by_errno(target, code);
      }
      if ((events & EPOLLOUT) == 0) return;
      flight.connected = true;
      const ReachQuestion question{.nonce = nonce_of(target)};
      if (::send(flight.fd.get(), &question, sizeof(question), MSG_NOSIGNAL) < 0) {
        return end(target, ReachOutcome::cut, errno);
      }
    }
    while (flight.got < flight.answer.size()) {
      const auto count = ::recv(flight.fd.get(), flight.answer.data() + flight.got,
                                flight.answer.size() - flight.got, 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count == 0 && flight.got > 0) return end(target, ReachOutcome::answered_by_other, 0);
      if (count <= 0) return end(target, ReachOutcome::cut, count < 0 ? errno : 0);
      flight.got = static_cast<std::uint8_t>(flight.got + count);
    }
    const ReachAnswer answer = std::bit_cast<ReachAnswer>(flight.answer);
    judge(target, answer, answer.nonce == nonce_of(target));
  }

  void judge(std::size_t target, const ReachAnswer& answer, bool of_this_question) {
    if (answer.magic != ReachAnswer::expected_magic || !of_this_question) {
      return end(target, ReachOutcome::answered_by_other, 0);
    }
    cells_[target].answered_by = answer.server_id;
    end(target,
        answer.server_id == job_.targets[target].server_id ? ReachOutcome::answered
                                                           : ReachOutcome::answered_by_other,
        0);
  }

  void handle_udp(std::size_t target) {
    Flight& flight = flights_[target];
    for (;;) {
      // The kernel cuts off what is longer than an answer, which none of ours is.
      const auto count = ::recv(flight.fd.get(), flight.answer.data(), flight.answer.size(), 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count < 0) return end_by_errno(target, errno);
      if (static_cast<std::size_t>(count) < sizeof(ReachAnswer)) {
        return end(target, ReachOutcome::answered_by_other, 0);
      }
      const ReachAnswer answer = std::bit_cast<ReachAnswer>(flight.answer);
      // A port that was used before may have an answer of that time under way.
      const bool ours = answer.magic == ReachAnswer::expected_magic;
      if (ours && (answer.nonce & ~0xffULL) != nonce_of(target)) continue;
      return judge(target, answer, true);
    }
  }

  void ask_again(MonotonicTime looked_at) {
    while (!retries_.empty() && retries_.front().at <= looked_at) {
      const std::size_t target = retries_.front().target;
      retries_.pop_front();
      if (flights_[target].done) continue;
      if (const int code = ask_udp(target); code != 0) {
        end_by_errno(target, code);
      } else if (cells_[target].attempts < udp_attempts) {
        // Later than all that wait already: they were asked before.
        retries_.push_back({looked_at + job_.timeout / udp_attempts, target});
      }
    }
  }

  void give_up(MonotonicTime looked_at) {
    while (!deadlines_.empty() && deadlines_.front().at <= looked_at) {
      const std::size_t target = deadlines_.front().target;
      deadlines_.pop_front();
      const Flight& flight = flights_[target];
      if (flight.done) continue;
      if (flight.got > 0 && flight.connected) {
        end(target, ReachOutcome::answered_by_other, 0);
      } else {
        end(target, flight.connected ? ReachOutcome::silent : ReachOutcome::timed_out, 0);
      }
    }
  }

  const ReachJob& job_;
  int stop_fd_;
  std::vector<ReachCell> cells_;
  std::vector<Flight> flights_;
  std::deque<Due> deadlines_;
  std::deque<Due> retries_;
  base::UniqueFd epoll_;
  std::uint64_t nonce_ = 0;
  std::uint64_t next_port_ = 0;
  std::size_t next_ = 0;  // the first that has not begun
  std::size_t done_ = 0;
  bool stopped_ = false;
  bool short_of_descriptors_ = false;
};

}  // namespace

base::Result<ReachResult> run_reach(const ReachJob& job, int stop_fd) {
  return Sweep(job, stop_fd).run();
}

}  // namespace bench
