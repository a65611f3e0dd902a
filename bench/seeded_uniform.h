// Random numbers that a seed repeats.
#pragma once

#include <cstdint>

namespace bench {

// splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014): the same
// numbers from the same seed with every standard library, which std::uniform_real_distribution does
// not promise.
class SeededUniform {
 public:
  explicit SeededUniform(std::uint64_t seed) : state_(seed) {}
  // In [0, 1).
  double next() {
    state_ += 0x9e3779b97f4a7c15;
    std::uint64_t mixed = state_;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
    mixed ^= mixed >> 31;
    return static_cast<double>(mixed >> 11) * 0x1.0p-53;
  }

 private:
  std::uint64_t state_;
};

}  // namespace bench
