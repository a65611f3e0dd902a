#include "checks/policy/matrix.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "checks/policy/generator.h"
#include "checks/policy/test_world.h"

namespace checks {
namespace {

using base::Verdict;
using bench::ReachOutcome;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

// Nine pods at three ports by two protocols, and policies that allow some and deny some.
PolicySpace nine_pods() {
  using enum base::kube::Protocol;
  PolicySpace space{.world = test_world(), .ports = {80, 81, 82}, .protocols = {TCP, UDP}};
  space.world.pods.pop_back();
  space.world.policies = {
      policy_of("x/web", R"({"podSelector": {"matchLabels": {"pod": "a"}}, "ingress": [
          {"from": [{"namespaceSelector": {"matchLabels": {"ns": "y"}}}],
           "ports": [{"port": 80, "endPort": 81}]}]})"),
      policy_of("z/deny-egress", R"({"podSelector": {}, "policyTypes": ["Egress"]})")};
  return space;
}

// What a perfect enforcement shows: drops time out.
std::vector<ObservedCell> perfect(const PolicySpace& space) {
  std::vector<ObservedCell> cells;
  for (const auto& flow : all_flows(space)) {
    const bool open = decide(space.world, flow).allowance == Allowance::allowed;
    cells.push_back(
        {.flow = flow, .outcome = open ? ReachOutcome::answered : ReachOutcome::timed_out});
  }
  return cells;
}

// Each pod of itself, and its node of it, at every port.
std::vector<ControlCell> controls_of(const PolicySpace& space) {
  std::vector<ControlCell> controls;
  for (const auto& flow : all_flows(space)) {
    if (flow.source == flow.destination) {
      controls.push_back({.flow = flow, .outcome = ReachOutcome::answered});
      auto of_node = flow;
      of_node.source = NodeEnd{.node = 0};
      controls.push_back({.flow = of_node, .outcome = ReachOutcome::answered});
    }
  }
  return controls;
}

ObservedCell& cell_of(std::vector<ObservedCell>& cells, const PolicyFlow& flow) {
  return *std::ranges::find(cells, flow, &ObservedCell::flow);
}

TEST(PolicyMatrix, PassesWhereAllIsAsSpecified) {
  const auto space = nine_pods();
  const auto cells = perfect(space);
  ASSERT_EQ(cells.size(), 486U);
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.sentence, "486 of 486 cells are as specified");
  EXPECT_EQ(finding.evidence["as_specified"], 486);
  EXPECT_EQ(
      finding.evidence["outcomes"]["timed_out"],
      finding.evidence["cells"].get<int>() - finding.evidence["outcomes"]["answered"].get<int>());
  EXPECT_TRUE(finding.evidence["differing"].empty());
}

TEST(PolicyMatrix, ARuleOnePortTooWideLeaks) {
  const auto space = nine_pods();
  auto cells = perfect(space);
  for (const auto* text : {"y/a > x/a TCP 82", "y/b > x/a TCP 82", "y/c > x/a TCP 82"}) {
    cell_of(cells, flow_of(space.world, text)).outcome = ReachOutcome::answered;
  }
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.observed, "3 differ");
  EXPECT_EQ(finding.evidence["leaks"], 3);
  EXPECT_EQ(
      finding.sentence,
      "3 of 486 cells are not as specified (3 leak, 0 are blocked, 0 were answered by "
      "another): y/a to x/a, TCP 82 over IPv4: answered, but denied: ingress of x/a is "
      "isolated by policy x/web, none of whose rules matches (x/web, rule 1 has y/a, but only "
      "for TCP 80-81)");
  const auto& first = finding.evidence["differing"][0];
  EXPECT_EQ(first["source"], "y/a");
  EXPECT_EQ(first["expected"], "denied");
  EXPECT_EQ(first["observed"], "answered");
  EXPECT_EQ(first["judgement"], "leaks");
}

TEST(PolicyMatrix, EgressThatIsOpenForUdpLeaks) {
  const auto space = nine_pods();
  auto cells = perfect(space);
  for (auto& cell : cells) {
    const auto decision = decide(space.world, cell.flow);
    if (cell.flow.protocol == base::kube::Protocol::UDP &&
        decision.ingress.allowance == Allowance::allowed) {
      cell.outcome = ReachOutcome::answered;
    }
  }
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  // From each pod of z to every pod but itself and x/a, whose ingress stays closed, at three ports.
  EXPECT_EQ(finding.evidence["leaks"], 3 * 7 * 3);
  EXPECT_EQ(finding.evidence["differing"].size(), differing_cells_told);
  EXPECT_EQ(finding.evidence["differing_left_out"], 63 - differing_cells_told);
}

TEST(PolicyMatrix, AConnectionThatWasMadeIsALeakWhateverBecameOfIt) {
  const auto space = nine_pods();
  for (const auto outcome : {ReachOutcome::silent, ReachOutcome::cut}) {
    auto cells = perfect(space);
    cell_of(cells, flow_of(space.world, "z/a > y/a TCP 80")).outcome = outcome;
    cell_of(cells, flow_of(space.world, "y/a > x/a TCP 80")).outcome = outcome;
    const auto finding = policy_matrix(space.world, cells, controls_of(space));
    EXPECT_EQ(finding.evidence["leaks"], 1);
    EXPECT_EQ(finding.evidence["blocked"], 1);
  }
}

TEST(PolicyMatrix, WhatMustBeOpenAndIsNotIsBlockedHoweverItFailed) {
  const auto space = nine_pods();
  for (const auto outcome :
       {ReachOutcome::refused, ReachOutcome::unreachable, ReachOutcome::timed_out}) {
    auto cells = perfect(space);
    cell_of(cells, flow_of(space.world, "y/a > x/a TCP 80")).outcome = outcome;
    const auto finding = policy_matrix(space.world, cells, controls_of(space));
    EXPECT_EQ(finding.verdict, Verdict::fail);
    EXPECT_EQ(finding.evidence["blocked"], 1);
    EXPECT_THAT(
        finding.sentence,
        HasSubstr(fmt::format("y/a to x/a, TCP 80 over IPv4: {}, but allowed: egress of y/a: "
                              "no policy selects it; ingress of x/a: policy x/web, ingress "
                              "rule 1",
                              base::enum_name(outcome))));
  }
}

TEST(PolicyMatrix, AServerThatIsDownIsNotDenied) {
  const auto space = nine_pods();
  // x/a serves nothing at UDP 80: nobody gets an answer there, not even the pod itself.
  const auto at_dead_server = [&](const PolicyFlow& flow) {
    return describe_end(space.world, flow.destination) == "x/a" && flow.port == 80 &&
           flow.protocol == base::kube::Protocol::UDP;
  };
  auto cells = perfect(space);
  auto controls = controls_of(space);
  for (auto& cell : cells) {
    if (at_dead_server(cell.flow)) cell.outcome = ReachOutcome::refused;
  }
  for (auto& control : controls) {
    if (at_dead_server(control.flow)) control.outcome = ReachOutcome::refused;
  }
  const auto finding = policy_matrix(space.world, cells, controls);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_EQ(finding.evidence["no_evidence"], 9);
  EXPECT_EQ(finding.evidence["blocked"], 0);
  EXPECT_THAT(finding.sentence,
              HasSubstr("no probe from x/a itself shows that UDP 80 has a server"));
  // A control of another port, protocol or family says nothing of this one.
  auto other = flow_of(space.world, "x/a > x/a UDP 80 v6");
  controls.push_back({.flow = other, .outcome = ReachOutcome::answered});
  EXPECT_EQ(policy_matrix(space.world, cells, controls).evidence["no_evidence"], 9);
  // One from the node does.
  other = flow_of(space.world, "node1 > x/a UDP 80");
  controls.push_back({.flow = other, .outcome = ReachOutcome::answered});
  const auto seen = policy_matrix(space.world, cells, controls);
  EXPECT_EQ(seen.evidence["no_evidence"], 0);
  EXPECT_EQ(seen.evidence["blocked"], 1);  // x/a of itself
  EXPECT_EQ(seen.verdict, Verdict::fail);
  // No controls at all: silence shows nothing, answers still do.
  const auto without = policy_matrix(space.world, perfect(space), {});
  EXPECT_EQ(without.verdict, Verdict::inconclusive);
  EXPECT_EQ(without.evidence["no_evidence"], without.evidence["outcomes"]["timed_out"]);
}

TEST(PolicyMatrix, ADeadNetworkIsNotDenied) {
  auto space = nine_pods();
  space.world.policies = {
      policy_of("x/deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})")};
  const auto is_of = [&](const FlowEnd& end, std::string_view pod) {
    return describe_end(space.world, end) == pod;
  };
  // Each pod answers itself, which goes over lo; no policy lets anybody else see x's three.
  auto controls = controls_of(space);
  std::erase_if(controls, [](const ControlCell& one) {
    return !std::holds_alternative<PodEnd>(one.flow.source);
  });
  const auto cells = perfect(space);
  const auto finding = policy_matrix(space.world, cells, controls);
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_EQ(finding.evidence["no_evidence"], finding.evidence["outcomes"]["timed_out"]);
  EXPECT_THAT(finding.sentence, HasSubstr("nothing shows that both x/a and x/b have a network"));
  // Two of them were seen before there was the policy: both have a network.
  controls.push_back(
      {.flow = flow_of(space.world, "x/a > x/b TCP 80"), .outcome = ReachOutcome::answered});
  const auto judged = judge_matrix(space.world, cells, controls);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    const auto& flow = cells[i].flow;
    if (flow.source == flow.destination) continue;
    const bool unseen = is_of(flow.source, "x/c") || is_of(flow.destination, "x/c");
    EXPECT_EQ(judged[i].judgement,
              unseen ? CellJudgement::no_evidence : CellJudgement::as_specified);
  }
  EXPECT_EQ(std::ranges::count_if(judged, rests_on_earlier), 0);
  // Of an earlier time it proves less, and that is counted.
  controls.back().earlier = true;
  const auto once = judge_matrix(space.world, cells, controls);
  for (std::size_t i = 0; i < cells.size(); ++i) {
    EXPECT_EQ(once[i].judgement, judged[i].judgement);
    if (cells[i].flow.source == cells[i].flow.destination) continue;
    const bool both = judged[i].network_seen;
    EXPECT_EQ(once[i].seen_earlier,
              both && (is_of(cells[i].flow.source, "x/a") || is_of(cells[i].flow.source, "x/b") ||
                       is_of(cells[i].flow.destination, "x/a") ||
                       is_of(cells[i].flow.destination, "x/b")));
  }
  EXPECT_GT(std::ranges::count_if(once, rests_on_earlier), 0);
  EXPECT_EQ(policy_matrix(space.world, cells, controls).evidence["seen_earlier"],
            std::ranges::count_if(once, rests_on_earlier));
  controls.back().earlier = false;
  // Nor has a pod one that its node reached before, and does not reach now.
  auto by_node = controls;
  for (const auto outcome : {ReachOutcome::answered, ReachOutcome::timed_out}) {
    by_node.push_back({.flow = flow_of(space.world, "node1 > x/c TCP 80"), .outcome = outcome});
    const auto asked = judge_matrix(space.world, cells, by_node);
    const auto unproven =
        std::ranges::count(asked, CellJudgement::no_evidence, &JudgedCell::judgement);
    EXPECT_EQ(unproven > 0, outcome == ReachOutcome::timed_out);
    by_node.pop_back();
  }
  // Over IPv4 they were seen, which says nothing of IPv6.
  auto other = flow_of(space.world, "x/a > x/b TCP 80 v6");
  const ControlCell itself{.flow = flow_of(space.world, "x/b > x/b TCP 80 v6"),
                           .outcome = ReachOutcome::answered};
  auto with_itself = controls;
  with_itself.push_back(itself);
  const auto v6 =
      judge_matrix(space.world, {{.flow = other, .outcome = ReachOutcome::timed_out}}, with_itself);
  EXPECT_TRUE(v6[0].server_seen);
  EXPECT_EQ(v6[0].judgement, CellJudgement::no_evidence);
}

TEST(PolicyMatrix, AnAnswerToAnotherPodOfAnEarlierTimeShowsNoServer) {
  const auto space = nine_pods();
  const auto denied = flow_of(space.world, "x/b > x/a TCP 80");
  const std::vector<ObservedCell> cells{{.flow = denied, .outcome = ReachOutcome::timed_out}};
  const std::vector<ControlCell> earlier{
      {.flow = denied, .outcome = ReachOutcome::answered, .earlier = true}};
  const auto judged = judge_matrix(space.world, cells, earlier);
  EXPECT_TRUE(judged[0].network_seen);
  EXPECT_FALSE(judged[0].server_seen);
  EXPECT_EQ(judged[0].judgement, CellJudgement::no_evidence);
}

TEST(PolicyMatrix, TheWrongPartyIsNoAnswer) {
  const auto space = nine_pods();
  auto cells = perfect(space);
  auto& cell = cell_of(cells, flow_of(space.world, "y/a > x/a TCP 80"));
  cell.outcome = ReachOutcome::answered_by_other;
  cell.answered_by = 7;
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::fail);
  EXPECT_EQ(finding.evidence["wrong_party"], 1);
  EXPECT_THAT(finding.sentence, HasSubstr("answered by server 7, but allowed"));
  EXPECT_EQ(finding.evidence["differing"][0]["answered_by"], 7);
}

TEST(PolicyMatrix, UnknownCellsJudgeNobody) {
  auto space = nine_pods();
  space.world.unmodelled = {{.kind = "CiliumNetworkPolicy", .name = "l7", .in_namespace = "x"}};
  auto cells = perfect(space);
  // Of what is unknown, some is open and some not.
  for (auto& cell : cells) {
    if (decide(space.world, cell.flow).allowance == Allowance::unknown && cell.flow.port == 80) {
      cell.outcome = ReachOutcome::answered;
    }
  }
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_GT(finding.evidence["unknown"], 0);
  EXPECT_THAT(finding.sentence, HasSubstr("it is unknown what must be"));
  EXPECT_EQ(finding.evidence["unmodelled"], base::Json({"CiliumNetworkPolicy"}));
  // Where that is all of them, nothing is said.
  space.world.unmodelled = {{.kind = "Calico GlobalNetworkPolicy", .name = "g"}};
  std::erase_if(cells,
                [](const ObservedCell& cell) { return cell.flow.source == cell.flow.destination; });
  const auto all = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(all.verdict, Verdict::inconclusive);
  EXPECT_THAT(all.sentence, HasSubstr("Calico GlobalNetworkPolicy g may select it"));
  EXPECT_EQ(policy_matrix(space.world, {}, {}).verdict, Verdict::inconclusive);
}

TEST(PolicyMatrix, HostNetworkPodsAreCountedApart) {
  using enum base::kube::Protocol;
  PolicySpace space{.world = test_world(), .ports = {80}, .protocols = {TCP}};
  space.world.policies = {policy_of("y/from-x", R"({"podSelector": {}, "ingress": [{"from": [
      {"namespaceSelector": {"matchLabels": {"ns": "x"}}}]}]})")};
  const auto finding = policy_matrix(space.world, perfect(space), controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::pass);
  EXPECT_EQ(finding.evidence["host_network"]["cells"], 19);
  // To y/b; y/a and y/c are on its node.
  EXPECT_EQ(finding.evidence["host_network"]["unknown"], 1);
}

TEST(PolicyMatrix, FailedProbesAreNoEvidence) {
  const auto space = nine_pods();
  auto cells = perfect(space);
  auto& cell = cell_of(cells, flow_of(space.world, "z/a > y/a TCP 80"));
  cell.outcome = ReachOutcome::failed;
  cell.error_code = 24;
  const auto finding = policy_matrix(space.world, cells, controls_of(space));
  EXPECT_EQ(finding.verdict, Verdict::inconclusive);
  EXPECT_THAT(finding.sentence, HasSubstr("the probe itself failed (errno 24)"));
}

TEST(PolicyMatrix, SweepsThatAgreeHaveSettled) {
  const auto space = nine_pods();
  const auto before = perfect(space);
  auto now = before;
  EXPECT_THAT(changed_cells(before, now), ElementsAre());
  now[3].outcome = ReachOutcome::refused;
  now[7].answered_by = 2;
  EXPECT_THAT(changed_cells(before, now), ElementsAre(3, 7));
  EXPECT_EQ(changed_cells({}, now).size(), now.size());
}

TEST(PolicyMatrix, EveryRandomFaultIsToldAndItsTwinIsNot) {
  const auto space = nine_pods();
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    auto planted = space;
    planted.world.policies = random_policies(space, seed);
    auto cells = perfect(planted);
    const auto controls = controls_of(planted);
    EXPECT_EQ(policy_matrix(planted.world, cells, controls).verdict, Verdict::pass) << seed;
    // One cell turned over.
    auto& cell = cells[seed * 7 % cells.size()];
    const bool was_open = cell.outcome == ReachOutcome::answered;
    cell.outcome = was_open ? ReachOutcome::timed_out : ReachOutcome::answered;
    const auto finding = policy_matrix(planted.world, cells, controls);
    EXPECT_EQ(finding.verdict, Verdict::fail) << seed;
    EXPECT_THAT(finding.sentence, StartsWith("1 of 486 cells are not as specified")) << seed;
  }
}

}  // namespace
}  // namespace checks
