#include "checks/mtls/wire_is_encrypted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using ::testing::HasSubstr;

base::Endpoint endpoint(std::string_view text) { return base::Endpoint::parse(text).value(); }

probes::WireReport sound_report() {
  probes::WireReport report;
  report.interface = "pod1";
  report.packets = 9000;
  report.canaries = {{"request", 0}, {"reply", 0}};
  report.connections = report.connections_of_tls = 5;
  report.bytes_to_servers = report.tls_bytes_to_servers = 90'000;
  report.bytes_to_clients = report.tls_bytes_to_clients = 110'000;
  report.handshakes = {{.server_name = "outbound_.8004_._.web.default.svc.cluster.local",
                        .alpn = {"istio-http/1.1", "istio", "http/1.1"},
                        .versions = {"TLS 1.3", "TLS 1.2"},
                        .version = "TLS 1.3",
                        .cipher_suite = "0x1301",
                        .chosen_alpn = {},
                        .connections = 5}};
  report.samples_before = report.samples_after = {{"http", true, true}};
  return report;
}

WireObservation sound() {
  WireObservation seen{.requests = 1000,
                       .request_bytes = 40'000,
                       .reply_bytes = 64'000,
                       .points = {},
                       .identities = bench::TlsProbeResult{}};
  seen.points.push_back({"client_pod", sound_report()});
  seen.points.push_back({"client_node", sound_report()});
  bench::DoorTried door{.name = "web-0", .outcome = bench::DoorOutcome::alert};
  door.peer = bench::PeerIdentity{.uris = {"spiffe://cluster.local/ns/default/sa/web"}};
  seen.identities->doors.push_back(door);
  return seen;
}

void expect(const WireObservation& seen, base::Verdict verdict, std::string_view observed,
            const std::string& words) {
  const auto finding = wire_is_encrypted(seen);
  EXPECT_EQ(finding.verdict, verdict) << finding.sentence;
  EXPECT_EQ(finding.observed, observed);
  EXPECT_THAT(finding.sentence, HasSubstr(words));
}

TEST(WireIsEncrypted, PassesOnlyWithTheWholeProof) {
  expect(sound(), base::Verdict::pass, "encrypted", "none of 1000 requests");
  const auto evidence = wire_is_encrypted(sound()).evidence;
  EXPECT_EQ(evidence["points"]["client_node"]["lost"], 0);
  EXPECT_EQ(evidence["identities"]["doors"][0]["peer"]["uris"][0],
            "spiffe://cluster.local/ns/default/sa/web");
}

TEST(WireIsEncrypted, OneReadableCanaryFailsWhateverElseIsSound) {
  auto seen = sound();
  auto& report = *seen.points[1].report;
  report.canaries["request"] = 1;
  report.readable = {{.name = "request",
                      .number = 42,
                      .from = endpoint("10.244.1.2:40000"),
                      .to = endpoint("10.244.2.2:7004"),
                      .at_ns = 5}};
  expect(seen, base::Verdict::fail, "readable",
         "1 canary could be read at client_node (1 of requests, 0 of replies, over 1000 requests); "
         "the first in request 42 from 10.244.1.2:40000 to 10.244.2.2:7004");
  // Also where packets were lost: what was seen was seen.
  report.lost = 7;
  expect(seen, base::Verdict::fail, "readable", "1 canary");
}

TEST(WireIsEncrypted, ACaptureThatLostPacketsProvesNothing) {
  auto seen = sound();
  seen.points[0].report->lost = 3;
  expect(seen, base::Verdict::inconclusive, "not_proven",
         "the capture at client_pod lost 3 of 9000 packets");
  seen = sound();
  seen.points[0].report->unreadable = 1;
  expect(seen, base::Verdict::inconclusive, "not_proven", "could not be read");
  seen = sound();
  seen.points[1].report->connections_with_gaps = 1;
  expect(seen, base::Verdict::inconclusive, "not_proven", "had gaps");
}

TEST(WireIsEncrypted, AFilterThatMatchesNothingProvesNothing) {
  for (const auto field :
       {&probes::WireReport::samples_before, &probes::WireReport::samples_after}) {
    auto seen = sound();
    ((*seen.points[0].report).*field)[0].reply = false;
    expect(seen, base::Verdict::inconclusive, "not_proven", "did not find canaries that were sent");
    ((*seen.points[0].report).*field).clear();
    expect(seen, base::Verdict::inconclusive, "not_proven", "did not find canaries that were sent");
  }
}

TEST(WireIsEncrypted, TrafficThatDidNotPassProvesNothing) {
  auto seen = sound();
  seen.points[1].report->bytes_to_clients = 63'999;
  expect(seen, base::Verdict::inconclusive, "not_proven", "did not all pass client_node");
  seen.points[1].report->sealed = 400;
  expect(seen, base::Verdict::inconclusive, "not_proven", "400 packets that were encrypted below");
  seen = sound();
  seen.requests = 0;
  expect(seen, base::Verdict::inconclusive, "not_proven", "no request was answered");
}

TEST(WireIsEncrypted, AConnectionIsNotCreditedForItsNeighbours) {
  auto seen = sound();
  auto& report = *seen.points[0].report;
  report.connections_of_tls = 4;
  report.connections_foreign = 1;
  report.foreign = {{endpoint("10.244.1.2:4"), endpoint("10.244.2.2:7004"),
                     "byte 0 of what the client sent is in no TLS record", "\\x9f\\x02"}};
  expect(seen, base::Verdict::fail, "not_tls",
         "1 of 5 connections at client_pod are not TLS throughout");
  seen = sound();
  seen.points[0].report->connections_midway = 1;
  expect(seen, base::Verdict::inconclusive, "not_proven", "were open before the capture began");
}

TEST(WireIsEncrypted, OtherEncryptionIsDescribedNotCredited) {
  auto seen = sound();
  auto& kind = seen.points[0].report->handshakes[0];
  kind.server_name = "web.example";
  kind.alpn = {"h2"};
  expect(seen, base::Verdict::fail, "other_encryption",
         "encrypted by something else than the mesh: TLS 1.3, SNI web.example, ALPN h2");
}

TEST(WireIsEncrypted, SomebodyMustAnswerByASpiffeIdentity) {
  auto seen = sound();
  seen.identities->doors[0].peer->uris = {"https://web.example"};
  expect(seen, base::Verdict::fail, "no_identity", "without a SPIFFE identity");
  seen.identities->doors[0].peer.reset();
  expect(seen, base::Verdict::inconclusive, "not_proven", "web-0 showed no certificate");
}

TEST(WireIsEncrypted, WhereNobodyMayCaptureItIsSkipped) {
  auto seen = sound();
  seen.points[0].report = base::fail(base::ErrorKind::not_permitted, "capture: no");
  expect(seen, base::Verdict::skip, "skipped", "nobody could capture at client_pod: capture: no");
}

}  // namespace
}  // namespace checks
