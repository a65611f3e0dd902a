// The HTTP/2 client against peers that say whatever frames they are told, and our server against
// bytes that are not ours.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/http2_codec.h"
#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

// ---- frames (RFC 9113, section 4.1), and field blocks (RFC 7541)
// -----------------------------------

constexpr std::uint8_t end_stream = 0x1;
constexpr std::uint8_t end_headers = 0x4;

std::string number_of(std::uint32_t value, int bytes) {
  std::string text;
  for (int i = bytes - 1; i >= 0; --i) text += static_cast<char>(value >> (8 * i));
  return text;
}

std::string frame(std::uint8_t type, std::uint8_t flags, std::uint32_t stream,
                  const std::string& payload = "") {
  return number_of(static_cast<std::uint32_t>(payload.size()), 3) + static_cast<char>(type) +
         static_cast<char>(flags) + number_of(stream, 4) + payload;
}
std::string data(std::uint32_t stream, const std::string& content) {
  return frame(NGHTTP2_DATA, end_stream, stream, content);
}
std::string headers(std::uint32_t stream, const std::string& block, std::uint8_t flags = 0) {
  return frame(NGHTTP2_HEADERS, static_cast<std::uint8_t>(end_headers | flags), stream, block);
}
std::string goaway(std::uint32_t last_stream, std::uint32_t code = NGHTTP2_NO_ERROR) {
  return frame(NGHTTP2_GOAWAY, 0, 0, number_of(last_stream, 4) + number_of(code, 4));
}

// In HPACK, without its tables: of each the name and the value, written out.
std::string literal(const std::string& name, const std::string& value) {
  return number_of(0, 1) + static_cast<char>(name.size()) + name + static_cast<char>(value.size()) +
         value;
}
const std::string status_200 = "\x88";
const std::string http_1_1 = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

// A peer that says what it is told to each request; to each `at_once` together, where so many must
// be there first.
class FramePeer {
 public:
  using Answer = std::function<std::string(std::uint32_t stream)>;
  enum class Then : std::uint8_t { goes_on, closes, resets };

  explicit FramePeer(Answer answer, Then then = Then::goes_on, std::size_t at_once = 1,
                     bool speaks = true)
      : answer_(std::move(answer)), then_(then), at_once_(at_once), speaks_(speaks) {
    listener_ = std::move(*listen_tcp(any_port("127.0.0.1")));
    endpoint_ = *local_endpoint(listener_.get());
    acceptor_ = std::thread([this] {
      for (;;) {
        base::UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) return;
        threads_.emplace_back([this, fd = std::move(fd)]() mutable { serve(std::move(fd)); });
      }
    });
  }
  ~FramePeer() { join(); }
  FramePeer(const FramePeer&) = delete;
  FramePeer& operator=(const FramePeer&) = delete;

  [[nodiscard]] ClientJob job() const {
    auto job = short_job(endpoint_);
    job.workload.kind = WorkloadKind::http2;
    job.workload.connections = 2;
    job.workload.timeout = milliseconds(500);
    return job;
  }
  // As run, in windows that grow until a result is enough: a busy machine does little in a short
  // one.
  template <typename Enough>
  [[nodiscard]] static ClientResult run_until(Enough enough, ClientJob job,
                                              bool keep_alive = true) {
    const auto give_up = base::monotonic_now() + std::chrono::seconds(10);
    auto result = run(job, keep_alive);
    while (!enough(result) && base::monotonic_now() < give_up) {
      job.workload.duration *= 2;
      result = run(job, keep_alive);
    }
    return result;
  }
  [[nodiscard]] static ClientResult run(ClientJob job, bool keep_alive = true) {
    job.workload.keep_alive = keep_alive;
    const auto result = run_client(job, -1);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : ClientResult{};
  }
  // What came over all connections, which are over.
  [[nodiscard]] std::string heard() {
    join();
    return heard_;
  }

 private:
  void join() {
    if (!acceptor_.joinable()) return;
    ::shutdown(listener_.get(), SHUT_RDWR);
    acceptor_.join();
    for (auto& thread : threads_) thread.join();
  }

  // Ends when the client does. One that speaks answers nothing before its settings were
  // acknowledged: what came behind its close would be a reset.
  void serve(base::UniqueFd fd) {
    constexpr std::size_t preface_bytes = 24;
    if (speaks_) ScriptedServer::send_text(fd.get(), frame(NGHTTP2_SETTINGS, 0, 0));
    std::string received;
    bool begun = false;
    bool heard_out = !speaks_;
    std::vector<std::uint32_t> waiting;
    std::array<char, 65536> buffer{};
    for (;;) {
      const auto n = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
      if (n <= 0) return;
      received.append(buffer.data(), static_cast<std::size_t>(n));
      {
        const std::lock_guard lock(mutex_);
        heard_.append(buffer.data(), static_cast<std::size_t>(n));
      }
      if (!begun && received.size() >= preface_bytes) {
        received.erase(0, preface_bytes);
        begun = true;
      }
      if (begun && take_frames(received, waiting)) heard_out = true;
      if (!heard_out || waiting.size() < at_once_) continue;
      for (const auto stream : waiting) ScriptedServer::send_text(fd.get(), answer_(stream));
      waiting.clear();
      if (then_ == Then::resets) ScriptedServer::reset_on_close(fd.get());
      if (then_ != Then::goes_on) return;
    }
  }

  // Whether an acknowledgement was among them.
  static bool take_frames(std::string& received, std::vector<std::uint32_t>& waiting) {
    constexpr std::size_t head_bytes = 9;
    bool acknowledged = false;
    while (received.size() >= head_bytes) {
      const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(received[i]); };
      const auto size = static_cast<std::size_t>(byte(0) << 16 | byte(1) << 8 | byte(2));
      if (received.size() < head_bytes + size) break;
      if (byte(3) == NGHTTP2_SETTINGS && byte(4) == NGHTTP2_FLAG_ACK) acknowledged = true;
      if (byte(3) <= NGHTTP2_HEADERS && (byte(4) & end_stream) != 0) {
        waiting.push_back(
            static_cast<std::uint32_t>(byte(5) << 24 | byte(6) << 16 | byte(7) << 8 | byte(8)));
      }
      received.erase(0, head_bytes + size);
    }
    return acknowledged;
  }

  Answer answer_;
  Then then_;
  std::size_t at_once_;
  bool speaks_;
  base::UniqueFd listener_;
  base::Endpoint endpoint_;
  std::mutex mutex_;
  std::string heard_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

// ---- the client
// ----------------------------------------------------------------------------------

bool answered_some(const ClientResult& result) { return result.requests > 10; }

TEST(Http2Client, TakesWhateverFramesAForeignServerUses) {
  const std::vector<FramePeer::Answer> answers{
      [](auto stream) { return headers(stream, status_200) + data(stream, "hello"); },
      [](auto stream) { return headers(stream, status_200, end_stream); },
      // In pieces: an interim reply, the fields in two frames, padding, trailers.
      [](auto stream) {
        return headers(stream, literal(":status", "103")) +
               frame(NGHTTP2_HEADERS, 0, stream, status_200) +
               frame(NGHTTP2_CONTINUATION, end_headers, stream, literal("server", "other")) +
               frame(NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, stream, "\x02hello..") +
               frame(NGHTTP2_PING, 0, 0, "12345678") +
               headers(stream, literal("sum", "1"), end_stream);
      }};
  for (const auto& answer : answers) {
    const FramePeer peer(answer);
    const auto result = FramePeer::run_until(answered_some, peer.job());
    EXPECT_GT(result.requests, 10U);
    EXPECT_EQ(result.errors.total(), 0U);
    EXPECT_EQ(result.connections_opened, 2U);
    EXPECT_THAT(result.answered_by, ElementsAre(Pair("unnamed", result.requests)));
  }
}

struct Misdeed {
  std::string name;
  FailureClass what;
  FramePeer::Answer answer;
  FramePeer::Then then = FramePeer::Then::goes_on;
  bool keeps = false;  // its connection outlives it
  bool speaks = true;
};

TEST(Http2Client, ClassesEveryFailure) {
  using enum FailureClass;
  using Then = FramePeer::Then;
  const auto half = [](auto stream) {
    return headers(stream, status_200) + frame(NGHTTP2_DATA, 0, stream, "hel");
  };
  const std::vector<Misdeed> misdeeds{
      {"status", bad_reply,
       [](auto stream) { return headers(stream, literal(":status", "503"), end_stream); },
       Then::goes_on, true},
      {"ours, but of another request", bad_reply,
       [](auto stream) {
         return headers(stream, status_200 + literal("stackbench-id", "1"), end_stream);
       },
       Then::goes_on, true},
      {"RST_STREAM", stream_reset,
       [](auto stream) {
         return frame(NGHTTP2_RST_STREAM, 0, stream, number_of(NGHTTP2_REFUSED_STREAM, 4));
       },
       Then::goes_on, true},
      {"RST_STREAM midway", stream_reset,
       [&](auto stream) {
         return half(stream) +
                frame(NGHTTP2_RST_STREAM, 0, stream, number_of(NGHTTP2_INTERNAL_ERROR, 4));
       },
       Then::goes_on, true},
      {"GOAWAY before it", FailureClass::goaway, [](auto) { return bench::goaway(0); }},
      {"GOAWAY, and nothing more", FailureClass::goaway,
       [](auto stream) { return bench::goaway(stream, NGHTTP2_INTERNAL_ERROR); }, Then::closes},
      {"content that is not as long as it says", protocol_error,
       [](auto stream) {
         return headers(stream, status_200 + literal("content-length", "4")) +
                data(stream, "hello");
       },
       Then::goes_on, true},
      {"no status", protocol_error,
       [](auto stream) { return headers(stream, literal("server", "other"), end_stream); },
       Then::goes_on, true},
      {"DATA of no stream", protocol_error, [](auto) { return data(0, "hello"); }},
      {"HTTP/1.1", protocol_error, [](auto) { return http_1_1; }, Then::closes, false, false},
      {"closed midway", closed_early, half, Then::closes},
      {"closed", closed_early, [](auto) { return std::string(); }, Then::closes},
      {"reset", reset, [](auto) { return std::string(); }, Then::resets}};
  for (const auto& misdeed : misdeeds) {
    for (const bool keep_alive : {true, false}) {
      FramePeer peer(misdeed.answer, misdeed.then, 1, misdeed.speaks);
      auto job = peer.job();
      job.workload.duration = milliseconds(25);
      const auto result = FramePeer::run_until(
          [](const auto& one) { return one.errors.total() > 0; }, job, keep_alive);
      auto errors = result.errors;
      EXPECT_EQ(result.requests, 0U) << misdeed.name;
      EXPECT_GT(errors.of(misdeed.what), 0U) << misdeed.name;
      EXPECT_EQ(errors.total(), errors.of(misdeed.what))
          << misdeed.name << ": " << base::dump_json(base::to_json(errors));
      if (keep_alive && misdeed.keeps) {
        EXPECT_EQ(result.connections_opened, 2U) << misdeed.name;
      } else {
        EXPECT_GE(result.connections_opened, errors.total()) << misdeed.name;
      }
    }
  }
}

TEST(Http2Client, ASilentServerTimesOut) {
  FramePeer peer([](auto) { return std::string(); });
  auto job = peer.job();
  job.workload.timeout = milliseconds(40);
  const auto result = FramePeer::run(job);
  EXPECT_EQ(result.requests, 0U);
  EXPECT_GE(result.errors.timed_out, 2U);
  EXPECT_EQ(result.errors.total(), result.errors.timed_out);
}

// Though the connection is given up for the first of them.
TEST(Http2Client, EachRequestOfASilentConnectionWaitsForItsWholeTimeout) {
  FramePeer peer([](auto) { return std::string(); });
  auto job = peer.job();
  job.workload.connections = 1;
  job.workload.streams = 8;
  job.workload.rate = base::RequestRate{200};
  job.workload.timeout = milliseconds(40);
  job.note_events = true;
  const auto result = FramePeer::run(job);
  EXPECT_GE(result.errors.timed_out, 8U);
  EXPECT_EQ(result.errors.total(), result.errors.timed_out);
  EXPECT_EQ(result.failures.size(), result.errors.timed_out);
  for (const auto& failure : result.failures) {
    EXPECT_GE(failure.ended_ns - failure.due_ns, 40'000'000);
  }
}

TEST(Http2Client, AServerMayEndItsConnectionsInGoodOrder) {
  for (const auto then : {FramePeer::Then::goes_on, FramePeer::Then::closes}) {
    FramePeer peer(
        [](auto stream) {
          return headers(stream, status_200) + bench::goaway(stream) + data(stream, "hello");
        },
        then);
    const auto result = FramePeer::run_until(answered_some, peer.job());
    EXPECT_GT(result.requests, 10U);
    EXPECT_EQ(result.errors.total(), 0U) << base::dump_json(base::to_json(result.errors));
    EXPECT_GE(result.connections_opened, result.requests);
  }
}

TEST(Http2Client, HasAsManyStreamsUnderWayAsItIsTold) {
  for (const bool open_loop : {false, true}) {
    // Nobody is answered before four have asked over one connection.
    FramePeer peer([](auto stream) { return headers(stream, status_200, end_stream); },
                   FramePeer::Then::goes_on, 4);
    auto job = peer.job();
    job.workload.connections = 1;
    job.workload.streams = 4;
    if (open_loop) job.workload.rate = base::RequestRate{2'000};
    // The last ones wait in vain for others to come.
    const auto result = FramePeer::run_until(
        [](const auto& one) { return one.requests >= 20 && one.errors.total() <= 3; }, job);
    EXPECT_GE(result.requests, 20U);
    EXPECT_LE(result.errors.total(), 3U);
    EXPECT_EQ(result.errors.total(), result.errors.timed_out);
    EXPECT_EQ(result.connections_opened, 1U);
  }
}

TEST(Http2Client, FailsAllThatIsUnderWayOnAConnectionThatEnds) {
  FramePeer peer([](auto) { return std::string(); }, FramePeer::Then::closes, 4);
  auto job = peer.job();
  job.workload.connections = 1;
  job.workload.streams = 4;
  const auto result = FramePeer::run(job);
  EXPECT_GE(result.errors.closed_early, 4U);
  EXPECT_EQ(result.errors.closed_early % 4, 0U);
  EXPECT_EQ(result.errors.total(), result.errors.closed_early);
}

TEST(Http2Client, AsksAsTheWorkloadSaysWithItsCanaryInTheClear) {
  FramePeer peer([](auto stream) { return headers(stream, status_200, end_stream); });
  auto job = peer.job();
  job.workload.rate = base::RequestRate{500};
  job.workload.request = base::Bytes{1'000};
  job.canary = base::make_token();
  EXPECT_GT(FramePeer::run(job).requests, 0U);
  const auto heard = peer.heard();
  EXPECT_THAT(heard, HasSubstr(*job.canary + "00000001"));
  EXPECT_THAT(heard, HasSubstr(*job.canary + "00000002xxxx"));
  // Connections end as they should (RFC 9113, 6.8).
  EXPECT_THAT(heard, HasSubstr(bench::goaway(0)));
}

TEST(Http2Client, RefusesWhatItCannotDo) {
  ClientJob job = short_job({*base::IpAddress::parse("127.0.0.1"), 1});
  job.workload.kind = WorkloadKind::http;
  job.workload.streams = 2;
  EXPECT_EQ(run_client(job, -1).error().message, "streams: only http2 has it, not http");
  job.workload.kind = WorkloadKind::http2;
  job.workload.keep_alive = false;
  EXPECT_EQ(run_client(job, -1).error().message,
            "streams: expected at least 1, and 1 without keep_alive, got 2");
}

// ---- both ends
// -----------------------------------------------------------------------------------

struct Ends {
  WaitStrategy wait;
  bool open_loop;
  bool keep_alive;
  int streams;
};

class Http2Ends : public ::testing::TestWithParam<Ends> {};

TEST_P(Http2Ends, CountTheSame) {
  const auto& how = GetParam();
  RunningServer server(
      {.kind = WorkloadKind::http2, .wait = how.wait, .listen = {}, .server_id = 9});
  auto job = short_job(server.endpoint());
  job.workload.kind = WorkloadKind::http2;
  job.workload.wait = how.wait;
  job.workload.connections = 2;
  job.workload.keep_alive = how.keep_alive;
  job.workload.streams = how.streams;
  job.workload.request = base::Bytes{100};
  job.workload.response = base::Bytes{100'000};  // more than a buffer, and than a frame
  if (how.open_loop) job.workload.rate = base::RequestRate{500};
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->errors.total(), 0U) << base::dump_json(base::to_json(result->errors));
  EXPECT_THAT(result->answered_by, ElementsAre(Pair("9", result->requests)));
  const auto served = server.result();
  EXPECT_GE(served.requests, result->requests);
  EXPECT_EQ(served.bad_requests, 0U);
  EXPECT_EQ(served.connections, result->connections_opened);
  if (how.keep_alive) {
    EXPECT_EQ(served.connections, 2U);
    EXPECT_EQ(result->connect.count(), 2U);
  } else {
    EXPECT_GE(served.connections, result->requests);
  }
}

INSTANTIATE_TEST_SUITE_P(, Http2Ends,
                         ::testing::Values(Ends{WaitStrategy::block, false, true, 1},
                                           Ends{WaitStrategy::block, false, true, 8},
                                           Ends{WaitStrategy::block, false, false, 1},
                                           Ends{WaitStrategy::hybrid, true, true, 8},
                                           Ends{WaitStrategy::hybrid, true, false, 1},
                                           Ends{WaitStrategy::spin, false, true, 1}),
                         [](const auto& it) {
                           return fmt::format("{}_{}_{}_{}", base::enum_name(it.param.wait),
                                              it.param.open_loop ? "open" : "closed",
                                              it.param.keep_alive ? "kept" : "new",
                                              it.param.streams);
                         });

// ---- the server
// ----------------------------------------------------------------------------------

std::string asking(const std::string& method, const std::string& path) {
  return std::string(NGHTTP2_CLIENT_MAGIC) + frame(NGHTTP2_SETTINGS, 0, 0) +
         headers(1,
                 literal(":method", method) + literal(":scheme", "http") + literal(":path", path) +
                     literal(":authority", "a"),
                 end_stream);
}

class Http2Server : public ::testing::Test {
 protected:
  // What the server says to that before it ends the connection, or until it has said nothing for a
  // while.
  std::string answer_to(const std::string& text) {
    const auto client = dial(server_.endpoint());
    EXPECT_TRUE(ScriptedServer::send_text(client.get(), text));
    ::shutdown(client.get(), SHUT_WR);
    return receive(client.get(), std::size_t{1} << 20);
  }

  const std::string token_ = base::make_token();
  RunningServer server_{
      ServerJob{.kind = WorkloadKind::http2, .listen = {}, .server_id = 9, .canary = token_}};
};

TEST_F(Http2Server, AnswersWithItsCanaryInTheClear) {
  // A request as the sample of the wire's proof has it.
  const auto request =
      http2_before_content(true, base::canary_length) + std::string(base::canary_length, 'x');
  EXPECT_THAT(request, StartsWith(NGHTTP2_CLIENT_MAGIC));
  const auto said = answer_to(request);
  EXPECT_THAT(said, HasSubstr(token_ + "00000001"));
  EXPECT_EQ(server_.result().requests, 1U);
}

TEST(Http2Sample, IsWhatOurEndsSayUpToTheContent) {
  const auto reply = http2_before_content(false, base::canary_length);
  EXPECT_EQ(reply.substr(0, 4), number_of(12, 3) + static_cast<char>(NGHTTP2_SETTINGS));
  const auto head = number_of(base::canary_length, 3) + static_cast<char>(NGHTTP2_DATA) +
                    static_cast<char>(end_stream) + number_of(1, 4);
  EXPECT_EQ(reply.substr(reply.size() - head.size()), head);
  const auto request = http2_before_content(true, base::canary_length);
  EXPECT_EQ(request.substr(request.size() - head.size()), head);
}

TEST_F(Http2Server, SaysWhatIsWrongWithARequest) {
  const std::string status_404 = "\x8d";
  EXPECT_THAT(answer_to(asking("GET", "/x")), HasSubstr(status_404));
  EXPECT_THAT(answer_to(asking("GET", "/99999999999")), HasSubstr(status_404));
  answer_to(asking("PUT", "/64"));
  answer_to("GET /64 HTTP/1.1\r\nHost: a\r\n\r\n");
  answer_to(std::string(NGHTTP2_CLIENT_MAGIC) + data(0, "hello"));
  // A field in upper case (RFC 9113, 8.2).
  answer_to(std::string(NGHTTP2_CLIENT_MAGIC) + frame(NGHTTP2_SETTINGS, 0, 0) +
            headers(1, literal("Bad", "1"), end_stream));
  const auto result = server_.result();
  EXPECT_EQ(result.requests, 0U);
  EXPECT_EQ(result.bad_requests, 6U);
}

// A client's timeouts end requests, not the connection they share.
TEST_F(Http2Server, GoesOnHoweverManyRequestsAreGivenUp) {
  constexpr std::uint32_t given_up = 1'500;
  auto asked = std::string(NGHTTP2_CLIENT_MAGIC) + frame(NGHTTP2_SETTINGS, 0, 0);
  const auto ask = [&](std::uint32_t stream, const std::string& path) {
    asked += headers(stream,
                     literal(":method", "GET") + literal(":scheme", "http") +
                         literal(":path", path) + literal(":authority", "a"),
                     end_stream);
  };
  for (std::uint32_t i = 0; i < given_up; ++i) {
    ask(2 * i + 1, "/0");
    asked += frame(NGHTTP2_RST_STREAM, 0, 2 * i + 1, number_of(NGHTTP2_CANCEL, 4));
  }
  ask(2 * given_up + 1, "/7");
  EXPECT_THAT(answer_to(asked), HasSubstr(token_.substr(0, 7)));
  EXPECT_EQ(server_.result().bad_requests, 0U);
}

TEST_F(Http2Server, WaitsForTheRestOfARequest) {
  const auto client = dial(server_.endpoint());
  for (const char byte : asking("GET", "/5")) {
    ASSERT_TRUE(ScriptedServer::send_text(client.get(), std::string(1, byte)));
  }
  ::shutdown(client.get(), SHUT_WR);
  EXPECT_THAT(receive(client.get(), 65536), HasSubstr(token_.substr(0, 5)));
  EXPECT_EQ(server_.result().requests, 1U);
}

}  // namespace
}  // namespace bench
