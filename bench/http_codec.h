// HTTP/1.1 as the loops of many connections speak it; what the loops ask of a protocol is said in
// bench/frame_codec.h.
//
// Our client asks for N bytes with "GET /N", or "POST /N" where its request has a body, and numbers
// its requests; our server, which looks at the last part of a path alone, echoes the number and
// says who it is (the fields of bench/http_parser.h), so that a reply to another request, from
// another server or of another length is noticed. Of any other server every reply with a 2xx status
// that is framed soundly is good.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/canary.h"
#include "bench/http_parser.h"
#include "bench/workload.h"

namespace bench {

// The host that requests name: what is dialled, of several the first. A mesh's proxies route by it,
// and of a name that none of its Services has nothing is known to them.
[[nodiscard]] std::string http_host(const ClientJob& job);

class HttpCalls {
 public:
  using Reader = HttpReplyReader;

  explicit HttpCalls(const ClientJob& job);

  std::string_view request(std::uint64_t sequence);
  [[nodiscard]] std::size_t request_bytes() const { return request_.size(); }
  static Reader::State feed(Reader& reader, const char* data, std::size_t size) {
    return reader.feed(data, size) == size ? reader.state() : Reader::State::malformed;
  }
  static bool ended(Reader& reader) {
    reader.end();
    return reader.state() == Reader::State::complete;
  }
  [[nodiscard]] std::optional<std::uint32_t> answered_by(const Reader& reader,
                                                         std::uint64_t sequence) const;
  // A connection carries what it is sent in order.
  [[nodiscard]] static bool came_late(const Reader& /*reader*/, std::uint64_t /*sequence*/) {
    return false;
  }
  [[nodiscard]] static bool last(const Reader& reader) { return !reader.head().persistent(); }

 private:
  std::string request_;
  std::size_t sequence_at_ = 0;  // where its digits are in there
  std::optional<std::size_t> canary_number_at_;
  std::uint64_t response_bytes_;
};

// Answers a request that it cannot make sense of with a status that says so, and ends the
// connection; so it does after a request that asks for that (RFC 9112 section 9.6), which leaves
// TIME_WAIT with the server. There is no Date: what for a client would be a field more to read
// would for a server that is to be light be a clock to look at.
class HttpAnswers {
 public:
  class Turn {
   public:
    void reset();
    [[nodiscard]] bool replying() const { return sent_ < bytes_; }
    void sent(std::size_t bytes) { sent_ += bytes; }
    [[nodiscard]] static bool unanswerable() { return false; }
    [[nodiscard]] std::uint64_t answered() const { return bad() ? 0 : 1; }
    [[nodiscard]] std::uint64_t refused() const { return bad() ? 1 : 0; }
    [[nodiscard]] bool ends() const { return ends_; }

   private:
    friend HttpAnswers;
    [[nodiscard]] bool bad() const { return status_ != 200; }
    HttpRequestReader reader_;
    std::uint16_t status_ = 200;
    bool version_1_1_ = true;
    bool ends_ = false;
    std::optional<std::uint64_t> sequence_;
    std::size_t head_bytes_ = 0;
    std::uint64_t body_bytes_ = 0;
    std::uint64_t bytes_ = 0;  // of the reply, head and body
    std::uint64_t sent_ = 0;
  };

  explicit HttpAnswers(const ServerJob& job);

  std::size_t take(Turn& turn, const char* data, std::size_t size);
  std::string_view rest(const Turn& turn);

 private:
  void begin_reply(Turn& turn);
  // Writes the head so that it ends where the body begins; how long it is.
  std::size_t write_head(const Turn& turn);

  std::string ok_;                     // the beginning of every good reply
  std::string buffer_;                 // room for a head, then a body's bytes, which are all alike
  std::size_t canary_bytes_ = 0;       // but for these, the first ones
  const Turn* written_for_ = nullptr;  // whose head is in there
};

}  // namespace bench
