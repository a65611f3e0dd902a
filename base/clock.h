// One clock for everything: CLOCK_MONOTONIC, in nanoseconds since boot. Two processes of one boot
// and one time namespace read the same clock, so their stamps compare without an offset.
#pragma once

#include <chrono>
#include <cstdint>

#include <time.h>

namespace base {

using Duration = std::chrono::nanoseconds;

// A point on CLOCK_MONOTONIC.
struct MonotonicTime {
  std::int64_t ns = 0;

  auto operator<=>(const MonotonicTime&) const = default;
  friend MonotonicTime operator+(MonotonicTime time, Duration span) {
    return {time.ns + span.count()};
  }
  friend MonotonicTime operator-(MonotonicTime time, Duration span) {
    return {time.ns - span.count()};
  }
  friend Duration operator-(MonotonicTime later, MonotonicTime earlier) {
    return Duration(later.ns - earlier.ns);
  }
};

// Now. Any thread; a vDSO call, about 25 ns.
inline MonotonicTime monotonic_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return {static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
}

// The same clock as of the kernel's last tick: a few ns to read, for looks that are rare.
inline MonotonicTime coarse_now() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return {static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec};
}

// How far the wall clock (CLOCK_REALTIME) is ahead now, in nanoseconds: what has only that clock's
// stamps, as a capture does, is put onto ours by it.
inline std::int64_t realtime_ahead() {
  timespec now{};
  const auto before = monotonic_now();
  ::clock_gettime(CLOCK_REALTIME, &now);
  const auto after = monotonic_now();
  const auto real = static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
  return real - (before.ns + (after.ns - before.ns) / 2);
}

}  // namespace base
