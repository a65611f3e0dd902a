// The wire between a client and a server in namespaces of their own, with sidecars that are
// planted: sound ones, and each way of not being it. The capture is at the client's host-side
// interface, by an agent that ships.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include "bench/canaries.h"
#include "bench/http2_codec.h"
#include "bench/reach/testing/lab_network.h"
#include "checks/mtls/testing/tls_relay.h"
#include "checks/mtls/wire_is_encrypted.h"

namespace checks {
namespace {

using bench::WorkloadKind;
using bench::testing::LabNetwork;
using testing::ClientRelay;
using testing::End;
using ::testing::HasSubstr;
using testing::ServerRelay;

constexpr std::uint16_t port = 7004;
constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";

base::Endpoint endpoint(const std::string& text) { return base::Endpoint::parse(text).value(); }

class Wire : public bench::testing::InLabNetwork {
 protected:
  static void SetUpTestSuite() {
    InLabNetwork::SetUpTestSuite();
    if (base::testing::no_lab_here()) return;
    auto made = LabNetwork::agent_in(network().router_netns(), "observer of client-0");
    ASSERT_TRUE(made) << made.error().message;
    observer_ = std::make_unique<bench::testing::LabAgent>(std::move(*made));
  }
  static void TearDownTestSuite() { observer_.reset(); }

  static bench::AgentClient& observer() { return observer_->client; }

  probes::CaptureJob capture_job(WorkloadKind kind = WorkloadKind::http) const {
    const bool http2 = kind == WorkloadKind::http2;
    probes::CaptureJob job{.interface = "client0",
                           .servers = {at(port)},
                           .clients = {endpoint("10.244.78.2:4").address},
                           .canaries = {{"request", request_}, {"reply", reply_}}};
    const auto before = [](bool request) {
      return bench::http2_before_content(request, base::canary_length);
    };
    job.samples.push_back({.protocol = std::string(base::enum_name(kind)),
                           .client = endpoint("10.244.78.2:4"),
                           .server = at(port),
                           .before_request = http2 ? before(true) : "POST /40 HTTP/1.1\r\n\r\n",
                           .before_reply = http2 ? before(false) : "HTTP/1.1 200 OK\r\n\r\n"});
    return job;
  }

  bench::ClientJob client_job(const base::Endpoint& to, double rate) const {
    bench::ClientJob job{.workload = {.kind = WorkloadKind::http,
                                      .duration = std::chrono::milliseconds(600),
                                      .warm_up = base::Duration(0),
                                      .rate = base::RequestRate{rate},
                                      .connections = 4,
                                      .wait = bench::WaitStrategy::block,
                                      .request = base::Bytes{base::canary_length},
                                      .response = base::Bytes{64}},
                         .servers = {to}};
    job.canary = request_;
    return job;
  }

  base::Result<bench::RunningJob> start_server(const base::Endpoint& listen,
                                               WorkloadKind kind = WorkloadKind::http) const {
    return network().server().start_server(
        {.kind = kind, .listen = {listen}, .server_id = 1, .canary = reply_});
  }

  // Sends a thousand and more requests through sidecars while the wire is watched.
  Finding seen(const ClientRelay::Options& options, const probes::CaptureJob& job,
               const std::function<void(int worker)>& during = {}) {
    const auto app = endpoint(fmt::format("127.0.0.1:{}", port));
    const auto sidecar = endpoint("127.0.0.1:15001");
    const ServerRelay theirs(network().server_netns(), at(port), app, shown_by_server());
    const ClientRelay ours(network().client_netns(), sidecar, at(port), options);
    const auto server = start_server(app);
    if (!server) return {.sentence = server.error().message};
    const auto capture = observer().start_capture(job);
    if (!capture) return {.sentence = capture.error().message};
    if (during) during(capture->worker_pid);
    const auto client = network().client().run(client_job(sidecar, 2000));
    if (during) ::kill(capture->worker_pid, SIGCONT);
    auto report = observer().stop_capture(capture->id);
    std::ignore = network().server().stop_server(server->id);
    if (!client) return {.sentence = client.error().message};
    EXPECT_GT(client->requests, 1000U);
    WireObservation observation{.requests = client->requests,
                                .request_bytes = client->requests * base::canary_length,
                                .reply_bytes = client->requests * 64,
                                .identities = bench::TlsProbeResult{}};
    observation.points.push_back({"client_pod", std::move(report)});
    observation.identities = observer().tls_probe(
        {{{.name = "web-0", .to = at(port), .roots = authority_.text(), .alpn = mesh_alpn(true)}}});
    return wire_is_encrypted(observation);
  }

  void expect(const Finding& finding, base::Verdict verdict, std::string_view observed,
              const std::string& words) {
    EXPECT_EQ(finding.verdict, verdict) << finding.sentence;
    EXPECT_EQ(finding.observed, observed);
    EXPECT_THAT(finding.sentence, HasSubstr(words));
  }

  // One request in so many is looked for, at a rate that has to be reached without a packet lost.
  void find_one_in(std::uint64_t requests, base::Duration within);

  bench::testing::Issued shown_by_server() const {
    if (of_foreign_ca_) return bench::testing::TestAuthority("mesh").issue(web);
    return authority_.issue(web);
  }

  bool of_foreign_ca_ = false;  // who answers
  std::string request_ = base::make_token();
  std::string reply_ = base::make_token();
  bench::testing::TestAuthority authority_{"mesh"};

 private:
  static inline std::unique_ptr<bench::testing::LabAgent> observer_;
};

TEST_F(Wire, ThatIsEncryptedByTheMeshIsProven) {
  const auto finding = seen({}, capture_job());
  expect(finding, base::Verdict::pass, "encrypted", web);
  EXPECT_THAT(finding.sentence, HasSubstr("TLS 1.3, SNI outbound_.8004_._.web"));
}

TEST_F(Wire, OneRequestInAThousandInClearIsFound) {
  const auto finding = seen({.clear_every = 1000}, capture_job());
  expect(finding, base::Verdict::fail, "readable", "the first in request");
  const auto& canaries = finding.evidence["points"]["client_pod"]["canaries"];
  EXPECT_EQ(canaries["request"], 1) << canaries;
  EXPECT_EQ(canaries["reply"], 1) << canaries;
}

TEST_F(Wire, EncryptedBySomethingElseIsDescribedNotCredited) {
  expect(seen({.server_name = "", .alpn = {"h2"}}, capture_job()), base::Verdict::fail,
         "other_encryption", "TLS 1.3, SNI none, ALPN h2");
  expect(seen({.kind = End::Kind::masked}, capture_job()), base::Verdict::fail, "not_tls",
         "no canary could be read");
}

// The client's sidecar here trusts whatever authority, so its traffic gets through.
TEST_F(Wire, EncryptedForWhoeverComesByAnAuthorityOfHisOwnIsNoProof) {
  of_foreign_ca_ = true;
  expect(seen({}, capture_job()), base::Verdict::fail, "wrong_identity",
         "not of the mesh's authority");
}

TEST_F(Wire, AFilterThatMatchesNothingProvesNothing) {
  auto job = capture_job();
  job.servers = {endpoint("10.244.99.9:7004")};
  job.clients.clear();
  job.samples.front().client = endpoint("10.244.78.2:4");
  expect(seen({}, job), base::Verdict::inconclusive, "not_proven",
         "did not find canaries that were sent there in clear");
}

TEST_F(Wire, ACaptureThatLostPacketsProvesNothing) {
  auto job = capture_job();
  job.ring = {std::uint64_t{1} << 20};
  const auto finding = seen({}, job, [](int worker) { ::kill(worker, SIGSTOP); });
  expect(finding, base::Verdict::inconclusive, "not_proven", "the capture at client_pod lost");
}

TEST_F(Wire, WithoutSidecarsEverythingIsReadable) {
  const auto server = start_server(at(port));
  ASSERT_TRUE(server) << server.error().message;
  const auto capture = observer().start_capture(capture_job());
  ASSERT_TRUE(capture) << capture.error().message;
  const auto client = network().client().run(client_job(at(port), 500));
  const auto report = observer().stop_capture(capture->id);
  std::ignore = network().server().stop_server(server->id);
  ASSERT_TRUE(client && report);
  EXPECT_EQ(report->canaries.at("request"), client->requests);
  EXPECT_EQ(report->canaries.at("reply"), client->requests);
  EXPECT_EQ(report->connections_foreign, 4U);
}

// A single one, in a DATA frame; and the capture's own sample, in the same protocol.
TEST_F(Wire, ARequestOfHttp2InClearIsFound) {
  const auto server = start_server(at(port), WorkloadKind::http2);
  ASSERT_TRUE(server) << server.error().message;
  const auto capture = observer().start_capture(capture_job(WorkloadKind::http2));
  ASSERT_TRUE(capture) << capture.error().message;
  auto one = client_job(at(port), 10);
  one.workload.kind = WorkloadKind::http2;
  one.workload.duration = std::chrono::milliseconds(100);
  one.workload.connections = 1;
  const auto client = network().client().run(one);
  const auto report = observer().stop_capture(capture->id);
  std::ignore = network().server().stop_server(server->id);
  ASSERT_TRUE(client && report);
  EXPECT_EQ(client->requests, 1U);
  EXPECT_EQ(report->canaries.at("request"), 1U);
  EXPECT_EQ(report->canaries.at("reply"), 1U);
  for (const auto* samples : {&report->samples_before, &report->samples_after}) {
    ASSERT_EQ(samples->size(), 1U);
    EXPECT_EQ(samples->front().protocol, "http2");
    EXPECT_TRUE(samples->front().request && samples->front().reply);
  }
}

void Wire::find_one_in(std::uint64_t requests, base::Duration within) {
  const auto server = start_server(at(port));
  ASSERT_TRUE(server) << server.error().message;
  const auto capture = observer().start_capture(capture_job());
  ASSERT_TRUE(capture) << capture.error().message;
  const double rate = static_cast<double>(requests) / std::chrono::duration<double>(within).count();
  auto many = client_job(at(port), rate);
  many.workload.duration = within;
  many.canary = base::make_token();  // which nobody looks for
  const auto sent = network().client().send_run(many);
  ASSERT_TRUE(sent) << sent.error().message;
  auto one = client_job(at(port), 10);
  one.workload.duration = std::chrono::milliseconds(100);
  one.workload.connections = 1;
  const auto single = network().client().run(one);
  const auto all = network().client().await_run(*sent);
  const auto report = observer().stop_capture(capture->id);
  std::ignore = network().server().stop_server(server->id);
  ASSERT_TRUE(single && all && report);
  EXPECT_GT(single->requests, 0U);
  EXPECT_GE(all->requests, requests * 99 / 100);
  EXPECT_EQ(report->canaries.at("request"), single->requests);
  EXPECT_EQ(report->lost, 0U);
  EXPECT_EQ(report->unreadable + report->unwatched + report->connections_with_gaps, 0U);
  const auto packets = static_cast<std::int64_t>(std::max<std::uint64_t>(report->packets, 1));
  fmt::print("found {} in {} requests at {:.0f}/s: {} packets, {} lost, {} ns of CPU per packet\n",
             report->canaries.at("request"), all->requests, all->rate_per_second, report->packets,
             report->lost, report->cpu_ns / packets);
}

TEST_F(Wire, OneRequestInFiveThousandIsFoundAtFiveThousandASecond) {
  find_one_in(5000, std::chrono::seconds(1));
}

// A benchmark, not run with the others: --gtest_also_run_disabled_tests.
TEST_F(Wire, DISABLED_OneRequestInAHundredThousandIsFound) {
  find_one_in(100'000, std::chrono::seconds(20));
}

}  // namespace
}  // namespace checks
