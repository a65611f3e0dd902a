// Servers for the tests of the traffic library: ours, run in a thread, and one that misbehaves as
// it is told. Loopback only.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "bench/frame.h"
#include "bench/http_parser.h"
#include "bench/sockets.h"
#include "bench/traffic.h"

namespace bench {

// A stop descriptor a test can make readable.
class StopEvent {
 public:
  StopEvent() : fd_(::eventfd(0, EFD_CLOEXEC)) {}
  [[nodiscard]] int fd() const { return fd_.get(); }
  void set() const { ASSERT_EQ(::eventfd_write(fd_.get(), 1), 0); }

 private:
  base::UniqueFd fd_;
};

inline base::Endpoint any_port(std::string_view address) {
  return {.address = *base::IpAddress::parse(address), .port = 0};
}

// run_server in a thread; stopped and joined by result() or by the destructor.
class RunningServer {
 public:
  explicit RunningServer(ServerJob job) {
    if (job.listen.empty()) job.listen = {any_port("127.0.0.1")};
    std::promise<std::vector<base::Endpoint>> listening;
    auto bound = listening.get_future();
    finished_ = std::async(std::launch::async, [this, job = std::move(job),
                                                listening = std::move(listening)]() mutable {
      return run_server(job, stop_.fd(),
                        [&](const auto& endpoints) { listening.set_value(endpoints); });
    });
    endpoints_ = bound.get();
  }
  ~RunningServer() {
    if (finished_.valid()) result();
  }
  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;

  [[nodiscard]] base::Endpoint endpoint(std::size_t index = 0) const { return endpoints_[index]; }
  ServerResult result() {
    stop_.set();
    const auto result = finished_.get();
    EXPECT_TRUE(result);
    return result ? *result : ServerResult{};
  }

 private:
  StopEvent stop_;
  std::future<base::Result<ServerResult>> finished_;
  std::vector<base::Endpoint> endpoints_;
};

// A thread per connection that reads whole requests and lets the test's function answer each.
class ScriptedServer {
 public:
  // Called with the connection and the request; false closes the connection.
  using Answer = std::function<bool(int fd, const RequestHeader& request)>;

  // `kind`: http, or any of those that speak in frames. Of an HTTP request the answer is given the
  // length of the reply it asks for and its number.
  explicit ScriptedServer(Answer answer, WorkloadKind kind = WorkloadKind::tcp_rr)
      : answer_(std::move(answer)), kind_(kind) {
    listener_ = std::move(*listen_tcp(any_port("127.0.0.1")));
    endpoint_ = *local_endpoint(listener_.get());
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (auto& thread : threads_) thread.join();
  }
  ScriptedServer(const ScriptedServer&) = delete;
  ScriptedServer& operator=(const ScriptedServer&) = delete;

  [[nodiscard]] base::Endpoint endpoint() const { return endpoint_; }
  // Ports the clients came from, in the order of their connections.
  [[nodiscard]] std::vector<int> client_ports() {
    const std::lock_guard lock(mutex_);
    return client_ports_;
  }

  // The right answer, altered by the caller or not.
  static std::string reply_to(const RequestHeader& request, std::uint32_t server_id = 1,
                              WorkloadKind kind = WorkloadKind::tcp_rr) {
    if (kind == WorkloadKind::http) {
      return fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n{}: {}\r\n{}: {:08x}\r\n\r\n{}",
                         request.response_bytes, http_server_id_field, server_id,
                         http_sequence_field, request.sequence,
                         std::string(request.response_bytes, 'y'));
    }
    std::string reply(request.response_bytes, '\0');
    encode(ReplyHeader{.response_bytes = request.response_bytes,
                       .server_id = server_id,
                       .sequence = request.sequence},
           reply.data());
    return reply;
  }
  static bool send_text(int fd, const std::string& text) {
    return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
  }
  // Makes the close that follows a reset.
  static void reset_on_close(int fd) {
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
  }

 private:
  void accept_all() {
    for (;;) {
      sockaddr_in peer{};
      socklen_t size = sizeof(peer);
      const int fd =
          ::accept4(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      open_.insert(fd);
      client_ports_.push_back(::ntohs(peer.sin_port));
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  }

  void serve(int fd) {
    std::string received;
    char buffer[65536];
    for (bool going_on = true; going_on;) {
      const auto n = ::recv(fd, buffer, sizeof(buffer), 0);
      if (n <= 0) break;
      received.append(buffer, static_cast<std::size_t>(n));
      const auto request = whole_request(received);
      if (!request) continue;
      received.clear();
      going_on = answer_(fd, *request);
    }
    const std::lock_guard lock(mutex_);
    open_.erase(fd);
    ::close(fd);
  }

  [[nodiscard]] std::optional<RequestHeader> whole_request(const std::string& received) const {
    RequestHeader request;
    if (kind_ == WorkloadKind::http) {
      HttpRequestReader reader;
      reader.feed(received.data(), received.size());
      if (reader.state() != HttpRequestReader::State::complete) return std::nullopt;
      request.response_bytes = static_cast<std::uint32_t>(reader.head().asked_bytes.value_or(0));
      request.sequence = reader.head().sequence.value_or(0);
      return request;
    }
    if (received.size() < sizeof(request)) return std::nullopt;
    std::memcpy(&request, received.data(), sizeof(request));
    if (received.size() < request.request_bytes) return std::nullopt;
    return request;
  }

  Answer answer_;
  WorkloadKind kind_;
  base::UniqueFd listener_;
  base::Endpoint endpoint_;
  std::mutex mutex_;
  std::set<int> open_;
  std::vector<int> client_ports_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A connection a test writes to by hand; its reads end after a second.
inline base::UniqueFd dial(const base::Endpoint& server) {
  auto fd = connect_within(server, std::chrono::seconds(1), -1);
  EXPECT_TRUE(fd);
  if (!fd) return {};
  bound_waits(fd->get(), std::chrono::seconds(1));
  return std::move(*fd);
}

// What comes back until `size` bytes are there or the connection ends.
inline std::string receive(int fd, std::size_t size) {
  std::string text(size, '\0');
  const auto n = ::recv(fd, text.data(), size, MSG_WAITALL);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

inline bool ended(int fd) {
  char byte = 0;
  return ::recv(fd, &byte, 1, 0) == 0;
}

// A job the tests vary: short, without a warm-up, so that both ends count the same requests.
inline ClientJob short_job(const base::Endpoint& server) {
  ClientJob job;
  job.servers = {server};
  job.workload.duration = std::chrono::milliseconds(60);
  job.workload.warm_up = base::Duration(0);
  return job;
}

}  // namespace bench
