#include "bgp-peer/sink.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <list>
#include <thread>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/packet.h"

namespace bgp_peer {
namespace {

using base::Result;
using base::UniqueFd;
using Octets = std::vector<std::uint8_t>;

constexpr std::size_t head_size = 19;  // marker of 16, length of 2, type of 1
constexpr std::size_t length_at = 16;
constexpr std::size_t type_at = 18;
constexpr std::uint16_t as_trans = 23456;  // RFC 6793, 9

void put16(Octets& to, std::uint32_t value) {
  to.push_back(static_cast<std::uint8_t>(value >> 8 & 0xff));
  to.push_back(static_cast<std::uint8_t>(value & 0xff));
}

Octets message_of(MessageType type, const Octets& body) {
  Octets message(length_at, 0xff);
  put16(message, static_cast<std::uint32_t>(head_size + body.size()));
  message.push_back(static_cast<std::uint8_t>(type));
  message.insert(message.end(), body.begin(), body.end());
  return message;
}

// RFC 4271, 4.2, with the capabilities of two families (RFC 4760, 8) and of AS numbers of four
// octets (RFC 6793, 3) in one parameter (RFC 5492, 4).
Octets open_of(const SinkSpec& spec) {
  Octets capabilities{1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 65, 4};
  put16(capabilities, spec.asn.number >> 16);
  put16(capabilities, spec.asn.number & 0xffff);
  Octets body{4};
  put16(body, spec.asn.number > 0xffff ? as_trans : spec.asn.number);
  put16(body, spec.hold_time_s);
  body.insert(body.end(), spec.router_id.bytes.begin(), spec.router_id.bytes.begin() + 4);
  body.push_back(static_cast<std::uint8_t>(capabilities.size() + 2));
  body.push_back(2);
  body.push_back(static_cast<std::uint8_t>(capabilities.size()));
  body.insert(body.end(), capabilities.begin(), capabilities.end());
  return message_of(MessageType::open, body);
}

Result<> sign(int fd, const SinkSpec& spec) {
  if (spec.password.size() > TCP_MD5SIG_MAXKEYLEN) {
    return base::fail(base::ErrorKind::input, "password: expected at most {} bytes",
                      TCP_MD5SIG_MAXKEYLEN);
  }
  for (const auto& neighbor : spec.neighbors) {
    const base::SocketAddress address(base::Endpoint{neighbor, 0});
    tcp_md5sig key{};
    std::memcpy(&key.tcpm_addr, address.get(), address.size());
    key.tcpm_keylen = static_cast<std::uint16_t>(spec.password.size());
    std::ranges::copy(spec.password, key.tcpm_key);
    if (::setsockopt(fd, IPPROTO_TCP, TCP_MD5SIG, &key, sizeof(key)) < 0) {
      return base::system_error(errno, "TCP MD5 signatures with {}", neighbor);
    }
  }
  return {};
}

Result<UniqueFd> listen_at(const SinkSpec& spec) {
  if (spec.netns >= 0 && ::setns(spec.netns, CLONE_NEWNET) < 0) {
    return base::system_error(errno, "setns for a BGP sink");
  }
  UniqueFd fd(::socket(spec.address.af(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return base::system_error(errno, "socket for a BGP sink");
  constexpr int on = 1;
  // Connections of the peer that stood here before it may linger.
  (void)::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (!spec.password.empty()) RETURN_IF_ERROR(sign(fd.get(), spec));
  const base::Endpoint endpoint{spec.address, spec.port};
  const base::SocketAddress address(endpoint);
  if (::bind(fd.get(), address.get(), address.size()) < 0 || ::listen(fd.get(), 64) < 0) {
    return base::system_error(errno, "listen at {}", endpoint);
  }
  return fd;
}

}  // namespace

struct Sink::State {
  struct Session {
    UniqueFd fd;
    Octets waiting = {};
    bool established = false;
    bool ended = false;
  };

  UniqueFd listener;
  UniqueFd end;
  std::uint16_t port = 0;
  Octets open = {};
  Octets keepalive = message_of(MessageType::keepalive, {});
  std::atomic<std::size_t> established = 0;
  std::atomic<std::uint64_t> updates = 0;
  std::list<Session> sessions = {};  // of the thread
  Octets buffer = Octets(std::size_t{1} << 18);
  std::thread thread = {};

  // A few bytes, that always fit into a socket's buffer.
  static void say(Session& session, const Octets& message) {
    const auto size = ::send(session.fd.get(), message.data(), message.size(), MSG_NOSIGNAL);
    if (size != static_cast<ssize_t>(message.size())) session.ended = true;
  }

  void take(Session& session, MessageType type) {
    switch (type) {
      case MessageType::open:
        say(session, open);
        say(session, keepalive);
        return;
      case MessageType::keepalive:
        if (!session.established) {
          session.established = true;
          ++established;
        } else {
          say(session, keepalive);
        }
        return;
      case MessageType::update:
        ++updates;
        return;
      case MessageType::notification:
        session.ended = true;
        return;
      case MessageType::route_refresh:
        return;
    }
    session.ended = true;  // it speaks no BGP
  }

  void read(Session& session) {
    const auto size = ::recv(session.fd.get(), buffer.data(), buffer.size(), 0);
    if (size < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (size <= 0) {
      session.ended = true;
      return;
    }
    auto& waiting = session.waiting;
    waiting.insert(waiting.end(), buffer.begin(), buffer.begin() + size);
    std::size_t at = 0;
    while (!session.ended && waiting.size() - at >= head_size) {
      const auto length = base::read_be16(std::span(waiting).subspan(at + length_at));
      if (length < head_size) session.ended = true;
      if (session.ended || waiting.size() - at < length) break;
      take(session, static_cast<MessageType>(waiting[at + type_at]));
      at += length;
    }
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(at));
  }

  void run() {
    std::vector<pollfd> watched;
    for (;;) {
      watched = {{.fd = end.get(), .events = POLLIN, .revents = 0},
                 {.fd = listener.get(), .events = POLLIN, .revents = 0}};
      for (const auto& session : sessions) {
        watched.push_back({.fd = session.fd.get(), .events = POLLIN, .revents = 0});
      }
      if (::poll(watched.data(), watched.size(), -1) < 0 && errno != EINTR) return;
      if (watched[0].revents != 0) return;
      auto which = watched.begin() + 2;
      for (auto& session : sessions) {
        if ((which++)->revents != 0) read(session);
      }
      sessions.remove_if([this](const Session& session) {
        if (session.ended && session.established) --established;
        return session.ended;
      });
      if (watched[1].revents == 0) continue;
      UniqueFd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (fd) sessions.push_back({.fd = std::move(fd)});
    }
  }
};

Sink::Sink(std::unique_ptr<State> state) : state_(std::move(state)) {}
Sink::Sink(Sink&&) noexcept = default;
Sink::~Sink() {
  if (!state_) return;
  ::eventfd_write(state_->end.get(), 1);
  state_->thread.join();
}

Result<Sink> Sink::start(const SinkSpec& spec) {
  auto state = std::make_unique<State>();
  Result<UniqueFd> listener = UniqueFd();
  // A socket stays in the network namespace it was opened in.
  std::thread([&] { listener = listen_at(spec); }).join();
  ASSIGN_OR_RETURN(state->listener, std::move(listener));
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (::getsockname(state->listener.get(), reinterpret_cast<sockaddr*>(&bound), &size) < 0) {
    return base::system_error(errno, "getsockname of a BGP sink");
  }
  // Both families have their port at the same place.
  state->port = ntohs(reinterpret_cast<const sockaddr_in&>(bound).sin_port);
  state->end.reset(::eventfd(0, EFD_CLOEXEC));
  if (!state->end) return base::system_error(errno, "eventfd");
  state->open = open_of(spec);
  auto* shared = state.get();
  state->thread = std::thread([shared] { shared->run(); });
  return Sink(std::move(state));
}

std::uint16_t Sink::port() const { return state_->port; }
std::size_t Sink::established() const { return state_->established; }
std::uint64_t Sink::updates() const { return state_->updates; }

}  // namespace bgp_peer
