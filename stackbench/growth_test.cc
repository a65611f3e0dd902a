#include "stackbench/growth.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using reports::GrowthLaw;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr int blocks = 12;

// One arm in each of three environments of iptables that differ in their fillers.
Plan scale_plan() {
  Plan plan;
  plan.scenario.workloads.resize(1);
  plan.workloads = {{.name = "tcp_crr", .spec = {.kind = bench::WorkloadKind::tcp_crr}}};
  for (const int fillers : {10'000, 0, 5'000}) {
    cluster::EnvironmentPlan environment{.name = fmt::format("iptables_{}", fillers),
                                         .datapath = cluster::DatapathKind::iptables,
                                         .topology = {},
                                         .ports = {},
                                         .faults = {},
                                         .filler = {.services = fillers}};
    environment.topology.services["web"] = {.target = "web"};
    plan.arms.push_back({.name = fmt::format("arm_{}", fillers),
                         .environment = plan.environments.size(),
                         .dial = {.kind = DialTarget::Kind::service, .name = "web"},
                         .from = "client-0",
                         .servers = {},
                         .base = {}});
    plan.environments.push_back(std::move(environment));
  }
  return plan;
}

// Invocations whose connects take `start_ns` and `slope_ns` more for each filler, with a shake that
// changes sign from block to block.
std::vector<Sample> run_of(const Plan& plan, double start_ns, double slope_ns, double shake_ns) {
  std::vector<Sample> samples;
  for (int block = 1; block <= blocks; ++block) {
    for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
      const int fillers = plan.environments[plan.arms[arm].environment].filler.services;
      const bool up = (block + static_cast<int>(arm)) % 2 == 0;
      const double shake = shake_ns * (up ? 1 : -1) * (1 + 0.05 * block);
      Sample sample;
      sample.arm = arm;
      sample.block = block;
      sample.values[Metric::connect_p50] = start_ns + slope_ns * fillers + shake;
      samples.push_back(sample);
    }
  }
  return samples;
}

std::vector<int> all_blocks() {
  std::vector<int> all;
  for (int block = 1; block <= blocks; ++block) all.push_back(block);
  return all;
}

reports::Growth growth_of(double start_ns, double slope_ns, double shake_ns) {
  const auto plan = scale_plan();
  const auto series = growth_series(plan);
  EXPECT_EQ(series.size(), 1U);
  const auto growth =
      fit_growth(plan, series.front(), run_of(plan, start_ns, slope_ns, shake_ns), all_blocks());
  EXPECT_TRUE(growth) << base::describe_error(growth.error());
  return growth->value_or(reports::Growth{});
}

TEST(Growth, ArmsThatDifferInTheirFillersMakeALineInTheOrderOfServices) {
  const auto series = growth_series(scale_plan());
  ASSERT_EQ(series.size(), 1U);
  EXPECT_EQ(series[0].path, "iptables service/web");
  EXPECT_EQ(series[0].metric, Metric::connect_p50);
  EXPECT_THAT(series[0].arms, ElementsAre(1, 2, 0));
  EXPECT_THAT(series[0].loaded, ElementsAre(1, 5'001, 10'001));
  EXPECT_EQ(series[0].by, reports::GrowthBy::services);
}

// The same by policies: the fillers are policies, and there is an environment without any.
Plan policies_plan() {
  auto plan = scale_plan();
  for (auto& environment : plan.environments) {
    environment.datapath = cluster::DatapathKind::direct;
    environment.topology.services.clear();
    environment.filler = {.services = 0, .policies = environment.filler.services};
  }
  for (auto& arm : plan.arms) arm.dial.kind = DialTarget::Kind::pod;
  plan.environments.push_back({.name = "direct",
                               .datapath = cluster::DatapathKind::direct,
                               .topology = {},
                               .ports = {},
                               .faults = {}});
  plan.arms.push_back(plan.arms.front());
  plan.arms.back().environment = plan.environments.size() - 1;
  return plan;
}

TEST(Growth, PoliciesMakeALineOfConnectsAndOneOfCpu) {
  const auto series = growth_series(policies_plan());
  ASSERT_EQ(series.size(), 2U);
  for (const auto& one : series) {
    EXPECT_EQ(one.path, "direct pod/web");
    EXPECT_EQ(one.by, reports::GrowthBy::policies);
    EXPECT_THAT(one.arms, ElementsAre(1, 2, 0));
    EXPECT_THAT(one.loaded, ElementsAre(0, 5'000, 10'000));
  }
  EXPECT_EQ(series[0].metric, Metric::connect_p50);
  EXPECT_EQ(series[1].metric, Metric::cpu_per_request);
  auto spins = policies_plan();
  spins.workloads[0].spec.wait = bench::WaitStrategy::spin;
  EXPECT_EQ(growth_series(spins).size(), 1U);
}

TEST(Growth, MorePeersAPolicyOrMoreServicesBesideAreAnotherPath) {
  auto plan = policies_plan();
  plan.environments[0].filler.selectors = 20;
  EXPECT_TRUE(growth_series(plan).empty());
  plan = policies_plan();
  plan.environments[0].filler.services = 5;
  EXPECT_TRUE(growth_series(plan).empty());
}

TEST(Growth, ALineByPoliciesSaysSo) {
  const auto plan = policies_plan();
  auto samples = run_of(plan, 0, 0, 200);
  for (auto& sample : samples) {
    const auto policies = plan.environments[plan.arms[sample.arm].environment].filler.policies;
    sample.values[Metric::connect_p50] += 20'000 + 2.5 * policies.value_or(0);
  }
  const auto growth = fit_growth(plan, growth_series(plan).front(), samples, all_blocks());
  ASSERT_TRUE(growth && *growth);
  EXPECT_EQ((*growth)->law, GrowthLaw::grows);
  EXPECT_NEAR((*growth)->per_thousand_ns, 2'500, 50);
  EXPECT_THAT((*growth)->sentence, HasSubstr("from 0 to 10000 policies: grows"));
}

TEST(Growth, WhatLoadingCostIsThatOfWhatGrows) {
  const base::Json facts = {
      {"load_ns", 1},
      {"kernel_memory_bytes", 2},
      {"network_policy", {{"compile_ns", 30}, {"load_ns", 400}, {"table_bytes", 5'000}}}};
  reports::GrowthPoint point;
  add_load_cost(facts, reports::GrowthBy::services, point);
  EXPECT_EQ(point.load_ns, 1);
  EXPECT_EQ(point.kernel_memory_bytes, 2);
  add_load_cost(facts, reports::GrowthBy::policies, point);
  EXPECT_EQ(point.load_ns, 430);
  EXPECT_EQ(point.kernel_memory_bytes, 5'000);
  reports::GrowthPoint of_cluster;
  add_load_cost({{"namespace", "it"}}, reports::GrowthBy::policies, of_cluster);
  EXPECT_FALSE(of_cluster.load_ns);
  add_load_cost({{"network_policy", {{"written_ns", 300}, {"seen_after_ns", 20}}}},
                reports::GrowthBy::policies, of_cluster);
  EXPECT_EQ(of_cluster.load_ns, 320);
}

TEST(Growth, TwoNumbersOfServicesMakeNoLine) {
  auto plan = scale_plan();
  plan.arms.pop_back();
  EXPECT_TRUE(growth_series(plan).empty());
}

TEST(Growth, AnotherDialIsAnotherPath) {
  auto plan = scale_plan();
  plan.arms.back().dial.name = "other";
  EXPECT_TRUE(growth_series(plan).empty());
}

TEST(Growth, ALineThatRisesGrowsByItsSlope) {
  const auto growth = growth_of(20'000, 2.5, 200);
  EXPECT_EQ(growth.law, GrowthLaw::grows);
  EXPECT_NEAR(growth.per_thousand_ns, 2'500, 50);
  ASSERT_TRUE(growth.per_thousand_interval);
  EXPECT_LE(growth.per_thousand_interval->lower, 2'500);
  EXPECT_GE(growth.per_thousand_interval->upper, 2'500);
  EXPECT_NEAR(growth.at_none_ns, 20'000, 300);
  EXPECT_GT(growth.explained, 0.99);
  EXPECT_THAT(growth.sentence, HasSubstr("grows"));
}

TEST(Growth, ALineThatFallsShrinks) {
  EXPECT_EQ(growth_of(60'000, -2.5, 200).law, GrowthLaw::shrinks);
}

TEST(Growth, NoSlopeIsFlat) { EXPECT_EQ(growth_of(20'000, 0, 200).law, GrowthLaw::flat); }

TEST(Growth, PointsThatAreAllTheSameAreFlat) {
  const auto growth = growth_of(20'000, 0, 0);
  EXPECT_EQ(growth.law, GrowthLaw::flat);
  EXPECT_EQ(growth.explained, 1);
}

// What is neither: an interval that leaves room for a growth of a tenth and for none.
TEST(Growth, AnIntervalWiderThanItsDifferenceIsInvalid) {
  const auto growth = growth_of(20'000, 0.05, 4'000);
  EXPECT_EQ(growth.law, GrowthLaw::invalid);
  EXPECT_THAT(growth.sentence, HasSubstr("wider than the difference"));
}

// A step at the last point, and a hump in the middle: both have a slope, or none, and no line.
TEST(Growth, PointsThatLieOnNoLineAreInvalid) {
  for (const auto& [middle, last] :
       {std::pair{20'000.0, 23'500.0}, std::pair{40'000.0, 20'000.0}}) {
    const auto plan = scale_plan();
    auto samples = run_of(plan, 20'000, 0, 20);
    for (auto& sample : samples) {
      const int fillers = plan.environments[plan.arms[sample.arm].environment].filler.services;
      if (fillers == 5'000) sample.values[Metric::connect_p50] += middle - 20'000;
      if (fillers == 10'000) sample.values[Metric::connect_p50] += last - 20'000;
    }
    const auto growth = fit_growth(plan, growth_series(plan).front(), samples, all_blocks());
    ASSERT_TRUE(growth && *growth);
    EXPECT_EQ((*growth)->law, GrowthLaw::invalid) << (*growth)->sentence;
  }
}

TEST(Growth, AFaultIsAnotherPath) {
  auto plan = scale_plan();
  plan.environments.back().faults = {cluster::FaultKind::hook_left_out};
  EXPECT_TRUE(growth_series(plan).empty());
}

TEST(Growth, TooFewBlocksForAnIntervalAreInvalid) {
  const auto plan = scale_plan();
  const auto growth =
      fit_growth(plan, growth_series(plan).front(), run_of(plan, 20'000, 2.5, 200), {1, 2, 3});
  ASSERT_TRUE(growth && *growth);
  EXPECT_EQ((*growth)->law, GrowthLaw::invalid);
}

TEST(Growth, ABlockWithoutOneArmsValueIsLeftOut) {
  const auto plan = scale_plan();
  auto samples = run_of(plan, 20'000, 2.5, 200);
  samples.front().values.clear();
  const auto growth = fit_growth(plan, growth_series(plan).front(), samples, all_blocks());
  ASSERT_TRUE(growth && *growth);
  EXPECT_EQ((*growth)->blocks, blocks - 1);
}

TEST(Growth, WithoutValuesThereIsNothingToSay) {
  const auto plan = scale_plan();
  const auto growth = fit_growth(plan, growth_series(plan).front(), {}, all_blocks());
  ASSERT_TRUE(growth);
  EXPECT_FALSE(*growth);
}

}  // namespace
}  // namespace stackbench
