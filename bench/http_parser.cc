#include "bench/http_parser.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

namespace bench {
namespace {

constexpr std::array<bool, 256> make_token_table() {
  std::array<bool, 256> table{};
  for (char c = '0'; c <= '9'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'a'; c <= 'z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (char c = 'A'; c <= 'Z'; ++c) table[static_cast<unsigned char>(c)] = true;
  for (const char c : std::string_view("!#$%&'*+-.^_`|~")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}
// tchar of RFC 9110 section 5.6.2.
constexpr auto token_table = make_token_table();

bool is_token_char(char c) { return token_table[static_cast<unsigned char>(c)]; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_blank(char c) { return c == ' ' || c == '\t'; }

// Compares with a name of lower-case letters, digits and dashes. Setting the bit that tells 'a'
// from 'A' changes no other character that a token may have into one of those.
bool is_name(std::string_view text, std::string_view lower) {
  constexpr std::size_t word_bytes = sizeof(std::uint64_t);
  constexpr std::uint64_t lowered = 0x2020202020202020;
  if (text.size() != lower.size()) return false;
  if (text.size() < word_bytes) {
    for (std::size_t i = 0; i < text.size(); ++i) {
      if ((text[i] | 0x20) != lower[i]) return false;
    }
    return true;
  }
  // Eight characters at a time, the last eight over those before.
  for (std::size_t i = 0;; i = std::min(i + word_bytes, text.size() - word_bytes)) {
    std::uint64_t is = 0;
    std::uint64_t should_be = 0;
    std::memcpy(&is, text.data() + i, word_bytes);
    std::memcpy(&should_be, lower.data() + i, word_bytes);
    if ((is | lowered) != should_be) return false;
    if (i == text.size() - word_bytes) return true;
  }
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
  return text;
}

// A field's value may have anything but control characters (RFC 9110 section 5.5). Eight at a time:
// a byte under 0x20 borrows its top bit; a blank that is a tab, or a byte behind such a one, is
// looked at closely.
bool is_field_value(std::string_view text) {
  constexpr std::uint64_t ones = 0x0101010101010101;
  constexpr std::uint64_t tops = 0x80 * ones;
  std::size_t i = 0;
  for (; i + sizeof(std::uint64_t) <= text.size(); i += sizeof(std::uint64_t)) {
    std::uint64_t word = 0;
    std::memcpy(&word, text.data() + i, sizeof(word));
    const std::uint64_t deleted = word ^ (0x7f * ones);
    const std::uint64_t low = (word - 0x20 * ones) & ~word & tops;
    const std::uint64_t del = (deleted - ones) & ~deleted & tops;
    if ((low | del) != 0) [[unlikely]]
      break;
  }
  return std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i), text.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7f) || c == '\t';
  });
}

// Digits and nothing else; nothing where there are none, or more than 15 that count: no base up to
// 16 overflows there, and every bound is far below.
std::optional<std::uint64_t> parse_number(std::string_view text, unsigned radix) {
  constexpr std::size_t most_digits = 15;
  if (text.empty()) return std::nullopt;
  while (text.size() > most_digits && text.front() == '0') text.remove_prefix(1);
  if (text.size() > most_digits) return std::nullopt;
  std::uint64_t number = 0;
  for (const char c : text) {
    unsigned digit = radix;
    if (is_digit(c)) {
      digit = static_cast<unsigned>(c - '0');
    } else if (const char lower = static_cast<char>(c | 0x20); lower >= 'a' && lower <= 'f') {
      digit = static_cast<unsigned>(lower - 'a') + 10;
    }
    if (digit >= radix) return std::nullopt;
    number = number * radix + digit;
  }
  return number;
}

// Calls `take` with every element of a comma-separated list that is not empty; stops at a false.
template <typename Take>
bool each_element(std::string_view list, Take take) {
  for (;;) {
    const auto comma = list.find(',');
    const auto element = trimmed(list.substr(0, comma));
    if (!element.empty() && !take(element)) return false;
    if (comma == std::string_view::npos) return true;
    list.remove_prefix(comma + 1);
  }
}

// The same length may be said more than once, another may not (RFC 9112 section 6.3, RFC 9110
// section 8.6).
bool take_content_length(std::string_view value, HttpHead& head) {
  bool said = false;
  return each_element(value,
                      [&](std::string_view element) {
                        const auto length = parse_number(element, 10);
                        if (!length || (head.content_length && *head.content_length != *length)) {
                          return false;
                        }
                        head.content_length = length;
                        said = true;
                        return true;
                      }) &&
         said;
}

bool take_transfer_encoding(std::string_view value, HttpHead& head) {
  head.transfer_coded = true;
  return each_element(value, [&](std::string_view element) {
    const bool chunked = is_name(element, "chunked");
    if (!chunked) {
      head.chunked = false;
      head.other_coding = true;
      return true;
    }
    // Chunked twice is no coding at all.
    if (head.chunked) return false;
    head.chunked = true;
    return true;
  });
}

bool take_sequence(std::string_view value, HttpHead& head) {
  if (head.sequence) return false;
  head.sequence = parse_number(value, 16);
  return head.sequence.has_value();
}

// One field line without its end. False: the message is malformed.
bool take_field(std::string_view line, HttpHead& head) {
  std::size_t colon = 0;
  while (colon < line.size() && is_token_char(line[colon])) ++colon;
  // A blank at the front is a folded line, one before the colon a smuggled name.
  if (colon == 0 || colon == line.size() || line[colon] != ':') return false;
  const auto name = line.substr(0, colon);
  const auto value = trimmed(line.substr(colon + 1));
  if (!is_field_value(value)) return false;
  switch (name.size()) {
    case 4:
      if (is_name(name, "host")) {
        // More than one Host is as bad as none (RFC 9112 section 3.2).
        if (head.host) return false;
        head.host = true;
      }
      break;
    case 6:
      if (is_name(name, "expect")) head.expects = true;
      break;
    case 10:
      if (is_name(name, "connection")) {
        each_element(value, [&](std::string_view option) {
          head.close = head.close || is_name(option, "close");
          head.keep_alive = head.keep_alive || is_name(option, "keep-alive");
          return true;
        });
      }
      break;
    case 13:
      if (is_name(name, "stackbench-id")) {
        const auto id = parse_number(value, 10);
        if (!id || *id > std::numeric_limits<std::uint32_t>::max() || head.server_id) return false;
        head.server_id = static_cast<std::uint32_t>(*id);
      }
      break;
    case 14:
      if (is_name(name, "content-length")) return take_content_length(value, head);
      if (is_name(name, "stackbench-seq")) return take_sequence(value, head);
      break;
    case 17:
      if (is_name(name, "transfer-encoding")) return take_transfer_encoding(value, head);
      break;
    default:
      break;
  }
  return true;
}

constexpr std::size_t version_size = 8;  // "HTTP/1.1"

// Sets version_1_1; false when it is not HTTP/1.x.
bool take_version(std::string_view version, HttpHead& head) {
  if (version.size() != version_size || !version.starts_with("HTTP/1.") ||
      !is_digit(version.back())) {
    return false;
  }
  head.version_1_1 = version.back() != '0';
  return true;
}

// "HTTP/1.1 200 OK"; many leave out the blank before a reason that is not there.
bool take_status_line(std::string_view line, HttpHead& head) {
  constexpr std::size_t code_at = version_size + 1;
  constexpr std::size_t code_size = 3;
  if (line.size() < code_at + code_size || line[version_size] != ' ') return false;
  if (!take_version(line.substr(0, version_size), head)) return false;
  const auto status = parse_number(line.substr(code_at, code_size), 10);
  const auto reason = line.substr(code_at + code_size);
  if (!status || *status < 100 || *status > 599) return false;
  if ((!reason.empty() && reason.front() != ' ') || !is_field_value(reason)) return false;
  head.status = static_cast<std::uint16_t>(*status);
  return true;
}

constexpr std::uint16_t ok = 200;

// "GET /64 HTTP/1.1"; the status that refuses it, or ok. What only this server does not have is
// said in head.status, because the message behind it is sound.
std::uint16_t take_request_line(std::string_view line, HttpHead& head) {
  const auto method_end = line.find(' ');
  const auto target_end = line.rfind(' ');
  if (method_end == std::string_view::npos || target_end == method_end) return 400;
  const auto method = line.substr(0, method_end);
  const auto target = line.substr(method_end + 1, target_end - method_end - 1);
  const auto version = line.substr(target_end + 1);
  if (method.empty() || !std::ranges::all_of(method, is_token_char)) return 400;
  if (target.empty() || !std::ranges::all_of(target, [](char c) {
        return static_cast<unsigned char>(c) > 0x20 && c != 0x7f;
      })) {
    return 400;
  }
  if (!take_version(version, head)) return version.starts_with("HTTP/") ? 505 : 400;
  head.status = ok;
  // What is before the number is for whoever stands between client and server.
  if (target.front() == '/') {
    head.asked_bytes = parse_number(target.substr(target.rfind('/') + 1), 10);
  }
  if (!head.asked_bytes || *head.asked_bytes > max_message_bytes) head.status = 404;
  // Methods are case-sensitive (RFC 9110 section 9.1).
  if (method != "GET" && method != "POST") head.status = 405;
  return ok;
}

}  // namespace

template <HttpKind kind>
void HttpReader<kind>::reset() {
  state_ = State::incomplete;
  part_ = Part::start_line;
  refusal_ = 400;
  head_bytes_ = 0;
  body_bytes_ = 0;
  body_left_ = 0;
  head_ = {};
  line_.clear();
}

template <HttpKind kind>
std::size_t HttpReader<kind>::feed(const char* data, std::size_t size) {
  std::size_t taken = 0;
  while (taken < size && state_ == State::incomplete) {
    const bool in_body = part_ == Part::body || part_ == Part::chunk || part_ == Part::until_end;
    taken += in_body ? feed_body(size - taken) : feed_line(data + taken, size - taken);
  }
  return taken;
}

template <HttpKind kind>
void HttpReader<kind>::end() {
  if (state_ == State::incomplete && part_ == Part::until_end) complete();
}

// How long the line that comes may be, its end included.
template <HttpKind kind>
std::size_t HttpReader<kind>::line_room() const {
  switch (part_) {
    case Part::chunk_size:
      return max_chunk_line_bytes;
    case Part::chunk_end:
      return 2;
    default:
      return max_http_head_bytes - head_bytes_;
  }
}

template <HttpKind kind>
std::size_t HttpReader<kind>::feed_line(const char* data, std::size_t size) {
  const std::size_t room = line_room() - line_.size();
  const auto* const end = static_cast<const char*>(std::memchr(data, '\n', std::min(size, room)));
  if (end == nullptr) {
    if (size >= room) {
      malformed(part_ == Part::start_line ? 414 : 431);
      return room;
    }
    line_.append(data, size);
    return size;
  }
  const auto taken = static_cast<std::size_t>(end - data) + 1;
  std::string_view line(data, taken - 1);
  if (!line_.empty()) [[unlikely]] {
    line_.append(line);
    line = line_;
  }
  if (part_ != Part::chunk_size && part_ != Part::chunk_end) head_bytes_ += line.size() + 1;
  if (!line.ends_with('\r')) {
    malformed();
  } else {
    take_line(line.substr(0, line.size() - 1));
  }
  line_.clear();
  return taken;
}

template <HttpKind kind>
std::size_t HttpReader<kind>::feed_body(std::size_t size) {
  const auto part = std::min<std::uint64_t>(size, body_left_);
  body_left_ -= part;
  body_bytes_ += part;
  if (body_left_ == 0) {
    if (part_ == Part::chunk) {
      part_ = Part::chunk_end;
    } else if (part_ == Part::body) {
      complete();
    } else {
      malformed(413);
    }
  }
  return static_cast<std::size_t>(part);
}

template <HttpKind kind>
void HttpReader<kind>::take_line(std::string_view line) {
  switch (part_) {
    case Part::start_line:
      take_start_line(line);
      break;
    case Part::fields:
      if (line.empty()) {
        head_done();
      } else if (!take_field(line, head_)) {
        malformed();
      }
      break;
    case Part::chunk_size:
      take_chunk_size(line);
      break;
    case Part::chunk_end:
      if (line.empty()) {
        part_ = Part::chunk_size;
      } else {
        malformed();
      }
      break;
    case Part::trailers: {
      HttpHead ignored;  // a trailer frames nothing (RFC 9110 section 6.5.1)
      if (line.empty()) {
        complete();
      } else if (!take_field(line, ignored)) {
        malformed();
      }
      break;
    }
    case Part::body:
    case Part::chunk:
    case Part::until_end:
      break;
  }
}

template <HttpKind kind>
void HttpReader<kind>::take_start_line(std::string_view line) {
  part_ = Part::fields;
  if constexpr (kind == HttpKind::reply) {
    if (!take_status_line(line, head_)) malformed();
  } else {
    // Empty lines before a request are passed over (RFC 9112 section 2.2).
    if (line.empty()) {
      part_ = Part::start_line;
    } else if (const auto status = take_request_line(line, head_); status != ok) {
      malformed(status);
    }
  }
}

// "40;name=value": extensions are not ours to know (RFC 9112 section 7.1.1).
template <HttpKind kind>
void HttpReader<kind>::take_chunk_size(std::string_view line) {
  const auto semicolon = line.find(';');
  const auto bytes = parse_number(trimmed(line.substr(0, semicolon)), 16);
  const bool digit_first = !line.empty() && !is_blank(line.front());
  if (!bytes || !digit_first || !is_field_value(line)) return malformed();
  if (*bytes > max_message_bytes - body_bytes_) return malformed(413);
  body_left_ = *bytes;
  part_ = *bytes == 0 ? Part::trailers : Part::chunk;
}

template <HttpKind kind>
void HttpReader<kind>::body_follows(std::uint64_t bytes) {
  if (bytes > max_message_bytes) return malformed(413);
  if (bytes == 0) return complete();
  body_left_ = bytes;
  part_ = Part::body;
}

// How the body is framed: RFC 9112 section 6.3.
template <HttpKind kind>
void HttpReader<kind>::head_done() {
  if constexpr (kind == HttpKind::reply) {
    // A switch to another protocol was not asked for.
    if (head_.status == 101) return malformed();
    if (head_.status < 200) {
      head_ = {};
      part_ = Part::start_line;
      return;
    }
    if (head_.status == 204 || head_.status == 304) return complete();
  }
  if (head_.transfer_coded) {
    if (head_.content_length || !head_.version_1_1) return malformed();
    if (head_.chunked) {
      if (kind == HttpKind::request && head_.other_coding) return malformed(501);
      part_ = Part::chunk_size;
      return;
    }
    if constexpr (kind == HttpKind::request) return malformed();
  } else if (head_.content_length) {
    return body_follows(*head_.content_length);
  }
  if constexpr (kind == HttpKind::request) {
    complete();
  } else {
    head_.close = true;
    part_ = Part::until_end;
    // One more than allowed is too many.
    body_left_ = max_message_bytes + 1;
  }
}

template class HttpReader<HttpKind::request>;
template class HttpReader<HttpKind::reply>;

}  // namespace bench
