#include "bench/flow_loop.h"

#include <cerrno>
#include <utility>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/for_wait.h"
#include "bench/frame_codec.h"
#include "bench/http_codec.h"
#include "bench/loop_course.h"
#include "bench/read_ahead.h"
#include "bench/sockets.h"

namespace bench {
namespace {

constexpr std::size_t scratch_bytes = std::size_t{256} << 10;

// `Calls` is the protocol: what a request is and when its reply is whole (bench/frame_codec.h).
template <WaitStrategy wait, typename Calls>
class FlowLoop : private LoopCourse {
  using Flow = BasicFlow<typename Calls::Reader>;
  using ReaderState = typename Calls::Reader::State;
  friend LoopCourse;

 public:
  FlowLoop(const ClientJob& job, int stop_fd)
      : LoopCourse(job, wait, stop_fd),
        datagrams_(protocol_of(spec_.kind) == base::Protocol::UDP),
        reads_ahead_(!open_loop_ && keep_ && !datagrams_ && spec_.connections > 1),
        flows_(static_cast<std::size_t>(spec_.connections)),
        calls_(job_),
        scratch_(scratch_bytes) {}

  base::Result<ClientResult> run() { return invoke<wait>(*this); }

 private:
  // ---- the course of an invocation (bench/loop_course.h) ---------------------------------------

  void connect_all() {
    const auto now = base::monotonic_now();
    for (auto& flow : flows_) {
      flow.has_request = false;
      connect(flow, now);
    }
  }

  void begin_all() {
    for (auto& flow : flows_) begin_in_turn(flow, base::monotonic_now());
  }

  void begin_due(std::uint32_t flow, base::MonotonicTime due, base::MonotonicTime now) {
    begin_request(flows_[flow], due, now);
  }

  void close_all() {
    for (auto& flow : flows_) close(flow);
  }

  void after_pass() {
    if (!reads_ahead_) return;
    ahead_.after_pass(
        FlowPoll::most_events,
        [](const Flow& flow) { return flow.state == Flow::State::exchanging; },
        [this](Flow& flow) { receive(flow); });
  }

  void handle(const epoll_event& event) {
    Flow& flow = flows_[event.data.u32];
    switch (flow.state) {
      case Flow::State::connecting:
        if (datagrams_) {
          progress(flow, event.events);
        } else if (const int code = pending_error(flow.fd.get()); code != 0) {
          connect_failed(flow, code, base::monotonic_now());
        } else if ((event.events & EPOLLOUT) != 0) {
          established(flow, base::monotonic_now());
        }
        break;
      case Flow::State::exchanging:
        progress(flow, event.events);
        // The peer's FIN right behind its reply comes in the same edge.
        if (flow.state == Flow::State::idle && (event.events & EPOLLRDHUP) != 0) {
          peer_ended_idle(flow);
        }
        break;
      case Flow::State::idle:
      case Flow::State::resting:
        // A datagram that comes late is passed over by the next request that reads.
        if (!datagrams_) peer_ended_idle(flow);
        break;
    }
  }

  void progress(Flow& flow, std::uint32_t events) {
    const auto state = flow.state;
    if (flow.sent < calls_.request_bytes() && (events & EPOLLOUT) != 0) send(flow);
    // What has been read ahead leaves an event behind, of room alone.
    if (flow.state == state && (events & ~EPOLLOUT) != 0) receive(flow);
  }

  // Counts what has waited too long, wakes what has rested enough.
  void look_at_waits(base::MonotonicTime now) {
    for (auto& flow : flows_) {
      if (flow.state == Flow::State::idle) continue;
      const bool rests = flow.state == Flow::State::resting;
      if (now < flow.deadline && !(rests && draining_)) {
        if (rests) look_at(flow.deadline);
        continue;
      }
      if (flow.state == Flow::State::connecting) {
        if (datagrams_ && ++flow.attempts < first_exchange_attempts) {
          flow.deadline = now + spec_.timeout;
          send_next(flow);
        } else {
          connect_failed(flow, ETIMEDOUT, now);
        }
      } else if (flow.state == Flow::State::exchanging) {
        exchange_failed(flow, {ExchangeEnd::Kind::timed_out}, now);
      } else {
        set_state(flow, Flow::State::idle);
        if (std::exchange(flow.has_turn, false) && goes_on(now)) {
          begin_request(flow, now, now);
        } else {
          next_request(flow, now);
        }
      }
    }
  }

  // ---- the course of a request -----------------------------------------------------------------

  // A closed loop's: at once, or when it is its turn to connect.
  void begin_in_turn(Flow& flow, base::MonotonicTime now) {
    const auto turn = turn_of(flow.established, now);
    if (turn <= now) return begin_request(flow, now, now);
    flow.has_turn = true;
    rest(flow, turn);
  }

  void rest(Flow& flow, base::MonotonicTime until) {
    set_state(flow, Flow::State::resting);
    flow.deadline = until;
    look_at(until);
  }

  // `started`: where its latency begins; `now`: when it really begins.
  void begin_request(Flow& flow, base::MonotonicTime started, base::MonotonicTime now) {
    flow.has_request = true;
    flow.started = started;
    flow.begun = now;
    flow.counted = begins(started, now);
    if (flow.established) {
      begin_exchange(flow, now);
    } else {
      connect(flow, now);
    }
  }

  void connect(Flow& flow, base::MonotonicTime now) {
    set_state(flow, Flow::State::connecting);
    flow.begun = now;
    flow.deadline = now + spec_.timeout;
    flow.attempts = 0;
    flow.server = &choice_.next();
    auto fd = datagrams_ ? udp_socket(flow.server->address, SOCK_NONBLOCK)
                         : tcp_socket(flow.server->endpoint, SOCK_NONBLOCK);
    if (!fd) return connect_failed(flow, fd.error(), now);
    flow.fd = std::move(*fd);
    flow.connect_begun = base::monotonic_now();
    if (!datagrams_ &&
        ::connect(flow.fd.get(), flow.server->address.get(), flow.server->address.size()) < 0 &&
        errno != EINPROGRESS) {
      return connect_failed(flow, errno, base::monotonic_now());
    }
    // Edge-triggered: a connection's first edge is its establishment, later ones are replies and
    // room for the rest of a long request.
    flow.watches_room = true;
    if (!poll_.add(flow.fd.get(), index_of(flow), true)) {
      return connect_failed(flow, errno, base::monotonic_now());
    }
    if (datagrams_) send_next(flow);
  }

  [[nodiscard]] std::uint32_t index_of(const Flow& flow) const {
    return static_cast<std::uint32_t>(&flow - flows_.data());
  }

  void established(Flow& flow, base::MonotonicTime now) {
    flow.established = true;
    meter_.connection_opened(flow.fd.get());
    // There always is room, so what was read ahead would be told as room.
    if (reads_ahead_) {
      flow.watches_room = false;
      if (!poll_.change(flow.fd.get(), index_of(flow), false)) {
        return connect_failed(flow, errno, now);
      }
    }
    if (times_connect(flow.counted)) meter_.connected(now - flow.connect_begun);
    if (!flow.has_request) {
      set_state(flow, Flow::State::idle);
      return;
    }
    // A kept connection that had to be opened again is not part of a closed loop's latency.
    if (keep_ && !open_loop_) flow.started = now;
    begin_exchange(flow, now);
  }

  void begin_exchange(Flow& flow, base::MonotonicTime now) {
    set_state(flow, Flow::State::exchanging);
    flow.deadline = now + spec_.timeout;
    send_next(flow);
  }

  void send_next(Flow& flow) {
    flow.sent = 0;
    flow.reader.reset();
    ++flow.sequence;
    send(flow);
  }

  void send(Flow& flow) {
    const auto request = calls_.request(flow.sequence);
    while (flow.sent < request.size()) {
      const auto n = ::send(flow.fd.get(), request.data() + flow.sent, request.size() - flow.sent,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0) [[likely]] {
        flow.sent += static_cast<std::size_t>(n);
      } else if (errno == EAGAIN) {
        // EPOLLOUT will say when there is room.
        if (std::exchange(flow.watches_room, true)) return;
        if (poll_.change(flow.fd.get(), index_of(flow), true)) return;
        return exchange_failed(flow, {ExchangeEnd::Kind::failed, errno}, base::monotonic_now());
      } else if (errno != EINTR) {
        return exchange_failed(flow, {ExchangeEnd::Kind::failed, errno}, base::monotonic_now());
      }
    }
  }

  void receive(Flow& flow) {
    for (;;) {
      const auto n = ::recv(flow.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
      if (n > 0) [[likely]] {
        if (datagrams_) flow.reader.reset();
        const auto state = calls_.feed(flow.reader, scratch_.data(), static_cast<std::size_t>(n));
        if (state == ReaderState::complete) [[likely]] {
          // The reply to a datagram that was given up.
          if (datagrams_ && calls_.came_late(flow.reader, flow.sequence)) continue;
          return replied(flow);
        }
        if (state == ReaderState::malformed || datagrams_) {
          return exchange_failed(flow, {ExchangeEnd::Kind::bad_reply}, base::monotonic_now());
        }
        // Part of a reply: its end may have come with it, and an edge is told once.
      } else if (n == 0) {
        if (calls_.ended(flow.reader)) return replied(flow);
        return exchange_failed(
            flow, {datagrams_ ? ExchangeEnd::Kind::bad_reply : ExchangeEnd::Kind::closed_early},
            base::monotonic_now());
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR) {
        return exchange_failed(flow, {ExchangeEnd::Kind::failed, errno}, base::monotonic_now());
      }
    }
  }

  void replied(Flow& flow) {
    const auto now = base::monotonic_now();
    const auto server_id = calls_.answered_by(flow.reader, flow.sequence);
    // A reply before its request was sent whole answers something else.
    if (!server_id || flow.sent < calls_.request_bytes()) [[unlikely]] {
      return exchange_failed(flow, {ExchangeEnd::Kind::bad_reply}, now);
    }
    if (keep_ && flow.answered_by != *server_id) [[unlikely]] {
      meter_.answered_anew(flow.answered_by, *server_id, now);
      flow.answered_by = *server_id;
    }
    if (flow.state == Flow::State::connecting) return established(flow, now);
    if (reads_ahead_) ahead_.answered(flow);
    const bool counts = in_window(flow.counted, now);
    if (counts) answered(now - flow.started, *server_id, now);
    auto after = now;
    if (!keep_ || calls_.last(flow.reader)) {
      close(flow);
      after = base::monotonic_now();
      if (counts) meter_.occupied_beyond_latency(after - now);
    }
    set_state(flow, Flow::State::idle);
    next_request(flow, after);
  }

  // The next request of a flow that has just become idle, in the same pass.
  void next_request(Flow& flow, base::MonotonicTime now) {
    if (!open_loop_) {
      if (goes_on(now)) begin_in_turn(flow, now);
    } else if (const auto due = take_due(now)) {
      begin_request(flow, *due, now);
    } else {
      idle_.push(index_of(flow));
    }
  }

  // ---- failures --------------------------------------------------------------------------------

  void connect_failed(Flow& flow, int code, base::MonotonicTime now) {
    meter_.connect_failed(code, flow.server->endpoint);
    request_failed(flow, connect_failure(code), now);
  }

  void exchange_failed(Flow& flow, const ExchangeEnd& end, base::MonotonicTime now) {
    if (flow.state == Flow::State::connecting) return connect_failed(flow, as_errno(end), now);
    count_exchange_end(end, meter_.errors());
    request_failed(flow, failure_of(end), now);
  }

  void request_failed(Flow& flow, FailureClass what, base::MonotonicTime now) {
    meter_.note_failure(what, flow.has_request ? flow.started : flow.begun, flow.begun, now);
    if (!datagrams_ || !flow.established) close(flow);
    if (!flow.has_request || draining_) {
      set_state(flow, Flow::State::idle);
    } else if (open_loop_) {
      set_state(flow, Flow::State::idle);
      idle_.push(index_of(flow));
    } else {
      rest(flow, now + failure_rest);
    }
  }

  // An idle connection has something to say: its end, or bytes nobody asked for.
  void peer_ended_idle(Flow& flow) {
    if (!flow.fd) return;
    const auto n = ::recv(flow.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n != 0) {
      const auto what = n < 0 ? exchange_failure(errno) : FailureClass::bad_reply;
      const auto now = base::monotonic_now();
      meter_.count_failure(what, now, now, now);
    }
    close(flow);
  }

  void close(Flow& flow) {
    if (flow.established) meter_.connection_closing(flow.fd.get());
    flow.established = false;
    flow.answered_by = 0;
    flow.fd.reset();
  }

  void set_state(Flow& flow, Flow::State state) {
    if (flow.state != Flow::State::idle) --busy_;
    if (state != Flow::State::idle) ++busy_;
    flow.state = state;
  }

  const bool datagrams_;
  const bool reads_ahead_;
  ReadAhead<Flow> ahead_;
  std::vector<Flow> flows_;
  Calls calls_;
  std::vector<char> scratch_;
};

}  // namespace

base::Result<ClientResult> run_flows(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  return for_wait(wait, [&](auto how) {
    return job.workload.kind == WorkloadKind::http
               ? FlowLoop<how.value, HttpCalls>(job, stop_fd).run()
               : FlowLoop<how.value, FrameCalls>(job, stop_fd).run();
  });
}

}  // namespace bench
