// HTTP/1.1 messages, requests and replies, taken from the pieces recv(2) returns: RFC 9112 for the
// syntax and the framing, RFC 9110 for the fields.
//
// What is refused, where the RFC leaves a choice: lines that end in a bare LF, folded lines
// (obs-fold), Transfer-Encoding beside Content-Length, Content-Lengths that differ, blanks before a
// colon. A reader that guesses there frames a message otherwise than the sender did, and the figure
// that follows is of something else.
//
// Everything is bounded: a head with its trailers by max_http_head_bytes, a body by
// max_message_bytes. The result never depends on where the pieces were cut.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "bench/frame.h"

namespace bench {

// All lines of one message together: interim replies, start line, fields, trailers, and their ends.
inline constexpr std::size_t max_http_head_bytes = std::size_t{16} << 10;
// One line that states the size of a chunk, with its extensions.
inline constexpr std::size_t max_chunk_line_bytes = 256;

// Our own fields: who answers, in decimal digits, and which request of its connection is meant, in
// hexadecimal ones. Servers that are not ours have neither.
inline constexpr std::string_view http_server_id_field = "Stackbench-Id";
inline constexpr std::string_view http_sequence_field = "Stackbench-Seq";

// What a message's head says, as far as it matters here.
struct HttpHead {
  bool version_1_1 = false;     // HTTP/1.1 or a later minor version
  bool close = false;           // Connection: close
  bool keep_alive = false;      // Connection: keep-alive
  bool transfer_coded = false;  // there is a Transfer-Encoding
  bool chunked = false;         // whose last coding is chunked
  bool other_coding = false;    // and which names another one as well
  bool host = false;            // there is a Host
  bool expects = false;         // there is an Expect
  std::uint16_t status = 0;     // replies; of a sound request: 200, or what our server says to it
  std::optional<std::uint64_t> content_length = {};
  std::optional<std::uint64_t> asked_bytes = {};  // requests for "/N"
  std::optional<std::uint32_t> server_id = {};
  std::optional<std::uint64_t> sequence = {};

  // RFC 9112 section 9.3.
  [[nodiscard]] bool persistent() const { return !close && (version_1_1 || keep_alive); }
};

enum class HttpKind : std::uint8_t { request, reply };

// Puts one message together. Bodies are counted, not kept; of a line that was cut, its beginning
// is, in memory that lasts as long as the reader.
template <HttpKind kind>
class HttpReader {
 public:
  enum class State : std::uint8_t { incomplete, complete, malformed };

  // Takes bytes up to the end of the message, and says how many those were; none once the message
  // is complete or malformed.
  std::size_t feed(const char* data, std::size_t size);
  // The connection has ended: completes a reply whose end that is (RFC 9112 section 6.3).
  void end();

  [[nodiscard]] State state() const { return state_; }
  [[nodiscard]] const HttpHead& head() const { return head_; }
  // Of the body, so far; without what a transfer coding adds.
  [[nodiscard]] std::uint64_t body_bytes() const { return body_bytes_; }
  // Whether part of a message has arrived.
  [[nodiscard]] bool begun() const { return head_bytes_ != 0 || !line_.empty(); }
  // Of a malformed request: the status that says why.
  [[nodiscard]] std::uint16_t refusal() const { return refusal_; }

  // Forgets the message; the next byte is the first of another.
  void reset();

 private:
  enum class Part : std::uint8_t {
    start_line,
    fields,
    body,       // of a length that was stated
    until_end,  // of the connection
    chunk_size,
    chunk,
    chunk_end,
    trailers,
  };

  std::size_t feed_line(const char* data, std::size_t size);
  std::size_t feed_body(std::size_t size);
  void take_line(std::string_view line);
  void take_start_line(std::string_view line);
  void take_chunk_size(std::string_view line);
  void head_done();
  void body_follows(std::uint64_t bytes);
  void complete() { state_ = State::complete; }
  void malformed(std::uint16_t refusal = 400) {
    state_ = State::malformed;
    refusal_ = refusal;
  }
  [[nodiscard]] std::size_t line_room() const;

  State state_ = State::incomplete;
  Part part_ = Part::start_line;
  std::uint16_t refusal_ = 400;
  std::size_t head_bytes_ = 0;
  std::uint64_t body_bytes_ = 0;
  std::uint64_t body_left_ = 0;  // of the body or of the chunk
  HttpHead head_;
  std::string line_;  // the beginning of a line that was cut
};

using HttpRequestReader = HttpReader<HttpKind::request>;
using HttpReplyReader = HttpReader<HttpKind::reply>;

}  // namespace bench
