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
  EXPECT_TRUE(job.doors[1].plaintext);
  EXPECT_TRUE(job.doors[1].certificate.empty());
  EXPECT_EQ(job.doors[4].certificate, "d");
  EXPECT_EQ(job.doors[6].version, bench::TlsVersion::tls_1_1);
}

}  // namespace
}  // namespace checks
