// One request and its reply over one connection, for loops with a single requester: send(2) and
// recv(2) on the socket itself, no epoll between. The shape sockperf and netperf have, so that one
// connection's figures compare with theirs.
#pragma once

#include <algorithm>
#include <cerrno>
#include <vector>

#include <sys/socket.h>

#include "base/clock.h"
#include "bench/frame.h"
#include "bench/pacer.h"
#include "bench/sockets.h"
#include "bench/workload.h"

namespace bench {

// How an exchange ended.
struct ExchangeEnd {
  enum class Kind : std::uint8_t { replied, closed_early, bad_reply, failed, timed_out, stopped };
  Kind kind = Kind::replied;
  int code = 0;  // errno of `failed`
};

// The class of an end that is neither `replied` nor `stopped`.
[[nodiscard]] FailureClass failure_of(const ExchangeEnd& end);
// Counts such an end under its class.
void count_exchange_end(const ExchangeEnd& end, TrafficErrors& errors);

// The errno that says most of what such an end does: 0 when replied, EINTR when stopped, EBADMSG
// for a bad reply.
[[nodiscard]] int as_errno(const ExchangeEnd& end);

// A blocking recv(2) is left this often, to look at the stop descriptor and the timeout.
[[nodiscard]] inline base::Duration wait_slice(const WorkloadSpec& spec) {
  return std::min<base::Duration>(spec.timeout, std::chrono::milliseconds(100));
}
// How often a loop that never sleeps looks at the stop descriptor.
inline constexpr base::Duration look_interval = std::chrono::milliseconds(5);

// `protocol` UDP: a message is one datagram. One that answers an earlier request comes late and is
// passed over; any other that is not the reply ends the exchange as a bad one.
template <WaitStrategy wait, base::Protocol protocol = base::Protocol::TCP>
class Exchange {
 public:
  Exchange(const WorkloadSpec& spec, int stop_fd)
      : stop_fd_(stop_fd),
        timeout_(spec.timeout),
        response_bytes_(static_cast<std::uint32_t>(response_size(spec).count)),
        request_(request_size(spec).count),
        scratch_(scratch_bytes) {}

  // The flags of the socket to create: a spinner's never blocks in connect(2).
  static constexpr int socket_flags = wait == WaitStrategy::spin ? SOCK_NONBLOCK : 0;

  // Sends the next request on `fd` and waits for its reply; `sent_at` begins its timeout. A
  // blocking socket must have its waits bounded (wait_slice). `server_id` is set when replied.
  ExchangeEnd run(int fd, base::MonotonicTime sent_at, std::uint32_t& server_id) {
    encode(RequestHeader{.request_bytes = static_cast<std::uint32_t>(request_.size()),
                         .response_bytes = response_bytes_,
                         .sequence = ++sequence_},
           request_.data());
    std::size_t sent = 0;
    do {
      const auto n =
          ::send(fd, request_.data() + sent, request_.size() - sent, MSG_NOSIGNAL | send_flags);
      if (n >= 0) [[likely]] {
        sent += static_cast<std::size_t>(n);
        continue;
      }
      if (errno != EAGAIN && errno != EINTR) return failed(errno);
      if (const auto end = look(sent_at); end.kind != ExchangeEnd::Kind::replied) return end;
    } while (sent < request_.size());

    reader_.reset();
    int flags = recv_flags;
    for (std::uint32_t misses = 0;;) {
      const auto n = ::recv(fd, scratch_.data(), scratch_.size(), flags);
      if (n > 0) [[likely]] {
        if constexpr (datagrams) reader_.reset();
        const auto state = reader_.feed(scratch_.data(), static_cast<std::size_t>(n));
        if (state == FrameReader::State::complete && !(datagrams && came_late())) [[likely]]
          return verify(server_id);
        if (state == FrameReader::State::malformed) return {ExchangeEnd::Kind::bad_reply};
        if constexpr (!datagrams) continue;
        if (state == FrameReader::State::incomplete) return {ExchangeEnd::Kind::bad_reply};
      } else if (n == 0) {
        return {datagrams ? ExchangeEnd::Kind::bad_reply : ExchangeEnd::Kind::closed_early};
      } else if (errno != EAGAIN && errno != EINTR) {
        return failed(errno);
      }
      ++misses;
      if constexpr (wait == WaitStrategy::spin) {
        if (misses % misses_per_look != 0) [[likely]]
          continue;
      }
      if constexpr (wait == WaitStrategy::hybrid) {
        if (flags != 0 && base::monotonic_now() - sent_at < spin_margin) continue;
        flags = 0;
      }
      if (const auto end = look(sent_at); end.kind != ExchangeEnd::Kind::replied) return end;
    }
  }

  // UDP: the reply, from its header on, after a run that was replied.
  [[nodiscard]] const char* datagram() const { return scratch_.data(); }

 private:
  static constexpr bool datagrams = protocol == base::Protocol::UDP;
  static constexpr std::size_t scratch_bytes = std::size_t{256} << 10;
  // A miss costs some 0.2 us: a look at the clock about every 50 us.
  static constexpr std::uint32_t misses_per_look = 256;
  static constexpr int send_flags = wait == WaitStrategy::spin ? MSG_DONTWAIT : 0;
  static constexpr int recv_flags = wait == WaitStrategy::block ? 0 : MSG_DONTWAIT;

  static ExchangeEnd failed(int code) { return {ExchangeEnd::Kind::failed, code}; }

  // Whether to give up waiting; `replied` stands for going on.
  ExchangeEnd look(base::MonotonicTime sent_at) const {
    const auto now = base::monotonic_now();
    if (now - sent_at >= timeout_) return {ExchangeEnd::Kind::timed_out};
    if (readable(stop_fd_)) return {ExchangeEnd::Kind::stopped};
    return {};
  }

  [[nodiscard]] bool came_late() const {
    return reader_.header<ReplyHeader>().sequence < sequence_;
  }

  ExchangeEnd verify(std::uint32_t& server_id) const {
    const auto reply = reader_.header<ReplyHeader>();
    if (reply.response_bytes != response_bytes_ || reply.sequence != sequence_) [[unlikely]] {
      return {ExchangeEnd::Kind::bad_reply};
    }
    server_id = reply.server_id;
    return {};
  }

  int stop_fd_;
  base::Duration timeout_;
  std::uint32_t response_bytes_;
  std::uint64_t sequence_ = 0;
  FrameReader reader_;
  std::vector<char> request_;
  std::vector<char> scratch_;
};

}  // namespace bench
