// A TCP connection written as frames, for tests of what reads them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/packet.h"

namespace probes::testing {

using Frame = std::vector<std::uint8_t>;

inline base::ByteSpan bytes_of(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

inline base::Endpoint endpoint(std::string_view text) {
  return base::Endpoint::parse(text).value();
}

// The fields that matter of a TLS record.
inline std::string record(std::uint8_t type, std::string_view body) {
  std::string text{static_cast<char>(type), 3, 3, static_cast<char>(body.size() >> 8),
                   static_cast<char>(body.size() & 0xff)};
  return text.append(body);
}

inline std::string with_length(std::size_t bytes, std::string_view body) {
  std::string text;
  for (auto i = bytes; i-- > 0;) text += static_cast<char>(body.size() >> (8 * i) & 0xff);
  return text.append(body);
}

inline std::string extension(std::uint16_t type, std::string_view body) {
  return std::string{static_cast<char>(type >> 8), static_cast<char>(type & 0xff)} +
         with_length(2, body);
}

// A ClientHello's message: with an SNI, and what an Istio sidecar offers.
inline std::string client_hello(std::string_view server_name,
                                const std::vector<std::string>& alpn = {"istio-http/1.1", "istio",
                                                                        "http/1.1"}) {
  std::string protocols;
  for (const auto& protocol : alpn) protocols += with_length(1, protocol);
  std::string extensions =
      extension(43, with_length(1, std::string_view("\x0a\x0a\x03\x04\x03\x03", 6)));
  if (!server_name.empty()) {
    extensions += extension(0, with_length(2, std::string(1, '\0') + with_length(2, server_name)));
  }
  if (!alpn.empty()) extensions += extension(16, with_length(2, protocols));
  const std::string body = std::string("\x03\x03", 2) + std::string(32, 'r') + with_length(1, "") +
                           with_length(2, std::string_view("\x13\x01", 2)) +
                           with_length(1, std::string_view("\0", 1)) + with_length(2, extensions);
  return std::string(1, '\x01') + with_length(3, body);
}

// A ServerHello's: TLS 1.3, TLS_AES_128_GCM_SHA256.
inline std::string server_hello() {
  const std::string body = std::string("\x03\x03", 2) + std::string(32, 's') + with_length(1, "") +
                           std::string("\x13\x01\x00", 3) +
                           with_length(2, extension(43, std::string_view("\x03\x04", 2)));
  return std::string(1, '\x02') + with_length(3, body);
}

// One connection; each call appends frames.
class Conversation {
 public:
  Conversation(std::string_view client, std::string_view server, std::uint32_t first = 0xfffffff0)
      : client_(endpoint(client)), server_(endpoint(server)), sent_(first), answered_(first + 77) {}

  Conversation& open() {
    add(true, base::tcp_syn, sent_++, "");
    add(false, base::tcp_syn | base::tcp_ack, answered_++, "");
    return *this;
  }
  Conversation& client(std::string_view text) {
    add(true, base::tcp_ack, sent_, text);
    sent_ += static_cast<std::uint32_t>(text.size());
    return *this;
  }
  Conversation& server(std::string_view text) {
    add(false, base::tcp_ack, answered_, text);
    answered_ += static_cast<std::uint32_t>(text.size());
    return *this;
  }
  // Bytes that nobody captured.
  Conversation& lose(std::size_t size) {
    sent_ += static_cast<std::uint32_t>(size);
    return *this;
  }
  Conversation& close() {
    add(true, base::tcp_fin | base::tcp_ack, sent_++, "");
    add(false, base::tcp_fin | base::tcp_ack, answered_++, "");
    return *this;
  }
  // The same ports once more, without an end of what they were used for.
  Conversation& reopen(std::uint32_t first) {
    sent_ = first;
    answered_ = first + 77;
    return open();
  }
  // A handshake and a request and a reply that cannot be read.
  Conversation& sealed(std::string_view server_name) {
    client(record(22, client_hello(server_name)));
    server(record(22, server_hello()) + record(20, "\x01") + record(23, std::string(900, '?')));
    client(record(20, "\x01") + record(23, std::string(70, '?')));
    client(record(23, std::string(200, '?')));
    return server(record(23, std::string(180, '?')));
  }

  std::vector<Frame> frames;

 private:
  void add(bool from_client, int flags, std::uint32_t sequence, std::string_view text) {
    frames.push_back(base::write_frame({.source = from_client ? client_ : server_,
                                        .destination = from_client ? server_ : client_,
                                        .sequence = sequence,
                                        .flags = static_cast<std::uint8_t>(flags),
                                        .payload = bytes_of(text)},
                                       {2, 0, 0, 0, 0, 1}));
  }

  base::Endpoint client_;
  base::Endpoint server_;
  std::uint32_t sent_;
  std::uint32_t answered_;
};

}  // namespace probes::testing
