#include "base/stats/judge.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "base/stats/golden.h"

namespace base::stats {
namespace {

const std::vector<double> slower{0.071,  0.083,  0.0655, 0.0925, 0.0772, 0.0601,
                                 0.0888, 0.0743, 0.1021, 0.0699, 0.0817, 0.0555};
const std::vector<double> same{0.0041,  -0.0032, 0.0067,  0.0015, -0.0078, 0.0023,
                               -0.0011, 0.0052,  -0.0046, 0.0009, 0.0034,  -0.0027};
const std::vector<double> noisy{0.31, -0.22, 0.05, 0.18, -0.09, 0.27, -0.16, 0.12, 0.02, -0.04};

std::vector<double> negated(std::vector<double> differences) {
  for (double& difference : differences) difference = -difference;
  return differences;
}

TEST(Judge, WeighsTheEvidenceAsScipyDoes) {
  for (const auto& row : golden::evidence) {
    SCOPED_TRACE(testing::PrintToString(row.differences));
    const auto judgement = judge(row.differences, Band{row.lower, row.upper}, 0.05);
    ASSERT_TRUE(judgement.has_value());
    EXPECT_DOUBLE_EQ(judgement->evidence.p_worse, row.p_worse);
    EXPECT_DOUBLE_EQ(judgement->evidence.p_equivalent, row.p_equivalent);
    EXPECT_DOUBLE_EQ(judgement->evidence.p_better, row.p_better);
  }
}

TEST(Judge, CallsEachOutcomeByItsName) {
  const double margin = log_margin({0.03});
  const auto verdict = [&](const std::vector<double>& differences) {
    const auto judgement = judge(differences, margin, 0.03);
    EXPECT_TRUE(judgement.has_value());
    return judgement ? judgement->verdict : Verdict::inconclusive;
  };
  EXPECT_EQ(verdict(slower), Verdict::regression);
  EXPECT_EQ(verdict(same), Verdict::pass);
  EXPECT_EQ(verdict(negated(slower)), Verdict::improvement);
  EXPECT_EQ(verdict(noisy), Verdict::inconclusive);
}

// A difference may be as significant as it likes: inside the margin it is nobody's business.
TEST(Judge, PassesASignificantDifferenceThatIsTooSmallToMatter) {
  std::vector<double> tiny = same;
  for (double& difference : tiny) difference = 0.01 + difference / 10;
  const auto judgement = judge(tiny, 0.03, 0.03);
  ASSERT_TRUE(judgement.has_value());
  EXPECT_EQ(judgement->verdict, Verdict::pass);
  EXPECT_GT(judgement->effect.interval.value_or(Interval{}).lower, 0);
}

TEST(Judge, MirrorsTheVerdictWhenTheArmsAreExchanged) {
  const auto forth = judge(slower, 0.03, 0.03);
  const auto back = judge(negated(slower), 0.03, 0.03);
  ASSERT_TRUE(forth.has_value() && back.has_value());
  EXPECT_DOUBLE_EQ(forth->evidence.p_worse, back->evidence.p_better);
  EXPECT_DOUBLE_EQ(forth->evidence.p_equivalent, back->evidence.p_equivalent);
  EXPECT_EQ(forth->effect.estimate, -back->effect.estimate);
}

TEST(Judge, AnUpperBoundAloneKnowsNoImprovement) {
  const auto far_below = judge(negated(slower), Band::at_most(0.05), 0.03);
  const auto above = judge(slower, Band::at_most(0.05), 0.03);
  const auto unclear = judge(noisy, Band::at_most(0.05), 0.03);
  ASSERT_TRUE(far_below.has_value() && above.has_value() && unclear.has_value());
  EXPECT_EQ(far_below->verdict, Verdict::pass);
  EXPECT_EQ(above->verdict, Verdict::regression);
  EXPECT_EQ(unclear->verdict, Verdict::inconclusive);
}

// Five blocks can never reach 0.03: the least p is 2^-5. Six can, at 2^-6.
TEST(Judge, IsInconclusiveOnFewerThanSixBlocks) {
  std::vector<double> differences(slower.begin(), slower.begin() + 5);
  const auto five = judge(differences, 0.03, 0.03);
  differences.push_back(slower[5]);
  const auto six = judge(differences, 0.03, 0.03);
  ASSERT_TRUE(five.has_value() && six.has_value());
  EXPECT_EQ(five->verdict, Verdict::inconclusive);
  EXPECT_FALSE(five->effect.interval.has_value());
  EXPECT_FALSE(five->detectable.has_value());
  EXPECT_FALSE(five->blocks_needed.has_value());
  EXPECT_EQ(six->verdict, Verdict::regression);
  EXPECT_TRUE(six->effect.interval.has_value());
}

TEST(Judge, SaysWhatItCouldHaveSeenAndWhatItWouldTake) {
  for (const auto& row : golden::planning) {
    SCOPED_TRACE(testing::Message() << testing::PrintToString(row.differences) << row.margin);
    const auto judgement = judge(row.differences, row.margin, row.alpha, row.level);
    ASSERT_TRUE(judgement.has_value());
    EXPECT_EQ(judgement->verdict, Verdict::inconclusive);
    ASSERT_EQ(judgement->detectable.has_value(), row.detectable.has_value());
    EXPECT_NEAR(judgement->detectable.value_or(0), row.detectable.value_or(0), 1e-9);
    EXPECT_EQ(judgement->blocks_needed, row.blocks_needed);
  }
}

TEST(Judge, AsksForNoMoreBlocksOnceItHasSpoken) {
  const auto clear = judge(same, 0.03, 0.03);
  ASSERT_TRUE(clear.has_value());
  EXPECT_GT(clear->detectable.value_or(0), 0.03);
  EXPECT_LT(clear->detectable.value_or(0), 0.04);
  EXPECT_FALSE(clear->blocks_needed.has_value());
}

TEST(Judge, SeesLessAndNeedsMoreWhenTheNoiseDoubles) {
  std::vector<double> doubled = noisy;
  for (double& difference : doubled) difference = 0.04 + 2 * (difference - 0.04);
  const auto quiet = judge(noisy, 0.2, 0.03);
  const auto loud = judge(doubled, 0.2, 0.03);
  ASSERT_TRUE(quiet.has_value() && loud.has_value());
  ASSERT_TRUE(quiet->detectable && loud->detectable);
  EXPECT_NEAR(*loud->detectable - 0.2, 2 * (*quiet->detectable - 0.2), 1e-9);
  ASSERT_TRUE(loud->blocks_needed.has_value());
  EXPECT_GT(*loud->blocks_needed, quiet->blocks_needed.value_or(10));
}

// No number of blocks tells on which side of the margin a value on the margin lies.
TEST(Judge, PromisesNothingWhereTheEstimateSitsOnTheMargin) {
  const auto on_it = judge(std::vector<double>(12, 0.03), 0.03, 0.03);
  ASSERT_TRUE(on_it.has_value());
  EXPECT_EQ(on_it->verdict, Verdict::inconclusive);
  EXPECT_FALSE(on_it->blocks_needed.has_value());
}

TEST(Judge, DecidesAtOnceWhereThereIsNoNoise) {
  const auto inside = judge(std::vector<double>(12, 0.01), 0.03, 0.03);
  const auto above = judge(std::vector<double>(12, 0.04), 0.03, 0.03);
  ASSERT_TRUE(inside.has_value() && above.has_value());
  EXPECT_EQ(inside->verdict, Verdict::pass);
  EXPECT_EQ(inside->detectable, 0.03);
  EXPECT_EQ(above->verdict, Verdict::regression);
}

// Eight blocks: the least p is 2^-8 = 0.0039. Alone that is a regression at 0.03, and still among
// seven metrics; among eight 8 * 2^-8 = 0.031 is not.
TEST(JudgeFamily, HolmLeavesNoRoomForLongLists) {
  const std::vector<double> eight(slower.begin(), slower.begin() + 8);
  const std::vector<double> quiet(same.begin(), same.begin() + 8);
  for (const std::size_t metrics : {1U, 7U, 8U}) {
    std::vector<Question> questions(metrics, Question{quiet, Band::within(0.03)});
    questions.front().differences = eight;
    const auto judgements = judge_family(questions, 0.03);
    ASSERT_TRUE(judgements.has_value());
    ASSERT_EQ(judgements->size(), metrics);
    EXPECT_DOUBLE_EQ(judgements->front().adjusted.p_worse, static_cast<double>(metrics) / 256);
    EXPECT_DOUBLE_EQ(judgements->front().evidence.p_worse, 1.0 / 256);
    EXPECT_EQ(judgements->front().verdict,
              metrics < 8 ? Verdict::regression : Verdict::inconclusive);
    EXPECT_EQ(judgements->front().detectable.has_value(), metrics < 8);
  }
}

TEST(JudgeFamily, OfNothingIsNothing) {
  const auto judgements = judge_family({}, 0.03);
  ASSERT_TRUE(judgements.has_value());
  EXPECT_TRUE(judgements->empty());
}

TEST(Judge, RefusesWhatItCannotJudge) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(judge({}, 0.03, 0.05).has_value());
  EXPECT_FALSE(judge(std::vector{0.1, -infinity}, 0.03, 0.05).has_value());
  for (const double margin : {0.0, -0.03, infinity, std::nan("")}) {
    EXPECT_FALSE(judge(same, margin, 0.05).has_value()) << margin;
  }
  for (const double alpha : {0.0, 0.5, 5.0, std::nan("")}) {
    EXPECT_FALSE(judge(same, 0.03, alpha).has_value()) << alpha;
  }
  EXPECT_FALSE(judge(same, 0.03, 0.05, 95).has_value());
}

TEST(Judge, MarginsAreRatiosOnALogarithmicScale) {
  EXPECT_NEAR(log_margin({0.03}), std::log(1.03), 1e-15);
  EXPECT_NEAR(percent_from_log(std::log(1.05)).fraction, 0.05, 1e-15);
  EXPECT_NEAR(percent_from_log(-log_margin({0.03})).fraction, -0.02913, 1e-5);
}

TEST(Looks, SpendFivePercentAndEachHasRoomForAVerdict) {
  double spent = 0;
  for (const Look& look : looks) {
    spent += look.alpha;
    EXPECT_LT(std::ldexp(1.0, -look.blocks), look.alpha / 8) << "eight metrics under Holm";
  }
  EXPECT_DOUBLE_EQ(spent, 0.05);
}

}  // namespace
}  // namespace base::stats
