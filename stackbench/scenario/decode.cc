#include "stackbench/scenario/decode.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <system_error>

namespace stackbench {
namespace {

constexpr std::string_view digits = "0123456789";

bool all_of(std::string_view text, std::string_view set) {
  return !text.empty() && text.find_first_not_of(set) == std::string_view::npos;
}

std::string_view unsigned_part(std::string_view text) {
  if (!text.empty() && (text.front() == '-' || text.front() == '+')) text.remove_prefix(1);
  return text;
}

// Whether some YAML reader (1.1 or 1.2) would take the plain text for something else than text.
bool ambiguous(std::string_view text) {
  static constexpr std::array words{"y", "n", "yes", "no", "on", "off", "true", "false", "null"};
  std::string lower(text);
  std::ranges::transform(lower, lower.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  if (std::ranges::find(words, lower) != words.end() || text.empty() || text == "~") return true;
  const auto number = unsigned_part(lower);
  if (number == ".inf" || number == ".nan") return true;
  if (number.starts_with("0x")) return all_of(number.substr(2), "0123456789abcdef_");
  if (number.starts_with("0o")) return all_of(number.substr(2), "01234567");
  double value = 0;
  const auto* end = number.data() + number.size();
  const auto [rest, problem] = std::from_chars(number.data(), end, value);
  return (problem == std::errc{} && rest == end && all_of(number, "0123456789.eE+-")) ||
         all_of(number, "0123456789_");
}

std::string describe_node(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::map) return "a map";
  if (node.kind == YamlNode::Kind::list) return "a list";
  if (node.is_nothing()) return "nothing";
  return node.plain ? fmt::format("\"{}\"", node.text)
                    : fmt::format("the quoted text \"{}\"", node.text);
}

}  // namespace

std::unexpected<base::Error> unexpected_node(std::string_view expected, const YamlNode& got) {
  return base::fail(base::ErrorKind::input, "expected {}, got {}", expected, describe_node(got));
}

base::Result<std::string> decode_text(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.is_nothing()) {
    return unexpected_node("text", node);
  }
  if (node.plain && ambiguous(node.text)) {
    return base::fail(
        base::ErrorKind::input,
        "expected text, got {}, which some YAML readers do not take for text; quote it: "
        "\"{}\"",
        node.text, node.text);
  }
  return node.text;
}

base::Result<> check_key(const YamlEntry& entry) {
  if (!entry.key_plain || !ambiguous(entry.key)) return {};
  return base::fail(
      base::ErrorKind::input,
      "expected a name, got {}, which some YAML readers do not take for text; quote it: "
      "\"{}\"",
      entry.key.empty() ? "nothing" : entry.key, entry.key);
}

base::Result<std::string_view> decode_word(const YamlNode& node, std::string_view expected) {
  if (node.kind != YamlNode::Kind::scalar || node.is_nothing()) {
    return unexpected_node(expected, node);
  }
  return std::string_view(node.text);
}

base::Result<bool> decode_bool(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::scalar && node.plain) {
    if (node.text == "true") return true;
    if (node.text == "false") return false;
  }
  return unexpected_node("true or false", node);
}

base::Result<Integer> decode_integer(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || !node.plain)
    return unexpected_node("an integer", node);
  const std::string_view text = node.text;
  const bool negative = text.starts_with('-');
  const auto magnitude = negative ? text.substr(1) : text;
  Integer integer{.negative = negative};
  const auto* end = magnitude.data() + magnitude.size();
  if (all_of(magnitude, digits)) {
    const auto [rest, problem] = std::from_chars(magnitude.data(), end, integer.magnitude);
    if (problem != std::errc{}) return unexpected_node("an integer of at most 64 bits", node);
    if (magnitude.size() > 1 && magnitude.front() == '0') {
      return base::fail(base::ErrorKind::input,
                        "expected an integer, got {}: a leading zero means octal to some YAML "
                        "readers; write {}{}",
                        text, negative ? "-" : "", integer.magnitude);
    }
    return integer;
  }
  for (const auto& [prefix, base] : {std::pair{"0x", 16}, std::pair{"0o", 8}}) {
    if (!magnitude.starts_with(prefix) || magnitude.size() == 2) continue;
    const auto [rest, problem] =
        std::from_chars(magnitude.data() + 2, end, integer.magnitude, base);
    if (problem != std::errc{} || rest != end) continue;
    return base::fail(base::ErrorKind::input, "expected a decimal integer, got {}; write {}{}",
                      text, negative ? "-" : "", integer.magnitude);
  }
  return unexpected_node("an integer", node);
}

base::Result<double> decode_number(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::scalar && node.plain && !node.text.empty()) {
    const std::string_view text = node.text;
    const auto body = text.starts_with('-') ? text.substr(1) : text;
    double value = 0;
    const auto* end = text.data() + text.size();
    const auto [rest, problem] = std::from_chars(text.data(), end, value);
    // from_chars also reads `inf`, `.5` and `010`.
    const bool decimal = !body.empty() && digits.find(body.front()) != std::string_view::npos &&
                         (body.size() < 2 || body[0] != '0' || !all_of(body.substr(1, 1), digits));
    if (decimal && problem == std::errc{} && rest == end && std::isfinite(value)) return value;
  }
  return unexpected_node("a number", node);
}

base::Json decode_json(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::list) {
    auto array = base::Json::array();
    for (const auto& item : node.items) array.push_back(decode_json(item));
    return array;
  }
  if (node.kind == YamlNode::Kind::map) {
    auto object = base::Json::object();
    for (const auto& entry : node.entries) object[entry.key] = decode_json(entry.value);
    return object;
  }
  if (node.is_nothing()) return {};
  if (const auto value = decode_bool(node)) return *value;
  std::int64_t integer = 0;
  if (decode_integer(node, integer)) return integer;
  if (const auto value = decode_number(node)) return *value;
  return node.text;
}

}  // namespace stackbench
