#include "base/http/http.h"

#include <string>
#include <thread>

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/address.h"
#include "base/fd.h"

namespace base::http {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::HasSubstr;

// Takes one connection, reads a request, says what the test gives it, and closes when destroyed.
class OneAnswer {
 public:
  // On a unix socket of this path.
  OneAnswer(std::string answer, const std::string& path) : answer_(std::move(answer)) {
    fd_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(static_cast<char*>(address.sun_path), sizeof(address.sun_path) - 1);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_EQ(::listen(fd_.get(), 1), 0);
    thread_ = std::thread([this] { serve(); });
  }
  explicit OneAnswer(std::string answer) : answer_(std::move(answer)) {
    fd_.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const SocketAddress any({.address = *IpAddress::parse("127.0.0.1"), .port = 0});
    EXPECT_EQ(::bind(fd_.get(), any.get(), any.size()), 0);
    EXPECT_EQ(::listen(fd_.get(), 1), 0);
    SocketAddress bound;
    socklen_t* const size = bound.capacity();
    EXPECT_EQ(::getsockname(fd_.get(), bound.get(), size), 0);
    port_ = bound.endpoint()->port;
    thread_ = std::thread([this] { serve(); });
  }
  ~OneAnswer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }
  OneAnswer(const OneAnswer&) = delete;
  OneAnswer& operator=(const OneAnswer&) = delete;

  [[nodiscard]] std::string url(const std::string& path) const {
    return fmt::format("http://127.0.0.1:{}{}", port_, path);
  }
  // What came. Call it once the exchange is over.
  [[nodiscard]] const std::string& received() const { return received_; }

 private:
  void serve() {
    connection_.reset(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection_) return;
    char buffer[4096];
    while (received_.find("the end") == std::string::npos) {
      const auto n = ::recv(connection_.get(), buffer, sizeof(buffer), 0);
      if (n <= 0) return;
      received_.append(buffer, static_cast<std::size_t>(n));
    }
    ::send(connection_.get(), answer_.data(), answer_.size(), MSG_NOSIGNAL);
    if (!answer_.empty()) connection_.reset();
  }

  std::string answer_;
  UniqueFd fd_;
  UniqueFd connection_;
  std::uint16_t port_ = 0;
  std::string received_;
  std::thread thread_;
};

Result<Response> put(const std::string& url, Duration timeout = seconds(10)) {
  return exchange(
      {.method = "PUT", .url = url, .content_type = "text/plain", .body = "up 1, the end"},
      timeout);
}

TEST(Http, SendsTheRequestAndTakesTheAnswer) {
  OneAnswer server("HTTP/1.1 202 Accepted\r\nContent-Length: 4\r\n\r\nfine");
  const auto response = put(server.url("/metrics/job/it?now=1"));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 202);
  EXPECT_EQ(response->body, "fine");
  EXPECT_THAT(server.received(), HasSubstr("PUT /metrics/job/it?now=1 HTTP/1.1\r\n"));
  EXPECT_THAT(server.received(), HasSubstr("Host: 127.0.0.1:"));
  EXPECT_THAT(server.received(), HasSubstr("Content-Type: text/plain\r\n"));
  EXPECT_THAT(server.received(), HasSubstr("Content-Length: 13\r\n"));
}

TEST(Http, TakesAnAnswerThatEndsWithTheConnection) {
  OneAnswer server("HTTP/1.0 500 Broken\r\n\r\nwhy it is");
  const auto response = put(server.url("/"));
  ASSERT_TRUE(response) << response.error().message;
  EXPECT_EQ(response->status, 500);
  EXPECT_EQ(response->body, "why it is");
}

TEST(Http, AServerThatSaysNothingTimesOut) {
  OneAnswer server("");
  const auto begun = monotonic_now();
  const auto response = put(server.url("/"), milliseconds(50));
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().kind, ErrorKind::timed_out);
  EXPECT_THAT(response.error().message, HasSubstr(": no answer in time"));
  EXPECT_LT(monotonic_now() - begun, seconds(5));
}

TEST(Http, AnAnswerThatIsNoHttpIsAnError) {
  OneAnswer server("SSH-2.0-OpenSSH_9.2\r\n\r\n");
  const auto response = put(server.url("/"));
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr(": reading the answer: "));
}

TEST(Http, AsksAServerOnAUnixSocketToo) {
  std::string folder = testing::TempDir() + "stackbench-http-XXXXXX";
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/it.sock";
  const Request request{.method = "GET", .url = "http://it/stats?filter=a%2Eb", .body = "the end"};
  {
    OneAnswer server(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
        "4\r\nfine\r\n4\r\n too\r\n0\r\n\r\n",
        path);
    const auto response = exchange_at(path, request, seconds(10));
    ASSERT_TRUE(response) << response.error().message;
    EXPECT_EQ(response->body, "fine too");
    EXPECT_THAT(server.received(), HasSubstr("GET /stats?filter=a%2Eb HTTP/1.1\r\n"));
  }
  const auto nobody = exchange_at(path, request, seconds(10));
  ASSERT_FALSE(nobody);
  EXPECT_THAT(nobody.error().message, HasSubstr("it.sock: connect: Connection refused"));
  EXPECT_FALSE(exchange_at(std::string(200, 'x'), request, seconds(10)));
  ::unlink(path.c_str());
  ::rmdir(folder.c_str());
}

TEST(Http, AnAnswerWithoutEndIsRefused) {
  OneAnswer server("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n");
  const auto response = put(server.url("/"));
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr("body limit exceeded"));
}

TEST(Http, NobodyListeningIsAnError) {
  std::string url;
  {
    OneAnswer server("");
    url = server.url("/");
  }
  const auto response = put(url);
  ASSERT_FALSE(response);
  EXPECT_THAT(response.error().message, HasSubstr(": connect: Connection refused"));
}

TEST(Http, RefusesWhatIsNoPlainHttpUrl) {
  for (const auto* url : {"", "gateway:9091", "127.0.0.1:9091", "https://gateway", "http://",
                          "http:///metrics", "http://a b/"}) {
    const auto checked = check_url(url);
    ASSERT_FALSE(checked) << url;
    EXPECT_EQ(checked.error().kind, ErrorKind::input);
    EXPECT_EQ(checked.error().message,
              fmt::format("\"{}\": expected a URL such as http://host:9091", url));
  }
  const auto with_user = check_url("http://me:secret@gateway:9091");
  ASSERT_FALSE(with_user);
  EXPECT_EQ(with_user.error().message, "gateway:9091: a URL with a user is not supported");
  EXPECT_TRUE(check_url("http://gateway:9091"));
  EXPECT_TRUE(check_url("http://[::1]:9091/prefix"));
}

}  // namespace
}  // namespace base::http
