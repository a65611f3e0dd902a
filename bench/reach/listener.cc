// The servers of a sweep: one thread, one epoll, any number of ports.
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <set>
#include <unordered_map>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/reach/reach.h"
#include "bench/reach/reach_frame.h"
#include "bench/sockets.h"

namespace bench {
namespace {

using base::Protocol;

// Open at a time; a client that went away without a word is found by keep-alive.
constexpr std::size_t most_connections = 16'384;
constexpr int taken_in_a_row = 64;

class ReachListener {
 public:
  ReachListener(const ListenJob& job, int stop_fd) : job_(job), stop_fd_(stop_fd) {}

  base::Result<ListenResult> run(
      const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
    raise_descriptor_limit();
    epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!epoll_) return base::system_error(errno, "epoll_create1");
    std::set<base::Endpoint> endpoints;
    for (const auto& port : job_.ports) RETURN_IF_ERROR(open(port, endpoints));
    if (stop_fd_ >= 0) RETURN_IF_ERROR(watch(stop_fd_, EPOLLIN));
    on_listening({endpoints.begin(), endpoints.end()});

    std::array<epoll_event, 256> events;
    for (;;) {
      const int ready =
          ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), -1);
      if (ready < 0 && errno != EINTR) return base::system_error(errno, "epoll_wait");
      for (int i = 0; i < ready; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd == stop_fd_) return result_;
        handle(fd);
      }
    }
  }

 private:
  struct Connection {
    base::UniqueFd fd;
    std::size_t got = 0;  // of the next question
    std::array<char, sizeof(ReachQuestion)> question{};
  };
  struct Socket {
    base::UniqueFd fd;
    Protocol protocol;
  };

  base::Result<> watch(int fd, std::uint32_t what) const {
    epoll_event event{.events = what, .data = {.fd = fd}};
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) < 0) {
      return base::system_error(errno, "epoll_ctl");
    }
    return {};
  }

  base::Result<> open(const ListenPort& port, std::set<base::Endpoint>& endpoints) {
    for (const auto family : {base::AddressFamily::ipv4, base::AddressFamily::ipv6}) {
      const base::Endpoint any{.address = {.family = family}, .port = port.port};
      const bool tcp = port.protocol == Protocol::TCP;
      auto fd = tcp ? listen_tcp(any) : bind_udp(any);
      // A kernel without IPv6.
      if (!fd && fd.error().code == EAFNOSUPPORT && family == base::AddressFamily::ipv6) continue;
      if (!fd) {
        return base::in_context(std::move(fd).error(), "listen on {} port {}",
                                base::enum_name(port.protocol), port.port);
      }
      if (!tcp) {
        enlarge_receive_buffer(fd->get());
        // Answers leave from the address that was asked, which need not be the one the kernel
        // routes by.
        const bool v4 = family == base::AddressFamily::ipv4;
        const int on = 1;
        if (::setsockopt(fd->get(), v4 ? IPPROTO_IP : IPPROTO_IPV6,
                         v4 ? IP_PKTINFO : IPV6_RECVPKTINFO, &on, sizeof(on)) < 0) {
          return base::system_error(errno, "setsockopt for {}", any);
        }
      }
      if (::fcntl(fd->get(), F_SETFL, O_NONBLOCK) < 0) {
        return base::system_error(errno, "fcntl for {}", any);
      }
      RETURN_IF_ERROR(watch(fd->get(), EPOLLIN));
      const int number = fd->get();
      sockets_.emplace(number, Socket{std::move(*fd), port.protocol});
      endpoints.insert(any);
    }
    return {};
  }

  void handle(int fd) {
    if (const auto socket = sockets_.find(fd); socket != sockets_.end()) {
      for (int i = 0; i < taken_in_a_row; ++i) {
        const bool more = socket->second.protocol == Protocol::TCP ? accept(fd) : take_datagram(fd);
        if (!more) return;
      }
      return;
    }
    const auto found = connections_.find(fd);
    if (found != connections_.end() && !serve(found->second)) connections_.erase(found);
  }

  bool accept(int listener) {
    base::UniqueFd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      // Left in the queue it would have epoll return for ever: the descriptor held back for this
      // takes it, and it is closed.
      if ((errno == EMFILE || errno == ENFILE) && spare_) {
        spare_.reset();
        if (base::UniqueFd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC))) {
          ++result_.turned_away;
        }
        spare_.reset(::epoll_create1(EPOLL_CLOEXEC));
        return true;
      }
      return errno == EINTR || errno == ECONNABORTED;
    }
    if (connections_.size() >= most_connections) {
      ++result_.turned_away;
      return true;
    }
    ++result_.connections;
    const int on = 1;
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    const int number = fd.get();
    if (!watch(number, EPOLLIN | EPOLLRDHUP)) return true;
    const auto [place, made] = connections_.emplace(number, Connection{.fd = std::move(fd)});
    // Its question is often there already.
    if (!serve(place->second)) connections_.erase(place);
    return true;
  }

  // Answers what has arrived. False at the connection's end.
  bool serve(Connection& connection) {
    for (;;) {
      const auto count = ::recv(connection.fd.get(), connection.question.data() + connection.got,
                                connection.question.size() - connection.got, 0);
      if (count < 0) return errno == EAGAIN || errno == EINTR;
      if (count == 0) return false;
      connection.got += static_cast<std::size_t>(count);
      if (connection.got < connection.question.size()) continue;
      connection.got = 0;
      const auto question = std::bit_cast<ReachQuestion>(connection.question);
      if (question.magic != ReachQuestion::expected_magic) {
        ++result_.strangers;
        return false;
      }
      const ReachAnswer answer{.server_id = job_.server_id, .nonce = question.nonce};
      // So little fits, unless the client never reads.
      if (::send(connection.fd.get(), &answer, sizeof(answer), MSG_NOSIGNAL) != sizeof(answer)) {
        return false;
      }
      ++result_.requests;
    }
  }

  bool take_datagram(int fd) {
    ReachQuestion question;
    sockaddr_storage client{};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(in6_pktinfo))> control{};
    iovec part{.iov_base = &question, .iov_len = sizeof(question)};
    msghdr message{};
    message.msg_name = &client;
    message.msg_namelen = sizeof(client);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const auto count = ::recvmsg(fd, &message, MSG_DONTWAIT);
    // An error here is ICMP about an earlier answer, and taken with that.
    if (count < 0) return errno != EAGAIN && errno != EBADF;
    if (static_cast<std::size_t>(count) < sizeof(question) ||
        (message.msg_flags & MSG_TRUNC) != 0 || question.magic != ReachQuestion::expected_magic) {
      ++result_.strangers;
      return true;
    }
    ReachAnswer answer{.server_id = job_.server_id, .nonce = question.nonce};
    part = {.iov_base = &answer, .iov_len = sizeof(answer)};
    message.msg_flags = 0;
    leave_from_where_asked(message);
    if (::sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == sizeof(answer)) ++result_.requests;
    return true;
  }

  // What said where a datagram came to says where the answer is to come from. The interface is left
  // to the route back.
  static void leave_from_where_asked(msghdr& message) {
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    if (header == nullptr) return;
    if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
      in_pktinfo info;
      std::memcpy(&info, CMSG_DATA(header), sizeof(info));
      info.ipi_spec_dst = info.ipi_addr;
      info.ipi_ifindex = 0;
      std::memcpy(CMSG_DATA(header), &info, sizeof(info));
    } else if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
      in6_pktinfo info;
      std::memcpy(&info, CMSG_DATA(header), sizeof(info));
      // A link-local address means nothing without its interface.
      if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
      std::memcpy(CMSG_DATA(header), &info, sizeof(info));
    }
  }

  const ListenJob& job_;
  int stop_fd_;
  base::UniqueFd epoll_;
  base::UniqueFd spare_{::epoll_create1(EPOLL_CLOEXEC)};
  std::unordered_map<int, Socket> sockets_;
  std::unordered_map<int, Connection> connections_;
  ListenResult result_;
};

}  // namespace

base::Result<ListenResult> run_listener(
    const ListenJob& job, int stop_fd,
    const std::function<void(const std::vector<base::Endpoint>&)>& on_listening) {
  return ReachListener(job, stop_fd).run(on_listening);
}

}  // namespace bench
