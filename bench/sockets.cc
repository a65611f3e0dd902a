#include "bench/sockets.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <linux/sock_diag.h>
#include <linux/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace bench {
namespace {

constexpr int backlog = 4096;  // capped by net.core.somaxconn
constexpr int receive_buffer = 8 << 20;

int set_option(int fd, int level, int name, int value) {
  return ::setsockopt(fd, level, name, &value, sizeof(value)) < 0 ? errno : 0;
}

timespec as_timespec(base::Duration span) {
  return {.tv_sec = span.count() / 1'000'000'000, .tv_nsec = span.count() % 1'000'000'000};
}

}  // namespace

Connected tcp_socket(const base::Endpoint& server, int flags) {
  base::UniqueFd fd(::socket(server.address.af(), SOCK_STREAM | SOCK_CLOEXEC | flags, 0));
  if (!fd) return std::unexpected(errno);
  if (const int code = set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1); code != 0) {
    return std::unexpected(code);
  }
  return fd;
}

Connected udp_socket(const base::SocketAddress& server, int flags) {
  base::UniqueFd fd(::socket(server.get()->sa_family, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0));
  if (!fd) return std::unexpected(errno);
  if (::connect(fd.get(), server.get(), server.size()) < 0) return std::unexpected(errno);
  return fd;
}

Connected connect_within(const base::Endpoint& server, base::Duration timeout, int stop_fd) {
  const auto deadline = base::monotonic_now() + timeout;
  auto fd = tcp_socket(server, SOCK_NONBLOCK);
  if (!fd) return fd;
  const base::SocketAddress address(server);
  if (::connect(fd->get(), address.get(), address.size()) < 0) {
    if (errno != EINPROGRESS) return std::unexpected(errno);
    if (const int code = finish_connect(fd->get(), deadline, stop_fd); code != 0) {
      return std::unexpected(code);
    }
  }
  if (::fcntl(fd->get(), F_SETFL, 0) < 0) return std::unexpected(errno);
  return fd;
}

int finish_connect(int fd, base::MonotonicTime deadline, int stop_fd) {
  for (;;) {
    const auto left = deadline - base::monotonic_now();
    if (left.count() <= 0) return ETIMEDOUT;
    pollfd waits[] = {{.fd = fd, .events = POLLOUT, .revents = 0},
                      {.fd = stop_fd, .events = POLLIN, .revents = 0}};
    const auto timeout = as_timespec(left);
    if (::ppoll(waits, 2, &timeout, nullptr) < 0 && errno != EINTR) return errno;
    if (waits[1].revents != 0) return EINTR;
    if (waits[0].revents != 0) return pending_error(fd);
  }
}

int pending_error(int fd) {
  int code = 0;
  socklen_t size = sizeof(code);
  if (::getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &size) < 0) return errno;
  return code;
}

int bound_waits(int fd, base::Duration longest) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(longest).count();
  const timeval timeout{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  for (const int option : {SO_RCVTIMEO, SO_SNDTIMEO}) {
    if (::setsockopt(fd, SOL_SOCKET, option, &timeout, sizeof(timeout)) < 0) return errno;
  }
  return 0;
}

base::Result<base::UniqueFd> listen_tcp(const base::Endpoint& endpoint) {
  const int af = endpoint.address.af();
  base::UniqueFd fd(::socket(af, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::system_error(errno, "socket for {}", endpoint);
  int code = set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (code == 0) code = set_option(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  if (code == 0 && af == AF_INET6) code = set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1);
  if (code != 0) return base::system_error(code, "setsockopt for {}", endpoint);
  const base::SocketAddress address(endpoint);
  if (::bind(fd.get(), address.get(), address.size()) < 0) {
    return base::system_error(errno, "bind {}", endpoint);
  }
  if (::listen(fd.get(), backlog) < 0) return base::system_error(errno, "listen {}", endpoint);
  return fd;
}

base::Result<base::UniqueFd> bind_udp(const base::Endpoint& endpoint) {
  const int af = endpoint.address.af();
  base::UniqueFd fd(::socket(af, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd) return base::system_error(errno, "socket for {}", endpoint);
  if (af == AF_INET6) {
    if (const int code = set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1); code != 0) {
      return base::system_error(code, "setsockopt for {}", endpoint);
    }
  }
  const base::SocketAddress address(endpoint);
  if (::bind(fd.get(), address.get(), address.size()) < 0) {
    return base::system_error(errno, "bind {}", endpoint);
  }
  return fd;
}

base::Result<base::Endpoint> local_endpoint(int fd) {
  base::SocketAddress address;
  // The capacity is set before the address is read: two statements, because one call's arguments
  // are evaluated in any order.
  socklen_t* const size = address.capacity();
  if (::getsockname(fd, address.get(), size) < 0) return base::system_error(errno, "getsockname");
  return address.endpoint();
}

std::uint64_t retransmits(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
  return info.tcpi_total_retrans;
}

std::uint64_t acknowledged_bytes(int fd) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
  return info.tcpi_bytes_acked;
}

int gather_writes(int fd) { return set_option(fd, IPPROTO_TCP, TCP_NODELAY, 0); }

void enlarge_receive_buffer(int fd) {
  if (set_option(fd, SOL_SOCKET, SO_RCVBUFFORCE, receive_buffer) != 0) {
    set_option(fd, SOL_SOCKET, SO_RCVBUF, receive_buffer);
  }
}

std::uint64_t dropped_at(int fd) {
  std::array<std::uint32_t, SK_MEMINFO_VARS> figures{};
  socklen_t size = sizeof(figures);
  if (::getsockopt(fd, SOL_SOCKET, SO_MEMINFO, figures.data(), &size) < 0) return 0;
  return figures[SK_MEMINFO_DROPS];
}

unsigned accept_queue(int listener) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  if (::getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &size) < 0) return 0;
  return info.tcpi_unacked;
}

void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

bool readable(int fd) {
  pollfd wait{.fd = fd, .events = POLLIN, .revents = 0};
  return fd >= 0 && ::poll(&wait, 1, 0) > 0;
}

FailureClass connect_failure(int code) {
  switch (code) {
    case ECONNREFUSED:
      return FailureClass::refused;
    case ECONNRESET:
      return FailureClass::reset;
    case ETIMEDOUT:
      return FailureClass::timed_out;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case EHOSTDOWN:
      return FailureClass::unreachable;
    case EADDRNOTAVAIL:
      return FailureClass::address_unavailable;
    case EBADMSG:
      return FailureClass::bad_reply;
    default:
      return FailureClass::other;
  }
}

FailureClass exchange_failure(int code) {
  switch (code) {
    case ECONNREFUSED:
      return FailureClass::refused;
    case ECONNRESET:
    case EPIPE:
      return FailureClass::reset;
    case ETIMEDOUT:
      return FailureClass::timed_out;
    case EHOSTUNREACH:
    case ENETUNREACH:
      return FailureClass::unreachable;
    default:
      return FailureClass::other;
  }
}

void count_connect_error(int code, TrafficErrors& errors) { ++errors.of(connect_failure(code)); }

void count_exchange_error(int code, TrafficErrors& errors) { ++errors.of(exchange_failure(code)); }

}  // namespace bench
