#include "base/units.h"

#include <array>
#include <cmath>
#include <span>

#include <fmt/format.h>

namespace base {
namespace {

struct Scale {
  double factor;
  std::string_view unit;
};

// Three significant digits of a number below 1000.
std::string three_digits(double value) {
  const double size = std::fabs(value);
  if (size < 9.995) return fmt::format("{:.2f}", value);
  if (size < 99.95) return fmt::format("{:.1f}", value);
  return fmt::format("{:.0f}", value);
}

// The largest scale that leaves a number of at least 1. What would round up to 1000 belongs to the
// next one: 999.6 ns is 1.00 us.
std::string scaled(double value, std::span<const Scale> scales) {
  if (!std::isfinite(value)) return "-";
  const Scale* chosen = &scales.front();
  for (const auto& scale : scales) {
    if (std::fabs(value) >= scale.factor * 0.9995) chosen = &scale;
  }
  return fmt::format("{} {}", three_digits(value / chosen->factor), chosen->unit);
}

constexpr std::array utf8_times{Scale{1, "ns"}, Scale{1e3, "µs"}, Scale{1e6, "ms"},
                                Scale{1e9, "s"}};
constexpr std::array ascii_times{Scale{1, "ns"}, Scale{1e3, "us"}, Scale{1e6, "ms"},
                                 Scale{1e9, "s"}};
constexpr std::array rates{Scale{1, "/s"}, Scale{1e3, "k/s"}, Scale{1e6, "M/s"}, Scale{1e9, "G/s"}};
constexpr std::array sizes{Scale{1, "B"}, Scale{1e3, "kB"}, Scale{1e6, "MB"}, Scale{1e9, "GB"},
                           Scale{1e12, "TB"}};

}  // namespace

std::string format_time(double nanoseconds, Charset charset) {
  return scaled(nanoseconds, charset == Charset::utf8 ? utf8_times : ascii_times);
}

std::string format_rate(double per_second) { return scaled(per_second, rates); }

std::string format_bytes(double bytes) { return scaled(bytes, sizes); }

std::string format_signed(double percent) {
  if (!std::isfinite(percent)) return "-";
  if (std::fabs(percent) < 0.05) return "+0.0";
  return fmt::format("{:+.1f}", percent);
}

std::string format_difference(double percent) {
  const std::string number = format_signed(percent);
  return std::isfinite(percent) ? number + " %" : number;
}

std::string format_count(std::uint64_t count, std::string_view noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string format_wait(std::int64_t nanoseconds) {
  const std::int64_t seconds = nanoseconds <= 0 ? 0 : (nanoseconds - 1) / 1'000'000'000 + 1;
  if (seconds < 60) return fmt::format("{} s", seconds);
  if (seconds < 3600) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {:02} min", seconds / 3600, seconds % 3600 / 60);
}

}  // namespace base
