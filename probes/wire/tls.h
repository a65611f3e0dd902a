// TLS as it is on the wire (RFC 8446, 5.1; RFC 5246, 6.2.1): which bytes of a stream are records,
// and what the two hellos say in clear. Nothing is decrypted and nothing is believed: a stream
// counts as TLS while each of its bytes lies in a record.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/packet.h"

namespace probes {

// RFC 8446, 5.1: ContentType.
enum class TlsContent : std::uint8_t {
  change_cipher_spec = 20,
  alert = 21,
  handshake = 22,
  application_data = 23,
};

// RFC 8446, 4.1.2 and RFC 6066, 3; RFC 7301.
struct ClientHello {
  std::string server_name;              // SNI; empty: none
  std::vector<std::string> alpn;        // as offered, in the client's order
  std::vector<std::uint16_t> versions;  // supported_versions, else legacy_version
  bool resumes = false;                 // offers a pre_shared_key

  auto operator<=>(const ClientHello&) const = default;
};

// RFC 8446, 4.1.3.
struct ServerHello {
  std::uint16_t version = 0;  // the one chosen
  std::uint16_t cipher_suite = 0;
  std::optional<std::string> alpn = {};  // TLS 1.2: chosen; TLS 1.3 encrypts it

  auto operator<=>(const ServerHello&) const = default;
};

// A handshake message's body. Nothing where it is malformed.
[[nodiscard]] std::optional<ClientHello> read_client_hello(base::ByteSpan body);
[[nodiscard]] std::optional<ServerHello> read_server_hello(base::ByteSpan body);

// "TLS 1.3"; another number in hexadecimal.
[[nodiscard]] std::string tls_version_name(std::uint16_t version);

// One direction of a connection.
class TlsStream {
 public:
  void take(base::ByteSpan bytes);

  // Whether every byte so far lies in a record, the last of which may not be whole yet.
  [[nodiscard]] bool all_records() const { return !stranger_at_; }
  // Where the first byte is that lies in none.
  [[nodiscard]] std::optional<std::uint64_t> stranger_at() const { return stranger_at_; }
  // The first bytes from there on, for a person to read.
  [[nodiscard]] const std::vector<std::uint8_t>& stranger() const { return stranger_; }
  [[nodiscard]] std::uint64_t bytes() const { return position_; }
  // Records that began, by content type.
  [[nodiscard]] std::uint64_t records(TlsContent content) const;
  [[nodiscard]] const std::optional<ClientHello>& client_hello() const { return client_hello_; }
  [[nodiscard]] const std::optional<ServerHello>& server_hello() const { return server_hello_; }
  // Application data came before any hello.
  [[nodiscard]] bool data_before_hello() const { return data_before_hello_; }

 private:
  static constexpr std::size_t header_size = 5;
  // A hello may be longer than one record; a stream that hides what it says behind a longer one has
  // none.
  static constexpr std::size_t longest_hello = 16384;

  void header_read();
  void handshake_bytes(base::ByteSpan bytes);
  void not_tls(base::ByteSpan rest, std::uint64_t at);

  std::uint64_t position_ = 0;
  std::array<std::uint8_t, header_size> header_{};
  std::size_t header_have_ = 0;
  std::size_t left_ = 0;  // of the record that has begun
  bool reads_handshake_ = true;
  std::vector<std::uint8_t> handshake_;
  std::array<std::uint64_t, 4> records_{};
  std::optional<ClientHello> client_hello_;
  std::optional<ServerHello> server_hello_;
  bool data_before_hello_ = false;
  std::optional<std::uint64_t> stranger_at_;
  std::vector<std::uint8_t> stranger_;
};

}  // namespace probes
