#include "bench/tls_probe/tls_probe.h"

#include <future>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bench/test_servers.h"
#include "bench/tls_probe/http_reply.h"
#include "bench/tls_probe/testing/tls_peer.h"

namespace bench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Optional;
using testing::TestAuthority;
using testing::TlsServer;

constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";
constexpr const char* client = "spiffe://cluster.local/ns/default/sa/client";

struct TlsProbeTest : ::testing::Test {
  TestAuthority mesh{"mesh"};
  TestAuthority foreign{"foreign"};
  base::UniqueFd stop{::eventfd(0, EFD_CLOEXEC)};

  TlsServer::Options strict() const {
    return {.shown = mesh.issue(web),
            .trusts = mesh.certificate(),
            .trust_domain = "spiffe://cluster.local/"};
  }
  DoorTried tried(Door door, const TlsServer& server) const {
    door.name = "it";
    door.to = server.endpoint();
    const auto result = run_tls_probe({{door}}, stop.get());
    if (!result) {
      ADD_FAILURE() << result.error().message;
      return {};
    }
    return result->doors.front();
  }
  static Door with(const testing::Issued& issued) {
    return {.certificate = issued.certificate, .key = issued.key};
  }
};

TEST_F(TlsProbeTest, WhoeverIsOfTheMeshIsLetInAndLearnsWhoAnswers) {
  const TlsServer server(strict());
  auto door = with(mesh.issue(client));
  door.alpn = {"istio-http/1.1", "istio", "http/1.1"};
  const auto it = tried(door, server);
  EXPECT_EQ(it.outcome, DoorOutcome::answered);
  EXPECT_THAT(it.http_status, Optional(200));
  EXPECT_EQ(it.version, "TLSv1.3");
  EXPECT_EQ(it.alpn, "http/1.1");
  ASSERT_TRUE(it.peer);
  EXPECT_THAT(it.peer->uris, ElementsAre(web));
  EXPECT_EQ(it.peer->issuer, "CN=mesh");
  EXPECT_FALSE(it.peer->serial.empty());
  EXPECT_EQ(it.peer->not_after_s - it.peer->not_before_s, 7200);
}

TEST_F(TlsProbeTest, ARefusalIsThePeersAlertReadAfterTheHandshake) {
  const TlsServer server(strict());
  struct Case {
    Door door;
    std::string_view alert;
  };
  for (const auto& [door, alert] :
       {Case{with(foreign.issue(client)), "unknown CA"},
        Case{with(mesh.issue(client, -7200, -3600)), "certificate expired"},
        Case{with(mesh.issue(client, 3600, 7200)), "bad certificate"},
        Case{{}, "certificate required"}}) {
    const auto it = tried(door, server);
    EXPECT_TRUE(it.handshake_done);
    EXPECT_EQ(it.outcome, DoorOutcome::alert) << alert;
    EXPECT_THAT(it.alert_name, HasSubstr(alert));
    EXPECT_TRUE(it.peer) << "who refuses is known all the same";
  }
  const auto stranger = tried(with(mesh.issue("spiffe://other.example/ns/a/sa/b")), server);
  EXPECT_EQ(stranger.outcome, DoorOutcome::alert);
}

TEST_F(TlsProbeTest, InClearAServerOfTlsResetsOrAlertsAndNeverAnswers) {
  const TlsServer server(strict());
  const auto it = tried({.plaintext = true}, server);
  EXPECT_TRUE(it.outcome == DoorOutcome::reset || it.outcome == DoorOutcome::alert)
      << base::enum_name(it.outcome);
  EXPECT_EQ(it.http_status, std::nullopt);
}

TEST_F(TlsProbeTest, AnOldVersionIsRefusedInTheHandshakeAndSpokenWithWhoTakesIt) {
  Door door = with(mesh.issue(client));
  door.version = TlsVersion::tls_1_1;
  const auto refused = tried(door, TlsServer(strict()));
  EXPECT_EQ(refused.outcome, DoorOutcome::handshake_alert);
  EXPECT_THAT(refused.alert_name, HasSubstr("protocol version"));
  auto old = strict();
  old.least_version = TLS1_1_VERSION;
  const auto taken = tried(door, TlsServer(old));
  EXPECT_EQ(taken.outcome, DoorOutcome::answered);
  EXPECT_EQ(taken.version, "TLSv1.1");
}

TEST_F(TlsProbeTest, AServerInClearBehindADoorOfTlsIsSaidToBeOne) {
  auto clear = strict();
  clear.in_clear = true;
  const auto it = tried(with(mesh.issue(client)), TlsServer(clear));
  EXPECT_EQ(it.outcome, DoorOutcome::not_tls);
  EXPECT_THAT(it.http_status, Optional(400));
  EXPECT_FALSE(it.handshake_done);
  EXPECT_FALSE(it.peer);
  EXPECT_EQ(tried({.plaintext = true}, TlsServer(clear)).outcome, DoorOutcome::answered);
}

TEST_F(TlsProbeTest, WhoIsNotOfTheRootsIsSaidToBeNone) {
  auto door = with(mesh.issue(client));
  door.roots = mesh.text();
  EXPECT_FALSE(tried(door, TlsServer(strict())).peer->distrusted);
  auto self_made = strict();
  self_made.shown = bench::testing::TestAuthority("mesh").issue(web);
  const auto stranger = tried(door, TlsServer(self_made));
  ASSERT_TRUE(stranger.peer && stranger.peer->distrusted);
  EXPECT_THAT(stranger.peer->uris, ElementsAre(web)) << "who names whom he likes";
  auto over = strict();
  over.shown = mesh.issue(web, -7200, -3600);
  EXPECT_THAT(tried(door, TlsServer(over)).peer->distrusted,
              Optional(HasSubstr("certificate has expired")));
}

TEST_F(TlsProbeTest, SilenceIsNoRefusal) {
  auto silent = strict();
  silent.stays_silent = true;
  auto door = with(mesh.issue(client));
  door.timeout = std::chrono::milliseconds(100);
  EXPECT_EQ(tried(door, TlsServer(silent)).outcome, DoorOutcome::timed_out);
}

TEST_F(TlsProbeTest, NobodyThereIsNoRefusalEither) {
  base::Endpoint gone;
  {
    const TlsServer server(strict());
    gone = server.endpoint();
  }
  const auto result = run_tls_probe({{{.name = "gone", .to = gone}}}, stop.get());
  ASSERT_TRUE(result);
  EXPECT_EQ(result->doors.front().outcome, DoorOutcome::refused);
}

TEST_F(TlsProbeTest, TriedAgainAndAgainADoorTellsWhatChanged) {
  TlsServer server(strict());
  base::Endpoint gone;
  {
    const TlsServer other(strict());
    gone = other.endpoint();
  }
  const TlsProbeJob job{
      .doors = {{.name = "web-0", .to = server.endpoint()}, {.name = "gone", .to = gone}},
      .every = std::chrono::milliseconds(1)};
  auto watch = std::async(std::launch::async, [&] { return run_tls_probe(job, stop.get()); });
  const auto await_more = [&](int more) {
    for (const int until = server.served() + more; server.served() < until;) {
      std::this_thread::yield();
    }
  };
  await_more(3);
  server.show(mesh.issue(web));
  await_more(3);
  ::eventfd_write(stop.get(), 1);
  const auto result = watch.get();
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->changes_lost, 0U);
  ASSERT_EQ(result->doors.size(), 3U);
  const auto& old = result->doors[0];
  const auto& nobody = result->doors[1];
  const auto& renewed = result->doors[2];
  EXPECT_EQ(old.name, "web-0");
  EXPECT_EQ(nobody.outcome, DoorOutcome::refused);
  EXPECT_GE(nobody.tries, 5U);
  EXPECT_EQ(renewed.name, "web-0");
  EXPECT_GE(old.tries, 3U);
  EXPECT_GE(renewed.tries, 2U);
  EXPECT_LT(old.at_ns, old.last_ns);
  EXPECT_LT(old.last_ns, renewed.at_ns);
  ASSERT_TRUE(old.peer && renewed.peer);
  EXPECT_NE(old.peer->serial, renewed.peer->serial);
  EXPECT_EQ(renewed.outcome, DoorOutcome::alert) << "who has no certificate is refused";
}

TEST(TlsProbe, OurOwnServerSaysWhoItIs) {
  ServerJob job;
  job.kind = WorkloadKind::http;
  job.server_id = 7;
  const RunningServer server(job);
  const StopEvent stop;
  const auto result = run_tls_probe(
      {.doors = {{.name = "it", .to = server.endpoint(), .plaintext = true}}}, stop.fd());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_THAT(result->doors.at(0).http_status, Optional(200));
  EXPECT_THAT(result->doors.at(0).answered_by, Optional(7U));
}

// Reads until that text has come.
std::string heard(int fd, std::string_view last) {
  std::string text;
  std::array<char, 4096> some;
  while (!text.ends_with(last)) {
    const auto n = ::recv(fd, some.data(), some.size(), 0);
    if (n <= 0) break;
    text.append(some.data(), static_cast<std::size_t>(n));
  }
  return text;
}

void say(int fd, std::string_view text) {
  EXPECT_EQ(::send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

TEST(TlsProbe, HeldRequestsAreAllUnderWayBeforeOneIsWhole) {
  const auto listener = std::move(*listen_tcp(any_port("127.0.0.1")));
  const auto endpoint = *local_endpoint(listener.get());
  const StopEvent stop;
  const Door door{.name = "held",
                  .to = endpoint,
                  .plaintext = true,
                  .request = "POST /0 HTTP/1.1\r\nContent-Length: 1\r\n\r\nx"};
  auto probe = std::async(std::launch::async, [&] {
    return run_tls_probe({.doors = {door, door}, .hold = std::chrono::milliseconds(50)}, stop.fd());
  });
  const base::UniqueFd first(::accept(listener.get(), nullptr, nullptr));
  const base::UniqueFd second(::accept(listener.get(), nullptr, nullptr));
  EXPECT_TRUE(heard(first.get(), "\r\n\r\n").starts_with("POST /0"));
  EXPECT_TRUE(heard(second.get(), "\r\n\r\n").starts_with("POST /0"));
  say(second.get(), "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 8\r\n\r\noverflow");
  EXPECT_EQ(heard(first.get(), "x"), "x");
  say(first.get(), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  const auto result = probe.get();
  ASSERT_TRUE(result) << result.error().message;
  ASSERT_EQ(result->doors.size(), 2U);
  EXPECT_THAT(result->doors[0].http_status, Optional(200));
  EXPECT_THAT(result->doors[1].http_status, Optional(503));
  EXPECT_EQ(result->doors[1].body, "overflow");
}

TEST_F(TlsProbeTest, WhatOurOwnSideWillNotDoIsAnError) {
  const TlsServer server(strict());
  Door door{.name = "bad", .to = server.endpoint(), .certificate = "none", .key = "none"};
  const auto result = run_tls_probe({{door}}, stop.get());
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, base::ErrorKind::input);
  EXPECT_THAT(result.error().message, HasSubstr("door bad: its certificate"));
}

TEST(HttpReply, IsWaitedForUntilItIsWholeAndTellsWhoRefuses) {
  std::string text = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate:  Bearer realm=\"x\" \r\n";
  EXPECT_FALSE(http_reply(text)->whole);
  text += "content-length: 5\r\nserver: istio-envoy\r\n\r\nJwt";
  EXPECT_FALSE(http_reply(text)->whole);
  text += " x";
  const auto reply = http_reply(text);
  EXPECT_TRUE(reply->whole);
  EXPECT_EQ(reply->body, "Jwt x");
  EXPECT_EQ(field_of(reply->head, "server"), "istio-envoy");
  EXPECT_EQ(field_of(reply->head, "www-authenticate"), "Bearer realm=\"x\"");
  EXPECT_EQ(field_of(reply->head, "serve"), "");
  EXPECT_FALSE(http_reply(std::string_view("\0\1", 2))) << "of another protocol";
  EXPECT_EQ(plain_text("a\r\x80z"), "a..z");
}

TEST(TlsProbeJob, IsReadWithinItsBounds) {
  const auto refusal = [](const base::Json& json) {
    const auto job = parse_tls_probe_job(json);
    return job ? "" : job.error().message;
  };
  base::Json door{{"name", "a"}, {"to", "10.0.0.1:80"}};
  EXPECT_EQ(refusal({{"doors", {door}}}), "");
  EXPECT_THAT(refusal({{"doors", base::Json::array()}}), HasSubstr("expected 1 to 64"));
  EXPECT_THAT(refusal({{"doors", {door}}, {"every", "11s"}}), HasSubstr("expected 1ms to 10s"));
  door["timeout"] = "1m";
  EXPECT_THAT(refusal({{"doors", {door}}}), HasSubstr("expected a timeout of 10ms to 10s"));
  door["timeout"] = "1s";
  EXPECT_THAT(refusal({{"doors", {door}}, {"hold", "10ms"}}), HasSubstr("a request in the clear"));
  door["plaintext"] = true;
  EXPECT_EQ(refusal({{"doors", {door}}, {"hold", "10ms"}}), "");
  EXPECT_THAT(refusal({{"doors", {door}}, {"hold", "1s"}}), HasSubstr("longer than it is held"));
  EXPECT_THAT(refusal({{"doors", {door}}, {"hold", "10ms"}, {"every", "1s"}}),
              HasSubstr("of doors tried once"));
  door["certificate"] = "x";
  EXPECT_THAT(refusal({{"doors", {door}}}), HasSubstr("go together"));
}

}  // namespace
}  // namespace bench
