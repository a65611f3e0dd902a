// What a YAML scalar means: decided by us and by the field it is written for, never guessed from
// its looks. `yes`, `010`, `0x10`, `~` and a quoted "12" are refused where a number, a boolean or a
// name is wanted, with a sentence that says what to write instead.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "stackbench/scenario/yaml.h"

namespace stackbench {

// Every error below is of kind input, and its message the bare sentence `expected ..., got ...`.

// `expected <what>, got <what is there>`.
[[nodiscard]] std::unexpected<base::Error> unexpected_node(std::string_view expected,
                                                           const YamlNode& got);

// Free text and names. Plain `yes`, `true`, `12`, `~` are refused: other YAML readers would not
// read text there; quoted, they are text.
[[nodiscard]] base::Result<std::string> decode_text(const YamlNode& node);
// The same for a key: `environments: {on: ...}`.
[[nodiscard]] base::Result<> check_key(const YamlEntry& entry);

// The scalar of a unit or an enumeration, plain or quoted; `expected` is what to say otherwise.
[[nodiscard]] base::Result<std::string_view> decode_word(const YamlNode& node,
                                                         std::string_view expected);

// `true` or `false`, plain.
[[nodiscard]] base::Result<bool> decode_bool(const YamlNode& node);

// A plain decimal integer.
struct Integer {
  bool negative = false;
  std::uint64_t magnitude = 0;
};
[[nodiscard]] base::Result<Integer> decode_integer(const YamlNode& node);

// The same into `value`, which stays as it is when the integer is outside the range of T.
template <std::integral T>
[[nodiscard]] base::Result<> decode_integer(const YamlNode& node, T& value) {
  using Limits = std::numeric_limits<T>;
  ASSIGN_OR_RETURN(const auto integer, decode_integer(node));
  // The smallest number of a signed T has a magnitude of one more than its largest.
  const auto room = static_cast<std::uint64_t>(Limits::max()) + (integer.negative ? 1u : 0u);
  if (integer.magnitude > room || (integer.negative && Limits::min() == 0)) {
    return unexpected_node(
        fmt::format("an integer between {} and {}", Limits::min(), Limits::max()), node);
  }
  value = static_cast<T>(integer.negative ? 0 - integer.magnitude : integer.magnitude);
  return {};
}

// A plain finite decimal number, `1.5` or `2e6`.
[[nodiscard]] base::Result<double> decode_number(const YamlNode& node);
// The same into `value`.
template <std::floating_point T>
[[nodiscard]] base::Result<> decode_number(const YamlNode& node, T& value) {
  ASSIGN_OR_RETURN(const double number, decode_number(node));
  value = static_cast<T>(number);
  return {};
}

// Anything, for fields whose meaning is not ours: plain scalars by the rules above, first match of
// boolean, integer, number, nothing, text.
[[nodiscard]] base::Json decode_json(const YamlNode& node);

}  // namespace stackbench
