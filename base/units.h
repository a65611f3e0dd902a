// How quantities are printed for people: three significant digits and a unit that fits ("12.3 µs",
// "1.20 ms", "45.1 k/s"). Files hold plain numbers in fixed units instead (base/scalar.h).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace base {

// What the reader's terminal can show beyond ASCII.
enum class Charset { ascii, utf8 };

// "870 ns", "12.3 µs" ("12.3 us" in ASCII), "1.20 ms", "41.0 s". A negative time keeps its sign;
// a value that is no number reads "-".
[[nodiscard]] std::string format_time(double nanoseconds, Charset charset);

// "45.1 k/s", "870 /s"; "-" as above.
[[nodiscard]] std::string format_rate(double per_second);

// "24.7 GB": powers of 1000; "-" as above.
[[nodiscard]] std::string format_bytes(double bytes);

// "+12.3 %": always signed, one decimal, because it is a difference; "-" as above. A value that
// rounds to zero is "+0.0 %" from either side.
[[nodiscard]] std::string format_difference(double percent);
// The same number without its unit, for the ends of an interval.
[[nodiscard]] std::string format_signed(double percent);

// "3 blocks", "1 block": the count and the noun, which takes an s.
[[nodiscard]] std::string format_count(std::uint64_t count, std::string_view noun);

// A wait as people say it: "8 s", "3 min 20 s", "1 h 05 min". Whole seconds, rounded up.
[[nodiscard]] std::string format_wait(std::int64_t nanoseconds);

}  // namespace base
