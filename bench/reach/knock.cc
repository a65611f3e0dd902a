// The client of knock.h: every knock a socket of its own, all of them in one epoll, and the pace
// kept by the time the epoll may sleep.
#include "bench/reach/knock.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <deque>
#include <limits>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/canaries.h"
#include "bench/frame_codec.h"
#include "bench/http_codec.h"
#include "bench/measure.h"
#include "bench/reach/outcome.h"
#include "bench/reach/stoppable_epoll.h"
#include "bench/sockets.h"
#include "bench/timer_slack.h"

namespace bench {
namespace {

using base::Duration;
using base::MonotonicTime;
using base::Result;

constexpr std::size_t read_at_once = 4'096;

// The job as the codecs of workloads know one.
ClientJob client_job(const KnockJob& job) {
  const base::Bytes least = job.canary ? canary_bytes(job.kind) : base::Bytes{header_bytes};
  ClientJob all{.workload = {.kind = job.kind}, .servers = {job.to}, .canary = job.canary};
  all.workload.request = least;
  all.workload.response = least;
  return all;
}

template <typename Calls>
class Knocker {
 public:
  Knocker(const KnockJob& job, int stop_fd)
      : job_(job),
        stop_fd_(stop_fd),
        address_(job.to),
        calls_(client_job(job)),
        gap_(static_cast<std::int64_t>(1e9 / job.rate.per_second)) {}

  Result<KnockResult> run(const std::function<void()>& on_ready) {
    raise_descriptor_limit();
    ASSIGN_OR_RETURN(epoll_, stoppable_epoll(stop_fd_));
    const NoTimerSlack no_slack;
    on_ready();
    start_ = base::monotonic_now();
    result_.began_ns = start_.ns;
    last_ = start_ + job_.duration;
    while (!stopped_ && base::monotonic_now() < last_) {
      begin_due();
      RETURN_IF_ERROR(look(std::min(due(next_), last_)));
    }
    // A stall that outlasts the window missed what was due until its end.
    for (; !stopped_ && due(next_) < last_; ++next_) ++result_.skipped;
    result_.ended_ns = base::monotonic_now().ns;
    // Those that are under way end by themselves, or by their deadlines.
    forget_stop();
    while (!air_.empty()) RETURN_IF_ERROR(look(end_of_time));
    return std::move(result_);
  }

 private:
  static constexpr MonotonicTime end_of_time{std::numeric_limits<std::int64_t>::max()};

  struct Flight {
    Knock knock;
    base::UniqueFd fd;
    typename Calls::Reader reader = {};
    bool connected = false;  // and asked
    bool done = false;
  };

  [[nodiscard]] MonotonicTime due(std::uint64_t n) const {
    return start_ + gap_ * static_cast<std::int64_t>(n);
  }

  void begin_due() {
    for (auto now = base::monotonic_now(); due(next_) <= now && due(next_) < last_;
         now = base::monotonic_now()) {
      const auto n = next_++;
      if (now - due(n) > gap_ || air_.size() >= most_knocks_in_air) {
        ++result_.skipped;
        continue;
      }
      begin(static_cast<std::uint32_t>(n));
    }
  }

  void begin(std::uint32_t number) {
    auto& flight = air_.emplace_back();
    flight.knock.number = number;
    flight.knock.before_ns = base::monotonic_now().ns;
    // Its source port is left to the kernel, which moves on with every connection to the same
    // server (RFC 6056, algorithm 4), so that none comes again soon.
    auto fd = tcp_socket(job_.to, SOCK_NONBLOCK);
    if (!fd) return end(flight, fd.error());
    flight.fd = std::move(*fd);
    if (::connect(flight.fd.get(), address_.get(), address_.size()) < 0 && errno != EINPROGRESS) {
      return end(flight, errno);
    }
    // Edge-triggered, so that one call serves connecting and reading.
    epoll_event event{.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                      .data = {.u64 = first_ + air_.size() - 1}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, flight.fd.get(), &event) < 0) end(flight, errno);
  }

  void end(Flight& flight, int code) { end(flight, outcome_of(code)); }
  void end(Flight& flight, ReachOutcome outcome) {
    flight.knock.after_ns = base::monotonic_now().ns;
    flight.knock.outcome = outcome;
    flight.done = true;
    // A reset at once leaves no TIME_WAIT here, and the connection at the other end is gone.
    if (flight.fd && flight.connected) {
      const linger at_once{.l_onoff = 1, .l_linger = 0};
      ::setsockopt(flight.fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    flight.fd.reset();
  }

  // Handles what has arrived, or waits for something until `wake` or the first deadline.
  Result<> look(MonotonicTime wake) {
    const auto looked_at = base::monotonic_now();
    if (!air_.empty()) wake = std::min(wake, deadline(air_.front()));
    const auto left = std::max(wake - looked_at, Duration(0));
    const timespec timeout{.tv_sec = left.count() / 1'000'000'000,
                           .tv_nsec = left.count() % 1'000'000'000};
    std::array<epoll_event, 128> events;
    const int ready = ::epoll_pwait2(epoll_.get(), events.data(), static_cast<int>(events.size()),
                                     &timeout, nullptr);
    if (ready < 0 && errno != EINTR) return base::system_error(errno, "epoll_pwait2");
    for (int i = 0; i < ready; ++i) {
      const auto& event = events.at(static_cast<std::size_t>(i));
      if (event.data.u64 == stop_marker) {
        stopped_ = true;
        continue;
      }
      auto& flight = air_[event.data.u64 - first_];
      if (!flight.done) handle(flight, event.events);
    }
    // One is given up only when a look that was made after its deadline found nothing for it: a
    // client that was away must not read answers that were in time as none.
    if (ready < static_cast<int>(events.size())) give_up(looked_at);
    take_done();
    return {};
  }

  [[nodiscard]] MonotonicTime deadline(const Flight& flight) const {
    return MonotonicTime{flight.knock.before_ns} + job_.timeout;
  }

  void give_up(MonotonicTime looked_at) {
    for (auto& flight : air_) {
      if (deadline(flight) > looked_at) return;
      if (flight.done) continue;
      end(flight, flight.connected ? ReachOutcome::silent : ReachOutcome::timed_out);
    }
  }

  // Those that have ended leave in their order; who is behind one in the air waits for it.
  void take_done() {
    while (!air_.empty() && air_.front().done) {
      if (result_.knocks.list.size() < most_kept_knocks) {
        result_.knocks.list.push_back(air_.front().knock);
      } else {
        ++result_.dropped;
      }
      air_.pop_front();
      ++first_;
    }
  }

  void forget_stop() {
    if (stop_fd_ >= 0) ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stop_fd_, nullptr);
  }

  void handle(Flight& flight, std::uint32_t events) {
    if (!flight.connected) {
      const int pending = pending_error(flight.fd.get());
      // A reset of what was not connected yet is ECONNREFUSED: this came after the handshake, both
      // before we looked.
      if (pending == ECONNRESET) return end(flight, ReachOutcome::cut);
      if (pending != 0) return end(flight, pending);
      if ((events & EPOLLOUT) == 0) return;
      flight.connected = true;
      const auto request = calls_.request(flight.knock.number);
      // A new connection has room for all of it.
      if (::send(flight.fd.get(), request.data(), request.size(), MSG_NOSIGNAL) !=
          static_cast<ssize_t>(request.size())) {
        return end(flight, ReachOutcome::cut);
      }
    }
    std::array<char, read_at_once> buffer;
    for (;;) {
      const auto count = ::recv(flight.fd.get(), buffer.data(), buffer.size(), 0);
      if (count < 0 && errno == EAGAIN) return;
      if (count < 0) return end(flight, ReachOutcome::cut);
      if (count == 0) {
        return Calls::ended(flight.reader) ? judge(flight) : end(flight, ReachOutcome::cut);
      }
      const auto state = Calls::feed(flight.reader, buffer.data(), static_cast<std::size_t>(count));
      if (state == Calls::Reader::State::complete) return judge(flight);
      if (state == Calls::Reader::State::malformed) {
        return end(flight, ReachOutcome::answered_by_other);
      }
    }
  }

  void judge(Flight& flight) {
    const auto by = calls_.answered_by(flight.reader, flight.knock.number);
    const bool ours = by && *by != unnamed_server;
    end(flight, ours ? ReachOutcome::answered : ReachOutcome::answered_by_other);
  }

  const KnockJob& job_;
  int stop_fd_;
  base::SocketAddress address_;
  Calls calls_;
  Duration gap_;
  base::UniqueFd epoll_;
  MonotonicTime start_;
  MonotonicTime last_;       // when nothing is begun any more
  std::uint64_t next_ = 0;   // the knock that is due next
  std::deque<Flight> air_;   // in the order they were begun
  std::uint64_t first_ = 0;  // by which the epoll knows the first of them
  bool stopped_ = false;
  KnockResult result_;
};

}  // namespace

Result<KnockResult> run_knocks(const KnockJob& job, int stop_fd,
                               const std::function<void()>& on_ready) {
  if (job.kind == WorkloadKind::http) return Knocker<HttpCalls>(job, stop_fd).run(on_ready);
  return Knocker<FrameCalls>(job, stop_fd).run(on_ready);
}

}  // namespace bench
