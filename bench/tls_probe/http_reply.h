// As much of a reply of HTTP/1.1 as tells who refused, and why: no parser of what is sound
// (bench/http_parser.h), but a look at what came, whole or in part.
#pragma once

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

namespace bench {

// "HTTP/1.1 403 Forbidden".
inline std::optional<int> http_status_of(std::string_view reply) {
  constexpr std::string_view version = "HTTP/1.";
  constexpr std::size_t status_at = 9;
  if (!reply.starts_with(version) || reply.size() < status_at + 3) return std::nullopt;
  int status = 0;
  const auto* const from = reply.data() + status_at;
  const auto read = std::from_chars(from, from + 3, status);
  return read.ptr == from + 3 ? std::optional(status) : std::nullopt;
}

// For people: what is no letter of ASCII is a dot.
inline std::string plain_text(std::string_view bytes) {
  std::string text(bytes);
  std::ranges::replace_if(text, [](unsigned char c) { return c < ' ' || c > '~'; }, '.');
  return text;
}

// The value of a field of a reply's head; empty where there is none.
inline std::string_view field_of(std::string_view head, std::string_view name) {
  const auto same = [](unsigned char a, unsigned char b) {
    return std::tolower(a) == std::tolower(b);
  };
  while (!head.empty()) {
    const auto line = head.substr(0, head.find('\n'));
    head.remove_prefix(std::min(head.size(), line.size() + 1));
    if (line.size() <= name.size() || line[name.size()] != ':' ||
        !std::ranges::equal(line.substr(0, name.size()), name, same)) {
      continue;
    }
    auto value = line.substr(name.size() + 1);
    const auto from = value.find_first_not_of(" \t");
    const auto to = value.find_last_not_of(" \t\r");
    return from == std::string_view::npos ? std::string_view() : value.substr(from, to + 1 - from);
  }
  return {};
}

struct HttpReply {
  std::string_view head = {};
  std::string_view body = {};
  bool whole = false;  // its content is all there, by its Content-Length
};

// What has come of a reply; nothing where it is none of HTTP.
inline std::optional<HttpReply> http_reply(std::string_view text) {
  if (!text.starts_with("HTTP/1.")) return std::nullopt;
  const auto end = text.find("\r\n\r\n");
  if (end == std::string_view::npos) return HttpReply{.head = text};
  HttpReply reply{.head = text.substr(0, end), .body = text.substr(end + 4)};
  const auto length = field_of(reply.head, "content-length");
  std::size_t wanted = 0;
  std::from_chars(length.data(), length.data() + length.size(), wanted);
  reply.whole = reply.body.size() >= wanted;
  return reply;
}

}  // namespace bench
