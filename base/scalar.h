// How a value of each unit type is spelt in YAML, on the command line and in JSON: `300ms`,
// `2000/s`, `+5%`, `64KiB`. One trait a type; readers, writers and the JSON Schema all use it, so a
// spelling exists once.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/address.h"
#include "base/clock.h"
#include "base/result.h"

namespace base {

// Requests per second.
struct RequestRate {
  double per_second = 0;
  auto operator<=>(const RequestRate&) const = default;
};

// A count of bytes.
struct Bytes {
  std::uint64_t count = 0;
  auto operator<=>(const Bytes&) const = default;
};

// Bytes per second.
struct DataRate {
  double bytes_per_second = 0;
  auto operator<=>(const DataRate&) const = default;
};

// A signed share: +5% holds 0.05.
struct Percent {
  double fraction = 0;
  auto operator<=>(const Percent&) const = default;
};

// Specialised below for every type spelt as one string. A specialisation has:
//   static Result<T> parse(std::string_view)  the error is the bare sentence `expected ..., got
//   "x"` static std::string format(const T&)       the inverse: parse(format(x)) == x static
//   constexpr std::string_view pattern a regular expression (JSON Schema, ECMA 262) static
//   constexpr std::string_view example `30s or 250ms`
template <typename T>
struct StringScalar;

template <typename T>
concept IsStringScalar = requires(std::string_view text, const T& value) {
  { StringScalar<T>::parse(text) };
  { StringScalar<T>::format(value) };
};

// `30s`, `250ms`, `1.5us`, `10ns`, `2m`; a unit is always needed.
template <>
struct StringScalar<Duration> {
  static Result<Duration> parse(std::string_view text);
  static std::string format(const Duration& value);
  static constexpr std::string_view pattern = "^[0-9]+(\\.[0-9]+)?(ns|us|ms|s|m|h)$";
  static constexpr std::string_view example = "30s or 250ms";
};

// `2000/s`, `2.5k/s`.
template <>
struct StringScalar<RequestRate> {
  static Result<RequestRate> parse(std::string_view text);
  static std::string format(const RequestRate& value);
  static constexpr std::string_view pattern = "^[0-9]+(\\.[0-9]+)?k?/s$";
  static constexpr std::string_view example = "2000/s";
};

// `64B`, `16KiB`, `1MiB`; powers of 1024 only, a unit is always needed.
template <>
struct StringScalar<Bytes> {
  static Result<Bytes> parse(std::string_view text);
  static std::string format(const Bytes& value);
  static constexpr std::string_view pattern = "^[0-9]+(B|KiB|MiB|GiB)$";
  static constexpr std::string_view example = "64B or 16KiB";
};

// `500MB/s`, `1.5GB/s`, `800kB/s`: powers of 1000, as rates of links are.
template <>
struct StringScalar<DataRate> {
  static Result<DataRate> parse(std::string_view text);
  static std::string format(const DataRate& value);
  static constexpr std::string_view pattern = "^[0-9]+(\\.[0-9]+)?[kMG]?B/s$";
  static constexpr std::string_view example = "500MB/s";
};

// `+5%`, `-3%`, `5%`.
template <>
struct StringScalar<Percent> {
  static Result<Percent> parse(std::string_view text);
  static std::string format(const Percent& value);
  static constexpr std::string_view pattern = "^[+-]?[0-9]+(\\.[0-9]+)?%$";
  static constexpr std::string_view example = "+5%";
};

// `10.244.1.2`, `fd00:244:1::2`.
template <>
struct StringScalar<IpAddress> {
  static Result<IpAddress> parse(std::string_view text);
  static std::string format(const IpAddress& value);
  static constexpr std::string_view pattern = "^[0-9a-fA-F.:]+$";
  static constexpr std::string_view example = "10.244.1.2";
};

// `10.244.1.2:7001`, `[fd00:244:1::2]:7001`.
template <>
struct StringScalar<Endpoint> {
  static Result<Endpoint> parse(std::string_view text);
  static std::string format(const Endpoint& value);
  static constexpr std::string_view pattern = "^(\\[[0-9a-fA-F:.]+\\]|[0-9.]+):[0-9]+$";
  static constexpr std::string_view example = "10.244.1.2:7001";
};

// An enumeration's one spelling: YAML value = enumerator = file name = report key. Specialise with
//   static constexpr std::array names{std::pair{E::a, std::string_view("a")}, ...};
template <typename E>
struct EnumNames;

template <typename E>
concept IsNamedEnum = std::is_enum_v<E> && requires { EnumNames<E>::names; };

// The name of an enumerator; every enumerator has one (checked where the table is made).
template <IsNamedEnum E>
constexpr std::string_view enum_name(E value) {
  for (const auto& [enumerator, name] : EnumNames<E>::names) {
    if (enumerator == value) return name;
  }
  return "?";
}

// The enumerator of that name, or nothing.
template <IsNamedEnum E>
constexpr std::optional<E> enum_from_name(std::string_view text) {
  for (const auto& [enumerator, name] : EnumNames<E>::names) {
    if (name == text) return enumerator;
  }
  return std::nullopt;
}

// Every name of the enumeration, in its order.
template <IsNamedEnum E>
std::vector<std::string_view> enum_names() {
  std::vector<std::string_view> all;
  all.reserve(EnumNames<E>::names.size());
  for (const auto& [enumerator, name] : EnumNames<E>::names) all.push_back(name);
  return all;
}

// The name in `known` closest to `text` by Damerau-Levenshtein distance, when it is close enough to
// be a slip of the fingers (at most a third of the length, at least one edit); otherwise nothing.
[[nodiscard]] std::optional<std::string_view> nearest_name(
    std::string_view text, const std::vector<std::string_view>& known);

}  // namespace base
