// Servers for the tests of the traffic library: ours, run in a thread, and one that misbehaves as
// it is told. Loopback only.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <mutex>
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

  explicit ScriptedServer(Answer answer) : answer_(std::move(answer)) {
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
  static std::string reply_to(const RequestHeader& request, std::uint32_t server_id = 1) {
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
      RequestHeader request;
      if (received.size() < sizeof(request)) continue;
      std::memcpy(&request, received.data(), sizeof(request));
      if (received.size() < request.request_bytes) continue;
      received.clear();
      going_on = answer_(fd, request);
    }
    const std::lock_guard lock(mutex_);
    open_.erase(fd);
    ::close(fd);
  }

  Answer answer_;
  base::UniqueFd listener_;
  base::Endpoint endpoint_;
  std::mutex mutex_;
  std::set<int> open_;
  std::vector<int> client_ports_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// A job the tests vary: short, without a warm-up, so that both ends count the same requests.
inline ClientJob short_job(const base::Endpoint& server) {
  ClientJob job;
  job.servers = {server};
  job.workload.duration = std::chrono::milliseconds(60);
  job.workload.warm_up = base::Duration(0);
  return job;
}

}  // namespace bench
