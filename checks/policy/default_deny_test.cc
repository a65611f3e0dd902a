#include "checks/policy/default_deny.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks/policy/generator.h"
#include "checks/policy/test_world.h"

namespace checks {
namespace {

using base::Verdict;
using bench::ReachOutcome;
using testing::HasSubstr;

// x and y are closed, but that x/a may be reached at 80; z is open.
PolicySpace closed_space() {
  PolicySpace space{
      .world = test_world(), .ports = {80, 81}, .protocols = {base::kube::Protocol::TCP}};
  space.world.pods.pop_back();
  space.world.policies = {
      policy_of("x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"),
      policy_of("y/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})"),
      policy_of("x/a", R"({"podSelector": {"matchLabels": {"pod": "a"}},
                           "ingress": [{"ports": [{"port": 80}]}]})")};
  return space;
}

struct Seen {
  std::vector<ObservedCell> cells;
  std::vector<ControlCell> controls;
};

// What a perfect enforcement shows, with every server there.
Seen perfectly_enforced(const PolicySpace& space) {
  Seen seen;
  for (const auto& flow : all_flows(space)) {
    const bool open = decide(space.world, flow).allowance == Allowance::allowed;
    seen.cells.push_back(
        {.flow = flow, .outcome = open ? ReachOutcome::answered : ReachOutcome::timed_out});
    if (flow.source == flow.destination) {
      seen.controls.push_back({.flow = flow, .outcome = ReachOutcome::answered});
      auto of_node = flow;
      of_node.source = NodeEnd{.node = 0};
      seen.controls.push_back({.flow = of_node, .outcome = ReachOutcome::answered});
    }
  }
  return seen;
}

Finding judge(const PolicySpace& space, const Seen& seen,
              const std::set<std::string>& namespaces = {"x", "y"}) {
  return default_deny_holds(space.world, namespaces, seen.cells, seen.controls);
}

TEST(DefaultDeny, HoldsWhereAllIsClosedAndStaysSo) {
  const auto space = closed_space();
  const auto finding = judge(space, perfectly_enforced(space));
  EXPECT_EQ(finding.verdict, Verdict::pass) << finding.sentence;
  EXPECT_EQ(finding.evidence["pods"], 6);
  EXPECT_EQ(finding.evidence["covered"], 12);
  EXPECT_EQ(finding.evidence["allowed"],
            base::Json::array({"x/a ingress from anybody, TCP 80 (x/a, rule 1)"}));
  EXPECT_THAT(finding.sentence, HasSubstr("all 6 pods"));
}

TEST(DefaultDeny, FailsForOnePodThatNoPolicySelects) {
  auto space = closed_space();
  space.world.policies[1] = policy_of("y/deny", R"({"podSelector": {"matchExpressions":
      [{"key": "pod", "operator": "NotIn", "values": ["b"]}]},
      "policyTypes": ["Ingress", "Egress"]})");
  const auto finding = judge(space, perfectly_enforced(space));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.evidence["gaps"].size(), 2U);
  EXPECT_THAT(finding.sentence, HasSubstr("y/b, ingress: no NetworkPolicy selects it"));
  // Of x alone it holds.
  EXPECT_EQ(judge(space, perfectly_enforced(space), {"x"}).verdict, Verdict::pass);
}

TEST(DefaultDeny, FailsWhereARuleLetsEverybodyThrough) {
  auto space = closed_space();
  space.world.policies.push_back(policy_of("x/all", R"({"podSelector": {}, "ingress": [{}]})"));
  const auto finding = judge(space, perfectly_enforced(space));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.evidence["gaps"][0]["coverage"], "allows_everything");
}

TEST(DefaultDeny, IsNotFooledByEverythingInParts) {
  const auto coverage_of = [](std::string_view ingress) {
    auto space = closed_space();
    space.world.policies.push_back(
        policy_of("x/all", fmt::format(R"({{"podSelector": {{}}, "ingress": {}}})", ingress)));
    return cover(space.world, 0, PolicyDirection::ingress).coverage;
  };
  for (const auto* everything : {
           R"([{"ports": [{}, {"protocol": "UDP"}]}])",
           R"([{"ports": [{"port": 1, "endPort": 65535}]}])",
           R"([{"ports": [{"port": 1, "endPort": 999}]},
            {"ports": [{"port": 1000, "endPort": 65535}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "0.0.0.0/1"}},
                      {"ipBlock": {"cidr": "128.0.0.0/1"}}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "::/1"}}]},
            {"from": [{"ipBlock": {"cidr": "8000::/1"}}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "::/0"}}]}])",
           R"([{"from": [{"podSelector": {}}, {"ipBlock": {"cidr": "0.0.0.0/0"}}]}])",
       }) {
    EXPECT_EQ(coverage_of(everything), Coverage::allows_everything) << everything;
  }
  for (const auto* something : {
           R"([{"ports": [{"port": 1, "endPort": 65534}]}])",
           R"([{"ports": [{"port": 80}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "0.0.0.0/1"}},
                      {"ipBlock": {"cidr": "128.0.0.0/2"}}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}]}])",
           R"([{"from": [{"ipBlock": {"cidr": "0.0.0.0/1"}}], "ports": [{"port": 80}]},
               {"from": [{"ipBlock": {"cidr": "128.0.0.0/1"}}]}])",
       }) {
    EXPECT_EQ(coverage_of(something), Coverage::denied_by_default) << something;
  }
}

TEST(DefaultDeny, FailsWhereNobodyEnforcesIt) {
  const auto space = closed_space();
  auto seen = perfectly_enforced(space);
  for (auto& cell : seen.cells) cell.outcome = ReachOutcome::answered;
  const auto finding = judge(space, seen);
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "not enforced");
  EXPECT_THAT(finding.evidence["leaking"][0].get<std::string>(), HasSubstr("x/deny"));
  // A leak between others is not its business.
  auto elsewhere = perfectly_enforced(space);
  const auto leak = std::ranges::find_if(elsewhere.cells, [&](const ObservedCell& cell) {
    return std::get<PodEnd>(cell.flow.source).pod == 3 &&
           std::get<PodEnd>(cell.flow.destination).pod == 4;
  });
  ASSERT_NE(leak, elsewhere.cells.end());
  leak->outcome = ReachOutcome::answered;
  EXPECT_EQ(judge(space, elsewhere, {"x"}).verdict, Verdict::pass);
  EXPECT_EQ(judge(space, elsewhere, {"y"}).verdict, Verdict::fail);
}

TEST(DefaultDeny, AServerThatIsNotThereProvesNothing) {
  const auto space = closed_space();
  auto seen = perfectly_enforced(space);
  for (auto& control : seen.controls) control.outcome = ReachOutcome::refused;
  for (auto& cell : seen.cells) cell.outcome = ReachOutcome::timed_out;
  EXPECT_EQ(judge(space, seen).verdict, Verdict::inconclusive);
}

TEST(DefaultDeny, OfPoliciesThatAreNotModelledNothingIsClaimed) {
  auto space = closed_space();
  space.world.unmodelled.push_back(
      {.kind = "CiliumNetworkPolicy", .name = "l7", .in_namespace = "x"});
  const auto finding = judge(space, perfectly_enforced(space));
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("CiliumNetworkPolicy x/l7 may select it"));
}

TEST(DefaultDeny, NothingIsHeldOfNoPods) {
  const auto space = closed_space();
  EXPECT_EQ(judge(space, perfectly_enforced(space), {"nowhere"}).verdict, Verdict::inconclusive);
  EXPECT_EQ(judge(space, {}, {"x"}).verdict, Verdict::inconclusive);
}

}  // namespace
}  // namespace checks
