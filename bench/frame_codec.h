// Our own protocol (bench/frame.h) as the loops of many connections speak it. The loops are written
// once and compiled for every protocol; bench/http_codec.h has another one. What a client's loop
// asks of a protocol is `FrameCalls`, what a server's loop asks of it `FrameAnswers`.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/canary.h"
#include "bench/frame.h"
#include "bench/workload.h"

namespace bench {

// The client's side, for all flows of a loop.
class FrameCalls {
 public:
  using Reader = FrameReader;  // a flow has one; reset() before every request

  explicit FrameCalls(const ClientJob& job)
      : request_(request_size(job.workload).count),
        response_bytes_(static_cast<std::uint32_t>(response_size(job.workload).count)),
        canary_(job.canary.has_value()) {
    if (job.canary) std::ranges::copy(*job.canary, request_.data() + header_bytes);
  }

  // A flow's request with that sequence; all flows send from one buffer, so the text is good until
  // the next call. Every request of a loop is as long as any other.
  std::string_view request(std::uint64_t sequence) {
    encode(RequestHeader{.request_bytes = static_cast<std::uint32_t>(request_.size()),
                         .response_bytes = response_bytes_,
                         .sequence = sequence},
           request_.data());
    if (canary_) {
      base::write_number(static_cast<std::uint32_t>(sequence),
                         request_.data() + header_bytes + base::token_length);
    }
    return {request_.data(), request_.size()};
  }
  [[nodiscard]] std::size_t request_bytes() const { return request_.size(); }

  // Takes bytes received; more of them than the reply has make it malformed.
  static Reader::State feed(Reader& reader, const char* data, std::size_t size) {
    return reader.feed(data, size);
  }
  // The connection has ended: whether that makes the reply whole.
  static bool ended(Reader& /*reader*/) { return false; }
  // Of a whole reply: who sent it; nothing when it is no answer to the request with that sequence.
  [[nodiscard]] std::optional<std::uint32_t> answered_by(const Reader& reader,
                                                         std::uint64_t sequence) const {
    const auto reply = reader.header<ReplyHeader>();
    if (reply.response_bytes != response_bytes_ || reply.sequence != sequence) return std::nullopt;
    return reply.server_id;
  }
  // Whether it answers a request before that one.
  [[nodiscard]] static bool came_late(const Reader& reader, std::uint64_t sequence) {
    return reader.header<ReplyHeader>().sequence < sequence;
  }
  // Whether the server ends the connection with it.
  [[nodiscard]] static bool last(const Reader& /*reader*/) { return false; }

 private:
  std::vector<char> request_;
  std::uint32_t response_bytes_;
  bool canary_;
};

// The server's side, for all connections of a loop.
class FrameAnswers {
 public:
  // Where a connection is: receiving a request, or sending the reply to it.
  class Turn {
   public:
    // For a fresh connection.
    void reset() { *this = {}; }
    [[nodiscard]] bool replying() const { return sent_ < bytes_; }
    void sent(std::size_t bytes) { sent_ += bytes; }
    // The bytes received were no request, and nothing is said to that.
    [[nodiscard]] bool unanswerable() const { return unanswerable_; }
    // Of what was just sent whole: how many requests it answers, how many it says were bad ones,
    // each asked for once, and whether the connection ends with it.
    [[nodiscard]] static std::uint64_t answered() { return 1; }
    [[nodiscard]] static std::uint64_t refused() { return 0; }
    [[nodiscard]] static bool ends() { return false; }

   private:
    friend FrameAnswers;
    FrameReader reader_;
    bool unanswerable_ = false;
    std::uint32_t bytes_ = 0;  // of the reply
    std::size_t sent_ = 0;
    std::uint64_t sequence_ = 0;
  };

  explicit FrameAnswers(const ServerJob& job)
      : server_id_(job.server_id),
        reply_(buffer_bytes),
        front_bytes_(header_bytes + (job.canary ? base::canary_length : 0)) {
    if (job.canary) std::ranges::copy(*job.canary, reply_.data() + header_bytes);
  }

  // Takes bytes received, up to the end of a request at most, and says how many; when that is whole
  // the turn is replying. Not while it is. A protocol whose requests overlap takes all there are.
  static std::size_t take(Turn& turn, const char* data, std::size_t size) {
    const auto state = turn.reader_.feed(data, size);
    if (state == FrameReader::State::incomplete) return size;
    const auto request = turn.reader_.header<RequestHeader>();
    if (state == FrameReader::State::malformed || !sound_length(request.response_bytes))
        [[unlikely]] {
      turn.unanswerable_ = true;
      return size;
    }
    turn.reader_.reset();
    turn.bytes_ = request.response_bytes;
    turn.sent_ = 0;
    turn.sequence_ = request.sequence;
    return size;
  }

  // What of the reply is to be sent next; good until the next call.
  std::string_view rest(const Turn& turn) {
    encode(
        ReplyHeader{
            .response_bytes = turn.bytes_, .server_id = server_id_, .sequence = turn.sequence_},
        reply_.data());
    if (front_bytes_ > header_bytes) {
      base::write_number(static_cast<std::uint32_t>(turn.sequence_),
                         reply_.data() + header_bytes + base::token_length);
    }
    // Behind that all is zeros, so a long reply repeats the buffer's tail.
    const std::size_t offset = std::min(turn.sent_, front_bytes_);
    return {reply_.data() + offset, std::min(turn.bytes_ - turn.sent_, reply_.size() - offset)};
  }

 private:
  static constexpr std::size_t buffer_bytes = std::size_t{256} << 10;

  std::uint32_t server_id_;
  std::vector<char> reply_;
  std::size_t front_bytes_;  // those that a reply has once: its header, and its canary
};

}  // namespace bench
