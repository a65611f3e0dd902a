#include "bgp-peer/route.h"

#include <charconv>

namespace bgp_peer {
namespace {

using base::ErrorKind;
using base::Result;

// All of the text as a decimal number of at most `most`.
std::optional<std::uint32_t> number_of(std::string_view text, std::uint32_t most) {
  std::uint32_t value = 0;
  const auto* end = text.data() + text.size();
  const auto [rest, problem] = std::from_chars(text.data(), end, value);
  if (text.empty() || problem != std::errc() || rest != end || value > most) return std::nullopt;
  return value;
}

bool has_bits_beyond(const base::IpAddress& address, int length) {
  for (int bit = length; bit < address.host_prefix(); ++bit) {
    const auto byte = address.bytes[static_cast<std::size_t>(bit / 8)];
    if ((byte >> (7 - bit % 8) & 1) != 0) return true;
  }
  return false;
}

}  // namespace

Result<Asn> Asn::from_json(const base::Json& json, const std::string& path) {
  ASSIGN_OR_RETURN(const auto number, base::from_json<std::uint32_t>(json, path));
  return Asn{number};
}

base::Json Asn::json_schema() { return base::json_schema<std::uint32_t>(); }

Result<Prefix> Prefix::parse(std::string_view text) {
  const auto wrong = [&] {
    return base::fail(ErrorKind::input, "expected a prefix such as 10.201.0.0/24, got \"{}\"",
                      text);
  };
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return wrong();
  const auto address = base::IpAddress::parse(text.substr(0, slash));
  if (!address) return wrong();
  const auto length =
      number_of(text.substr(slash + 1), static_cast<std::uint32_t>(address->host_prefix()));
  if (!length) return wrong();
  const Prefix prefix{*address, static_cast<int>(*length)};
  if (has_bits_beyond(prefix.address, prefix.length)) {
    return base::fail(ErrorKind::input, "\"{}\" has bits set beyond its length of {}", text,
                      prefix.length);
  }
  return prefix;
}

std::string Prefix::to_string() const { return fmt::format("{}/{}", address, length); }

bool Prefix::covers(const Prefix& other) const {
  if (address.family != other.address.family || other.length < length) return false;
  for (int bit = 0; bit < length; ++bit) {
    const auto at = static_cast<std::size_t>(bit / 8);
    const int shift = 7 - bit % 8;
    if ((address.bytes[at] >> shift & 1) != (other.address.bytes[at] >> shift & 1)) return false;
  }
  return true;
}

Result<Community> Community::parse(std::string_view text) {
  const auto colon = text.find(':');
  if (colon != std::string_view::npos) {
    const auto upper = number_of(text.substr(0, colon), 0xffff);
    const auto lower = number_of(text.substr(colon + 1), 0xffff);
    if (upper && lower) return Community{*upper << 16 | *lower};
  }
  return base::fail(ErrorKind::input, "expected a community such as 65000:99, got \"{}\"", text);
}

std::string Community::to_string() const {
  return fmt::format("{}:{}", value >> 16, value & 0xffff);
}

std::string as_path_text(const std::vector<AsSegment>& path) {
  std::string text;
  for (const auto& segment : path) {
    std::vector<std::uint32_t> numbers;
    for (const auto& asn : segment.numbers) numbers.push_back(asn.number);
    if (numbers.empty()) continue;
    if (!text.empty()) text += ' ';
    text += segment.is_set ? fmt::format("{{{}}}", fmt::join(numbers, ","))
                           : fmt::format("{}", fmt::join(numbers, " "));
  }
  return text;
}

}  // namespace bgp_peer
