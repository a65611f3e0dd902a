#include "probes/wire/tls.h"

#include <algorithm>

#include <fmt/format.h>

namespace probes {
namespace {

using base::ByteSpan;

constexpr std::uint8_t client_hello_type = 1;
constexpr std::uint8_t server_hello_type = 2;
constexpr std::uint16_t extension_server_name = 0;
constexpr std::uint16_t extension_alpn = 16;
constexpr std::uint16_t extension_pre_shared_key = 41;
constexpr std::uint16_t extension_supported_versions = 43;
constexpr std::size_t longest_fragment = 16384 + 2048;  // RFC 5246, 6.2.3: with what it may grow by
constexpr std::size_t strangers_kept = 32;

// Takes fields off the front; once something was not there, nothing is.
class Fields {
 public:
  explicit Fields(ByteSpan bytes) : rest_(bytes) {}

  ByteSpan take(std::size_t size) {
    if (size > rest_.size()) {
      sound_ = false;
      rest_ = {};
      return {};
    }
    const auto front = rest_.first(size);
    rest_ = rest_.subspan(size);
    return front;
  }
  std::uint8_t byte() {
    const auto bytes = take(1);
    return bytes.empty() ? std::uint8_t{0} : bytes[0];
  }
  std::uint16_t two() {
    const auto bytes = take(2);
    return bytes.empty() ? std::uint16_t{0} : base::read_be16(bytes);
  }
  // A vector with its length in front.
  ByteSpan vector8() { return take(byte()); }
  ByteSpan vector16() { return take(two()); }
  [[nodiscard]] bool empty() const { return rest_.empty(); }
  [[nodiscard]] bool sound() const { return sound_; }

 private:
  ByteSpan rest_;
  bool sound_ = true;
};

std::string text_of(ByteSpan bytes) { return {bytes.begin(), bytes.end()}; }

// RFC 6066, 3: a list of which only host names were ever defined.
bool read_server_name(ByteSpan extension, std::string& name) {
  Fields fields(extension);
  Fields list(fields.vector16());
  while (!list.empty()) {
    const auto type = list.byte();
    const auto value = list.vector16();
    if (type == 0) name = text_of(value);
  }
  return fields.sound() && list.sound();
}

bool read_alpn(ByteSpan extension, std::vector<std::string>& protocols) {
  Fields fields(extension);
  Fields list(fields.vector16());
  while (!list.empty()) protocols.push_back(text_of(list.vector8()));
  return fields.sound() && list.sound();
}

// RFC 8701: values that mean nothing, offered so that servers learn to pass over the unknown.
bool is_grease(std::uint16_t value) {
  return (value & 0x0f0f) == 0x0a0a && (value >> 8) == (value & 0xff);
}

}  // namespace

std::optional<ClientHello> read_client_hello(ByteSpan body) {
  Fields fields(body);
  ClientHello hello;
  const auto legacy_version = fields.two();
  fields.take(32);  // random
  fields.vector8();
  fields.vector16();
  fields.vector8();
  Fields extensions(fields.empty() ? ByteSpan() : fields.vector16());
  while (!extensions.empty()) {
    const auto type = extensions.two();
    const auto data = extensions.vector16();
    bool sound = true;
    if (type == extension_server_name) sound = read_server_name(data, hello.server_name);
    if (type == extension_alpn) sound = read_alpn(data, hello.alpn);
    if (type == extension_pre_shared_key) hello.resumes = true;
    if (type == extension_supported_versions) {
      Fields versions(data);
      Fields list(versions.vector8());
      while (!list.empty()) {
        if (const auto version = list.two(); list.sound() && !is_grease(version)) {
          hello.versions.push_back(version);
        }
      }
      sound = versions.sound() && list.sound();
    }
    if (!sound) return std::nullopt;
  }
  if (!fields.sound() || !extensions.sound()) return std::nullopt;
  if (hello.versions.empty()) hello.versions.push_back(legacy_version);
  return hello;
}

std::optional<ServerHello> read_server_hello(ByteSpan body) {
  Fields fields(body);
  ServerHello hello{.version = fields.two()};
  fields.take(32);
  fields.vector8();
  hello.cipher_suite = fields.two();
  fields.byte();  // compression
  Fields extensions(fields.empty() ? ByteSpan() : fields.vector16());
  while (!extensions.empty()) {
    const auto type = extensions.two();
    const auto data = extensions.vector16();
    if (type == extension_supported_versions && data.size() == 2) {
      hello.version = base::read_be16(data);
    }
    std::vector<std::string> chosen;
    if (type == extension_alpn && read_alpn(data, chosen) && chosen.size() == 1) {
      hello.alpn = chosen.front();
    }
  }
  if (!fields.sound() || !extensions.sound()) return std::nullopt;
  return hello;
}

std::string tls_version_name(std::uint16_t version) {
  switch (version) {
    case 0x0300:
      return "SSL 3.0";
    case 0x0301:
      return "TLS 1.0";
    case 0x0302:
      return "TLS 1.1";
    case 0x0303:
      return "TLS 1.2";
    case 0x0304:
      return "TLS 1.3";
    default:
      return fmt::format("{:#06x}", version);
  }
}

std::uint64_t TlsStream::records(TlsContent content) const {
  return records_[static_cast<std::size_t>(content) -
                  static_cast<std::size_t>(TlsContent::change_cipher_spec)];
}

void TlsStream::not_tls(ByteSpan rest, std::uint64_t at) {
  if (!stranger_at_) {
    stranger_at_ = at;
    stranger_.assign(header_.begin(), header_.begin() + static_cast<std::ptrdiff_t>(header_have_));
  }
  const auto room = strangers_kept - std::min(strangers_kept, stranger_.size());
  const auto more = rest.first(std::min(room, rest.size()));
  stranger_.insert(stranger_.end(), more.begin(), more.end());
}

void TlsStream::take(ByteSpan bytes) {
  auto rest = bytes;
  while (!rest.empty() && !stranger_at_) {
    if (left_ > 0) {
      const auto part = rest.first(std::min(left_, rest.size()));
      if (header_[0] == static_cast<std::uint8_t>(TlsContent::handshake)) handshake_bytes(part);
      left_ -= part.size();
      rest = rest.subspan(part.size());
      continue;
    }
    header_[header_have_++] = rest[0];
    rest = rest.subspan(1);
    const auto length = static_cast<std::size_t>(base::read_be16(ByteSpan(header_).subspan(3)));
    // Judged byte by byte: a few bytes that are no record are seen without waiting for five.
    const bool known = header_[0] >= static_cast<std::uint8_t>(TlsContent::change_cipher_spec) &&
                       header_[0] <= static_cast<std::uint8_t>(TlsContent::application_data);
    const bool sound = known && (header_have_ < 2 || header_[1] == 3) &&
                       (header_have_ < 3 || header_[2] <= 4) &&
                       (header_have_ < header_size || (length > 0 && length <= longest_fragment));
    const auto seen = static_cast<std::uint64_t>(bytes.size() - rest.size());
    if (!sound) {
      not_tls(rest, position_ + seen - header_have_);
      break;
    }
    if (header_have_ == header_size) {
      left_ = length;
      header_have_ = 0;
      header_read();
    }
  }
  if (stranger_at_ && bytes.size() == rest.size()) not_tls(rest, *stranger_at_);
  position_ += bytes.size();
}

void TlsStream::header_read() {
  const auto content = static_cast<TlsContent>(header_[0]);
  ++records_[static_cast<std::size_t>(content) -
             static_cast<std::size_t>(TlsContent::change_cipher_spec)];
  if (content == TlsContent::application_data && !client_hello_ && !server_hello_) {
    data_before_hello_ = true;
  }
}

void TlsStream::handshake_bytes(ByteSpan bytes) {
  if (!reads_handshake_) return;
  const auto room = longest_hello - std::min(longest_hello, handshake_.size());
  const auto more = bytes.first(std::min(room, bytes.size()));
  handshake_.insert(handshake_.end(), more.begin(), more.end());
  if (handshake_.size() < 4) return;
  const std::size_t length = base::read_be32(handshake_) & 0xffffffU;
  if (handshake_.size() < 4 + length) {
    if (handshake_.size() < longest_hello) return;
  } else {
    const auto body = ByteSpan(handshake_).subspan(4, length);
    if (handshake_[0] == client_hello_type) client_hello_ = read_client_hello(body);
    if (handshake_[0] == server_hello_type) server_hello_ = read_server_hello(body);
  }
  // What follows is another message, or encrypted.
  reads_handshake_ = false;
  handshake_ = {};
}

}  // namespace probes
