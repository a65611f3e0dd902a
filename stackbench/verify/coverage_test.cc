#include "stackbench/verify/coverage.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/verify/testing.h"
#include "stackbench/verify/verify.h"

namespace stackbench {
namespace {

using checks::PolicyDirection;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::pod;
using testing::policy;
using testing::shop;
using testing::world_of;

const std::vector both{PolicyDirection::ingress, PolicyDirection::egress};

VerifyResult result_of(const cluster::LiveObjects& live) {
  return {.namespaces = {"shop"},
          .engine = "none",
          .coverage = cover(world_of(live), both),
          .probing = {},
          .unprobed = {},
          .notes = {},
          .drift = {},
          .selected_namespaces = world_of(live).selected_namespaces};
}

const DirectionCoverage& of(const VerifyResult& result, std::string_view workload,
                            PolicyDirection direction) {
  const auto found = std::ranges::find(result.coverage, workload, &WorkloadCoverage::workload);
  return found->directions.at(direction);
}

TEST(Coverage, OfANamespaceThatIsIsolatedIsWholeAndSaysWhatIsAllowed) {
  const auto result = result_of(shop());
  EXPECT_EQ(verdict_of(result), ClaimVerdict::pass);
  ASSERT_EQ(result.coverage.size(), 2U);
  EXPECT_EQ(result.coverage[1].workload, "shop/Deployment web");
  EXPECT_EQ(result.coverage[1].pods, 2U);
  const auto& ingress = of(result, "shop/Deployment web", PolicyDirection::ingress);
  EXPECT_EQ(ingress.coverage, Coverage::denied_by_default);
  ASSERT_EQ(ingress.allowed.size(), 1U);
  EXPECT_EQ(ingress.allowed.begin()->peer, "anybody");
  EXPECT_EQ(ingress.allowed.begin()->by, "shop/web, rule 1");
  EXPECT_THAT(of(result, "shop/Deployment db", PolicyDirection::egress).allowed, IsEmpty());
}

TEST(Coverage, FindsTheOneUncoveredPod) {
  auto live = shop();
  live.policies[0] = policy(
      "deny-all",
      R"({"podSelector":{"matchExpressions":[{"key":"app","operator":"In","values":["web","db"]}]},
          "policyTypes":["Ingress","Egress"]})");
  EXPECT_EQ(verdict_of(result_of(live)), ClaimVerdict::pass);  // the twin without it
  live.pods.push_back(pod("debug", "debug", 4));
  const auto result = result_of(live);
  EXPECT_EQ(verdict_of(result), ClaimVerdict::fail);
  const auto& ingress = of(result, "shop/Pod debug", PolicyDirection::ingress);
  EXPECT_EQ(ingress.coverage, Coverage::uncovered);
  EXPECT_EQ(ingress.why, "debug: no NetworkPolicy selects it for ingress");
  EXPECT_THAT(render(result, {}), HasSubstr("shop/Pod debug"));
}

TEST(Coverage, OneDirectionAloneIsHalf) {
  auto live = shop();
  live.policies[0] = policy("deny-all", R"({"podSelector":{}})");
  const auto result = result_of(live);
  EXPECT_EQ(verdict_of(result), ClaimVerdict::fail);
  const auto of_db = [&](PolicyDirection direction) {
    return of(result, "shop/Deployment db", direction).coverage;
  };
  EXPECT_EQ(of_db(PolicyDirection::ingress), Coverage::denied_by_default);
  EXPECT_EQ(of_db(PolicyDirection::egress), Coverage::uncovered);
}

TEST(Coverage, IsolatedAndLetThroughByARuleIsNoDefaultDeny) {
  for (const auto* rule : {R"([{}])", R"([{"from":[{"ipBlock":{"cidr":"0.0.0.0/0"}}]}])"}) {
    auto live = shop();
    live.policies.push_back(
        policy("open", fmt::format(R"({{"podSelector":{{}},"ingress":{}}})", rule)));
    const auto result = result_of(live);
    EXPECT_EQ(verdict_of(result), ClaimVerdict::fail) << rule;
    const auto& ingress = of(result, "shop/Deployment db", PolicyDirection::ingress);
    EXPECT_EQ(ingress.coverage, Coverage::allows_everything);
    EXPECT_THAT(ingress.why, HasSubstr("shop/open, rule 1 allows everything"));
  }
}

TEST(Coverage, WhatPoliciesOfOtherKindsSelectNeitherPassesNorFails) {
  auto live = shop();
  live.others.push_back(testing::json(R"({"apiVersion":"cilium.io/v2","kind":"CiliumNetworkPolicy",
    "metadata":{"name":"l7","namespace":"shop"},
    "spec":{"endpointSelector":{"matchLabels":{"app":"db"}}}})"));
  live.policies.erase(live.policies.begin());  // without them it would be uncovered
  const auto result = result_of(live);
  const auto& egress = of(result, "shop/Deployment db", PolicyDirection::egress);
  EXPECT_EQ(egress.coverage, Coverage::unknown);
  EXPECT_THAT(egress.why, HasSubstr("CiliumNetworkPolicy shop/l7 may select it"));
  EXPECT_EQ(verdict_of(result), ClaimVerdict::inconclusive);
}

TEST(Coverage, AKindNobodyMayLookAtMakesAllUnknown) {
  auto live = shop();
  live.unseen.push_back({.kind = "CiliumNetworkPolicy", .why = "forbidden"});
  const auto result = result_of(live);
  EXPECT_EQ(verdict_of(result), ClaimVerdict::inconclusive);
  EXPECT_THAT(of(result, "shop/Deployment web", PolicyDirection::ingress).why,
              HasSubstr("CiliumNetworkPolicy (which cannot be looked at: forbidden)"));
}

TEST(Coverage, APodWithItsNodesNetworkIsUnknown) {
  auto live = shop();
  auto agent = pod("agent", "agent", 5);
  agent["spec"]["hostNetwork"] = true;
  live.pods.push_back(agent);
  EXPECT_EQ(verdict_of(result_of(live)), ClaimVerdict::inconclusive);
}

TEST(Drift, IsNothingWhileOnlyPodsComeAndGo) {
  const auto before = result_of(shop()).to_save();
  auto live = shop();
  live.pods.push_back(testing::deployed("web", "web", 6));
  const auto same = drift(before, result_of(live).to_save());
  ASSERT_TRUE(same) << same.error().message;
  EXPECT_THAT(*same, IsEmpty());
}

TEST(Drift, IsWhatIsAllowedNowAndWasNot) {
  const auto before = result_of(shop()).to_save();
  // As it is read from a file.
  const auto kept = base::from_json<SavedCoverage>(base::to_json(before));
  ASSERT_TRUE(kept) << kept.error().message;
  auto live = shop();
  live.policies.push_back(policy("more", R"({"podSelector":{"matchLabels":{"app":"db"}},
    "ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"web"}}}],"ports":[{"port":5432}]}]})"));
  auto result = result_of(live);
  EXPECT_EQ(verdict_of(result), ClaimVerdict::pass);
  result.drift = *drift(*kept, result.to_save());
  EXPECT_THAT(*result.drift, ElementsAre("shop/Deployment db ingress: now allowed: podSelector "
                                         "app=web, TCP 5432"));
  EXPECT_EQ(verdict_of(result), ClaimVerdict::fail);
  const auto back = drift(result.to_save(), before);
  EXPECT_THAT(*back, ElementsAre(HasSubstr("no longer allowed")));
}

TEST(Drift, IsAWorkloadThatIsNewOrGone) {
  auto live = shop();
  live.pods.pop_back();
  const auto lines = drift(result_of(shop()).to_save(), result_of(live).to_save());
  EXPECT_THAT(*lines, ElementsAre("shop/Deployment db: is gone"));
  const auto back = drift(result_of(live).to_save(), result_of(shop()).to_save());
  EXPECT_THAT(*back, ElementsAre("shop/Deployment db egress: is new, and denied_by_default",
                                 "shop/Deployment db ingress: is new, and denied_by_default"));
}

TEST(Drift, IsANamespaceThatASelectorSelectsNow) {
  auto live = shop();
  live.policies.push_back(policy("red", R"({"podSelector":{"matchLabels":{"app":"web"}},
    "ingress":[{"from":[{"namespaceSelector":{"matchLabels":{"team":"red"}}}]},
               {"from":[{"namespaceSelector":{}}]}]})"));
  live.all_namespaces = {testing::json(R"({"metadata":{"name":"shop","labels":{"team":"red"}}})"),
                         testing::json(R"({"metadata":{"name":"dev","labels":{"team":"blue"}}})")};
  const auto before = base::from_json<SavedCoverage>(base::to_json(result_of(live).to_save()));
  ASSERT_TRUE(before) << before.error().message;
  EXPECT_THAT(*drift(*before, result_of(live).to_save()), IsEmpty());
  live.all_namespaces->back()["metadata"]["labels"]["team"] = "red";
  EXPECT_THAT(*drift(*before, result_of(live).to_save()),
              ElementsAre("namespaceSelector team=red: selected shop, and selects dev, shop"));
  // Where they may not be listed nothing is claimed of them.
  live.all_namespaces.reset();
  EXPECT_THAT(*drift(*before, result_of(live).to_save()), IsEmpty());
}

TEST(Drift, IsADirectionThatWasNotSaved) {
  auto before = result_of(shop()).to_save();
  before.workloads.at("shop/Deployment db").egress.reset();
  EXPECT_THAT(*drift(before, result_of(shop()).to_save()),
              ElementsAre("shop/Deployment db egress: was not saved, and is denied_by_default"));
}

TEST(Drift, IsOfTheSameNamespacesAndDirections) {
  auto other = result_of(shop()).to_save();
  other.namespaces = {"elsewhere"};
  EXPECT_EQ(drift(other, result_of(shop()).to_save()).error().kind, base::ErrorKind::input);
  auto half = result_of(shop());
  half.coverage = cover(world_of(shop()), {PolicyDirection::ingress});
  EXPECT_EQ(drift(half.to_save(), result_of(shop()).to_save()).error().kind,
            base::ErrorKind::input);
}

}  // namespace
}  // namespace stackbench
