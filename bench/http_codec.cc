#include "bench/http_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "bench/measure.h"

namespace bench {
namespace {

constexpr std::size_t head_room = 256;
constexpr std::size_t body_room = std::size_t{256} << 10;

// What a request is numbered with: the digits a field of fixed length has room for.
std::uint32_t numbered(std::uint64_t sequence) { return static_cast<std::uint32_t>(sequence); }

std::string_view reason_of(std::uint16_t status) {
  switch (status) {
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 413:
      return "Content Too Large";
    case 414:
      return "URI Too Long";
    case 417:
      return "Expectation Failed";
    case 431:
      return "Request Header Fields Too Large";
    case 501:
      return "Not Implemented";
    case 505:
      return "HTTP Version Not Supported";
    default:
      return "Bad Request";
  }
}

// Text put together in memory of its own size.
class Line {
 public:
  void add(std::string_view text) {
    std::memcpy(text_.data() + size_, text.data(), text.size());
    size_ += text.size();
  }
  void add(std::uint64_t number) {
    const auto written = std::to_chars(text_.data() + size_, text_.data() + text_.size(), number);
    size_ = static_cast<std::size_t>(written.ptr - text_.data());
  }
  void add_sequence(std::uint64_t sequence) {
    base::write_number(numbered(sequence), text_.data() + size_);
    size_ += base::number_length;
  }
  [[nodiscard]] std::string_view text() const { return {text_.data(), size_}; }

 private:
  std::array<char, head_room> text_;  // every head written here is shorter
  std::size_t size_ = 0;
};

}  // namespace

std::string http_host(const ClientJob& job) {
  return job.servers.empty() ? "stackbench" : fmt::format("{}", job.servers.front());
}

HttpCalls::HttpCalls(const ClientJob& job) : response_bytes_(response_size(job.workload).count) {
  const auto body = request_size(job.workload).count;
  request_ = fmt::format("{} /{} HTTP/1.1\r\nHost: {}\r\n{}: ", body > 0 ? "POST" : "GET",
                         response_bytes_, http_host(job), http_sequence_field);
  sequence_at_ = request_.size();
  request_.append(base::number_length, '0').append("\r\n");
  // No "Connection: close", whatever the workload: it would have the server close first (RFC 9112,
  // 9.6) and keep the connection in TIME_WAIT. There the next SYN from the same port by way of
  // another address is thrown away: the client's timestamps are not one sequence over addresses
  // that are translated to the same pod (RFC 7323, appendix B.2). So this client ends it itself.
  if (body > 0) request_ += fmt::format("Content-Length: {}\r\n", body);
  request_ += "\r\n";
  const auto body_at = request_.size();
  request_.append(body, 'x');
  if (!job.canary) return;
  request_.replace(body_at, base::token_length, *job.canary);
  canary_number_at_ = body_at + base::token_length;
}

std::string_view HttpCalls::request(std::uint64_t sequence) {
  base::write_number(numbered(sequence), request_.data() + sequence_at_);
  if (canary_number_at_) {
    base::write_number(numbered(sequence), request_.data() + *canary_number_at_);
  }
  return request_;
}

std::optional<std::uint32_t> HttpCalls::answered_by(const Reader& reader,
                                                    std::uint64_t sequence) const {
  const auto& head = reader.head();
  if (head.status < 200 || head.status > 299) return std::nullopt;
  if (!head.server_id) return unnamed_server;
  if (head.sequence != numbered(sequence) || reader.body_bytes() != response_bytes_) {
    return std::nullopt;
  }
  return head.server_id;
}

void HttpAnswers::Turn::reset() {
  reader_.reset();
  bytes_ = 0;
  sent_ = 0;
}

HttpAnswers::HttpAnswers(const ServerJob& job)
    : ok_(fmt::format("HTTP/1.1 200 OK\r\n{}: {}\r\nContent-Length: ", http_server_id_field,
                      job.server_id)),
      buffer_(head_room + body_room, 'x') {
  if (!job.canary) return;
  buffer_.replace(head_room, base::token_length, *job.canary);
  canary_bytes_ = base::canary_length;
}

std::size_t HttpAnswers::take(Turn& turn, const char* data, std::size_t size) {
  const auto taken = turn.reader_.feed(data, size);
  if (turn.reader_.state() == HttpRequestReader::State::incomplete) return taken;
  begin_reply(turn);
  return taken;
}

void HttpAnswers::begin_reply(Turn& turn) {
  const auto& head = turn.reader_.head();
  turn.status_ = head.status;
  if (turn.reader_.state() == HttpRequestReader::State::malformed) {
    turn.status_ = turn.reader_.refusal();
  } else if (head.version_1_1 && !head.host) {
    turn.status_ = 400;
  } else if (head.expects) {
    turn.status_ = 417;
  }
  turn.version_1_1_ = head.version_1_1;
  turn.ends_ = turn.bad() || !head.persistent();
  turn.sequence_ = head.sequence;
  turn.body_bytes_ = turn.bad() ? 0 : head.asked_bytes.value_or(0);
  turn.head_bytes_ = write_head(turn);
  written_for_ = &turn;
  turn.bytes_ = turn.head_bytes_ + turn.body_bytes_;
  turn.sent_ = 0;
  turn.reader_.reset();
}

std::size_t HttpAnswers::write_head(const Turn& turn) {
  Line head;
  if (!turn.bad()) [[likely]] {
    head.add(ok_);
    head.add(turn.body_bytes_);
    head.add("\r\n");
  } else {
    head.add("HTTP/1.1 ");
    head.add(turn.status_);
    head.add(" ");
    head.add(reason_of(turn.status_));
    head.add("\r\nContent-Length: 0\r\n");
    if (turn.status_ == 405) head.add("Allow: GET, POST\r\n");
  }
  if (turn.sequence_) {
    head.add(http_sequence_field);
    head.add(": ");
    head.add_sequence(*turn.sequence_);
    head.add("\r\n");
  }
  if (turn.ends_) {
    head.add("Connection: close\r\n");
  } else if (!turn.version_1_1_) {
    head.add("Connection: keep-alive\r\n");
  }
  head.add("\r\n");
  if (canary_bytes_ > 0) {
    base::write_number(numbered(turn.sequence_.value_or(0)),
                       buffer_.data() + head_room + base::token_length);
  }
  const auto text = head.text();
  std::memcpy(buffer_.data() + head_room - text.size(), text.data(), text.size());
  return text.size();
}

std::string_view HttpAnswers::rest(const Turn& turn) {
  const std::uint64_t left = turn.bytes_ - turn.sent_;
  // A long body repeats the buffer's, but for its canary.
  std::size_t offset = head_room + canary_bytes_;
  if (turn.sent_ < turn.head_bytes_ + canary_bytes_) {
    // Another connection's may have been written since.
    if (written_for_ != &turn) write_head(turn);
    written_for_ = &turn;
    offset = head_room - turn.head_bytes_ + turn.sent_;
  }
  return std::string_view(buffer_).substr(offset, left);
}

}  // namespace bench
