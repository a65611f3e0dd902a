#include "bench/flow_loop.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <utility>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/connection_cap.h"
#include "bench/flow.h"
#include "bench/flow_poll.h"
#include "bench/for_wait.h"
#include "bench/frame_codec.h"
#include "bench/http_codec.h"
#include "bench/lone_requester.h"
#include "bench/measure.h"
#include "bench/pacer.h"
#include "bench/read_ahead.h"
#include "bench/sockets.h"

namespace bench {
namespace {

constexpr std::size_t scratch_bytes = std::size_t{256} << 10;
// Timeouts are looked at ten times in their length, within these bounds: they need no precision.
constexpr base::Duration least_scan = std::chrono::milliseconds(1);
constexpr base::Duration most_scan = std::chrono::milliseconds(100);
constexpr base::MonotonicTime never{std::numeric_limits<std::int64_t>::max()};

// `Calls` is the protocol: what a request is and when its reply is whole (bench/frame_codec.h).
template <WaitStrategy wait, typename Calls>
class FlowLoop {
  using Flow = BasicFlow<typename Calls::Reader>;
  using ReaderState = typename Calls::Reader::State;

 public:
  FlowLoop(const ClientJob& job, int stop_fd)
      : job_(job),
        spec_(job.workload),
        keep_(keeps_connections(spec_)),
        datagrams_(protocol_of(spec_.kind) == base::Protocol::UDP),
        open_loop_(spec_.rate.has_value()),
        reads_ahead_(!open_loop_ && keep_ && !datagrams_ && spec_.connections > 1),
        stop_fd_(stop_fd),
        choice_(job.servers, job.seed),
        cap_(job.most_connections_per_minute),
        meter_(job, wait),
        flows_(static_cast<std::size_t>(spec_.connections)),
        idle_(flows_.size()),
        calls_(job_),
        scratch_(scratch_bytes),
        scan_interval_(std::clamp(spec_.timeout / 10, least_scan, most_scan)) {}

  base::Result<ClientResult> run() {
    RETURN_IF_ERROR(poll_.open(stop_fd_));
    if (keep_) RETURN_IF_ERROR(connect_all());
    RETURN_IF_ERROR(open_loop_ ? run_open() : run_closed());
    for (auto& flow : flows_) close(flow);
    return meter_.result();
  }

 private:
  // ---- the course of an invocation -------------------------------------------------------------

  // Opens every connection before the first request, so that no request waits for one.
  base::Result<> connect_all() {
    const auto now = base::monotonic_now();
    for (auto& flow : flows_) {
      flow.has_request = false;
      connect(flow, now);
    }
    while (busy_ > 0 && pass(never, false)) {
    }
    return ended_early();
  }

  base::Result<> run_closed() {
    auto now = base::monotonic_now();
    const auto begin = now + spec_.warm_up;
    for (auto& flow : flows_) {
      now = base::monotonic_now();
      begin_in_turn(flow, now);
    }
    while (base::monotonic_now() < begin && pass(begin, false)) {
    }
    window_end_ = meter_.open_window() + spec_.duration;
    while (base::monotonic_now() < window_end_ && pass(window_end_, false)) {
    }
    meter_.close_window(window_end_);
    drain();
    return ended_early();
  }

  base::Result<> run_open() {
    auto rate = spec_.rate.value_or(base::RequestRate{});
    if (!keep_ && cap_.within(rate) < rate) {
      rate = cap_.within(rate);
      meter_.rate_was_capped();
    }
    ASSIGN_OR_RETURN(auto schedule,
                     arrival_schedule(rate, spec_.warm_up + spec_.duration, job_.seed));
    for (std::uint32_t i = 0; i < flows_.size(); ++i) idle_.push(i);
    auto start = base::monotonic_now();
    if (job_.window_begins_ns) {
      start = std::max(start, base::MonotonicTime{*job_.window_begins_ns} - spec_.warm_up);
    }
    window_begin_ = start + spec_.warm_up;
    window_end_ = window_begin_ + spec_.duration;
    pacer_ = OpenLoopPacer(std::move(schedule), start);
    last_done_ = window_end_;
    bool opened = false;
    while ((!pacer_.exhausted() || busy_ > 0) && !over()) {
      const auto now = base::monotonic_now();
      if (!opened && now >= window_begin_) {
        meter_.open_window(window_begin_);
        opened = true;
      }
      send_due(now);
      // The window's beginning is a due time as well: its accounting starts then.
      auto until = opened ? never : window_begin_;
      if (const auto due = pacer_.next_due(); due && !idle_.empty()) until = std::min(until, *due);
      pass(until, until != never);
    }
    if (!opened) meter_.open_window(window_begin_);
    // Requests due at the end of the window may be answered after it.
    meter_.close_window(last_done_);
    return ended_early();
  }

  // Takes the replies still on their way; they belong to no window, but a connection closed before
  // its reply would be a reset the server sees.
  void drain() {
    draining_ = true;
    next_scan_ = {};
    while (busy_ > 0 && pass(never, false)) {
    }
  }

  // What stops an invocation: the user, or a server that was never there.
  [[nodiscard]] bool over() const { return stopped_ || meter_.nothing_ever_connected(); }
  [[nodiscard]] base::Result<> ended_early() const {
    if (stopped_) return stopped_early();
    if (meter_.nothing_ever_connected()) return std::unexpected(meter_.first_connect_error());
    return {};
  }

  // One pass: wait as the strategy says, until `until` at the latest (`due`: a request is due
  // then), and handle what has happened. False when the invocation is over before its time.
  bool pass(base::MonotonicTime until, bool due) {
    const auto now = base::monotonic_now();
    if (idle_since_ != base::MonotonicTime{}) meter_.idle_spin(now - idle_since_);
    if (now >= next_scan_) scan(now);
    auto budget = sleep_budget<wait>(now, due ? until : std::min(until, next_scan_), due, active_);
    if (due && now + budget > next_scan_) budget = std::max(next_scan_ - now, base::Duration(0));
    const auto events = poll_.wait(budget);
    // Only a pass that spun and found nothing was idle; what is sent before the next one is work
    // and takes this back.
    idle_since_ = events.empty() && budget.count() == 0 ? now : base::MonotonicTime{};
    if (events.empty()) return !over();
    active_ = base::monotonic_now();
    for (const auto& event : events) handle(event);
    if (reads_ahead_) {
      ahead_.after_pass(
          FlowPoll::most_events,
          [](const Flow& flow) { return flow.state == Flow::State::exchanging; },
          [this](Flow& flow) { receive(flow); });
    }
    return !over();
  }

  void handle(const epoll_event& event) {
    if (event.data.u32 == FlowPoll::stop_marker) {
      stopped_ = true;
      return;
    }
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
  void scan(base::MonotonicTime now) {
    next_scan_ = now + scan_interval_;
    if (busy_ == 0) return;
    for (auto& flow : flows_) {
      if (flow.state == Flow::State::idle) continue;
      const bool rests = flow.state == Flow::State::resting;
      if (now < flow.deadline && !(rests && draining_)) {
        if (rests) next_scan_ = std::min(next_scan_, flow.deadline);
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
        if (std::exchange(flow.has_turn, false) && now < window_end_ && !stopped_) {
          begin_request(flow, now, now);
        } else {
          next_request(flow, now);
        }
      }
    }
  }

  // ---- the course of a request -----------------------------------------------------------------

  // The oldest request that is due. One that no flow was free for within its timeout has timed out:
  // an invocation ends soon after its window, though nobody ever answers, or not as fast as it is
  // asked.
  std::optional<base::MonotonicTime> take_due(base::MonotonicTime now) {
    while (const auto due = pacer_.take_due(now)) {
      if (now - *due <= spec_.timeout) return due;
      meter_.count_failure(FailureClass::timed_out, *due, now, now);
    }
    return std::nullopt;
  }

  // Hands due requests to idle flows.
  void send_due(base::MonotonicTime now) {
    while (!idle_.empty()) {
      const auto due = take_due(now);
      if (!due) return;
      begin_request(flows_[idle_.pop()], *due, now);
      now = base::monotonic_now();
    }
  }

  // A closed loop's: at once, or when it is its turn to connect.
  void begin_in_turn(Flow& flow, base::MonotonicTime now) {
    const auto turn = flow.established || !cap_.set() ? now : cap_.take_turn(now);
    if (turn <= now) return begin_request(flow, now, now);
    meter_.rate_was_capped();
    flow.has_turn = true;
    rest(flow, turn);
  }

  void rest(Flow& flow, base::MonotonicTime until) {
    set_state(flow, Flow::State::resting);
    flow.deadline = until;
    next_scan_ = std::min(next_scan_, until);
  }

  // `started`: where its latency begins; `now`: when it really begins.
  void begin_request(Flow& flow, base::MonotonicTime started, base::MonotonicTime now) {
    flow.has_request = true;
    flow.started = started;
    flow.begun = now;
    idle_since_ = {};
    flow.counted = !open_loop_ || started >= window_begin_;
    if (open_loop_ && flow.counted) meter_.lateness(now - started);
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
    if (keep_ || (flow.counted && (open_loop_ || meter_.window_open()))) {
      meter_.connected(now - flow.connect_begun);
    }
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
    const bool in_window = open_loop_ ? flow.counted : meter_.window_open() && now < window_end_;
    if (in_window) {
      meter_.request_done(now - flow.started, *server_id);
      if (open_loop_) last_done_ = std::max(last_done_, now);
    }
    auto after = now;
    if (!keep_ || calls_.last(flow.reader)) {
      close(flow);
      after = base::monotonic_now();
      if (in_window) meter_.occupied_beyond_latency(after - now);
    }
    set_state(flow, Flow::State::idle);
    next_request(flow, after);
  }

  // The next request of a flow that has just become idle, in the same pass.
  void next_request(Flow& flow, base::MonotonicTime now) {
    if (!open_loop_) {
      if (now < window_end_ && !stopped_) begin_in_turn(flow, now);
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

  const ClientJob& job_;
  const WorkloadSpec& spec_;
  const bool keep_;
  const bool datagrams_;
  const bool open_loop_;
  const bool reads_ahead_;
  const int stop_fd_;
  ServerChoice choice_;
  ConnectionCap cap_;
  Meter meter_;
  FlowPoll poll_;
  ReadAhead<Flow> ahead_;
  std::vector<Flow> flows_;
  IdleQueue idle_;
  OpenLoopPacer pacer_{{}, {}};  // an open loop's; empty in a closed one
  Calls calls_;
  std::vector<char> scratch_;
  base::Duration scan_interval_;
  std::size_t busy_ = 0;  // flows that are not idle
  bool stopped_ = false;
  bool draining_ = false;
  base::MonotonicTime window_begin_;
  base::MonotonicTime window_end_ = never;
  base::MonotonicTime last_done_;
  base::MonotonicTime next_scan_;
  base::MonotonicTime active_;      // when an event last came
  base::MonotonicTime idle_since_;  // set while spinning with nothing to do
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
