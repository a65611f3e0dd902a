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

TEST(CertificatesValid, OneThatExpiredIsNamed) {
  const auto finding =
      certificates_valid({{"client-0", now + 86'400}, {"web-0", now - 3600}, {"web-1", {}}}, now);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "expired");
  EXPECT_THAT(finding.sentence, AllOf(HasSubstr("1 of 2 certificates"), HasSubstr("web-0"),
                                      Not(HasSubstr("client-0"))));
}

TEST(CertificatesValid, AllThatAreShownMustBe) {
  EXPECT_EQ(certificates_valid({{"client-0", now + 60}, {"web-0", now + 1}}, now).verdict,
            Verdict::pass);
  EXPECT_EQ(certificates_valid({{"web-0", now}}, now).verdict, Verdict::fail);
}

TEST(CertificatesValid, NoneTellsNothing) {
  EXPECT_EQ(certificates_valid({}, now).verdict, Verdict::inconclusive);
  EXPECT_EQ(certificates_valid({{"web-0", {}}}, now).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
