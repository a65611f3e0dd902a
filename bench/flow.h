// One flow's state, and the queue of those that are idle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/clock.h"
#include "base/fd.h"
#include "bench/server_choice.h"

namespace bench {

// `Reader` puts its replies together.
template <typename Reader>
struct BasicFlow {
  enum class State : std::uint8_t {
    idle,        // nothing to do; the connection may or may not be there
    connecting,  // connect(2) under way, for a request or ahead of the first
    exchanging,  // a request on its way out or its reply awaited
    resting,     // a closed loop's, for a moment after a failure, or until it may connect
  };

  const ServerChoice::Server* server = nullptr;  // of the current connection
  base::UniqueFd fd;
  State state = State::idle;
  bool established = false;
  bool counted = false;           // an open loop's request that is due inside the window
  bool has_request = false;       // false while connecting ahead of the first request
  bool has_turn = false;          // rests until it may connect
  bool watches_room = false;      // its epoll item has EPOLLOUT
  int attempts = 0;               // a UDP flow's, to open
  std::uint64_t sequence = 0;     // of the current request
  std::size_t sent = 0;           // bytes of it handed to the kernel
  std::uint32_t answered_by = 0;  // a kept connection's: who answered last; 0: nobody yet
  base::MonotonicTime started;    // where its latency begins: due time, connect(2) or send
  base::MonotonicTime begun;      // when the request, or a connect without one, really began
  base::MonotonicTime connect_begun;
  base::MonotonicTime deadline;  // when the current wait has been too long, or the rest is over
  Reader reader;
  BasicFlow* follower = nullptr;  // see ReadAhead
};

// First in, first out, of at most `capacity` flows; never allocates after construction.
class IdleQueue {
 public:
  explicit IdleQueue(std::size_t capacity) : ring_(capacity) {}

  [[nodiscard]] bool empty() const { return count_ == 0; }
  void push(std::uint32_t flow) {
    ring_[(head_ + count_) % ring_.size()] = flow;
    ++count_;
  }
  std::uint32_t pop() {
    const auto flow = ring_[head_];
    head_ = (head_ + 1) % ring_.size();
    --count_;
    return flow;
  }

 private:
  std::vector<std::uint32_t> ring_;
  std::size_t head_ = 0;
  std::size_t count_ = 0;
};

}  // namespace bench
