// What a verification amounts to, and how it is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/verify/testing.h"
#include "stackbench/verify/verify.h"

namespace stackbench {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

JudgedCell cell(CellVerdict verdict) {
  return {
      .cell = {.kind = CellKind::between,
               .source_name = "shop/Deployment web",
               .destination = "shop/Deployment db",
               .target = {.endpoint = {*base::IpAddress::parse("10.1.0.3"), 8080},
                          .protocol = base::Protocol::TCP,
                          .server_id = 1},
               .expected = checks::Allowance::denied,
               .why = "denied: ingress of shop/db is isolated by policy shop/deny-all"},
      .seen = bench::ReachOutcome::answered,
      .verdict = verdict,
      .note = verdict == CellVerdict::not_judged ? "its server does not even answer itself" : ""};
}

// All is covered, and this is what packets did.
VerifyResult probed(const std::vector<CellVerdict>& verdicts) {
  VerifyResult result{
      .namespaces = {"shop"},
      .engine = "Calico Felix (it)",
      .coverage = cover(testing::world_of(testing::shop()), {checks::PolicyDirection::ingress}),
      .probing = ProbingResult{.cells = {}, .unprobed = {}, .sweeps = 2, .settled = true},
      .unprobed = {},
      .notes = {},
      .drift = {}};
  for (const auto verdict : verdicts) result.probing->cells.push_back(cell(verdict));
  return result;
}

TEST(Verdict, PassesWhereAllIsCoveredAndClosed) {
  // What is closed though it is allowed is told, and no leak.
  const auto result = probed({CellVerdict::as_policies_say, CellVerdict::closed_though_allowed});
  EXPECT_EQ(verdict_of(result), ClaimVerdict::pass);
  EXPECT_THAT(render(result, {}),
              AllOf(HasSubstr("Default-deny in shop: pass"),
                    HasSubstr("Probed: 1 of 2 paths as the policies say, in 2 sweeps."),
                    HasSubstr("Closed though allowed (1)")));
}

TEST(Verdict, FailsForOneLeakWithTheRuleThatDeniesIt) {
  const auto result = probed({CellVerdict::as_policies_say, CellVerdict::open_though_denied});
  EXPECT_EQ(exit_code_of(verdict_of(result)), 1);
  EXPECT_THAT(render(result, {}),
              AllOf(HasSubstr("Open though denied (1)\n  shop/Deployment web to shop/Deployment db "
                              "at 10.1.0.3:8080 by TCP: answered\n"),
                    HasSubstr("isolated by policy shop/deny-all")));
  const auto json = result.to_json();
  EXPECT_EQ(json["verdict"], "fail");
  EXPECT_EQ(json["exit_code"], 1);
  EXPECT_EQ(json["probes"]["cells"][1]["verdict"], "open_though_denied");
}

TEST(Verdict, IsInconclusiveWhereSomethingWasToBeProbedAndWasNot) {
  EXPECT_EQ(exit_code_of(verdict_of(probed({CellVerdict::not_judged}))), 3);
  EXPECT_EQ(verdict_of(probed({CellVerdict::unknown})), ClaimVerdict::inconclusive);
  auto refused = probed({CellVerdict::as_policies_say});
  refused.unprobed = {{"shop/StatefulSet db", "StatefulSet db selects it"}};
  EXPECT_EQ(verdict_of(refused), ClaimVerdict::inconclusive);
  EXPECT_THAT(render(refused, {}), HasSubstr("shop/StatefulSet db: StatefulSet db selects it"));
  auto restless = probed({CellVerdict::as_policies_say});
  restless.probing->settled = false;
  EXPECT_EQ(verdict_of(restless), ClaimVerdict::inconclusive);
}

TEST(Verdict, IsInconclusiveWhereNothingWasThereToBeShown) {
  // No path that policies close was seen closed.
  EXPECT_EQ(verdict_of(probed({})), ClaimVerdict::inconclusive);
  auto all_allowed = probed({CellVerdict::as_policies_say});
  all_allowed.probing->cells.front().cell.expected = checks::Allowance::allowed;
  EXPECT_EQ(verdict_of(all_allowed), ClaimVerdict::inconclusive);
  // No pod.
  auto empty = probed({});
  empty.probing.reset();
  empty.coverage.clear();
  EXPECT_EQ(exit_code_of(verdict_of(empty)), 3);
  // Pods of a maker nobody knows.
  auto unmade = probed({CellVerdict::as_policies_say});
  EXPECT_EQ(verdict_of(unmade), ClaimVerdict::pass);
  unmade.unmade = {{"shop/Rollout web", "web.yaml:3: its kind is not known here"}};
  EXPECT_EQ(verdict_of(unmade), ClaimVerdict::inconclusive);
  unmade.probing.reset();
  EXPECT_EQ(verdict_of(unmade), ClaimVerdict::inconclusive);
  EXPECT_THAT(render(unmade, {}), HasSubstr("Not looked at\n  shop/Rollout web: web.yaml:3"));
}

TEST(Verdict, WithoutProbesSaysThatItIsOfWordsAlone) {
  auto result = probed({});
  result.probing.reset();
  EXPECT_EQ(verdict_of(result), ClaimVerdict::pass);
  EXPECT_THAT(render(result, {}),
              AllOf(HasSubstr("Default-deny in shop, by what policies say: pass"),
                    HasSubstr("Not probed"), Not(HasSubstr("Probed:"))));
}

TEST(Verdict, WhatAClusterSaysCannotSteerATerminal) {
  auto result = probed({});
  result.notes = {"bad \x1b[31mred"};
  EXPECT_THAT(render(result, {}), Not(HasSubstr("\x1b")));
}

}  // namespace
}  // namespace stackbench
