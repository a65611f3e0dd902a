#include "bench/pacer.h"

#include <cmath>

#include "bench/seeded_uniform.h"

namespace bench {
namespace {

constexpr double most_arrivals = 50'000'000;

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
