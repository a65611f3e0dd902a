// The client of http2: connections that carry requests one after another or several at once, or one
// each, on one thread and one epoll. What it measures is what http measures, so that they compare.
//
// RST_STREAM costs its request and no more; what is under way when a connection ends, or breaks the
// rules, costs all of it. After a GOAWAY a connection takes no request: what is under way there is
// awaited, and then there is another connection.
#include <cerrno>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/client.h"
#include "bench/for_wait.h"
#include "bench/http2_codec.h"
#include "bench/loop_course.h"
#include "bench/sockets.h"

namespace bench {
namespace {

template <WaitStrategy wait>
class Http2Loop : private LoopCourse {
  friend LoopCourse;

  static constexpr std::size_t scratch_bytes = std::size_t{256} << 10;

  // One request at a time, on a connection it shares with its neighbours.
  struct Requester {
    enum class State : std::uint8_t {
      idle,
      waiting,     // for its connection
      exchanging,  // for its reply
      resting,     // a closed loop's, for a moment after a failure, or until it may connect
    };
    State state = State::idle;
    bool counted = false;
    bool has_turn = false;
    base::MonotonicTime started;   // where its latency begins
    base::MonotonicTime begun;     // when it really began
    base::MonotonicTime deadline;  // when the wait has been too long, or the rest is over
    Http2Call call;
  };

  struct Connection {
    enum class State : std::uint8_t { closed, connecting, open };
    Connection(std::uint32_t place, const Http2Requests& requests, std::size_t at_once)
        : index(place), calls(requests, at_once) {}

    std::uint32_t index;
    State state = State::closed;
    const ServerChoice::Server* server = nullptr;
    base::UniqueFd fd;
    std::size_t under_way = 0;  // requesters that exchange
    bool given_up = false;      // nothing begins there any more, for nothing came for so long
    std::uint32_t answered_by = 0;
    base::MonotonicTime connect_begun;
    base::MonotonicTime heard;  // when bytes last came
    Http2Calls calls;
  };

 public:
  Http2Loop(const ClientJob& job, int stop_fd)
      : LoopCourse(job, wait, stop_fd),
        at_once_(static_cast<std::size_t>(spec_.streams.value_or(1))),
        requests_(job),
        requesters_(static_cast<std::size_t>(requests_at_once(spec_))),
        scratch_(scratch_bytes) {
    for (int i = 0; i < spec_.connections; ++i) {
      connections_.emplace_back(static_cast<std::uint32_t>(i), requests_, at_once_);
    }
    for (std::size_t i = 0; i < requesters_.size(); ++i) {
      requesters_[i].call.requester = static_cast<std::uint32_t>(i);
    }
  }

  base::Result<ClientResult> run() { return invoke<wait>(*this); }

 private:
  // ---- the course of an invocation (bench/loop_course.h) ---------------------------------------

  void connect_all() {
    const auto now = base::monotonic_now();
    for (auto& connection : connections_) connect(connection, now);
  }

  // Those of a connection at once, so that their requests leave together.
  void begin_all() {
    for (auto& connection : connections_) {
      const Batch batch(*this, connection);
      for (auto& one : sharers(connection)) begin_in_turn(one, base::monotonic_now());
    }
  }

  void begin_due(std::uint32_t requester, base::MonotonicTime due, base::MonotonicTime now) {
    begin_request(requesters_[requester], due, now);
  }

  void after_pass() {}

  void close_all() {
    for (auto& connection : connections_) close(connection);
  }

  void handle(const epoll_event& event) {
    Connection& connection = connections_[event.data.u32];
    if (connection.state == Connection::State::connecting) {
      if (const int code = pending_error(connection.fd.get()); code != 0) {
        return connect_failed(connection, code, base::monotonic_now());
      }
      if ((event.events & EPOLLOUT) == 0) return;
      established(connection, base::monotonic_now());
    }
    // A server may speak first, in the same edge.
    if (connection.state != Connection::State::open) return;
    const Batch batch(*this, connection);
    if ((event.events & ~EPOLLOUT) == 0) return;
    receive(connection, (event.events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
  }

  // Counts what has waited too long, wakes what has rested enough.
  void look_at_waits(base::MonotonicTime now) {
    for (auto& connection : connections_) {
      if (connection.state == Connection::State::connecting &&
          now - connection.connect_begun >= spec_.timeout) {
        connect_failed(connection, ETIMEDOUT, now);
      }
    }
    for (auto& one : requesters_) {
      if (one.state == Requester::State::idle) continue;
      const bool rests = one.state == Requester::State::resting;
      if (now < one.deadline && !(rests && draining_)) {
        if (rests) look_at(one.deadline);
      } else if (rests) {
        set_state(one, Requester::State::idle);
        if (std::exchange(one.has_turn, false) && goes_on(now)) {
          begin_request(one, now, now);
        } else {
          next_request(one, now);
        }
      } else {
        timed_out(one, now);
      }
    }
  }

  void timed_out(Requester& one, base::MonotonicTime now) {
    Connection& connection = connection_of(one);
    if (one.state == Requester::State::exchanging) {
      // Nothing came since it was sent, a whole timeout long. What was sent later may wait as long;
      // then there is another connection.
      if (connection.heard + spec_.timeout <= one.deadline) connection.given_up = true;
      const Batch batch(*this, connection);
      connection.calls.cancel(one.call);
      --connection.under_way;
      return failed_alone(connection, one, FailureClass::timed_out, now);
    }
    request_failed(one, FailureClass::timed_out, now);
  }

  // ---- connections -----------------------------------------------------------------------------

  [[nodiscard]] Connection& connection_of(const Requester& one) {
    return connections_[one.call.requester / at_once_];
  }
  // Those that share it.
  [[nodiscard]] std::span<Requester> sharers(const Connection& connection) {
    return std::span(requesters_).subspan(connection.index * at_once_, at_once_);
  }

  void connect(Connection& connection, base::MonotonicTime now) {
    connection.state = Connection::State::connecting;
    ++busy_;
    connection.connect_begun = now;
    connection.server = &choice_.next();
    auto fd = tcp_socket(connection.server->endpoint, SOCK_NONBLOCK);
    if (!fd) return connect_failed(connection, fd.error(), now);
    connection.fd = std::move(*fd);
    connection.connect_begun = base::monotonic_now();
    const auto& address = connection.server->address;
    if (::connect(connection.fd.get(), address.get(), address.size()) < 0 && errno != EINPROGRESS) {
      return connect_failed(connection, errno, base::monotonic_now());
    }
    // Edge-triggered: its first edge is its establishment, later ones are what arrives, and room
    // for what found none.
    if (!poll_.add(connection.fd.get(), connection.index, true)) {
      connect_failed(connection, errno, base::monotonic_now());
    }
  }

  void established(Connection& connection, base::MonotonicTime now) {
    if (!connection.calls.open()) return connect_failed(connection, ENOMEM, now);
    --busy_;
    connection.state = Connection::State::open;
    connection.heard = now;
    meter_.connection_opened(connection.fd.get());
    const Batch batch(*this, connection);
    const auto all = sharers(connection);
    if (times_connect(all.front().counted)) meter_.connected(now - connection.connect_begun);
    for (auto& one : all) {
      if (one.state != Requester::State::waiting || connection.state != Connection::State::open) {
        continue;
      }
      // A kept connection that had to be opened again is not part of a closed loop's latency.
      if (keep_ && !open_loop_) one.started = now;
      begin_exchange(connection, one, now);
    }
  }

  void connect_failed(Connection& connection, int code, base::MonotonicTime now) {
    --busy_;
    connection.state = Connection::State::closed;
    connection.fd.reset();
    meter_.connect_failed(code, connection.server->endpoint);
    const auto what = connect_failure(code);
    bool first = true;  // which is counted
    for (auto& one : sharers(connection)) {
      if (one.state != Requester::State::waiting) continue;
      if (!std::exchange(first, false)) ++meter_.errors().of(what);
      meter_.note_failure(what, one.started, one.begun, now);
      after_failure(one, now);
    }
    if (first) {
      const auto begun = connection.connect_begun;
      meter_.note_failure(what, begun, begun, now);
    }
  }

  // It has ended, or is of no further use: so has what is under way there.
  void lose(Connection& connection, FailureClass what, base::MonotonicTime now) {
    const bool by_itself = connection.under_way == 0;
    forget(connection);
    for (auto& one : sharers(connection)) {
      if (one.state == Requester::State::exchanging) request_failed(one, what, now);
    }
    // Between requests a peer may end it.
    if (by_itself && what != FailureClass::closed_early && what != FailureClass::goaway) {
      meter_.count_failure(what, now, now, now);
    }
    reconnect_for_waiting(connection, now);
  }

  // Ends it in good order, as the one that opened it: TIME_WAIT stays here.
  void close(Connection& connection) {
    if (connection.state != Connection::State::open) return;
    connection.calls.end();
    say_last(connection);
    forget(connection);
  }

  // Whoever does not hear it hears the end of the connection.
  void say_last(Connection& connection) {
    const auto last = connection.calls.rest();
    (void)::send(connection.fd.get(), last.data(), last.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }

  void forget(Connection& connection) {
    meter_.connection_closing(connection.fd.get());
    connection.state = Connection::State::closed;
    connection.under_way = 0;
    connection.given_up = false;
    connection.answered_by = 0;
    connection.fd.reset();
    connection.calls.close();
  }

  void reconnect_for_waiting(Connection& connection, base::MonotonicTime now) {
    if (connection.state != Connection::State::closed) return;
    for (const auto& one : sharers(connection)) {
      if (one.state == Requester::State::waiting) return connect(connection, now);
    }
  }

  // While one lives, what begins on a connection is gathered; then it is sent, and the connection
  // left if it is over.
  class Batch {
   public:
    Batch(Http2Loop& loop, Connection& connection) : loop_(loop), connection_(connection) {
      outermost_ = std::exchange(loop_.batched_, &connection) == nullptr;
    }
    ~Batch() {
      if (!outermost_) return;
      loop_.batched_ = nullptr;
      loop_.settle(connection_);
    }
    Batch(const Batch&) = delete;
    Batch& operator=(const Batch&) = delete;

   private:
    Http2Loop& loop_;
    Connection& connection_;
    bool outermost_;
  };

  void settle(Connection& connection) {
    while (connection.state == Connection::State::open && flush(connection)) {
      // A reply that broke the rules has ended by what was just sent: RST_STREAM.
      const auto* call = connection.calls.next_ended();
      if (call == nullptr) break;
      batched_ = &connection;
      for (; call != nullptr; call = connection.calls.next_ended()) finished(connection, *call);
      batched_ = nullptr;
    }
    if (connection.state != Connection::State::open) return;
    if (connection.given_up && connection.under_way == 0) {
      close(connection);
      return reconnect_for_waiting(connection, base::monotonic_now());
    }
    if (!connection.calls.over()) return;
    const bool going = connection.calls.going_away();
    lose(connection, going ? FailureClass::goaway : FailureClass::protocol_error,
         base::monotonic_now());
  }

  // Sends what there is room for; EPOLLOUT will tell of more. False: the connection is lost.
  bool flush(Connection& connection) {
    for (;;) {
      const auto left = connection.calls.rest();
      if (left.empty()) return true;
      const auto n =
          ::send(connection.fd.get(), left.data(), left.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0) [[likely]] {
        connection.calls.sent(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        return true;
      } else if (errno != EINTR) {
        lose(connection, exchange_failure(errno), base::monotonic_now());
        return false;
      }
    }
  }

  // `ending`: there is more to read than data.
  void receive(Connection& connection, bool ending) {
    for (;;) {
      const auto n = ::recv(connection.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
      if (n > 0) [[likely]] {
        const auto size = static_cast<std::size_t>(n);
        connection.heard = base::monotonic_now();
        const bool sound = connection.calls.take(scratch_.data(), size);
        while (auto* const call = connection.calls.next_ended()) finished(connection, *call);
        if (connection.state != Connection::State::open) return;
        if (!sound) {
          say_last(connection);
          return lose(connection, FailureClass::protocol_error, connection.heard);
        }
        // A short read has emptied the socket; what comes later makes another edge.
        if (size < scratch_.size() && !ending) return;
      } else if (n == 0) {
        return lose(
            connection,
            connection.calls.going_away() ? FailureClass::goaway : FailureClass::closed_early,
            base::monotonic_now());
      } else if (errno == EAGAIN) {
        return;
      } else if (errno != EINTR) {
        return lose(connection, exchange_failure(errno), base::monotonic_now());
      }
    }
  }

  // ---- requests --------------------------------------------------------------------------------

  // A closed loop's: at once, or when it is its turn to connect.
  void begin_in_turn(Requester& one, base::MonotonicTime now) {
    const bool open = connection_of(one).state == Connection::State::open;
    const auto turn = turn_of(open, now);
    if (turn <= now) return begin_request(one, now, now);
    one.has_turn = true;
    rest(one, turn);
  }

  void rest(Requester& one, base::MonotonicTime until) {
    set_state(one, Requester::State::resting);
    one.deadline = until;
    look_at(until);
  }

  // `started`: where its latency begins; `now`: when it really begins.
  void begin_request(Requester& one, base::MonotonicTime started, base::MonotonicTime now) {
    one.started = started;
    one.begun = now;
    one.counted = begins(started, now);
    Connection& connection = connection_of(one);
    if (connection.state == Connection::State::open && !connection.given_up &&
        connection.calls.takes_requests()) {
      begin_exchange(connection, one, now);
      if (batched_ == nullptr) settle(connection);
      return;
    }
    set_state(one, Requester::State::waiting);
    one.deadline = now + spec_.timeout;
    if (connection.state == Connection::State::closed) connect(connection, now);
  }

  void begin_exchange(Connection& connection, Requester& one, base::MonotonicTime now) {
    set_state(one, Requester::State::exchanging);
    one.deadline = now + spec_.timeout;
    ++connection.under_way;
    if (!connection.calls.begin(one.call, ++number_)) lose(connection, FailureClass::other, now);
  }

  void finished(Connection& connection, const Http2Call& call) {
    Requester& one = requesters_[call.requester];
    --connection.under_way;
    switch (call.end) {
      case Http2Call::End::reset:
        return failed_alone(connection, one, FailureClass::stream_reset, call.ended);
      case Http2Call::End::goaway:
        return failed_alone(connection, one, FailureClass::goaway, call.ended);
      case Http2Call::End::protocol_error:
        return failed_alone(connection, one, FailureClass::protocol_error, call.ended);
      case Http2Call::End::replied:
      case Http2Call::End::under_way:
        break;
    }
    const auto now = call.ended;
    const auto server_id = connection.calls.answered_by(call);
    if (!server_id) return failed_alone(connection, one, FailureClass::bad_reply, now);
    if (keep_ && connection.answered_by != *server_id) [[unlikely]] {
      meter_.answered_anew(connection.answered_by, *server_id, now);
      connection.answered_by = *server_id;
    }
    const bool counts = in_window(one.counted, now);
    if (counts) answered(now - one.started, *server_id, now);
    auto after = now;
    if (!keep_) {
      close(connection);
      after = base::monotonic_now();
      if (counts) meter_.occupied_beyond_latency(after - now);
    }
    set_state(one, Requester::State::idle);
    next_request(one, after);
  }

  // The next one of a requester that has just become idle, in the same pass.
  void next_request(Requester& one, base::MonotonicTime now) {
    if (!open_loop_) {
      if (goes_on(now)) begin_in_turn(one, now);
    } else if (const auto due = take_due(now)) {
      begin_request(one, *due, now);
    } else {
      idle_.push(one.call.requester);
    }
  }

  // Its connection goes on, where connections are kept.
  void failed_alone(Connection& connection, Requester& one, FailureClass what,
                    base::MonotonicTime now) {
    if (!keep_) close(connection);
    request_failed(one, what, now);
  }

  void request_failed(Requester& one, FailureClass what, base::MonotonicTime now) {
    meter_.count_failure(what, one.started, one.begun, now);
    after_failure(one, now);
  }

  void after_failure(Requester& one, base::MonotonicTime now) {
    if (!open_loop_ && !draining_) return rest(one, now + failure_rest);
    set_state(one, Requester::State::idle);
    if (open_loop_) idle_.push(one.call.requester);
  }

  void set_state(Requester& one, typename Requester::State state) {
    if (one.state != Requester::State::idle) --busy_;
    if (state != Requester::State::idle) ++busy_;
    one.state = state;
  }

  const std::size_t at_once_;
  const Http2Requests requests_;
  std::deque<Connection> connections_;
  std::vector<Requester> requesters_;
  std::vector<char> scratch_;
  Connection* batched_ = nullptr;
  std::uint32_t number_ = 0;  // of the latest request
};

}  // namespace

base::Result<ClientResult> run_http2(const ClientJob& job, WaitStrategy wait, int stop_fd) {
  return for_wait(wait, [&](auto how) { return Http2Loop<how.value>(job, stop_fd).run(); });
}

}  // namespace bench
