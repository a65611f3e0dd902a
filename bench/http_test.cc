// The HTTP client against servers that are not ours, and our server against clients that are not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Pair;
using ::testing::StartsWith;

// ---- the client
// ------------------------------------------------------------------------------------

ClientJob http_job(const base::Endpoint& server) {
  auto job = short_job(server);
  job.workload.kind = WorkloadKind::http;
  return job;
}

// A server that says the same to every request, and closes behind it or does not.
class SameAnswer {
 public:
  explicit SameAnswer(std::string text, bool closes = false)
      : server_(
            [text = std::move(text), closes](int fd, const RequestHeader&) {
              return ScriptedServer::send_text(fd, text) && !closes;
            },
            WorkloadKind::http) {}
  [[nodiscard]] ClientResult run(bool keep_alive = true) {
    auto job = http_job(server_.endpoint());
    job.workload.connections = 2;
    job.workload.keep_alive = keep_alive;
    const auto result = run_client(job, -1);
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : ClientResult{};
  }

 private:
  ScriptedServer server_;
};

TEST(HttpClient, TakesWhateverFramingAForeignServerUses) {
  for (const std::string_view reply :
       {"HTTP/1.1 200 OK\r\nServer: other\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nSum: 1\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n"}) {
    const auto result = SameAnswer(std::string(reply)).run();
    EXPECT_GT(result.requests, 10U) << reply;
    EXPECT_EQ(result.errors.total(), 0U) << reply;
    EXPECT_EQ(result.connections_opened, 2U) << reply;
    EXPECT_THAT(result.answered_by, ElementsAre(Pair("unnamed", result.requests)));
  }
}

TEST(HttpClient, AServerMayEndItsConnections) {
  for (const std::string_view reply :
       {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", "HTTP/1.1 200 OK\r\n\r\nhello"}) {
    for (const bool keep_alive : {true, false}) {
      const auto result = SameAnswer(std::string(reply), true).run(keep_alive);
      EXPECT_GT(result.requests, 10U) << reply;
      EXPECT_EQ(result.errors.total(), 0U) << reply;
      EXPECT_GE(result.connections_opened, result.requests) << reply;
    }
  }
}

TEST(HttpClient, ABadReplyIsCountedAndEndsItsConnection) {
  for (const auto& reply :
       {std::string("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        std::string("HTTP/1.1 304 Not Modified\r\n\r\n"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!"),
        std::string("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello"),
        std::string("HTTP/1.1 200 OK\r\nA: ") + std::string(max_http_head_bytes, 'a'),
        // Ours by its identity, but not the reply to this request, or not as long as it.
        std::string("HTTP/1.1 200 OK\r\nStackbench-Id: 1\r\nContent-Length: 0\r\n\r\n")}) {
    const auto result = SameAnswer(reply).run();
    EXPECT_EQ(result.requests, 0U) << reply.substr(0, 80);
    EXPECT_GT(result.errors.bad_reply, 0U) << reply.substr(0, 80);
    EXPECT_EQ(result.errors.total(), result.errors.bad_reply) << reply.substr(0, 80);
    EXPECT_GE(result.connections_opened, result.errors.bad_reply) << reply.substr(0, 80);
  }
}

TEST(HttpClient, AReplyThatEndsTooSoonIsClosedEarly) {
  for (const std::string_view reply :
       {"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "HTTP/1.1 2"}) {
    const auto result = SameAnswer(std::string(reply), true).run();
    EXPECT_GT(result.errors.closed_early, 0U) << reply;
    EXPECT_EQ(result.errors.total(), result.errors.closed_early) << reply;
  }
}

TEST(HttpClient, AsksAsTheWorkloadSays) {
  std::string host;
  const auto request_of = [&](base::Bytes request, bool keep_alive) {
    base::UniqueFd listener = std::move(*listen_tcp(any_port("127.0.0.1")));
    host = fmt::format("{}", *local_endpoint(listener.get()));
    auto job = http_job(*local_endpoint(listener.get()));
    job.workload.request = request;
    job.workload.response = base::Bytes{1000};
    job.workload.keep_alive = keep_alive;
    job.workload.timeout = milliseconds(100);
    auto running = std::async(std::launch::async, [&] { return run_client(job, -1); });
    base::UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    std::string text(4096, '\0');
    const auto n = ::recv(connection.get(), text.data(), text.size(), 0);
    text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    ScriptedServer::send_text(connection.get(), "HTTP/1.1 204 X\r\nConnection: close\r\n\r\n");
    connection.reset();
    listener.reset();
    running.wait();
    return text;
  };
  const auto got = request_of({0}, true);
  EXPECT_EQ(
      got, fmt::format("GET /1000 HTTP/1.1\r\nHost: {}\r\nStackbench-Seq: 00000001\r\n\r\n", host));
  const auto posted = request_of({3}, false);
  EXPECT_EQ(posted, fmt::format("POST /1000 HTTP/1.1\r\nHost: {}\r\nStackbench-Seq: 00000001\r\n"
                                "Content-Length: 3\r\n\r\nxxx",
                                host));
}

TEST(HttpClient, EndsAConnectionForOneRequestItself) {
  base::UniqueFd listener = std::move(*listen_tcp(any_port("127.0.0.1")));
  auto job = http_job(*local_endpoint(listener.get()));
  job.workload.keep_alive = false;
  job.workload.timeout = milliseconds(500);
  auto running = std::async(std::launch::async, [&] { return run_client(job, -1); });
  base::UniqueFd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  std::string text(4096, '\0');
  EXPECT_GT(::recv(connection.get(), text.data(), text.size(), 0), 0);
  ScriptedServer::send_text(connection.get(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  // Blocks until it says more or ends the connection.
  EXPECT_EQ(::recv(connection.get(), text.data(), text.size(), 0), 0);
  listener.reset();
  running.wait();
}

// ---- the server
// ------------------------------------------------------------------------------------

class HttpServer : public ::testing::TestWithParam<WaitStrategy> {
 protected:
  // What the server says to that, until it has said `size` bytes or ends the connection.
  std::string answer_to(std::string_view text, std::size_t size = 4096) {
    const auto client = dial(server_.endpoint());
    EXPECT_TRUE(ScriptedServer::send_text(client.get(), std::string(text)));
    ::shutdown(client.get(), SHUT_WR);
    return receive(client.get(), size);
  }

  RunningServer server_{
      ServerJob{.kind = WorkloadKind::http, .wait = GetParam(), .listen = {}, .server_id = 9}};
};

std::string good_reply(std::size_t bytes, std::string_view more = "") {
  return fmt::format("HTTP/1.1 200 OK\r\nStackbench-Id: 9\r\nContent-Length: {}\r\n{}\r\n{}", bytes,
                     more, std::string(bytes, 'x'));
}

TEST_P(HttpServer, AnswersWithTheLengthAskedItsIdentityAndTheSequence) {
  EXPECT_EQ(answer_to("GET /64 HTTP/1.1\r\nHost: a\r\nStackbench-Seq: 00012ABC\r\n\r\n"),
            good_reply(64, "Stackbench-Seq: 00012abc\r\n"));
  EXPECT_EQ(answer_to("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n"), good_reply(0));
  EXPECT_EQ(answer_to("POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"),
            good_reply(1));
  EXPECT_EQ(server_.result().requests, 3U);
}

TEST_P(HttpServer, AnswersRequestsSentTogetherInTheirOrder) {
  std::string asked;
  std::string said;
  // Long replies among them, so that some must wait until others have been taken.
  for (const std::size_t size : {1U, 600'000U, 2U, 0U, 700'000U, 3U, 64U}) {
    asked += fmt::format("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", size);
    said += good_reply(size);
  }
  const auto client = dial(server_.endpoint());
  ASSERT_TRUE(ScriptedServer::send_text(client.get(), asked));
  EXPECT_EQ(receive(client.get(), said.size()), said);
  EXPECT_EQ(server_.result().requests, 7U);
}

TEST_P(HttpServer, WaitsForTheRestOfARequest) {
  const auto client = dial(server_.endpoint());
  for (int round = 0; round < 2; ++round) {
    for (const char byte : std::string_view("POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: "
                                            "chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n")) {
      ASSERT_TRUE(ScriptedServer::send_text(client.get(), std::string(1, byte)));
    }
    EXPECT_EQ(receive(client.get(), good_reply(2).size()), good_reply(2));
  }
  EXPECT_EQ(server_.result().connections, 1U);
}

TEST_P(HttpServer, KeepsAConnectionAsLongAsItsClientWants) {
  for (const auto& [request, more] :
       {std::pair{"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
                  "Connection: close\r\n"},
        std::pair{"GET /1 HTTP/1.0\r\n\r\n", "Connection: close\r\n"}}) {
    const auto client = dial(server_.endpoint());
    ASSERT_TRUE(ScriptedServer::send_text(client.get(), request));
    EXPECT_EQ(receive(client.get(), 4096), good_reply(1, more));  // and the end
  }
  const auto client = dial(server_.endpoint());
  const auto kept = good_reply(1, "Connection: keep-alive\r\n");
  for (int round = 0; round < 2; ++round) {
    ASSERT_TRUE(ScriptedServer::send_text(client.get(),
                                          "GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"));
    EXPECT_EQ(receive(client.get(), kept.size()), kept);
  }
}

TEST_P(HttpServer, SaysWhatIsWrongWithARequestAndEndsTheConnection) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"nonsense\r\n\r\n", "400 Bad Request"},
      {std::string(64, '\xff') + "\r\n", "400 Bad Request"},
      {"GET /64 HTTP/1.1\r\n\r\n", "400 Bad Request"},  // without a Host
      {"GET /64 HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", "400 Bad Request"},
      {"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", "404 Not Found"},
      {"PUT /64 HTTP/1.1\r\nHost: a\r\n\r\n", "405 Method Not Allowed"},
      {"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n",
       "413 Content Too Large"},
      {"GET /" + std::string(max_http_head_bytes, '1') + " HTTP/1.1\r\n", "414 URI Too Long"},
      {"GET /1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", "417 Expectation Failed"},
      {"GET /1 HTTP/1.1\r\nA: " + std::string(max_http_head_bytes, 'a') + "\r\n",
       "431 Request Header Fields Too Large"},
      {"POST /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
       "501 Not Implemented"},
      {"GET /1 HTTP/3.0\r\nHost: a\r\n\r\n", "505 HTTP Version Not Supported"}};
  for (const auto& [request, status] : cases) {
    const auto client = dial(server_.endpoint());
    ASSERT_TRUE(ScriptedServer::send_text(client.get(), request));
    EXPECT_THAT(receive(client.get(), 4096),
                AllOf(StartsWith("HTTP/1.1 " + status + "\r\nContent-Length: 0\r\n"),
                      EndsWith("Connection: close\r\n\r\n"), Not(HasSubstr("Stackbench-Id"))))
        << request.substr(0, 60);
  }
  EXPECT_THAT(answer_to("PUT /64 HTTP/1.1\r\nHost: a\r\n\r\n"), HasSubstr("Allow: GET, POST\r\n"));
  const auto result = server_.result();
  EXPECT_EQ(result.bad_requests, cases.size() + 1);
  EXPECT_EQ(result.requests, 0U);
}

TEST_P(HttpServer, ABlockedReplyKeepsItsHeadWhileOthersAreAnswered) {
  // Nobody reads the first connection's long replies until the second one's were answered.
  const auto slow = dial(server_.endpoint());
  constexpr std::size_t long_reply = std::size_t{8} << 20;
  std::string said;
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(ScriptedServer::send_text(
        slow.get(), fmt::format("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", long_reply)));
    said += good_reply(long_reply);
  }
  auto job = http_job(server_.endpoint());
  const auto result = run_client(job, -1);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GT(result->requests, 0U);
  EXPECT_EQ(result->errors.total(), 0U);
  EXPECT_TRUE(receive(slow.get(), said.size()) == said);
}

INSTANTIATE_TEST_SUITE_P(, HttpServer,
                         ::testing::Values(WaitStrategy::block, WaitStrategy::hybrid,
                                           WaitStrategy::spin),
                         [](const auto& test) { return std::string(base::enum_name(test.param)); });

}  // namespace
}  // namespace bench
