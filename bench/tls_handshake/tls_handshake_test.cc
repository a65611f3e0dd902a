#include "bench/tls_handshake/tls_handshake.h"

#include <future>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/tls_probe/testing/tls_peer.h"

namespace bench {
namespace {

using std::chrono::milliseconds;
using testing::TestAuthority;

TlsSettings settings(const TestAuthority& believed, const testing::Issued& own) {
  return {.authority = believed.text(), .certificate = own.certificate, .key = own.key};
}

// A server in a thread, until it is stopped.
class Served {
 public:
  explicit Served(TlsSettings tls) : stop_(::eventfd(0, EFD_CLOEXEC)) {
    std::promise<base::Endpoint> listens;
    auto bound = listens.get_future();
    result_ = std::async(std::launch::async, [this, tls = std::move(tls), &listens] {
      return run_tls_server({.kind = WorkloadKind::tls_handshake,
                             .listen = {{base::IpAddress::parse("127.0.0.1").value(), 0}},
                             .server_id = 7,
                             .tls = tls},
                            stop_.get(),
                            [&](const auto& endpoints) { listens.set_value(endpoints.front()); });
    });
    endpoint_ = bound.get();
  }
  [[nodiscard]] const base::Endpoint& endpoint() const { return endpoint_; }
  ServerResult stop() {
    ::eventfd_write(stop_.get(), 1);
    return result_.get().value();
  }

 private:
  base::UniqueFd stop_;
  std::future<base::Result<ServerResult>> result_;
  base::Endpoint endpoint_;
};

struct TlsHandshake : ::testing::Test {
  TestAuthority ours{"ours"};
  TestAuthority foreign{"foreign"};
  TlsSettings server = settings(ours, ours.issue_to_host("stackbench"));
  TlsSettings client = settings(ours, ours.issue_to_host("a client"));

  struct Both {
    ClientResult client;
    ServerResult server;
  };
  [[nodiscard]] Both measured() const {
    Served served(server);
    auto result = run_tls_handshakes({.workload = {.kind = WorkloadKind::tls_handshake,
                                                   .duration = milliseconds(60),
                                                   .warm_up = milliseconds(10)},
                                      .servers = {served.endpoint()},
                                      .tls = client},
                                     -1);
    EXPECT_TRUE(result) << result.error().message;
    return {result.value_or(ClientResult{}), served.stop()};
  }
};

TEST_F(TlsHandshake, EveryConnectionIsAWholeHandshakeThatBothEndsVerify) {
  server.client_certificate = true;
  const auto [result, served] = measured();
  EXPECT_GT(result.requests, 0);
  EXPECT_EQ(result.errors.total(), 0);
  ASSERT_TRUE(result.tls);
  EXPECT_EQ(result.tls->handshakes, result.requests);
  EXPECT_EQ(result.tls->resumed, 0);
  EXPECT_EQ(result.tls->version, "TLSv1.3");
  EXPECT_TRUE(result.tls->client_certificate);
  EXPECT_EQ(result.answered_by.at("7"), result.requests);
  EXPECT_EQ(result.loop, "closed");
  EXPECT_EQ(result.connect.count(), result.requests);
  EXPECT_LT(result.connect.quantile(0.5), result.latency.quantile(0.5));
  EXPECT_GE(served.requests, result.requests);
  EXPECT_EQ(served.requests, served.connections);
  EXPECT_EQ(served.bad_requests, 0);
}

TEST_F(TlsHandshake, ItsWindowBeginsWhenItIsTold) {
  Served served(server);
  const auto begins = base::monotonic_now() + milliseconds(60);
  const auto result = run_tls_handshakes({.workload = {.kind = WorkloadKind::tls_handshake,
                                                       .duration = milliseconds(20),
                                                       .warm_up = milliseconds(10)},
                                          .servers = {served.endpoint()},
                                          .window_begins_ns = begins.ns,
                                          .tls = client},
                                         -1);
  served.stop();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_GE(result->start_ns, begins.ns);
}

TEST_F(TlsHandshake, SessionsGoOnWhereBothEndsLetThem) {
  for (const bool certificates : {true, false}) {
    server.client_certificate = certificates;
    server.resumption = client.resumption = true;
    if (!certificates) client.certificate = client.key = {};
    const auto [result, served] = measured();
    ASSERT_TRUE(result.tls);
    EXPECT_GT(result.requests, 0);
    EXPECT_GE(result.tls->resumed + 1, result.tls->handshakes) << "all but the very first";
    EXPECT_EQ(result.tls->client_certificate, certificates);
    EXPECT_EQ(result.errors.total(), 0);
  }
}

TEST_F(TlsHandshake, WithOneEndAloneNoSessionGoesOn) {
  client.resumption = true;
  const auto [result, served] = measured();
  EXPECT_GT(result.requests, 0);
  EXPECT_EQ(result.tls->resumed, 0);
}

TEST_F(TlsHandshake, AClientWithoutACertificateIsRefusedAndCountsAsNoHandshake) {
  server.client_certificate = true;
  client.certificate = client.key = {};
  const auto [result, served] = measured();
  EXPECT_EQ(result.requests, 0);
  EXPECT_EQ(result.tls->handshakes, 0);
  EXPECT_GT(result.errors.total(), 0);
  EXPECT_EQ(served.requests, 0);
}

TEST_F(TlsHandshake, AServerThatTheClientDoesNotBelieveIsRefused) {
  server = settings(ours, foreign.issue_to_host("stackbench"));
  EXPECT_GT(measured().client.errors.bad_reply, 0);
  server = settings(ours, ours.issue_to_host("elsewhere"));
  const auto [result, served] = measured();
  EXPECT_GT(result.errors.bad_reply, 0) << "another name";
  EXPECT_EQ(result.requests, 0);
}

TEST_F(TlsHandshake, NeedsCertificatesThatAreSome) {
  client.certificate = "none";
  const auto result =
      run_tls_handshakes({.workload = {.kind = WorkloadKind::tls_handshake},
                          .servers = {{base::IpAddress::parse("127.0.0.1").value(), 1}},
                          .tls = client},
                         -1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::input);
  EXPECT_EQ(result.error().message.substr(0, 27), "the client: its certificate");
}

}  // namespace
}  // namespace bench
