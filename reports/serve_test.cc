// What is served is what is shown, to a client that is not ours: base/http speaks by Beast.
#include "reports/serve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "reports/example.h"

namespace reports {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A socket on loopback at a port that nobody else has, and the port.
std::pair<base::UniqueFd, base::Endpoint> taken_port() {
  base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  EXPECT_EQ(::bind(socket.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  EXPECT_EQ(::listen(socket.get(), 1), 0);
  EXPECT_EQ(::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  auto endpoint =
      base::Endpoint::parse(fmt::format("127.0.0.1:{}", ntohs(address.sin_port))).value();
  return {std::move(socket), endpoint};
}

std::string scrape(const base::Endpoint& endpoint) {
  const base::UniqueFd socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{.tv_sec = 5, .tv_usec = 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(endpoint.port);
  if (::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return "no connection";
  }
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: it\r\nConnection: close\r\n\r\n";
  if (::send(socket.get(), request.data(), request.size(), MSG_NOSIGNAL) < 0) return "not sent";
  std::string answer;
  std::array<char, 4096> part{};
  for (ssize_t n = 0; (n = ::recv(socket.get(), part.data(), part.size(), 0)) > 0;) {
    answer.append(part.data(), static_cast<std::size_t>(n));
  }
  return answer;
}

TEST(MetricsServer, ServesWhatIsShownLast) {
  const auto endpoint = taken_port().second;  // free again
  auto server = MetricsServer::start(endpoint);
  ASSERT_TRUE(server) << server.error().message;
  EXPECT_THAT(scrape(endpoint), Not(HasSubstr("stackbench_")));
  auto report = example_report();
  report.noise.kept = 4;
  server->show(report);
  EXPECT_THAT(scrape(endpoint), HasSubstr("state=\"kept\"} 4\n"));
  report.noise.kept = 5;
  server->show(report);
  const auto text = scrape(endpoint);
  EXPECT_THAT(text, HasSubstr("state=\"kept\"} 5\n"));
  EXPECT_THAT(text, Not(HasSubstr("state=\"kept\"} 4\n")));
}

TEST(MetricsServer, SaysWhereItCannotListen) {
  const auto [holder, endpoint] = taken_port();
  const auto refused = MetricsServer::start(endpoint);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr(endpoint.to_string()));
}

}  // namespace
}  // namespace reports
