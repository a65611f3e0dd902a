// Whether a figure that depends on the machine may be judged. One that is reached is reached,
// whoever else uses the machine; one that is not says something only where nobody else does.
#pragma once

#include <algorithm>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

#include "base/noise.h"

namespace base::testing {

// Watches every CPU for a moment: true where others take less than a twentieth of each.
inline bool machine_is_calm() {
  std::vector<int> cpus(std::max(1U, std::thread::hardware_concurrency()));
  std::iota(cpus.begin(), cpus.end(), 0);
  const auto readings =
      base::probe_gaps(cpus, std::chrono::milliseconds(30), std::chrono::microseconds(100));
  return readings && std::ranges::all_of(*readings, [](const base::GapReading& reading) {
           return 20 * reading.lost_ns < reading.watched_ns;
         });
}

// The best of some tries of what is to reach a rate; more while others use the machine.
struct BestRate {
  double per_second = 0;
  int calm_tries = 0;  // with nobody else before and after them

  // Whether that is the answer: it was reached, or often enough not for want of the machine.
  [[nodiscard]] bool is_known(double wanted) const {
    constexpr int enough = 3;
    return per_second >= wanted || calm_tries >= enough;
  }
};

// `once`: one try, a rate.
template <typename Once>
BestRate best_rate(double wanted, int most_tries, Once once) {
  BestRate best;
  for (int i = 0; i < most_tries && !best.is_known(wanted); ++i) {
    const bool calm_before = machine_is_calm();
    best.per_second = std::max(best.per_second, once());
    if (calm_before && machine_is_calm()) ++best.calm_tries;
  }
  return best;
}

}  // namespace base::testing
