#include "checks/mtls/wire_is_encrypted.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using ::testing::HasSubstr;

constexpr const char* web = "spiffe://cluster.local/ns/default/sa/web";
constexpr std::int64_t now = 1'795'889'327;

base::Endpoint endpoint(std::string_view text) { return base::Endpoint::parse(text).value(); }

probes::WireReport sound_report() {
  probes::WireReport report;
  report.interface = "pod1";
  report.packets = 9000;
  report.canaries = {{"request", 0}, {"reply", 0}};
  report.connections = report.connections_of_tls = 5;
  report.bytes_to_servers = report.tls_bytes_to_servers = 90'000;
  report.bytes_to_clients = report.tls_bytes_to_clients = 110'000;
  report.records_to_servers = report.records_to_clients = 1000;
  report.handshakes = {{.server_name = "outbound_.8004_._.web.default.svc.cluster.local",
                        .alpn = {"istio-http/1.1", "istio", "http/1.1"},
                        .versions = {"TLS 1.3", "TLS 1.2"},
                        .version = "TLS 1.3",
                        .cipher_suite = "0x1301",
                        .chosen_alpn = {},
                        .server_port = 7004,
                        .connections = 5}};
  report.samples_before = report.samples_after = {{"http", true, true}};
  return report;
}

WireObservation sound() {
  WireObservation seen{.requests = 1000,
                       .request_bytes = 40'000,
                       .reply_bytes = 64'000,
                       .connections = 5,
                       .points = {},
                       .identities = bench::TlsProbeResult{},
                       .expected = {{"web-0", web}, {"web-1", web}},
                       .now_s = now};
  seen.points.push_back({"client_pod", sound_report()});
  seen.points.push_back({"client_node", sound_report()});
  for (const auto* name : {"web-0", "web-1"}) {
    bench::DoorTried door{.name = name, .outcome = bench::DoorOutcome::alert};
    door.peer = bench::PeerIdentity{
        .uris = {"https://web.example", web}, .not_before_s = now - 60, .not_after_s = now + 60};
    seen.identities->doors.push_back(door);
  }
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
  expect(
      sound(), base::Verdict::pass, "encrypted",
      "none of 1000 requests and their replies could be read at 2 points, so fewer than 1 in 333 "
      "are (95 %); 5 connections are TLS to the last byte (TLS 1.3, SNI "
      "outbound_.8004_._.web.default.svc.cluster.local, ALPN istio-http/1.1 istio http/1.1), 0 "
      "packets lost, and web-0 answers as spiffe://cluster.local/ns/default/sa/web");
  const auto evidence = wire_is_encrypted(sound()).evidence;
  EXPECT_EQ(evidence["points"]["client_node"]["lost"], 0);
  EXPECT_EQ(evidence["identities"]["doors"][0]["peer"]["uris"][1], web);
  EXPECT_EQ(evidence["expected"]["web-1"], web);
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
  // 40 bytes of each, and a record around them.
  seen.points[1].report->bytes_to_servers = 61'000;
  expect(seen, base::Verdict::pass, "encrypted", "none of 1000 requests");
  seen.points[1].report->bytes_to_servers = 60'999;
  expect(seen, base::Verdict::inconclusive, "not_proven", "did not all pass client_node (pod1)");
  seen.points[1].report->sealed = 400;
  expect(seen, base::Verdict::inconclusive, "not_proven", "400 packets that were encrypted below");
  seen = sound();
  seen.requests = 0;
  expect(seen, base::Verdict::inconclusive, "not_proven", "no request was answered");
}

// One in a thousand goes by a way that nobody sees: what is missing are its record, or its
// connection.
TEST(WireIsEncrypted, EachRequestAndReplyHasARecordAndEachConnectionIsThere) {
  for (const auto field :
       {&probes::WireReport::records_to_servers, &probes::WireReport::records_to_clients}) {
    auto seen = sound();
    (*seen.points[0].report).*field = 999;
    expect(seen, base::Verdict::inconclusive, "not_proven", "did not all pass client_pod (pod1)");
  }
  auto seen = sound();
  seen.connections = 6;
  expect(seen, base::Verdict::inconclusive, "not_proven", "and 6 connections");
}

// Those of HTTP/2 may share one: there it is bytes that tell.
TEST(WireIsEncrypted, OfHttp2BytesAloneSayThatAllOfItPassed) {
  auto seen = sound();
  seen.shares_records = true;
  seen.points[0].report->records_to_servers = 300;
  seen.points[0].report->bytes_to_servers = 40'021;
  expect(seen, base::Verdict::pass, "encrypted", "none of 1000 requests");
  seen.points[0].report->bytes_to_servers = 40'020;
  expect(seen, base::Verdict::inconclusive, "not_proven", "bytes, in records each way");
  seen = sound();
  seen.shares_records = true;
  seen.points[0].report->records_to_clients = 0;
  expect(seen, base::Verdict::inconclusive, "not_proven", "did not all pass client_pod (pod1)");
}

TEST(WireIsEncrypted, WhatTheClientSentElsewhereMayHaveBeenRequests) {
  auto seen = sound();
  // What a proxy says to whoever tells it what to do is no request.
  seen.control_plane = {endpoint("10.96.0.9:15012")};
  seen.points[0].report->bytes_elsewhere = 390;
  seen.points[0].report->elsewhere = {{endpoint("10.96.0.9:15012"), "TCP", 390}};
  EXPECT_EQ(wire_is_encrypted(seen).verdict, base::Verdict::pass);
  seen.points[0].report->bytes_elsewhere = 57;
  seen.points[0].report->elsewhere = {{endpoint("10.0.0.9:443"), "UDP", 57}};
  expect(seen, base::Verdict::inconclusive, "not_proven", "57 to 10.0.0.9:443 (UDP)");
  // Of 1,000 requests of 40 bytes each.
  seen.points[0].report->bytes_elsewhere = 40;
  seen.points[0].report->elsewhere.front().bytes = 40;
  expect(seen, base::Verdict::inconclusive, "not_proven", "40 to 10.0.0.9:443 (UDP)");
  seen.points[0].report->bytes_elsewhere = 39;
  EXPECT_EQ(wire_is_encrypted(seen).verdict, base::Verdict::pass);
}

TEST(WireIsEncrypted, WhereACaptureSeesHalfItIsSaidWhy) {
  auto seen = sound();
  seen.points[0].report->bytes_to_clients = 0;
  expect(seen, base::Verdict::inconclusive, "not_proven", "bpf_redirect_peer");
  seen = sound();
  auto& report = *seen.points[1].report;
  report = probes::WireReport{.interface = "eth1"};
  report.samples_before = report.samples_after = {{"http", true, true}};
  expect(seen, base::Verdict::inconclusive, "not_proven",
         "client_node (eth1): 0 and 0 bytes in 0 and 0 records of 0 connections with the servers "
         "were seen there");
  expect(seen, base::Verdict::inconclusive, "not_proven", "it may leave by another interface");
  // Sealed once more below what is proven at the pod.
  report.sealed = 2000;
  expect(seen, base::Verdict::pass, "encrypted",
         "at client_node (eth1) 2000 packets that were encrypted below TCP");
  // That is no credit where the pod sends in clear.
  seen.points[0].report->canaries["request"] = 1;
  expect(seen, base::Verdict::fail, "readable", "2000 packets that were encrypted below TCP");
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
  expect(seen, base::Verdict::inconclusive, "not_proven",
         "were open before the capture began, so their handshakes were not seen: whoever keeps "
         "them must close them");
  seen.still_open = "web-0 would not close its own";
  expect(seen, base::Verdict::inconclusive, "not_proven", "web-0 would not close its own");
}

TEST(WireIsEncrypted, OtherEncryptionIsDescribedNotCredited) {
  auto seen = sound();
  auto& kind = seen.points[0].report->handshakes[0];
  kind.server_name = "web.example";
  kind.alpn = {"h2"};
  expect(seen, base::Verdict::fail, "other_encryption",
         "encrypted by something else than the mesh: TLS 1.3, SNI web.example, ALPN h2");
  // As ambient's tunnel is dialled, but to the application's port.
  kind.server_name = "";
  expect(seen, base::Verdict::fail, "other_encryption", "SNI none, ALPN h2");
  seen = sound();
  seen.points[0].report->handshakes_unlisted = 1;
  expect(seen, base::Verdict::inconclusive, "not_proven", "nobody kept what their handshakes said");
  seen = sound();
  seen.points[0].report->handshakes[0].version = "TLS 1.1";
  expect(seen, base::Verdict::fail, "old_version", "a version of TLS that is broken");
}

TEST(WireIsEncrypted, AmbientIsNotJudgedYetAndNeverCondemned) {
  auto seen = sound();
  auto tunnel = seen.points[0].report->handshakes[0];
  tunnel.server_name = "";
  tunnel.alpn = {"h2"};
  tunnel.server_port = hbone_port;
  seen.points[0].report->handshakes = {tunnel};
  expect(seen, base::Verdict::inconclusive, "not_proven", "the tunnels of an ambient mesh (HBONE");
}

TEST(WireIsEncrypted, SomebodyMustAnswerByASpiffeIdentity) {
  auto seen = sound();
  seen.identities->doors[0].peer->uris = {"https://web.example"};
  expect(seen, base::Verdict::fail, "no_identity", "without a SPIFFE identity");
  seen.identities->doors[0].outcome = bench::DoorOutcome::not_tls;
  expect(seen, base::Verdict::fail, "not_tls", "web-0 answers a hello of TLS in the clear");
  seen.identities->doors[0].outcome = bench::DoorOutcome::alert;
  seen.identities->doors[0].peer.reset();
  expect(seen, base::Verdict::inconclusive, "not_proven", "web-0 showed no certificate");
}

TEST(WireIsEncrypted, WhoAnswersMustBeWhoItsPodIs) {
  const auto with = [](const auto& change) {
    auto seen = sound();
    change(seen, *seen.identities->doors[1].peer);
    return seen;
  };
  const std::string other = "spiffe://evil.example/ns/x/sa/y";
  expect(with([&](auto&, auto& peer) { peer.uris = {other}; }), base::Verdict::fail,
         "wrong_identity",
         "web-1 answers as spiffe://evil.example/ns/x/sa/y, and is " + std::string(web));
  // Where nobody says who they should be, they are at least of one trust domain.
  const auto unknown = with([&](auto& seen, auto& peer) {
    seen.expected.clear();
    peer.uris = {other};
  });
  expect(unknown, base::Verdict::fail, "wrong_identity", "of another trust domain than");
  expect(with([](auto&, auto& peer) { peer.not_after_s = now - 1; }), base::Verdict::fail,
         "wrong_identity", "valid no more");
  expect(with([](auto&, auto& peer) { peer.not_before_s = now + 1; }), base::Verdict::fail,
         "wrong_identity", "not valid yet");
  expect(with([](auto&, auto& peer) { peer.distrusted = "self-signed certificate"; }),
         base::Verdict::fail, "wrong_identity",
         "not of the mesh's authority: self-signed certificate");
}

TEST(WireIsEncrypted, WhereNobodyMayCaptureItIsSkipped) {
  auto seen = sound();
  seen.points[0].report = base::fail(base::ErrorKind::not_permitted, "capture: no");
  expect(seen, base::Verdict::skip, "skipped", "nobody could capture at client_pod: capture: no");
}

}  // namespace
}  // namespace checks
