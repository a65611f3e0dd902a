#include "checks/mtls/impostors_refused.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using bench::DoorOutcome;
using bench::DoorTried;
using ::testing::HasSubstr;

bench::TlsProbeResult sound() {
  bench::TlsProbeResult tried;
  const auto add = [&](std::string name, DoorOutcome outcome, std::optional<int> alert = {}) {
    DoorTried door{.name = std::move(name), .outcome = outcome};
    door.alert = alert;
    tried.doors.push_back(door);
  };
  add("of_the_mesh", DoorOutcome::answered);
  tried.doors.front().http_status = 200;
  add("plaintext", DoorOutcome::reset);
  add("foreign_ca", DoorOutcome::alert, 48);
  add("wrong_identity", DoorOutcome::alert, 42);
  add("expired", DoorOutcome::alert, 45);
  add("not_yet_valid", DoorOutcome::alert, 42);
  add("tls_1_1", DoorOutcome::handshake_alert, 70);
  return tried;
}

DoorTried& cell(bench::TlsProbeResult& tried, std::string_view name) {
  return *std::ranges::find(tried.doors, name, &DoorTried::name);
}

void expect(const bench::TlsProbeResult& tried, base::Verdict verdict, std::string_view observed,
            const std::string& words) {
  const auto finding = impostors_refused(tried);
  EXPECT_EQ(finding.verdict, verdict) << finding.sentence;
  EXPECT_EQ(finding.observed, observed);
  EXPECT_THAT(finding.sentence, HasSubstr(words));
}

TEST(ImpostorsRefused, PassesWhereEachHeardNoAndOneOfTheMeshYes) {
  expect(sound(), base::Verdict::pass, "refused", "6 of 6 impostors were refused");
}

TEST(ImpostorsRefused, AnAnswerToAnImpostorFails) {
  auto tried = sound();
  cell(tried, "foreign_ca").outcome = DoorOutcome::answered;
  cell(tried, "foreign_ca").http_status = 200;
  expect(tried, base::Verdict::fail, "let_in",
         "1 of 6 impostors were answered: foreign_ca: HTTP 200");
}

TEST(ImpostorsRefused, AServerInClearAsksNobodyForACertificate) {
  auto tried = sound();
  for (auto& door : tried.doors) door.outcome = DoorOutcome::not_tls;
  cell(tried, "plaintext").outcome = DoorOutcome::reset;
  expect(tried, base::Verdict::fail, "not_tls", "the server speaks in the clear");
  cell(tried, "plaintext").outcome = DoorOutcome::answered;
  cell(tried, "plaintext").http_status = 200;
  expect(tried, base::Verdict::fail, "let_in", "plaintext: HTTP 200");
}

TEST(ImpostorsRefused, SilenceAndAnEndWithoutAWordAreNoRefusals) {
  for (const auto outcome :
       {DoorOutcome::timed_out, DoorOutcome::closed, DoorOutcome::handshake_closed,
        DoorOutcome::handshake_reset, DoorOutcome::refused, DoorOutcome::unreachable}) {
    auto tried = sound();
    cell(tried, "expired").outcome = outcome;
    cell(tried, "expired").alert.reset();
    expect(tried, base::Verdict::inconclusive, "not_proven",
           fmt::format("expired: {}", base::enum_name(outcome)));
  }
}

TEST(ImpostorsRefused, AnOldVersionMustBeRefusedForBeingOne) {
  auto tried = sound();
  cell(tried, "tls_1_1").alert = 40;  // handshake_failure: of ciphers, it may be
  expect(tried, base::Verdict::inconclusive, "not_proven", "tls_1_1");
}

TEST(ImpostorsRefused, AServerThatRefusesEverybodyIsNoProof) {
  auto tried = sound();
  cell(tried, "of_the_mesh").outcome = DoorOutcome::alert;
  expect(tried, base::Verdict::inconclusive, "not_proven", "was not let in either");
}

TEST(ImpostorsRefused, SomebodyOfTheMeshGetsThroughWhereHeIsServed) {
  for (const int status : {403, 503}) {
    auto tried = sound();
    cell(tried, "of_the_mesh").http_status = status;
    expect(tried, base::Verdict::inconclusive, "not_proven",
           fmt::format("was not let in either, so refusals say nothing: of_the_mesh: HTTP {}",
                       status));
  }
  auto tcp = sound();
  cell(tcp, "of_the_mesh").http_status.reset();
  expect(tcp, base::Verdict::pass, "refused", "6 of 6");
}

// Whose certificate is sound may be denied by an AuthorizationPolicy; of any other cell that is too
// late, for the server has taken its certificate.
TEST(ImpostorsRefused, AnIdentityMayBeDeniedInSoManyWords) {
  auto tried = sound();
  cell(tried, "wrong_identity").outcome = DoorOutcome::answered;
  cell(tried, "wrong_identity").http_status = 403;
  expect(tried, base::Verdict::pass, "refused", "6 of 6");
  cell(tried, "wrong_identity").http_status = 200;
  expect(tried, base::Verdict::fail, "let_in", "wrong_identity: HTTP 200");
  tried = sound();
  cell(tried, "foreign_ca").outcome = DoorOutcome::answered;
  cell(tried, "foreign_ca").http_status = 403;
  expect(tried, base::Verdict::fail, "let_in", "foreign_ca: HTTP 403");
}

TEST(ImpostorsRefused, OneServerOfManyThatLetsThemInFails) {
  auto trusting = sound();
  cell(trusting, "foreign_ca").outcome = DoorOutcome::answered;
  cell(trusting, "foreign_ca").http_status = 200;
  auto silent = sound();
  cell(silent, "expired").outcome = DoorOutcome::timed_out;
  auto finding = impostors_refused(
      std::vector<TriedServer>{{"web-0", sound()}, {"web-1", silent}, {"web-2", trusting}});
  EXPECT_EQ(finding.verdict, base::Verdict::fail);
  EXPECT_EQ(finding.observed, "let_in");
  EXPECT_THAT(finding.sentence, HasSubstr("at web-2 (1 of 3 servers are so): 1 of 6 impostors"));
  EXPECT_EQ(finding.evidence["web-0"]["doors"].size(), 7U);
  finding = impostors_refused(std::vector<TriedServer>{{"web-0", sound()}, {"web-1", silent}});
  EXPECT_EQ(finding.verdict, base::Verdict::inconclusive);
  finding = impostors_refused(std::vector<TriedServer>{{"web-0", sound()}, {"web-1", sound()}});
  EXPECT_EQ(finding.verdict, base::Verdict::pass);
  EXPECT_THAT(finding.sentence, HasSubstr("at each of 2 servers: 6 of 6 impostors were refused"));
  EXPECT_EQ(impostors_refused(std::vector<TriedServer>()).verdict, base::Verdict::inconclusive);
}

TEST(ImpostorsRefused, EveryWayIsACellOfItsOwn) {
  const cluster::ImpostorCertificates certificates{
      {"a", "1"}, {"b", "2"}, {"c", "3"}, {"d", "4"}, {"e", "5"}};
  const auto job =
      impostor_doors(certificates, base::Endpoint::parse("10.0.0.1:7004").value(), true);
  std::vector<std::string> names;
  for (const auto& door : job.doors) names.push_back(door.name);
  EXPECT_THAT(names,
              ::testing::ElementsAre("of_the_mesh", "plaintext", "foreign_ca", "wrong_identity",
                                     "expired", "not_yet_valid", "tls_1_1"));
  for (const auto& door : job.doors) {
    EXPECT_THAT(door.request, ::testing::StartsWith("GET /0 HTTP/1.1\r\n"))
        << "what a server of ours answers by 200";
  }
  EXPECT_TRUE(job.doors[1].plaintext);
  EXPECT_TRUE(job.doors[1].certificate.empty());
  EXPECT_EQ(job.doors[4].certificate, "d");
  EXPECT_EQ(job.doors[6].version, bench::TlsVersion::tls_1_1);
}

}  // namespace
}  // namespace checks
