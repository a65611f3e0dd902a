// The server of tcp_stream: reads and throws away, by way of a buffer, as an application would
// read. A connection that is alone is read without epoll, its recv(2) sleeping as long as the rest
// of the server may be left alone.
#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <vector>

#include <sys/epoll.h>
#include <sys/socket.h>

#include "bench/frame.h"
#include "bench/server.h"
#include "bench/sockets.h"

namespace bench {
namespace {

constexpr std::uint64_t stop_marker = ~std::uint64_t{0};
constexpr std::uint64_t listener_bit = std::uint64_t{1} << 32;
// As much as iperf3 reads at once; it stays in the core's second-level cache.
constexpr std::size_t buffer_bytes = std::size_t{128} << 10;

struct Incoming {
  base::UniqueFd fd;
  FrameReader reader;   // of the request that opens the stream
  bool opened = false;  // and has been answered
  std::uint64_t sequence = 0;
  std::uint64_t bytes = 0;  // after it
};

class StreamServer {
 public:
  StreamServer(const ServerJob& job, std::vector<base::UniqueFd> listeners, int stop_fd)
      : job_(job), listeners_(std::move(listeners)), stop_fd_(stop_fd), buffer_(buffer_bytes) {}

  base::Result<ServerResult> run() {
    const auto usage_begin = ThreadUsage::now();
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return base::system_error(errno, "epoll_create1");
    for (std::size_t i = 0; i < listeners_.size(); ++i) {
      RETURN_IF_ERROR(watch(listeners_[i].get(), listener_bit | i));
    }
    if (stop_fd_ >= 0) RETURN_IF_ERROR(watch(stop_fd_, stop_marker));
    while (!stopped_) {
      pass(-1);
      if (!stopped_ && streams_.size() == 1) read_alone(streams_.begin()->second);
    }
    note_usage(usage_begin, result_);
    return result_;
  }

 private:
  base::Result<> watch(int fd, std::uint64_t data) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = data}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
    return {};
  }

  void pass(int timeout_ms) {
    std::array<epoll_event, 64> events;
    const int ready =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
    for (int i = 0; i < ready; ++i) {
      const auto data = events[static_cast<std::size_t>(i)].data.u64;
      if (data == stop_marker) {
        stopped_ = true;
      } else if ((data & listener_bit) != 0) {
        accept(static_cast<std::size_t>(data & ~listener_bit));
      } else if (const auto stream = streams_.find(static_cast<int>(data));
                 stream != streams_.end()) {
        read(stream->second, MSG_DONTWAIT);
      }
    }
  }

  void accept(std::size_t listener) {
    base::SocketAddress peer;
    socklen_t* const size = peer.capacity();
    base::UniqueFd fd(::accept4(listeners_[listener].get(), peer.get(), size, SOCK_CLOEXEC));
    if (!fd) return;
    if (result_.connections++ < clients_noted) {
      if (const auto endpoint = peer.endpoint()) ++result_.clients[endpoint->address.to_string()];
    }
    const int number = fd.get();
    if (!watch(number, static_cast<std::uint64_t>(number))) return;
    streams_[number].fd = std::move(fd);
  }

  // Reads the only stream there is until it ends or something else wants a look.
  void read_alone(Incoming& stream) {
    auto next_look = base::coarse_now() + server_look;
    for (int idle_waits = 0; idle_waits < idle_waits_allowed;) {
      const auto read_before = result_.received;
      if (!read(stream, 0)) return;
      idle_waits = result_.received == read_before ? idle_waits + 1 : 0;
      if (const auto now = base::coarse_now(); now >= next_look) {
        // What is there to be read has its turn anyway.
        if (others_wait()) return;
        next_look = now + server_look;
      }
    }
  }

  // Whether a listener or the stop descriptor has something to say.
  [[nodiscard]] bool others_wait() const {
    if (readable(stop_fd_)) return true;
    return std::ranges::any_of(listeners_,
                               [](const auto& listener) { return readable(listener.get()); });
  }

  // One recv(2) and what follows from it; false when the stream is gone.
  bool read(Incoming& stream, int flags) {
    const auto n = ::recv(stream.fd.get(), buffer_.data(), buffer_.size(), flags);
    if (n > 0) [[likely]] {
      if (!stream.opened) return open(stream, static_cast<std::size_t>(n));
      stream.bytes += static_cast<std::uint64_t>(n);
      result_.received += static_cast<std::uint64_t>(n);
      return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
    if (n == 0 && stream.opened) {
      say(stream, StreamReport{.header = {.response_bytes = sizeof(StreamReport),
                                          .server_id = job_.server_id,
                                          .sequence = stream.sequence + 1},
                               .bytes = stream.bytes});
    }
    streams_.erase(stream.fd.get());
    return false;
  }

  // Takes bytes of the request that opens the stream; what it wants of a reply is a header.
  bool open(Incoming& stream, std::size_t size) {
    const auto state = stream.reader.feed(buffer_.data(), size);
    if (state == FrameReader::State::incomplete) return true;
    const auto request = stream.reader.header<RequestHeader>();
    if (state == FrameReader::State::malformed || request.response_bytes != header_bytes) {
      ++result_.bad_requests;
      streams_.erase(stream.fd.get());
      return false;
    }
    stream.opened = true;
    stream.sequence = request.sequence;
    say(stream, ReplyHeader{.response_bytes = header_bytes,
                            .server_id = job_.server_id,
                            .sequence = request.sequence});
    return true;
  }

  // So few bytes that a socket nothing was written to takes them at once.
  // Where it does not, the connection is broken, and the next read says so.
  template <typename Reply>
  void say(const Incoming& stream, const Reply& reply) {
    const auto n = ::send(stream.fd.get(), &reply, sizeof(reply), MSG_NOSIGNAL);
    if (n == static_cast<ssize_t>(sizeof(reply))) ++result_.requests;
  }

  const ServerJob& job_;
  std::vector<base::UniqueFd> listeners_;
  int stop_fd_;
  base::UniqueFd epoll_;
  std::vector<char> buffer_;
  std::map<int, Incoming> streams_;  // by descriptor
  bool stopped_ = false;
  ServerResult result_;
};

}  // namespace

base::Result<ServerResult> run_stream_server(const ServerJob& job,
                                             std::vector<base::UniqueFd> listeners, int stop_fd) {
  return StreamServer(job, std::move(listeners), stop_fd).run();
}

}  // namespace bench
