#include "base/scalar.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace base {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Splits "1.5ms" into its number and its unit; nothing when there is no plain decimal number in
// front (no sign, no exponent, no leading point).
struct Quantity {
  double number;
  std::string_view digits;
  std::string_view unit;
};
std::optional<Quantity> split_quantity(std::string_view text) {
  const auto end = text.find_first_not_of("0123456789.");
  const auto digits = text.substr(0, end);
  if (digits.empty() || digits.front() == '.' || digits.back() == '.') return std::nullopt;
  double number = 0;
  const auto* last = digits.data() + digits.size();
  const auto [rest, problem] =
      std::from_chars(digits.data(), last, number, std::chars_format::fixed);
  if (problem != std::errc{} || rest != last) return std::nullopt;
  return Quantity{number, digits, end == std::string_view::npos ? "" : text.substr(end)};
}

// The shortest decimal that reads back as the same double; never with an exponent, which
// split_quantity does not read.
std::string shortest(double value) {
  std::array<char, 400> text{};  // the longest, the smallest double, takes 326
  const auto end =
      std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::fixed);
  return {text.data(), end.ptr};
}

constexpr std::array duration_units{Unit{"ns", 1},  Unit{"us", 1e3}, Unit{"ms", 1e6},
                                    Unit{"s", 1e9}, Unit{"m", 60e9}, Unit{"h", 3600e9}};
constexpr std::array data_rate_units{Unit{"B/s", 1}, Unit{"kB/s", 1e3}, Unit{"MB/s", 1e6},
                                     Unit{"GB/s", 1e9}};
constexpr std::array byte_units{Unit{"B", 1}, Unit{"KiB", 1024.0}, Unit{"MiB", 1048576.0},
                                Unit{"GiB", 1073741824.0}};

}  // namespace

Result<Duration> StringScalar<Duration>::parse(std::string_view text) {
  if (const auto quantity = split_quantity(text)) {
    for (const auto& unit : duration_units) {
      const double ns = quantity->number * unit.factor;
      if (unit.name != quantity->unit || ns >= 9e18) continue;
      // Beyond 2^53 ns, 104 days, a double would round what was written exactly.
      std::int64_t whole = 0;
      const auto* last = quantity->digits.data() + quantity->digits.size();
      if (std::from_chars(quantity->digits.data(), last, whole).ptr == last) {
        return Duration(whole * static_cast<std::int64_t>(unit.factor));
      }
      return Duration(static_cast<std::int64_t>(std::llround(ns)));
    }
  }
  return fail(ErrorKind::input, "expected a duration such as {}, got \"{}\"", example, text);
}

std::string StringScalar<Duration>::format(const Duration& value) {
  const auto ns = value.count();
  if (ns != 0 && ns % 1'000'000'000 == 0) return fmt::format("{}s", ns / 1'000'000'000);
  if (ns != 0 && ns % 1'000'000 == 0) return fmt::format("{}ms", ns / 1'000'000);
  if (ns != 0 && ns % 1'000 == 0) return fmt::format("{}us", ns / 1'000);
  return ns == 0 ? "0s" : fmt::format("{}ns", ns);
}

Result<RequestRate> StringScalar<RequestRate>::parse(std::string_view text) {
  if (const auto quantity = split_quantity(text)) {
    if (quantity->unit == "/s") return RequestRate{quantity->number};
    const double per_second = quantity->number * 1000;
    if (quantity->unit == "k/s" && std::isfinite(per_second)) return RequestRate{per_second};
  }
  return fail(ErrorKind::input, "expected a rate such as {}, got \"{}\"", example, text);
}

std::string StringScalar<RequestRate>::format(const RequestRate& value) {
  return shortest(value.per_second) + "/s";
}

Result<Bytes> StringScalar<Bytes>::parse(std::string_view text) {
  const auto quantity = split_quantity(text);
  if (quantity && text.find('.') == std::string_view::npos) {
    for (const auto& unit : byte_units) {
      const double count = quantity->number * unit.factor;
      if (unit.name == quantity->unit && count < 9e15) {
        return Bytes{static_cast<std::uint64_t>(count)};
      }
    }
  }
  return fail(ErrorKind::input, "expected a size such as {}, got \"{}\"", example, text);
}

std::string StringScalar<Bytes>::format(const Bytes& value) {
  const auto count = value.count;
  if (count != 0 && count % (1u << 30) == 0) return fmt::format("{}GiB", count >> 30);
  if (count != 0 && count % (1u << 20) == 0) return fmt::format("{}MiB", count >> 20);
  if (count != 0 && count % (1u << 10) == 0) return fmt::format("{}KiB", count >> 10);
  return fmt::format("{}B", count);
}

Result<DataRate> StringScalar<DataRate>::parse(std::string_view text) {
  if (const auto quantity = split_quantity(text)) {
    for (const auto& unit : data_rate_units) {
      const double per_second = quantity->number * unit.factor;
      if (unit.name == quantity->unit && std::isfinite(per_second)) return DataRate{per_second};
    }
  }
  return fail(ErrorKind::input, "expected a data rate such as {}, got \"{}\"", example, text);
}

std::string StringScalar<DataRate>::format(const DataRate& value) {
  for (auto unit = data_rate_units.rbegin(); unit != data_rate_units.rend(); ++unit) {
    const double number = value.bytes_per_second / unit->factor;
    // The largest unit that leaves no fraction, so that what was written reads back exactly.
    if (number >= 1 && number == std::floor(number) &&
        number * unit->factor == value.bytes_per_second) {
      return fmt::format("{}{}", shortest(number), unit->name);
    }
  }
  return shortest(value.bytes_per_second) + "B/s";
}

Result<Percent> StringScalar<Percent>::parse(std::string_view text) {
  auto body = text;
  double sign = 1;
  if (!body.empty() && (body.front() == '+' || body.front() == '-')) {
    if (body.front() == '-') sign = -1;
    body.remove_prefix(1);
  }
  if (const auto quantity = split_quantity(body); quantity && quantity->unit == "%") {
    return Percent{sign * quantity->number / 100};
  }
  return fail(ErrorKind::input, "expected a percentage such as {}, got \"{}\"", example, text);
}

std::string StringScalar<Percent>::format(const Percent& value) {
  // Rounded to a millionth of a percent where that is what was meant, so that 0.07 reads +7% and
  // not +7.000000000000001%. Zero is positive.
  const double exact = value.fraction * 100;
  const double rounded = std::round(exact * 1e6) / 1e6;
  const double percent = (rounded / 100 == value.fraction ? rounded : exact) + 0.0;
  return fmt::format("{}{}%", percent < 0 ? "" : "+", shortest(percent));
}

Result<IpAddress> StringScalar<IpAddress>::parse(std::string_view text) {
  return IpAddress::parse(text);
}
std::string StringScalar<IpAddress>::format(const IpAddress& value) { return value.to_string(); }

Result<Endpoint> StringScalar<Endpoint>::parse(std::string_view text) {
  return Endpoint::parse(text);
}
std::string StringScalar<Endpoint>::format(const Endpoint& value) { return value.to_string(); }

namespace {

constexpr std::size_t longest_name = 256;

// Optimal string alignment distance: insertions, deletions, substitutions, neighbours swapped.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<std::size_t>> cost(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1,
                             cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

std::optional<std::string_view> nearest_name(std::string_view text,
                                             const std::vector<std::string_view>& known) {
  std::optional<std::string_view> nearest;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  for (const auto name : known) {
    const auto [shorter, longer] = std::minmax({text.size(), name.size()});
    const auto allowed = std::max<std::size_t>(1, longer / 3);
    // No alignment is needed where the lengths alone tell, and none worth its square cost where
    // the text is nothing anybody would call a name.
    if (longer - shorter > allowed || longer > longest_name) continue;
    const auto distance = edit_distance(text, name);
    if (distance <= allowed && distance < least) {
      least = distance;
      nearest = name;
    }
  }
  return nearest;
}

}  // namespace base
