// The server of udp_rr and of udp_stream: one thread; recv(2) and send(2) straight on the socket
// while datagrams come, epoll while they do not, as the server over TCP does for a connection that
// is alone. A datagram that is no request is counted and not answered.
//
// A reply leaves from the address the kernel routes by, so a server with several addresses must
// listen on each of them.
//
// A udp_stream's datagrams want no reply; they are noted (bench/datagram_receiver.h), and their
// flow's exchanges are answered with what became of them.
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/address.h"
#include "bench/datagram_receiver.h"
#include "bench/for_wait.h"
#include "bench/frame.h"
#include "bench/pacer.h"
#include "bench/server.h"
#include "bench/sockets.h"

namespace bench {
namespace {

constexpr std::uint64_t stop_marker = ~std::uint64_t{0};
// One datagram after another is taken from one socket at most so often before the others are asked.
constexpr int taken_in_a_row = 64;
// A spinning server spins on this long after the last datagram.
constexpr base::Duration spin_after_last = std::chrono::milliseconds(10);
constexpr std::size_t clients_known = 65'536;

template <WaitStrategy wait>
class DatagramServer {
 public:
  DatagramServer(const ServerJob& job, std::vector<base::UniqueFd> sockets, int stop_fd)
      : job_(job),
        streams_(job.kind == WorkloadKind::udp_stream),
        sockets_(std::move(sockets)),
        stop_fd_(stop_fd),
        received_(max_datagram_bytes + 1),
        reply_(max_datagram_bytes) {
    prepare_arrivals(job_, result_);
  }

  base::Result<ServerResult> run() {
    const auto usage_begin = ThreadUsage::now();
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return base::system_error(errno, "epoll_create1");
    for (std::size_t i = 0; i < sockets_.size(); ++i) {
      RETURN_IF_ERROR(watch(sockets_[i].get(), i));
    }
    if (stop_fd_ >= 0) RETURN_IF_ERROR(watch(stop_fd_, stop_marker));

    while (!stopped_) {
      const auto busiest = pass(-1);
      if (!stopped_ && busiest) serve(*busiest);
    }
    note_usage(usage_begin, result_);
    return result_;
  }

 private:
  static constexpr int recv_flags = wait == WaitStrategy::block ? 0 : MSG_DONTWAIT;

  base::Result<> watch(int fd, std::uint64_t data) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = data}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
    return {};
  }

  // Waits (-1) or looks (0), and answers what has arrived. The socket that had something last.
  std::optional<std::size_t> pass(int timeout_ms) {
    std::array<epoll_event, 16> events;
    const int ready =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    std::optional<std::size_t> last;
    for (int i = 0; i < ready; ++i) {
      const auto data = events[static_cast<std::size_t>(i)].data.u64;
      if (data == stop_marker) {
        stopped_ = true;
        continue;
      }
      last = data;
      for (int n = 0; n < taken_in_a_row && take(*last, MSG_DONTWAIT); ++n) {
      }
    }
    return last;
  }

  // Hybrid sleeps after so short a silence that the kernel's tick does not tell it.
  static base::MonotonicTime now() {
    return wait == WaitStrategy::hybrid ? base::monotonic_now() : base::coarse_now();
  }

  // Answers at one socket without epoll, until it falls silent or another has something to say.
  void serve(std::size_t socket) {
    auto active = now();
    auto next_look = active + server_look;
    int flags = recv_flags;
    int idle_waits = 0;
    for (;;) {
      const bool taken = take(socket, flags);
      const auto at = now();
      if (taken) [[likely]] {
        active = at;
        flags = recv_flags;
        idle_waits = 0;
      } else if (flags == 0) {
        if (++idle_waits == idle_waits_allowed) return;
      } else if constexpr (wait == WaitStrategy::spin) {
        if (at - active >= spin_after_last) return;
      } else if (at - active >= spin_margin) {
        flags = 0;
      }
      if (at >= next_look) [[unlikely]] {
        const auto other = pass(0);
        if (stopped_ || (other && *other != socket)) return;
        next_look = at + server_look;
      }
    }
  }

  // Receives one datagram and answers it; false when there was none.
  bool take(std::size_t socket, int flags) {
    const int fd = sockets_[socket].get();
    const auto n = ::recvfrom(fd, received_.data(), received_.size(), flags, client_.get(),
                              client_.capacity());
    if (n < 0) return false;
    if (job_.note_arrivals) note_arrival(result_);
    if (streams_) return take_of_stream(fd, static_cast<std::size_t>(n));
    note_client();
    return answer(fd, static_cast<std::size_t>(n));
  }

  // A datagram of a udp_stream, or an exchange about it.
  bool take_of_stream(int fd, std::size_t size) {
    RequestHeader request;
    if (size >= sizeof(request)) std::memcpy(&request, received_.data(), sizeof(request));
    if (size == request.request_bytes && request.response_bytes == 0) [[likely]] {
      ++(receiver_.take(client_, received_.data(), size) ? result_.received : result_.bad_requests);
      return true;
    }
    note_client();
    if (request.response_bytes >= flow_report_bytes &&
        !receiver_.report(client_, dropped_at(fd), reply_.data() + header_bytes)) {
      ++result_.bad_requests;
      return true;
    }
    return answer(fd, size);
  }

  // Answers the request received, if it is one.
  bool answer(int fd, std::size_t n) {
    RequestHeader request;
    if (n >= sizeof(request)) std::memcpy(&request, received_.data(), sizeof(request));
    if (n != request.request_bytes || request.response_bytes < header_bytes ||
        request.response_bytes > max_datagram_bytes) [[unlikely]] {
      ++result_.bad_requests;
      return true;
    }
    encode(ReplyHeader{.response_bytes = request.response_bytes,
                       .server_id = job_.server_id,
                       .sequence = request.sequence},
           reply_.data());
    // One that finds no room is lost, as it would be further on; its client counts it.
    if (::sendto(fd, reply_.data(), request.response_bytes, MSG_NOSIGNAL, client_.get(),
                 client_.size()) >= 0) [[likely]] {
      ++result_.requests;
    }
    return true;
  }

  // Counts the clients, and the first of them by address.
  void note_client() {
    if (last_.size() == client_.size() &&
        std::memcmp(last_.get(), client_.get(), client_.size()) == 0) [[likely]] {
      return;
    }
    last_ = client_;
    const auto endpoint = client_.endpoint();
    if (!endpoint || clients_.size() == clients_known) return;
    if (!clients_.insert(*endpoint).second) return;
    if (result_.connections++ < clients_noted) ++result_.clients[endpoint->address.to_string()];
  }

  const ServerJob& job_;
  bool streams_;
  DatagramReceiver receiver_;
  std::vector<base::UniqueFd> sockets_;
  int stop_fd_;
  base::UniqueFd epoll_;
  std::vector<char> received_;
  std::vector<char> reply_;
  base::SocketAddress client_;  // that the latest datagram came from
  base::SocketAddress last_;    // that the one before came from
  std::set<base::Endpoint> clients_;
  bool stopped_ = false;
  ServerResult result_;
};

}  // namespace

base::Result<ServerResult> run_datagram_server(const ServerJob& job,
                                               std::vector<base::UniqueFd> sockets, int stop_fd) {
  return for_wait(job.wait, [&](auto how) {
    return DatagramServer<how.value>(job, std::move(sockets), stop_fd).run();
  });
}

}  // namespace bench
