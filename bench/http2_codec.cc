#include "bench/http2_codec.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>

#include <fmt/format.h>

#include "bench/http_codec.h"
#include "bench/measure.h"

namespace bench {
namespace {

// More than any message has.
constexpr std::int32_t window = 0x3fffffff;
static_assert(window > max_message_bytes);
// No client of ours has more under way, and a proxy may send those of many over one.
constexpr std::uint32_t streams_allowed = 1U << 20;
// Gathered for one send(2), at the most and a frame.
constexpr std::size_t gathered_bytes = std::size_t{256} << 10;

// In lower case (RFC 9113, 8.2.1): those of HTTP/1.1 (bench/http_parser.h).
constexpr std::string_view server_id_field = "stackbench-id";
constexpr std::string_view sequence_field = "stackbench-seq";

constexpr std::uint16_t status_ok = 200;
constexpr std::uint16_t status_not_found = 404;
constexpr std::uint16_t status_not_allowed = 405;

// The whole text as a number; nothing where it is none.
template <typename Number>
std::optional<Number> number_in(std::string_view text, int radix) {
  Number number = 0;
  const auto* const end = text.data() + text.size();
  const auto read = std::from_chars(text.data(), end, number, radix);
  if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
  return number;
}

std::string_view text_of(const std::uint8_t* bytes, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes), size};
}

// `flags`: what nghttp2 need not copy, and whether its table is spared the value.
nghttp2_nv field(std::string_view name, std::string_view value, unsigned flags) {
  const auto bytes = [](std::string_view text) {
    return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(text.data()));
  };
  return {.name = bytes(name),
          .value = bytes(value),
          .namelen = name.size(),
          .valuelen = value.size(),
          .flags = static_cast<std::uint8_t>(flags)};
}
// What lasts as long as the session.
constexpr unsigned lasting = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE;
// Another one for every message, which is of no use in a table.
constexpr unsigned passing = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX;

std::array<char, base::number_length> digits_of(std::uint32_t number) {
  std::array<char, base::number_length> digits;
  base::write_number(number, digits.data());
  return digits;
}

// What both ends say first.
bool introduce(nghttp2_session* session, bool client) {
  std::array<nghttp2_settings_entry, 2> settings{
      nghttp2_settings_entry{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window},
      client ? nghttp2_settings_entry{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}
             : nghttp2_settings_entry{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, streams_allowed}};
  return ::nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
             0 &&
         ::nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, window) == 0;
}

struct Options {
  Options() {
    if (::nghttp2_option_new(&value) != 0) return;
    // They are kept for priorities, which nobody here has.
    ::nghttp2_option_set_no_closed_streams(value, 1);
    // Requests that are given up are an observation; a connection with many is none to be shut.
    constexpr std::uint64_t unlimited = 1'000'000'000;
    ::nghttp2_option_set_stream_reset_rate_limit(value, unlimited, unlimited);
  }
  ~Options() { ::nghttp2_option_del(value); }
  Options(const Options&) = delete;
  Options& operator=(const Options&) = delete;
  nghttp2_option* value = nullptr;
};

const nghttp2_option* options() {
  static const Options all;
  return all.value;
}

// The callbacks of a kind of session, filled in once.
struct CallbackTable {
  explicit CallbackTable(void (*fill)(nghttp2_session_callbacks*)) {
    if (::nghttp2_session_callbacks_new(&value) == 0) fill(value);
  }
  ~CallbackTable() { ::nghttp2_session_callbacks_del(value); }
  CallbackTable(const CallbackTable&) = delete;
  CallbackTable& operator=(const CallbackTable&) = delete;
  nghttp2_session_callbacks* value = nullptr;
};

bool ends_stream(const nghttp2_frame& frame) {
  return (frame.hd.type == NGHTTP2_HEADERS || frame.hd.type == NGHTTP2_DATA) &&
         (frame.hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
}

}  // namespace

void Http2Content::write(std::uint32_t number, std::uint64_t offset, std::uint8_t* out,
                         std::size_t size) const {
  if (!canary_ || offset >= base::canary_length) {
    std::memset(out, 'x', size);
    return;
  }
  std::array<char, base::canary_length> canary;
  std::ranges::copy(*canary_, canary.data());
  base::write_number(number, canary.data() + base::token_length);
  const auto of_canary = std::min<std::size_t>(size, base::canary_length - offset);
  std::memcpy(out, canary.data() + offset, of_canary);
  std::memset(out + of_canary, 'x', size - of_canary);
}

std::string_view Http2Output::rest(nghttp2_session* session) {
  if (!waiting() && session != nullptr) {
    clear();
    while (bytes_.size() < gathered_bytes) {
      const std::uint8_t* data = nullptr;
      const auto size = ::nghttp2_session_mem_send(session, &data);
      // What fails here fails for want of memory: the peer will hear no more.
      if (size <= 0) break;
      bytes_.append(text_of(data, static_cast<std::size_t>(size)));
    }
  }
  return std::string_view(bytes_).substr(sent_);
}

// ---- a client's end -----------------------------------------------------------------------------

struct Http2Calls::Callbacks {
  static const nghttp2_session_callbacks* get() {
    static const CallbackTable all([](nghttp2_session_callbacks* table) {
      ::nghttp2_session_callbacks_set_on_header_callback(table, on_header);
      ::nghttp2_session_callbacks_set_on_data_chunk_recv_callback(table, on_content);
      ::nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame);
      ::nghttp2_session_callbacks_set_on_stream_close_callback(table, on_close);
    });
    return all.value;
  }
  static Http2Calls& self(void* calls) { return *static_cast<Http2Calls*>(calls); }

  static int on_header(nghttp2_session* /*session*/, const nghttp2_frame* frame,
                       const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                       std::size_t value_size, std::uint8_t /*flags*/, void* calls) {
    auto* const call = self(calls).call_of(frame->hd.stream_id);
    if (call == nullptr) return 0;
    const auto named = text_of(name, name_size);
    const auto said = text_of(value, value_size);
    if (named == ":status") {
      call->status = number_in<std::uint16_t>(said, 10).value_or(0);
    } else if (named == server_id_field) {
      call->server_id = number_in<std::uint32_t>(said, 10);
    } else if (named == sequence_field) {
      call->echoed = number_in<std::uint32_t>(said, 16);
    }
    return 0;
  }

  static int on_content(nghttp2_session* /*session*/, std::uint8_t /*flags*/, std::int32_t stream,
                        const std::uint8_t* /*data*/, std::size_t size, void* calls) {
    if (auto* const call = self(calls).call_of(stream)) call->received += size;
    return 0;
  }

  static int on_frame(nghttp2_session* /*session*/, const nghttp2_frame* frame, void* calls) {
    auto& all = self(calls);
    if (frame->hd.type == NGHTTP2_GOAWAY) all.going_away_ = true;
    if (frame->hd.stream_id == 0) return 0;
    auto* const call = all.call_of(frame->hd.stream_id);
    if (call == nullptr) return 0;
    if (frame->hd.type == NGHTTP2_RST_STREAM) call->reset = true;
    if (ends_stream(*frame)) all.finish(*call, Http2Call::End::replied);
    return 0;
  }

  // Whatever is still under way there got no reply, or not all of it.
  static int on_close(nghttp2_session* /*session*/, std::int32_t stream, std::uint32_t /*code*/,
                      void* calls) {
    auto& all = self(calls);
    auto* const call = all.call_of(stream);
    if (call == nullptr) return 0;
    using End = Http2Call::End;
    all.finish(*call, call->reset       ? End::reset
                      : all.going_away_ ? End::goaway
                                        : End::protocol_error);
    return 0;
  }

  static ssize_t read(nghttp2_session* /*session*/, std::int32_t stream, std::uint8_t* out,
                      std::size_t room, std::uint32_t* flags, nghttp2_data_source* source,
                      void* calls) {
    auto& call = *static_cast<Http2Call*>(source->ptr);
    // One that was given up: its RST_STREAM is on its way.
    if (call.stream != stream || call.end != Http2Call::End::under_way) {
      return NGHTTP2_ERR_DEFERRED;
    }
    const auto& requests = self(calls).requests_;
    const auto size = std::min<std::uint64_t>(room, requests.request_bytes_ - call.sent);
    requests.content_.write(call.number, call.sent, out, size);
    call.sent += size;
    if (call.sent == requests.request_bytes_) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }
};

Http2Requests::Http2Requests(const ClientJob& job)
    : path_(fmt::format("/{}", response_size(job.workload).count)),
      host_(http_host(job)),
      request_bytes_(request_size(job.workload).count),
      response_bytes_(response_size(job.workload).count),
      length_(std::to_string(request_bytes_)),
      content_(job.canary) {}

Http2Calls::Http2Calls(const Http2Requests& requests, std::size_t at_once) : requests_(requests) {
  ended_.reserve(at_once);
}

bool Http2Calls::open() {
  close();
  nghttp2_session* session = nullptr;
  if (::nghttp2_session_client_new2(&session, Callbacks::get(), this, options()) != 0) return false;
  session_.reset(session);
  return introduce(session, true);
}

void Http2Calls::close() {
  session_.reset();
  output_.clear();
  ended_.clear();
  taken_ = 0;
  going_away_ = false;
  sound_ = true;
}

bool Http2Calls::begin(Http2Call& call, std::uint32_t number) {
  const auto digits = digits_of(number);
  const bool content = requests_.request_bytes_ > 0;
  const std::array fields{field(":method", content ? "POST" : "GET", lasting),
                          field(":scheme", "http", lasting),
                          field(":authority", requests_.host_, lasting),
                          field(":path", requests_.path_, lasting),
                          field(sequence_field, {digits.data(), digits.size()}, passing),
                          field("content-length", requests_.length_, lasting)};
  const nghttp2_data_provider provider{.source = {.ptr = &call}, .read_callback = Callbacks::read};
  const auto stream = ::nghttp2_submit_request(session_.get(), nullptr, fields.data(),
                                               content ? fields.size() : fields.size() - 1,
                                               content ? &provider : nullptr, &call);
  if (stream < 0) return false;
  call = {.requester = call.requester, .stream = stream, .number = number};
  return true;
}

void Http2Calls::cancel(Http2Call& call) {
  ::nghttp2_session_set_stream_user_data(session_.get(), call.stream, nullptr);
  ::nghttp2_submit_rst_stream(session_.get(), NGHTTP2_FLAG_NONE, call.stream, NGHTTP2_CANCEL);
  call.stream = 0;
}

void Http2Calls::end() { ::nghttp2_session_terminate_session(session_.get(), NGHTTP2_NO_ERROR); }

bool Http2Calls::take(const char* data, std::size_t size) {
  const auto taken =
      ::nghttp2_session_mem_recv(session_.get(), reinterpret_cast<const std::uint8_t*>(data), size);
  // What it says to bytes that broke the rules, RST_STREAM or GOAWAY, ends what they were of.
  (void)rest();
  sound_ = taken >= 0 && (going_away_ || !over());
  return sound_;
}

Http2Call* Http2Calls::next_ended() {
  if (taken_ < ended_.size()) return ended_[taken_++];
  ended_.clear();
  taken_ = 0;
  return nullptr;
}

std::optional<std::uint32_t> Http2Calls::answered_by(const Http2Call& call) const {
  // A reply before its request was sent whole answers something else.
  if (call.status < status_ok || call.status > 299 || call.sent < requests_.request_bytes_) {
    return std::nullopt;
  }
  if (!call.server_id) return unnamed_server;
  if (call.echoed != call.number || call.received != requests_.response_bytes_) return std::nullopt;
  return call.server_id;
}

void Http2Calls::finish(Http2Call& call, Http2Call::End end) {
  call.end = end;
  call.ended = base::monotonic_now();
  ended_.push_back(&call);
  if (end == Http2Call::End::replied && call.sent < requests_.request_bytes_) {
    cancel(call);
  } else {
    ::nghttp2_session_set_stream_user_data(session_.get(), call.stream, nullptr);
  }
}

Http2Call* Http2Calls::call_of(std::int32_t stream) const {
  return static_cast<Http2Call*>(::nghttp2_session_get_stream_user_data(session_.get(), stream));
}

// ---- a server's end -----------------------------------------------------------------------------

struct Http2Answers::Turn::Request {
  std::int32_t stream = 0;
  bool known_method = false;
  std::optional<std::uint64_t> asked_bytes;
  std::optional<std::uint32_t> sequence;
  std::uint16_t status = status_ok;
  std::uint64_t sent = 0;
};

struct Http2Answers::Callbacks {
  static const nghttp2_session_callbacks* get() {
    static const CallbackTable all([](nghttp2_session_callbacks* table) {
      ::nghttp2_session_callbacks_set_on_begin_headers_callback(table, on_begin);
      ::nghttp2_session_callbacks_set_on_header_callback(table, on_header);
      ::nghttp2_session_callbacks_set_on_frame_recv_callback(table, on_frame);
      ::nghttp2_session_callbacks_set_on_frame_send_callback(table, on_sent);
      ::nghttp2_session_callbacks_set_on_stream_close_callback(table, on_close);
    });
    return all.value;
  }
  static Turn& self(void* turn) { return *static_cast<Turn*>(turn); }
  static Turn::Request* request_of(nghttp2_session* session, std::int32_t stream) {
    return static_cast<Turn::Request*>(::nghttp2_session_get_stream_user_data(session, stream));
  }

  static int on_begin(nghttp2_session* session, const nghttp2_frame* frame, void* turn) {
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST) return 0;
    auto& request = self(turn).fresh();
    request.stream = frame->hd.stream_id;
    ::nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, &request);
    return 0;
  }

  static int on_header(nghttp2_session* session, const nghttp2_frame* frame,
                       const std::uint8_t* name, std::size_t name_size, const std::uint8_t* value,
                       std::size_t value_size, std::uint8_t /*flags*/, void* /*turn*/) {
    auto* const request = request_of(session, frame->hd.stream_id);
    if (request == nullptr) return 0;
    const auto named = text_of(name, name_size);
    const auto said = text_of(value, value_size);
    if (named == ":method") {
      request->known_method = said == "GET" || said == "POST";
    } else if (named == ":path") {
      // What is before the number is for whoever stands between client and server.
      request->asked_bytes = number_in<std::uint64_t>(said.substr(said.rfind('/') + 1), 10);
    } else if (named == sequence_field) {
      request->sequence = number_in<std::uint32_t>(said, 16);
    }
    return 0;
  }

  static int on_frame(nghttp2_session* session, const nghttp2_frame* frame, void* turn) {
    if (!ends_stream(*frame)) return 0;
    auto* const request = request_of(session, frame->hd.stream_id);
    if (request == nullptr) return 0;
    return self(turn).answers_->answer(self(turn), *request);
  }

  static int on_sent(nghttp2_session* session, const nghttp2_frame* frame, void* turn) {
    auto& its = self(turn);
    if (ends_stream(*frame)) {
      const auto* const request = request_of(session, frame->hd.stream_id);
      ++(request != nullptr && request->status == status_ok ? its.answered_ : its.refused_);
    } else if ((frame->hd.type == NGHTTP2_RST_STREAM &&
                frame->rst_stream.error_code != NGHTTP2_NO_ERROR) ||
               (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)) {
      ++its.refused_;
    }
    return 0;
  }

  static int on_close(nghttp2_session* session, std::int32_t stream, std::uint32_t /*code*/,
                      void* turn) {
    if (auto* const request = request_of(session, stream)) self(turn).free_.push_back(request);
    return 0;
  }

  static ssize_t read(nghttp2_session* /*session*/, std::int32_t /*stream*/, std::uint8_t* out,
                      std::size_t room, std::uint32_t* flags, nghttp2_data_source* source,
                      void* turn) {
    auto& request = *static_cast<Turn::Request*>(source->ptr);
    const auto size = std::min<std::uint64_t>(room, *request.asked_bytes - request.sent);
    self(turn).answers_->content_.write(request.sequence.value_or(0), request.sent, out, size);
    request.sent += size;
    if (request.sent == *request.asked_bytes) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(size);
  }
};

Http2Answers::Turn::Turn() = default;
Http2Answers::Turn::~Turn() = default;

void Http2Answers::Turn::reset() {
  session_.reset();
  output_.clear();
  free_.clear();
  for (const auto& request : requests_) free_.push_back(request.get());
  answered_ = 0;
  refused_ = 0;
  broken_ = false;
}

void Http2Answers::Turn::sent(std::size_t bytes) {
  output_.sent(bytes);
  if (!output_.waiting()) gather();
}

Http2Answers::Turn::Request& Http2Answers::Turn::fresh() {
  if (free_.empty()) {
    requests_.push_back(std::make_unique<Request>());
    free_.push_back(requests_.back().get());
    free_.reserve(requests_.capacity());
  }
  auto& request = *free_.back();
  free_.pop_back();
  request = {};
  return request;
}

Http2Answers::Http2Answers(const ServerJob& job)
    : server_id_(std::to_string(job.server_id)), content_(job.canary) {}

bool Http2Answers::open(Turn& turn) const {
  turn.answers_ = this;
  nghttp2_session* session = nullptr;
  if (::nghttp2_session_server_new2(&session, Callbacks::get(), &turn, options()) != 0) {
    return false;
  }
  turn.session_.reset(session);
  return introduce(session, false);
}

std::size_t Http2Answers::take(Turn& turn, const char* data, std::size_t size) const {
  if (!turn.session_ && !open(turn)) {
    turn.broken_ = true;
    return size;
  }
  const auto taken = ::nghttp2_session_mem_recv(turn.session_.get(),
                                                reinterpret_cast<const std::uint8_t*>(data), size);
  if (taken < 0) {
    turn.broken_ = true;
    return size;
  }
  turn.gather();
  return size;
}

int Http2Answers::answer(Turn& turn, Turn::Request& request) const {
  if (!request.known_method) {
    request.status = status_not_allowed;
  } else if (!request.asked_bytes || *request.asked_bytes > max_message_bytes) {
    request.status = status_not_found;
  }
  const auto status = std::to_string(request.status);
  if (request.status != status_ok) {
    const std::array fields{field(":status", status, NGHTTP2_NV_FLAG_NO_COPY_NAME),
                            field("content-length", "0", lasting)};
    return ::nghttp2_submit_response(turn.session_.get(), request.stream, fields.data(),
                                     fields.size(), nullptr);
  }
  const auto length = std::to_string(*request.asked_bytes);
  const auto digits = digits_of(request.sequence.value_or(0));
  const std::array fields{field(":status", status, NGHTTP2_NV_FLAG_NO_COPY_NAME),
                          field(server_id_field, server_id_, lasting),
                          field("content-length", length, NGHTTP2_NV_FLAG_NO_COPY_NAME),
                          field(sequence_field, {digits.data(), digits.size()}, passing)};
  const nghttp2_data_provider provider{.source = {.ptr = &request},
                                       .read_callback = Callbacks::read};
  return ::nghttp2_submit_response(turn.session_.get(), request.stream, fields.data(),
                                   request.sequence ? fields.size() : fields.size() - 1,
                                   *request.asked_bytes > 0 ? &provider : nullptr);
}

}  // namespace bench
