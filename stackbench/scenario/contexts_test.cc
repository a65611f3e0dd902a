#include "stackbench/scenario/contexts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using testing::ElementsAre;

Scenario sound() {
  Scenario scenario;
  scenario.environments["here"].datapath = cluster::DatapathKind::installed;
  scenario.arms.resize(3);
  scenario.arms[0].name = "bare";
  scenario.arms[1].name = "pod_ip";
  scenario.arms[1].in = "here";
  scenario.arms[1].relative_to = "bare";
  scenario.arms[2].name = "cluster_ip";
  scenario.arms[2].in = "here";
  scenario.arms[2].relative_to = "pod_ip";
  scenario.expect.resize(1);
  scenario.expect[0].arm = "cluster_ip";
  scenario.expect[0].relative_to = "pod_ip";
  return scenario;
}

TEST(InTwoContexts, EveryEnvironmentIsThereTwice) {
  const auto both = in_two_contexts(sound(), "kind-old", "kind-new");
  ASSERT_EQ(both.environments.size(), 2);
  EXPECT_EQ(both.environments.at("here_a").context, "kind-old");
  EXPECT_EQ(both.environments.at("here_b").context, "kind-new");
  EXPECT_EQ(both.environments.at("here_b").datapath, cluster::DatapathKind::installed);
}

TEST(InTwoContexts, AnArmOfBIsComparedWithItsTwin) {
  std::vector<std::string> lines;
  for (const auto& arm : in_two_contexts(sound(), "a", "b").arms) {
    lines.push_back(fmt::format("{} in {} against {}", arm.name, arm.in.value_or("nothing"),
                                arm.relative_to.value_or("nothing")));
  }
  EXPECT_THAT(
      lines,
      ElementsAre("bare in nothing against nothing", "pod_ip_a in here_a against bare",
                  "cluster_ip_a in here_a against pod_ip_a", "pod_ip_b in here_b against pod_ip_a",
                  "cluster_ip_b in here_b against cluster_ip_a"));
}

TEST(InTwoContexts, WhatIsExpectedIsExpectedOfBoth) {
  std::vector<std::string> lines;
  auto scenario = sound();
  scenario.expect.push_back(scenario.expect[0]);
  scenario.expect[1].arm = "bare";
  scenario.expect[1].relative_to.reset();
  for (const auto& one : in_two_contexts(scenario, "a", "b").expect) {
    lines.push_back(fmt::format("{} of {}", one.arm, one.relative_to.value_or("nothing")));
  }
  EXPECT_THAT(lines, ElementsAre("cluster_ip_a of pod_ip_a", "bare of nothing",
                                 "cluster_ip_b of pod_ip_b"));
}

}  // namespace
}  // namespace stackbench
