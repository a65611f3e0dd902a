// Canaries: what traffic carries so that whoever sees it can prove it. One is a token that nobody
// can guess and behind it the number of the request it was sent with or that it answers, all in
// hexadecimal digits: text, so that every protocol carries it as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace base {

inline constexpr std::size_t token_length = 32;  // 128 bits
inline constexpr std::size_t number_length = 8;
inline constexpr std::size_t canary_length = token_length + number_length;

// A token nobody else has: from getrandom(2). Also a name that nobody else has.
[[nodiscard]] std::string make_token();

[[nodiscard]] constexpr bool is_token(std::string_view text) {
  return text.size() == token_length &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

// Writes number_length digits.
constexpr void write_number(std::uint32_t number, char* out) {
  constexpr std::string_view digits = "0123456789abcdef";
  for (std::size_t i = number_length; i-- > 0; number >>= 4U) out[i] = digits[number & 0xfU];
}

}  // namespace base
