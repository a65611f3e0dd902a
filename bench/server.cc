// run_server, and the server of every request/reply workload over TCP, http included: one thread,
// one epoll. A
// connection that is alone is served by recv(2) and send(2) on its socket without epoll (as is, for
// tcp_crr, one connection after another), so that the server is no slower than the plainest loop
// where figures are compared with one.
#include "bench/server.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/affinity.h"
#include "bench/for_wait.h"
#include "bench/frame_codec.h"
#include "bench/http2_codec.h"
#include "bench/http_codec.h"
#include "bench/measure.h"
#include "bench/pacer.h"
#include "bench/sockets.h"
#include "bench/traffic.h"

namespace bench {
namespace {

constexpr std::uint64_t stop_marker = ~std::uint64_t{0};
constexpr std::uint64_t listener_bit = std::uint64_t{1} << 32;
constexpr std::size_t scratch_bytes = std::size_t{256} << 10;
// Serving without epoll begins after this many requests (or connections) in a row with nobody
// else there: clients that open several connections are through with it by then.
constexpr int alone_enough = 16;
// A spinning server of short connections spins on this long after the last one has gone.
constexpr base::Duration spin_after_last = std::chrono::milliseconds(1);

// `Answers` is the protocol: what a request is and what is said to it (bench/frame_codec.h).
template <WaitStrategy wait, typename Answers>
class ServerLoop {
 public:
  ServerLoop(const ServerJob& job, std::vector<base::UniqueFd> listeners, int stop_fd)
      : job_(job),
        listeners_(std::move(listeners)),
        stop_fd_(stop_fd),
        scratch_(scratch_bytes),
        answers_(job) {
    prepare_arrivals(job_, result_);
  }

  base::Result<ServerResult> run() {
    const auto usage_begin = ThreadUsage::now();
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return base::system_error(errno, "epoll_create1");
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      RETURN_IF_ERROR(watch(listeners_[i].get(), EPOLLIN, listener_bit | i));
    }
    if (stop_fd_ >= 0) RETURN_IF_ERROR(watch(stop_fd_, EPOLLIN, stop_marker));

    while (!stopped_) {
      pass(timeout_ms());
      if (alone_ < alone_enough || stopped_) continue;
      if (job_.kind == WorkloadKind::tcp_crr) {
        if constexpr (wait == WaitStrategy::block) serve_one_after_another();
      } else {
        serve_alone();
      }
    }
    note_usage(usage_begin, result_);
    return result_;
  }

 private:
  static constexpr int recv_flags = wait == WaitStrategy::block ? 0 : MSG_DONTWAIT;
  enum class After { open, closed };

  struct Connection {
    std::size_t slot = 0;  // its place in the table of connections
    base::UniqueFd fd;
    bool polled = false;  // in the epoll set
    typename Answers::Turn turn;
    std::string waiting;  // requests received behind one whose reply is still under way
  };

  base::Result<> watch(int fd, std::uint32_t events, std::uint64_t data) {
    epoll_event event{.events = events, .data = {.u64 = data}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
    return {};
  }

  // ---- epoll -----------------------------------------------------------------------------------

  // -1 sleeps until something happens, 0 looks and goes on.
  int timeout_ms() {
    if constexpr (wait == WaitStrategy::block) return -1;
    if (wait == WaitStrategy::spin && open_ > 0) return 0;
    const auto span = wait == WaitStrategy::spin ? spin_after_last : spin_margin;
    const bool busy_lately = last_event_.ns != 0 && base::monotonic_now() - last_event_ < span;
    return busy_lately ? 0 : -1;
  }

  void pass(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int ready =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    if (ready <= 0) return;
    if constexpr (wait != WaitStrategy::block) last_event_ = base::monotonic_now();
    for (int i = 0; i < ready; ++i) {
      const auto data = events[static_cast<std::size_t>(i)].data.u64;
      if (data == stop_marker) {
        stopped_ = true;
      } else if ((data & listener_bit) != 0) {
        accept(static_cast<std::size_t>(data & ~listener_bit));
      } else {
        progress(*connections_[data],
                 (events[static_cast<std::size_t>(i)].events & EPOLLRDHUP) != 0);
      }
    }
  }

  // Takes one connection; level-triggered, so that the next is the next pass's. Listeners block
  // (for server_look at most): a connection gone between event and accept costs only that.
  void accept(std::size_t listener) {
    Connection* const connection = take(listener);
    if (connection == nullptr) return;
    if (open_ > 1) alone_ = 0;
    // A tcp_crr request is often there already, or will be before epoll could be asked.
    progress(*connection, false);
    if (connection->fd) poll(*connection);
  }

  void note_client(int fd) {
    base::SocketAddress peer;
    if (::getpeername(fd, peer.get(), peer.capacity()) < 0) return;
    if (const auto endpoint = peer.endpoint()) ++result_.clients[endpoint->address.to_string()];
  }

  Connection* take(std::size_t listener) {
    const int fd = ::accept4(listeners_[listener].get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return nullptr;
    if (job_.note_arrivals) note_arrival(result_);
    if (result_.connections++ < clients_noted) note_client(fd);
    ++open_;
    listener_ = listener;
    if (free_.empty()) {
      connections_.push_back(std::make_unique<Connection>());
      connections_.back()->slot = connections_.size() - 1;
      free_.push_back(connections_.size() - 1);
      free_.reserve(connections_.size());
    }
    Connection& connection = *connections_[free_.back()];
    free_.pop_back();
    connection.fd.reset(fd);
    connection.turn.reset();
    connection.waiting.clear();
    return &connection;
  }

  void poll(Connection& connection) {
    if (connection.polled) return;
    connection.polled = true;
    // Edge-triggered, for good: replies that find no room wait for the EPOLLOUT edge.
    if (!watch(connection.fd.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, connection.slot)) {
      close(connection);
    }
  }

  void unpoll(Connection& connection) {
    if (!connection.polled) return;
    connection.polled = false;
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection.fd.get(), nullptr);
  }

  void close(Connection& connection) {
    connection.fd.reset();
    connection.polled = false;
    --open_;
    free_.push_back(connection.slot);
    if (job_.kind != WorkloadKind::tcp_crr) alone_ = 0;
  }

  // Does what can be done now: sends what is left of a reply, answers what has arrived. `ending`:
  // the client's FIN is known to have arrived, so there is more to read than data.
  void progress(Connection& connection, bool ending) {
    const auto answered = result_.requests;
    if (connection.turn.replying() && send_reply(connection) == After::closed) return;
    if (!connection.turn.replying() && !connection.waiting.empty()) {
      const auto waiting = std::exchange(connection.waiting, {});
      if (take_bytes(connection, waiting.data(), waiting.size()) == After::closed) return;
    }
    while (!connection.turn.replying()) {
      const auto n = ::recv(connection.fd.get(), scratch_.data(), scratch_.size(), MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) break;
      if (n <= 0) return close(connection);
      if (take_bytes(connection, scratch_.data(), static_cast<std::size_t>(n)) == After::closed) {
        return;
      }
      // A short read has emptied the socket; what comes later makes another edge.
      if (static_cast<std::size_t>(n) < scratch_.size() && !ending) break;
    }
    if (open_ > 1) {
      alone_ = 0;
    } else if (alone_ < alone_enough && result_.requests != answered) {
      ++alone_;
    }
  }

  // ---- requests --------------------------------------------------------------------------------

  // Counts bytes towards requests and answers each that is whole.
  After take_bytes(Connection& connection, const char* data, std::size_t size) {
    while (size > 0) {
      const std::size_t taken = answers_.take(connection.turn, data, size);
      data += taken;
      size -= taken;
      if (connection.turn.unanswerable()) [[unlikely]] {
        ++result_.bad_requests;
        close(connection);
        return After::closed;
      }
      if (!connection.turn.replying()) return After::open;
      if (send_reply(connection) == After::closed) return After::closed;
      if (connection.turn.replying()) {
        connection.waiting.assign(data, size);
        return After::open;
      }
    }
    return After::open;
  }

  After send_reply(Connection& connection) {
    while (connection.turn.replying()) {
      const std::string_view rest = answers_.rest(connection.turn);
      const auto n =
          ::send(connection.fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n >= 0) [[likely]] {
        connection.turn.sent(static_cast<std::size_t>(n));
      } else if (errno == EAGAIN) {
        return After::open;
      } else if (errno != EINTR) {
        close(connection);
        return After::closed;
      }
    }
    result_.requests += connection.turn.answered();
    result_.bad_requests += connection.turn.refused();
    if (!connection.turn.ends()) return After::open;
    close(connection);
    return After::closed;
  }

  // ---- without epoll ---------------------------------------------------------------------------

  // The only open connection, out of the epoll set: packets then wake this thread straight from
  // recv(2). Returns when it closes, when a look is due, or when a reply does not fit.
  void serve_alone() {
    Connection* const connection = only_open();
    if (connection == nullptr || connection->turn.replying()) return;
    unpoll(*connection);
    auto next_look = base::coarse_now() + server_look;
    int flags = recv_flags;
    int idle_waits = 0;
    for (;;) {
      const auto n = ::recv(connection->fd.get(), scratch_.data(), scratch_.size(), flags);
      if (n > 0) [[likely]] {
        if (take_bytes(*connection, scratch_.data(), static_cast<std::size_t>(n)) ==
            After::closed) {
          return;
        }
        if (connection->turn.replying()) return poll(*connection);
        idle_waits = 0;
        if constexpr (wait == WaitStrategy::hybrid) {
          last_event_ = base::monotonic_now();
          flags = recv_flags;
        }
      } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        return close(*connection);
      } else if (flags == 0) {
        // Idle: epoll sleeps as long as it takes.
        if (++idle_waits == idle_waits_allowed) {
          alone_ = 0;
          return poll(*connection);
        }
      } else if constexpr (wait == WaitStrategy::hybrid) {
        if (base::monotonic_now() - last_event_ >= spin_margin) flags = 0;
      }
      if (const auto now = base::coarse_now(); now >= next_look) [[unlikely]] {
        pass(0);
        if (stopped_) return;
        if (open_ > 1) return poll(*connection);
        next_look = now + server_look;
      }
    }
  }

  // tcp_crr from a single client: accept(2), recv(2), send(2), and a recv(2) for the end, whose
  // wake-up has this thread running again by the time the next connection comes. Returns to epoll
  // when connections overlap, when one does not end, and when nobody came for a while.
  void serve_one_after_another() {
    if (Connection* const last = only_open(); last != nullptr) {
      unpoll(*last);
      await_end(*last);
      if (last->fd) {
        alone_ = 0;
        return poll(*last);
      }
    }
    auto next_look = base::coarse_now() + server_look;
    for (bool alone = true; alone && !stopped_;) {
      Connection* const connection = take(listener_);
      if (connection == nullptr) break;
      alone = answered_blocking(*connection);
      if (const auto now = base::coarse_now(); now >= next_look) [[unlikely]] {
        // A lone client connects again only after it has closed.
        if (alone && accept_queue(listeners_[listener_].get()) > 0) alone = false;
        pass(0);
        next_look = now + server_look;
      }
      if (!connection->fd) continue;
      if (alone) await_end(*connection);
      if (connection->fd) {
        alone = false;
        poll(*connection);
      }
    }
    alone_ = 0;
  }

  // Sleeps until the client ends an answered connection and closes it; one that says something else
  // or nothing stays open.
  void await_end(Connection& connection) {
    const auto n = ::recv(connection.fd.get(), scratch_.data(), scratch_.size(), 0);
    if (n > 0) {
      take_bytes(connection, scratch_.data(), static_cast<std::size_t>(n));
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
      close(connection);
    }
  }

  // Receives and answers one request on a fresh connection; false when it is not answered yet,
  // or gone.
  bool answered_blocking(Connection& connection) {
    for (;;) {
      const auto n = ::recv(connection.fd.get(), scratch_.data(), scratch_.size(), 0);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
      if (n <= 0) {
        close(connection);
        return false;
      }
      const auto before = result_.requests;
      if (take_bytes(connection, scratch_.data(), static_cast<std::size_t>(n)) == After::closed) {
        return false;
      }
      if (result_.requests != before) return true;
      if (connection.turn.replying()) return false;
    }
  }

  Connection* only_open() {
    if (open_ != 1) return nullptr;
    for (const auto& connection : connections_) {
      if (connection->fd) return connection.get();
    }
    return nullptr;
  }

  const ServerJob& job_;
  std::vector<base::UniqueFd> listeners_;
  int stop_fd_;
  base::UniqueFd epoll_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::size_t> free_;
  std::vector<char> scratch_;
  Answers answers_;
  std::size_t open_ = 0;
  std::size_t listener_ = 0;  // that took the latest connection
  int alone_ = 0;             // requests answered in a row while one connection was open
  bool stopped_ = false;
  base::MonotonicTime last_event_;
  ServerResult result_;
};

}  // namespace

void note_usage(const ThreadUsage& begin, ServerResult& result) {
  const auto usage = ThreadUsage::now();
  const auto cpu_ns = usage.cpu_ns - begin.cpu_ns;
  // The split moves in ticks and may lag the exact total.
  result.cpu_user_ns = std::min(usage.user_ns - begin.user_ns, cpu_ns);
  result.cpu_system_ns = cpu_ns - result.cpu_user_ns;
}

base::Result<ServerResult> run_server(
    const ServerJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
  ASSIGN_OR_RETURN(const auto pinned, PinnedThread::to(job.cpu));
  raise_descriptor_limit();
  const bool datagrams = protocol_of(job.kind) == base::Protocol::UDP;
  std::vector<base::UniqueFd> listeners;
  std::vector<base::Endpoint> bound;
  for (const auto& endpoint : job.listen) {
    ASSIGN_OR_RETURN(auto listener, datagrams ? bind_udp(endpoint) : listen_tcp(endpoint));
    // Connections inherit it, so that no blocking call outlasts a look.
    if (const int code = bound_waits(listener.get(), server_look); code != 0) {
      return base::system_error(code, "setsockopt for {}", endpoint);
    }
    if (job.kind == WorkloadKind::udp_stream) enlarge_receive_buffer(listener.get());
    ASSIGN_OR_RETURN(const auto local, local_endpoint(listener.get()));
    bound.push_back(local);
    listeners.push_back(std::move(listener));
  }
  if (on_listening) on_listening(bound);
  if (datagrams) return run_datagram_server(job, std::move(listeners), stop_fd);
  if (job.kind == WorkloadKind::tcp_stream) {
    return run_stream_server(job, std::move(listeners), stop_fd);
  }
  return for_wait(job.wait, [&](auto how) {
    switch (job.kind) {
      case WorkloadKind::http:
        return ServerLoop<how.value, HttpAnswers>(job, std::move(listeners), stop_fd).run();
      case WorkloadKind::http2:
        return ServerLoop<how.value, Http2Answers>(job, std::move(listeners), stop_fd).run();
      default:
        return ServerLoop<how.value, FrameAnswers>(job, std::move(listeners), stop_fd).run();
    }
  });
}

}  // namespace bench
