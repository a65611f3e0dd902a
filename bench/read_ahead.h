// Which flow to read from without asking epoll first.
#pragma once

#include <algorithm>
#include <cstddef>

namespace bench {

// A server answers many flows in much the same order time after time, and while one reply is taken
// and the next request sent the next reply arrives. So after a pass over what epoll told, the flow
// that was next the last time is read from, and the one after it, until one has nothing yet:
// against a server that is as fast as its client most calls of epoll are spared. Where even the
// first guess is wrong, guessing rests for some passes, more with every such miss.
//
// `Flow` has a `Flow* follower`, at first nullptr, which is for this alone; flows stay where they
// are.
template <typename Flow>
class ReadAhead {
 public:
  // A flow's reply has been taken, whoever read it.
  void answered(Flow& flow) {
    if (last_ != nullptr) last_->follower = &flow;
    last_ = &flow;
  }

  // After a pass: calls `read` with flows that `awaits` says wait for a reply, so long as each call
  // leads to answered() of its flow, `most` of them at most.
  template <typename Awaits, typename Read>
  void after_pass(std::size_t most, Awaits awaits, Read read) {
    if (rest_ > 0) {
      --rest_;
      return;
    }
    std::size_t right = 0;
    while (right < most && last_ != nullptr) {
      Flow* const next = last_->follower;
      if (next == nullptr || next == last_ || !awaits(*next)) break;
      read(*next);
      if (last_ != next) break;
      ++right;
    }
    misses_ = right > 0 ? 0 : std::min(misses_ + 1, most_misses);
    rest_ = (1 << misses_) - 1;
  }

 private:
  // Guesses that are always wrong are made after every 64th pass.
  static constexpr int most_misses = 6;

  Flow* last_ = nullptr;
  int misses_ = 0;  // passes in a row whose first guess was wrong
  int rest_ = 0;    // passes until the next guess
};

}  // namespace bench
