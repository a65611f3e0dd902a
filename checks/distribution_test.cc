#include "checks/distribution.h"

#include <gtest/gtest.h>

namespace checks {
namespace {

using base::Verdict;

const std::vector<std::string> three{"1", "2", "3"};

bench::ClientResult answered(std::map<std::string, std::uint64_t> by) {
  bench::ClientResult client;
  client.answered_by = std::move(by);
  return client;
}

TEST(Distribution, PassesWhereTheSpreadIsWhatChanceMakesOfAnEvenOne) {
  const auto finding =
      distribution(Spread::even, three, answered({{"1", 980}, {"2", 1'030}, {"3", 990}}));
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.observed, "even");
  // chi-square 1.4 at two degrees of freedom: exp(-0.7).
  EXPECT_EQ(finding.sentence,
            "3000 connections went to the 3 backends evenly (980 : 1030 : 990; p = 0.5)");
}

TEST(Distribution, FailsWhereOneBackendHasAFifthMoreThanItsShare) {
  const auto finding =
      distribution(Spread::even, three, answered({{"1", 1'200}, {"2", 900}, {"3", 900}}));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "uneven");
}

TEST(Distribution, FailsWhereABackendIsLeftOut) {
  const auto finding = distribution(Spread::even, three, answered({{"1", 60}, {"2", 60}}));
  EXPECT_EQ(finding.verdict, Verdict::fail);
}

TEST(Distribution, FailsWhereAStrangerAnswers) {
  for (const auto promised : {Spread::even, Spread::one}) {
    const auto finding = distribution(promised, three, answered({{"1", 9}, {"7", 2}}));
    EXPECT_EQ(finding.verdict, Verdict::fail);
    EXPECT_EQ(finding.observed, "a stranger");
    EXPECT_EQ(finding.sentence, "2 connections answered as 7, which is no backend of this arm");
  }
}

TEST(Distribution, OfAStickyServiceIsOneBackendWhicheverItIs) {
  const auto kept = distribution(Spread::one, three, answered({{"2", 500}}));
  EXPECT_EQ(kept.verdict, Verdict::pass);
  EXPECT_EQ(kept.sentence, "all of 500 connections went to one backend, as they should");
  const auto drawn = distribution(Spread::one, three, answered({{"1", 499}, {"2", 1}}));
  EXPECT_EQ(drawn.verdict, Verdict::fail);
  EXPECT_EQ(drawn.sentence, "promised: all to one backend; 500 connections went to 2 of them");
}

TEST(Distribution, OfASingleBackendIsAll) {
  EXPECT_EQ(distribution(Spread::even, {"1"}, answered({{"1", 3}})).verdict, Verdict::pass);
}

TEST(Distribution, CannotTellFromTooFew) {
  EXPECT_EQ(distribution(Spread::even, three, answered({})).verdict, Verdict::inconclusive);
  EXPECT_EQ(distribution(Spread::one, three, answered({})).verdict, Verdict::inconclusive);
  const auto few = distribution(Spread::even, three, answered({{"1", 14}}));
  EXPECT_EQ(few.verdict, Verdict::inconclusive);
  EXPECT_EQ(few.sentence, "14 connections to 3 backends are too few to tell");
}

}  // namespace
}  // namespace checks
