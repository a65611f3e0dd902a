// A pair of sidecars for tests, as small as can be: one takes what a client sends in clear and
// passes it on by TLS, or by whatever it is told, the other takes that back. Each connection has a
// thread.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <list>
#include <string>
#include <thread>
#include <vector>

#include <poll.h>
#include <sys/eventfd.h>

#include "base/testing/lab.h"
#include "bench/tls_probe/testing/tls_peer.h"

namespace checks::testing {

using bench::testing::Issued;
using bench::testing::OwnedContext;
using bench::testing::OwnedSession;

// Accepts in a network namespace until it goes; `serve` gets every connection, in a thread.
class Acceptor {
 public:
  using Serve = std::function<void(int client, int stop)>;
  Acceptor(const base::testing::TestNetns& netns, const base::Endpoint& endpoint, Serve serve)
      : netns_(netns), serve_(std::move(serve)), stop_(::eventfd(0, EFD_CLOEXEC)) {
    listener_ = netns_.inside([&] { return bench::listen_tcp(endpoint); }).value();
    thread_ = std::thread([this] { netns_.inside([this] { run(); }); });
  }
  ~Acceptor() {
    ::eventfd_write(stop_.get(), 1);
    thread_.join();
    for (auto& one : serving_) one.join();
  }

 private:
  void run() {
    for (;;) {
      std::array<pollfd, 2> watched{{{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}}};
      if (::poll(watched.data(), watched.size(), -1) < 0) continue;
      if (watched[1].revents != 0) return;
      base::UniqueFd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!client) continue;
      serving_.emplace_back([this, fd = std::move(client)] { serve_(fd.get(), stop_.get()); });
    }
  }

  const base::testing::TestNetns& netns_;
  Serve serve_;
  base::UniqueFd listener_;
  base::UniqueFd stop_;
  std::thread thread_;
  std::list<std::thread> serving_;
};

// One end of a way between the two: in clear, by TLS, or masked byte by byte.
class End {
 public:
  enum class Kind { clear, tls, masked };
  End(Kind kind, int fd, SSL* session = nullptr) : kind_(kind), fd_(fd), session_(session) {}

  // Bytes read, 0 at the end.
  int read(char* to, int size) const {
    if (kind_ == Kind::tls) return std::max(::SSL_read(session_, to, size), 0);
    const auto n = static_cast<int>(::recv(fd_, to, static_cast<std::size_t>(size), 0));
    if (kind_ == Kind::masked) mask(to, std::max(n, 0));
    return std::max(n, 0);
  }
  bool write(char* from, int size) const {
    if (kind_ == Kind::tls) return ::SSL_write(session_, from, size) == size;
    if (kind_ == Kind::masked) mask(from, size);
    return ::send(fd_, from, static_cast<std::size_t>(size), MSG_NOSIGNAL) == size;
  }
  [[nodiscard]] int fd() const { return fd_; }
  [[nodiscard]] bool pending() const { return session_ != nullptr && ::SSL_pending(session_) > 0; }

 private:
  static void mask(char* bytes, int size) {
    for (int i = 0; i < size; ++i) bytes[i] = static_cast<char>(bytes[i] ^ 0x5a);
  }
  Kind kind_;
  int fd_;
  SSL* session_;
};

// Passes what comes at any of `ends` on, as `next` says of each piece, until one of them ends.
inline void pass_on(const std::vector<End>& ends, int stop,
                    const std::function<std::size_t(std::size_t from)>& next) {
  std::array<char, 16384> piece;
  for (;;) {
    std::vector<pollfd> watched{{stop, POLLIN, 0}};
    bool pending = false;
    for (const auto& end : ends) {
      watched.push_back({end.fd(), POLLIN, 0});
      pending = pending || end.pending();
    }
    if (::poll(watched.data(), watched.size(), pending ? 0 : -1) < 0) continue;
    if (watched[0].revents != 0) return;
    for (std::size_t i = 0; i < ends.size(); ++i) {
      if (watched[i + 1].revents == 0 && !ends[i].pending()) continue;
      const int n = ends[i].read(piece.data(), static_cast<int>(piece.size()));
      if (n == 0 || !ends[next(i)].write(piece.data(), n)) return;
    }
  }
}

inline base::UniqueFd dialled(const base::Endpoint& to) {
  return bench::connect_within(to, std::chrono::seconds(5), -1).value_or(base::UniqueFd());
}

// The server's: takes TLS and, as a permissive one does, clear text; gives it to `app` in clear.
class ServerRelay {
 public:
  ServerRelay(const base::testing::TestNetns& netns, const base::Endpoint& at, base::Endpoint app,
              const Issued& shown)
      : app_(std::move(app)), context_(::SSL_CTX_new(::TLS_server_method())) {
    bench::testing::use(context_.get(), shown);
    acceptor_ =
        std::make_unique<Acceptor>(netns, at, [this](int fd, int stop) { serve(fd, stop); });
  }

 private:
  void serve(int fd, int stop) const {
    char first = 0;
    if (::recv(fd, &first, 1, MSG_PEEK) != 1) return;
    const auto app = dialled(app_);
    const OwnedSession session(::SSL_new(context_.get()));
    auto kind = first == 'P' ? End::Kind::clear : End::Kind::masked;
    if (first == '\x16') {
      ::SSL_set_fd(session.get(), fd);
      if (::SSL_accept(session.get()) != 1) return;
      kind = End::Kind::tls;
    }
    pass_on({End(kind, fd, kind == End::Kind::tls ? session.get() : nullptr),
             End(End::Kind::clear, app.get())},
            stop, [](std::size_t from) { return 1 - from; });
  }

  base::Endpoint app_;
  OwnedContext context_;
  std::unique_ptr<Acceptor> acceptor_;
};

// The client's: takes clear text and passes it on, every `clear_every`-th piece in clear.
class ClientRelay {
 public:
  struct Options {
    End::Kind kind = End::Kind::tls;
    std::string server_name = "outbound_.8004_._.web.default.svc.cluster.local";
    std::vector<std::string> alpn = {"istio-http/1.1", "istio", "http/1.1"};
    int clear_every = 0;  // 0: none
  };
  ClientRelay(const base::testing::TestNetns& netns, const base::Endpoint& at, base::Endpoint to,
              Options options)
      : to_(std::move(to)),
        options_(std::move(options)),
        context_(::SSL_CTX_new(::TLS_client_method())),
        acceptor_(netns, at, [this](int fd, int stop) { serve(fd, stop); }) {}

 private:
  void serve(int fd, int stop) {
    const auto sealed = dialled(to_);
    const auto clear = options_.clear_every > 0 ? dialled(to_) : base::UniqueFd();
    const OwnedSession session(::SSL_new(context_.get()));
    if (options_.kind == End::Kind::tls) {
      ::SSL_set_fd(session.get(), sealed.get());
      if (!options_.server_name.empty()) {
        SSL_set_tlsext_host_name(session.get(), options_.server_name.c_str());
      }
      std::string protocols;
      for (const auto& one : options_.alpn) protocols += static_cast<char>(one.size()) + one;
      ::SSL_set_alpn_protos(session.get(), reinterpret_cast<const unsigned char*>(protocols.data()),
                            static_cast<unsigned>(protocols.size()));
      if (::SSL_connect(session.get()) != 1) return;
    }
    std::vector<End> ends{End(End::Kind::clear, fd),
                          End(options_.kind, sealed.get(),
                              options_.kind == End::Kind::tls ? session.get() : nullptr)};
    if (clear) ends.emplace_back(End::Kind::clear, clear.get());
    pass_on(ends, stop, [&](std::size_t from) -> std::size_t {
      if (from > 0) return 0;
      return clear && ++pieces_ % options_.clear_every == 0 ? 2 : 1;
    });
  }

  base::Endpoint to_;
  Options options_;
  OwnedContext context_;
  std::atomic<int> pieces_ = 0;
  Acceptor acceptor_;
};

}  // namespace checks::testing
