// Loops are compiled once for each way to wait; this is where the choice is made.
#pragma once

#include <type_traits>

#include "base/result.h"
#include "bench/workload.h"

namespace bench {

// What `work` returns, a base::Result, when called with the strategy as a constant
// (std::integral_constant<WaitStrategy, ...>). Errors: input (no strategy at all), and work's.
template <typename Work>
auto for_wait(WaitStrategy wait, Work work)
    -> decltype(work(std::integral_constant<WaitStrategy, WaitStrategy::block>())) {
  switch (wait) {
    case WaitStrategy::block:
      return work(std::integral_constant<WaitStrategy, WaitStrategy::block>());
    case WaitStrategy::hybrid:
      return work(std::integral_constant<WaitStrategy, WaitStrategy::hybrid>());
    case WaitStrategy::spin:
      return work(std::integral_constant<WaitStrategy, WaitStrategy::spin>());
  }
  return base::fail(base::ErrorKind::input, "wait: not a wait strategy");
}

}  // namespace bench
