#include "checks/certificates_valid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr std::int64_t now = 1'795'889'327;

ProxyCertificate has(std::string pod, std::int64_t until) {
  return {.pod = std::move(pod), .expires_s = until};
}
ProxyCertificate shows(std::string pod, std::int64_t from, std::int64_t until) {
  return {.pod = std::move(pod),
          .expires_s = now + 86'400,
          .was_asked = true,
          .shown_from_s = from,
          .shown_until_s = until};
}

TEST(CertificatesValid, OneThatExpiredIsNamed) {
  const auto finding = certificates_valid(
      {has("client-0", now + 86'400), has("web-0", now - 3600), {.pod = "web-1"}}, now);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "expired");
  EXPECT_THAT(finding.sentence, AllOf(HasSubstr("1 of 2 certificates"), HasSubstr("web-0"),
                                      Not(HasSubstr("client-0"))));
}

TEST(CertificatesValid, AllMustBe) {
  const auto finding =
      certificates_valid({has("client-0", now + 60), shows("web-0", now - 1, now + 30)}, now);
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.sentence,
            "2 certificates valid, the first until 30 s from now; 1 shown to a handshake");
  EXPECT_EQ(certificates_valid({has("web-0", now)}, now).verdict, Verdict::fail);
}

// What it has and what it shows may differ: it was renewed, and the proxy goes on with the old one.
TEST(CertificatesValid, WhatIsShownIsJudgedBesideWhatIsThere) {
  EXPECT_EQ(certificates_valid({shows("web-0", now - 60, now)}, now).observed, "expired");
  const auto early = certificates_valid({shows("web-0", now + 60, now + 120)}, now);
  EXPECT_EQ(early.verdict, Verdict::fail);
  EXPECT_EQ(early.observed, "not_valid_yet");
  EXPECT_THAT(early.sentence, HasSubstr("web-0's in 1 min 00 s"));
}

TEST(CertificatesValid, OneThatIsLackingAmongOthersTellsNothing) {
  auto finding = certificates_valid({has("client-0", now + 60), {.pod = "web-1"}}, now);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("the proxy of web-1"));
  finding = certificates_valid(
      {has("client-0", now + 60), {.pod = "web-1", .expires_s = now + 60, .was_asked = true}}, now);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("the proxy of web-1"));
}

TEST(CertificatesValid, NoneTellsNothing) {
  EXPECT_EQ(certificates_valid({}, now).verdict, Verdict::inconclusive);
  EXPECT_EQ(certificates_valid({{.pod = "web-0"}}, now).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
