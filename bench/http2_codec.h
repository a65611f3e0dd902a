// HTTP/2 in clear by prior knowledge (RFC 9113, section 3.3), framed by nghttp2: a client's end of
// a connection, and the answers of our server as its loop asks for them (bench/frame_codec.h).
//
// What is said is what HTTP/1.1 says here (bench/http_codec.h): "GET /N" or "POST /N" asks for N
// bytes, requests are numbered, our server echoes the number and says who it is. Canaries are the
// beginning of the content, in DATA frames: in a field HPACK would hide them. Flow-control windows
// are as wide at both ends as h2load's are by default, so that no rate is one of
// windows; what stands between the ends has its own. nghttp2 allocates for every stream: the one
// place where a request costs memory that was not there before it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <nghttp2/nghttp2.h>

#include "base/canary.h"
#include "base/clock.h"
#include "base/freed.h"
#include "bench/workload.h"

namespace bench {

using Http2Session = std::unique_ptr<nghttp2_session, base::Freed<nghttp2_session_del>>;

// Whether nothing will be read or written any more.
[[nodiscard]] inline bool is_over(nghttp2_session* session) {
  return ::nghttp2_session_want_read(session) == 0 && ::nghttp2_session_want_write(session) == 0;
}

// Content of a message: a canary where there is one, then bytes that are all alike.
class Http2Content {
 public:
  explicit Http2Content(std::optional<std::string> canary) : canary_(std::move(canary)) {}
  // Writes the bytes from `offset` on of that message's content.
  void write(std::uint32_t number, std::uint64_t offset, std::uint8_t* out, std::size_t size) const;

 private:
  std::optional<std::string> canary_;
};

// What a session has to send, gathered so that many frames leave by one send(2).
class Http2Output {
 public:
  // What is to be sent next, gathered from the session where nothing is left; good until the next
  // call. Empty: nothing, for now.
  std::string_view rest(nghttp2_session* session);
  [[nodiscard]] bool waiting() const { return sent_ < bytes_.size(); }
  void sent(std::size_t bytes) { sent_ += bytes; }
  void clear() {
    bytes_.clear();
    sent_ = 0;
  }

 private:
  std::string bytes_;
  std::size_t sent_ = 0;
};

// ---- a client's end -----------------------------------------------------------------------------

// A request on a connection, and as much of its reply as matters here.
struct Http2Call {
  enum class End : std::uint8_t {
    under_way,
    replied,
    reset,           // RST_STREAM
    goaway,          // GOAWAY said it will not be answered
    protocol_error,  // its reply broke the rules
  };

  std::uint32_t requester = 0;  // whose it is
  std::int32_t stream = 0;
  std::uint32_t number = 0;
  std::uint64_t sent = 0;  // of its content
  std::uint16_t status = 0;
  std::optional<std::uint32_t> server_id = {};
  std::optional<std::uint32_t> echoed = {};
  std::uint64_t received = 0;  // of the reply's content
  bool reset = false;
  End end = End::under_way;
  base::MonotonicTime ended = {};
};

// What all requests of an invocation have in common.
class Http2Requests {
 public:
  explicit Http2Requests(const ClientJob& job);

 private:
  friend class Http2Calls;
  std::string path_;
  std::string host_;
  std::uint64_t request_bytes_;
  std::uint64_t response_bytes_;
  std::string length_;
  Http2Content content_;
};

// A connection of a client, without its socket. Calls stay where they are while they are under way.
// One thread.
class Http2Calls {
 public:
  // `requests`: outlives it. `at_once`: calls under way, at most.
  Http2Calls(const Http2Requests& requests, std::size_t at_once);
  // nghttp2 knows it by its address.
  Http2Calls(const Http2Calls&) = delete;
  Http2Calls& operator=(const Http2Calls&) = delete;

  // A connection has been made: what it says first is to be sent, at once or with a request. False:
  // there is no memory.
  [[nodiscard]] bool open();
  // Nothing of it is left.
  void close();

  // Begins a request; what there is to send for it is in rest(). False: this connection has no
  // streams any more, or there is no memory.
  [[nodiscard]] bool begin(Http2Call& call, std::uint32_t number);
  // Gives one up that is under way: RST_STREAM.
  void cancel(Http2Call& call);
  // Says that the connection ends: GOAWAY.
  void end();

  // Takes bytes received. False: they break the rules, and the connection is of no further use but
  // to say so.
  [[nodiscard]] bool take(const char* data, std::size_t size);
  // The next call that has ended since; nullptr when there is none.
  Http2Call* next_ended();
  // Of a call that was replied: who replied; nothing when that is no answer to it.
  [[nodiscard]] std::optional<std::uint32_t> answered_by(const Http2Call& call) const;

  std::string_view rest() { return output_.rest(session_.get()); }
  void sent(std::size_t bytes) { output_.sent(bytes); }

  // Whether a request may begin here.
  [[nodiscard]] bool takes_requests() const { return !going_away_ && sound_; }
  // The peer has said GOAWAY.
  [[nodiscard]] bool going_away() const { return going_away_; }
  // Both ends are through with it, or what came broke the rules.
  [[nodiscard]] bool over() const { return is_over(session_.get()); }

 private:
  struct Callbacks;
  void finish(Http2Call& call, Http2Call::End end);
  [[nodiscard]] Http2Call* call_of(std::int32_t stream) const;

  const Http2Requests& requests_;
  Http2Session session_;
  Http2Output output_;
  std::vector<Http2Call*> ended_;
  std::size_t taken_ = 0;  // of those
  bool going_away_ = false;
  bool sound_ = true;
};

// What a request, or its reply, has before its content when it is the first of its connection and
// was sent in clear: the preface, and frames up to the content of the first DATA.
[[nodiscard]] std::string http2_before_content(bool request, std::uint64_t content_bytes);

// ---- a server's end -----------------------------------------------------------------------------

// Answers a request that it cannot make sense of with a status that says so; what is no HTTP/2 ends
// the connection, as nghttp2 has it.
class Http2Answers {
 public:
  // A connection.
  class Turn {
   public:
    Turn();
    ~Turn();
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

    void reset();
    [[nodiscard]] bool replying() const { return output_.waiting(); }
    void sent(std::size_t bytes);
    [[nodiscard]] bool unanswerable() const { return broken_; }
    // How many requests were answered, and refused, since it was last asked.
    [[nodiscard]] std::uint64_t answered() { return std::exchange(answered_, 0); }
    [[nodiscard]] std::uint64_t refused() { return std::exchange(refused_, 0); }
    [[nodiscard]] bool ends() const { return is_over(session_.get()); }

   private:
    friend Http2Answers;
    struct Request;
    Request& fresh();
    void gather() { (void)output_.rest(session_.get()); }

    const Http2Answers* answers_ = nullptr;
    Http2Session session_;
    Http2Output output_;
    std::vector<std::unique_ptr<Request>> requests_;
    std::vector<Request*> free_;
    std::uint64_t answered_ = 0;
    std::uint64_t refused_ = 0;
    bool broken_ = false;
  };

  explicit Http2Answers(const ServerJob& job);

  std::size_t take(Turn& turn, const char* data, std::size_t size) const;
  static std::string_view rest(Turn& turn) { return turn.output_.rest(turn.session_.get()); }

 private:
  struct Callbacks;
  [[nodiscard]] bool open(Turn& turn) const;
  // 0, or what nghttp2 made of it.
  int answer(Turn& turn, Turn::Request& request) const;

  std::string server_id_;
  Http2Content content_;
};

}  // namespace bench
