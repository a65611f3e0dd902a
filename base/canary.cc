#include "base/canary.h"

#include <array>

#include <fmt/ranges.h>
#include <sys/random.h>

namespace base {

std::string make_token() {
  std::array<std::uint8_t, token_length / 2> bytes{};
  // So few bytes come whole; a signal may come before them, while the kernel gathers its first.
  while (::getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) {
  }
  return fmt::format("{:02x}", fmt::join(bytes, ""));
}

}  // namespace base
