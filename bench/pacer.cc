#include "bench/pacer.h"

#include <cmath>

namespace bench {
namespace {

constexpr double most_arrivals = 50'000'000;

// splitmix64 (Steele, Lea, Flood 2014): the same numbers from the same seed with every standard
// library, which std::uniform_real_distribution does not promise.
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

}  // namespace

base::Result<std::vector<base::Duration>> arrival_schedule(base::RequestRate rate,
                                                           base::Duration span,
                                                           std::uint64_t seed) {
  if (!(rate.per_second > 0)) {
    return base::fail(base::ErrorKind::input, "rate: expected more than 0/s, got {}/s",
                      rate.per_second);
  }
  const double slot_ns = 1e9 / rate.per_second;
  const double slots = std::round(static_cast<double>(span.count()) / slot_ns);
  if (slots > most_arrivals) {
    return base::fail(base::ErrorKind::input,
                      "rate: {}/s over {} ms is more than {} requests in one invocation",
                      rate.per_second, span.count() / 1'000'000, most_arrivals);
  }
  const auto requests = static_cast<std::size_t>(slots);
  std::vector<base::Duration> schedule;
  schedule.reserve(requests);
  SeededUniform uniform(seed);
  for (std::size_t slot = 0; slot < requests; ++slot) {
    const double offset = (static_cast<double>(slot) + uniform.next()) * slot_ns;
    schedule.emplace_back(static_cast<std::int64_t>(offset));
  }
  return schedule;
}

}  // namespace bench
