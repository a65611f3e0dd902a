// What travels between client and server: a header of 16 bytes, little-endian, then zeros up to the
// length it states. Both headers begin with that length, so one reader serves both directions:
//   request: u32 request_bytes, u32 response_bytes, u64 sequence
//   reply:   u32 response_bytes, u32 server_id,     u64 sequence
// A client has at most one request outstanding per connection, so bytes beyond a message are a
// fault of the peer, never the start of the next one. Over UDP a message is a datagram, and the
// sequence tells the reply awaited from one that came after its request was given up.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace bench {

static_assert(std::endian::native == std::endian::little, "headers are copied as they lie");

inline constexpr std::size_t header_bytes = 16;
inline constexpr std::size_t max_message_bytes = std::size_t{64} << 20;
// A message over UDP is one datagram: what IPv4 leaves of 65,535 bytes behind its header and UDP's.
inline constexpr std::size_t max_datagram_bytes = 65'507;

struct RequestHeader {
  std::uint32_t request_bytes = 0;
  std::uint32_t response_bytes = 0;
  std::uint64_t sequence = 0;
};

struct ReplyHeader {
  std::uint32_t response_bytes = 0;
  std::uint32_t server_id = 0;
  std::uint64_t sequence = 0;
};

static_assert(sizeof(RequestHeader) == header_bytes && sizeof(ReplyHeader) == header_bytes);

// Writes the header over the first 16 bytes at `out`.
template <typename Header>
inline void encode(const Header& header, char* out) {
  std::memcpy(out, &header, sizeof(header));
}

// Whether a message may be that long.
constexpr bool sound_length(std::uint64_t bytes) {
  return bytes >= header_bytes && bytes <= max_message_bytes;
}

// Puts one message together from the pieces recv(2) returns. Only the header is kept; what follows
// it is counted.
class FrameReader {
 public:
  enum class State { incomplete, complete, malformed };

  // Takes the next `size` bytes. `malformed`: the length stated is impossible, or bytes follow the
  // end of the message; the connection is of no further use.
  State feed(const char* data, std::size_t size) {
    if (received_ < header_bytes) [[likely]] {
      const std::size_t part = size < header_bytes - received_ ? size : header_bytes - received_;
      std::memcpy(header_ + received_, data, part);
      if (received_ + part == header_bytes) {
        std::uint32_t stated = 0;
        std::memcpy(&stated, header_, sizeof(stated));
        if (!sound_length(stated)) return State::malformed;
        length_ = stated;
      }
    }
    received_ += size;
    if (received_ < header_bytes || received_ < length_) return State::incomplete;
    return received_ == length_ ? State::complete : State::malformed;
  }

  // The header, once a message is complete.
  template <typename Header>
  [[nodiscard]] Header header() const {
    Header header;
    std::memcpy(&header, header_, sizeof(header));
    return header;
  }

  // Whether part of a message has arrived.
  [[nodiscard]] bool begun() const { return received_ != 0; }

  // Forgets the message; the next byte is the first of another.
  void reset() {
    received_ = 0;
    length_ = 0;
  }

 private:
  char header_[header_bytes] = {};
  std::size_t received_ = 0;
  std::size_t length_ = 0;
};

}  // namespace bench
