// The stream between a client and a listening agent, which a test cuts or silences at any byte.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/agent/client.h"
#include "bench/agent/listener.h"

namespace bench::testing {

constexpr std::size_t uncut = std::numeric_limits<std::size_t>::max();

// What a wire carries before it breaks; then both its ends are closed, or it goes silent.
struct Cut {
  std::size_t commands = uncut;  // bytes
  std::size_t answers = uncut;
  bool silently = false;
};

// Wires to one agent's socket, each carried by a thread until it breaks or either end closes.
class Wires {
 public:
  explicit Wires(std::string socket) : socket_(std::move(socket)) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    stop_reader_.reset(ends[0]);
    stop_.reset(ends[1]);
  }
  Wires(const Wires&) = delete;
  Wires& operator=(const Wires&) = delete;
  ~Wires() {
    stop_.reset();
    threads_.clear();
  }

  // Each further wire is cut as the next of these says, and those beyond them not at all.
  void cut(std::vector<Cut> cuts) { cuts_ = std::move(cuts); }
  [[nodiscard]] std::size_t opened() const { return opened_; }
  // Cuts the newest of them where it is.
  void cut_now() const { EXPECT_EQ(::shutdown(newest_.get(), SHUT_RDWR), 0); }
  // What was carried so far, over all of them.
  [[nodiscard]] std::size_t commands() const { return carried_->commands; }
  [[nodiscard]] std::size_t answers() const { return carried_->answers; }

  base::Result<AgentStream> open() {
    ASSIGN_OR_RETURN(base::UniqueFd agent,
                     connect_to_agent(socket_, base::monotonic_now() + std::chrono::seconds(10)));
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) < 0) {
      return base::system_error(errno, "socketpair");
    }
    base::UniqueFd client(ends[0]);
    base::UniqueFd writing(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    newest_.reset(::fcntl(client.get(), F_DUPFD_CLOEXEC, 0));
    const Cut cut = opened_ < cuts_.size() ? cuts_[opened_] : Cut{};
    ++opened_;
    threads_.emplace_back(
        [cut, carried = carried_, stop = stop_reader_.get(), near = base::UniqueFd(ends[1]),
         far = std::move(agent)] { Wires::carry(cut, *carried, stop, near.get(), far.get()); });
    return AgentStream{.to_agent = std::move(writing), .from_agent = std::move(client)};
  }

 private:
  struct Carried {
    std::atomic<std::size_t> commands = 0;
    std::atomic<std::size_t> answers = 0;
  };

  // Moves what is there from one end to the other; false at an end, or when `left` is used up.
  static bool move(int from, int to, std::size_t& left, std::atomic<std::size_t>& carried) {
    std::array<char, 4096> chunk;
    const ssize_t count = ::recv(from, chunk.data(), std::min(chunk.size(), left), 0);
    if (count <= 0) return false;
    const auto size = static_cast<std::size_t>(count);
    // Counted first, so that whoever has read it finds it counted.
    carried += size;
    if (::send(to, chunk.data(), size, MSG_NOSIGNAL) != count) return false;
    left -= left == uncut ? 0 : size;
    return left > 0;
  }

  static void carry(Cut cut, Carried& carried, int stop, int near, int far) {
    std::array<pollfd, 3> watched{pollfd{.fd = near, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = far, .events = POLLIN, .revents = 0},
                                  pollfd{.fd = stop, .events = POLLIN, .revents = 0}};
    bool whole = cut.commands > 0 && cut.answers > 0;
    while (whole && ::poll(watched.data(), watched.size(), -1) > 0 && watched[2].revents == 0) {
      if (watched[0].revents != 0) whole = move(near, far, cut.commands, carried.commands);
      if (whole && watched[1].revents != 0) whole = move(far, near, cut.answers, carried.answers);
    }
    // Silent: open at both ends until the client gives it up.
    watched[0].events = POLLRDHUP;
    watched[1].fd = -1;
    if (cut.silently && !whole) ::poll(watched.data(), watched.size(), -1);
  }

  std::string socket_;
  std::vector<Cut> cuts_;
  std::size_t opened_ = 0;
  base::UniqueFd newest_;  // the client's end of it
  std::shared_ptr<Carried> carried_ = std::make_shared<Carried>();
  base::UniqueFd stop_reader_, stop_;  // its hang-up ends the threads
  std::vector<std::jthread> threads_;
};

}  // namespace bench::testing
