// What the tests here share: something that runs on a thread until it is stopped.
#pragma once

#include <array>
#include <functional>
#include <future>
#include <optional>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "bench/reach/reach.h"
#include "bench/sockets.h"

namespace bench::testing {

// A job on a thread of its own, as a worker would run it. `Result` is what the job returns.
template <typename Result>
class RunsUntilStopped {
 public:
  // `job` takes the stop descriptor and what to call once it is at work, for which this waits.
  template <typename Job>
  explicit RunsUntilStopped(const Job& job) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    stopped_.reset(ends[0]);
    stop_.reset(ends[1]);
    auto ready = std::make_shared<std::promise<void>>();
    auto is_ready = ready->get_future();
    thread_ = std::jthread([this, job, ready] {
      bool said = false;
      const auto say = [&] {
        if (!std::exchange(said, true)) ready->set_value();
      };
      result_.emplace(job(stopped_.get(), say));
      say();  // one that failed is waited for no longer
    });
    is_ready.wait();
  }
  RunsUntilStopped(const RunsUntilStopped&) = delete;
  RunsUntilStopped& operator=(const RunsUntilStopped&) = delete;
  ~RunsUntilStopped() { stop(); }

  // Ends it, and waits for its result.
  const Result& stop() {
    stop_.reset();
    if (thread_.joinable()) thread_.join();
    return *result_;
  }

 private:
  base::UniqueFd stopped_, stop_;
  std::optional<Result> result_;
  std::jthread thread_;
};

class TestListener : public RunsUntilStopped<base::Result<ListenResult>> {
 public:
  explicit TestListener(ListenJob job)
      : RunsUntilStopped([job = std::move(job)](int stop_fd, const std::function<void()>& ready) {
          return run_listener(job, stop_fd, [&](const auto&) { ready(); });
        }) {}
};

// A port of the loopback that nobody uses, over either protocol; one at a time.
inline std::uint16_t free_port() {
  for (int i = 0; i < 100; ++i) {
    const auto any = base::Endpoint::parse("127.0.0.1:0").value();
    const auto tcp = listen_tcp(any);
    if (!tcp) break;
    const auto endpoint = local_endpoint(tcp->get());
    if (endpoint && bind_udp(*endpoint)) return endpoint->port;
  }
  ADD_FAILURE() << "no free port";
  return 0;
}

inline base::Endpoint on_loopback(std::uint16_t port, bool v6 = false) {
  return base::Endpoint::parse(fmt::format("{}:{}", v6 ? "[::1]" : "127.0.0.1", port)).value();
}

}  // namespace bench::testing
