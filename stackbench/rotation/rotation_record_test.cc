// From what was noticed of rotations to the report's part and to checks.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/rotation/rotation_run.h"

namespace stackbench {
namespace {

using cluster::RotationStep;

constexpr std::int64_t ms = 1'000'000;

checks::RotationOutcome outcome() {
  checks::RotationOutcome outcome{.begins_ns = 1000 * ms,
                                  .before = {{.traffic = "new_connections", .answered = 9}},
                                  .handshakes_seen = {{"web-0", 7}}};
  outcome.steps.push_back({.step = RotationStep::leaf,
                           .number = 1,
                           .begins_ns = 3000 * ms,
                           .ends_ns = 5000 * ms,
                           .traffic = {{.traffic = "new_connections",
                                        .answered = 20,
                                        .failed = {{"reset", 2}},
                                        .longest_gap_ns = 30 * ms}},
                           .renewals = {{.pod = "web-0", .serial = "4A", .shown_ns = 900 * ms}},
                           .not_renewed = {},
                           .handshakes = checks::HandshakesSoFar{20, 5, 0}});
  outcome.expired.push_back({.pod = "web-0",
                             .serial = "4A",
                             .expired_ns = 4000 * ms,
                             .shown_until_ns = 4500 * ms,
                             .since = {{.traffic = "new_connections", .answered = 1}}});
  return outcome;
}

TEST(RotationReport, HasWhatCameBeforeEachStepAndWhatExpired) {
  reports::RotationRecord record;
  add_rotation("strict", outcome(), record);
  ASSERT_EQ(record.steps.size(), 2U);
  EXPECT_EQ(record.steps[0].number, 0);
  EXPECT_EQ(record.steps[0].step, "");
  EXPECT_EQ(record.steps[0].watched_ns, 2000 * ms);
  const auto& step = record.steps[1];
  EXPECT_EQ(step.environment, "strict");
  EXPECT_EQ(step.step, "leaf");
  EXPECT_EQ(step.at_ns, 2000 * ms);
  EXPECT_EQ(step.watched_ns, 2000 * ms);
  EXPECT_EQ(step.traffic[0].failed.at("reset"), 2U);
  EXPECT_EQ(step.renewals[0].shown_ns, 900 * ms);
  EXPECT_EQ(step.handshakes, 20U);
  EXPECT_EQ(step.resumed, 5U);
  ASSERT_EQ(record.expired.size(), 1U);
  EXPECT_EQ(record.expired[0].expired_at_ns, 3000 * ms);
  EXPECT_EQ(record.expired[0].shown_for_ns, 500 * ms);
  EXPECT_EQ(record.expired[0].since[0].answered, 1U);
}

TEST(RotationReport, EachCheckIsJudgedByItsOwnBudget) {
  RotationSpec rotation{.service = "web"};
  const auto verdict = [&](CheckKind kind) {
    return judge_rotation(kind, rotation, outcome(), "new_connections").verdict;
  };
  EXPECT_EQ(verdict(CheckKind::rotation_is_seamless), base::Verdict::fail);
  EXPECT_EQ(verdict(CheckKind::certificates_valid), base::Verdict::fail);
  EXPECT_EQ(verdict(CheckKind::certificates_renewed), base::Verdict::pass);
  rotation.budget.renewed = std::chrono::milliseconds(500);
  EXPECT_EQ(verdict(CheckKind::certificates_renewed), base::Verdict::fail);
}

}  // namespace
}  // namespace stackbench
