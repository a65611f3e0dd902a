#include "stackbench/plan.h"

#include <algorithm>
#include <set>

#include <gtest/gtest.h>

namespace stackbench {
namespace {

// Two datapaths, two arms each, and one arm outside any environment.
Scenario small_scenario() {
  Scenario scenario;
  scenario.question = "?";
  scenario.topology.pods = {{"client", {.node = 1, .replicas = 1}},
                            {"web", {.node = 2, .replicas = 3}}};
  scenario.topology.services = {{"web", {.target = "web"}}};
  scenario.environments = {{"iptables", {cluster::DatapathKind::iptables}},
                           {"nftables", {cluster::DatapathKind::nftables}}};
  const DialTarget pod{DialTarget::Kind::pod, "web"};
  const DialTarget service{DialTarget::Kind::service, "web"};
  scenario.arms = {
      {.name = "direct", .in = {}, .dial = pod, .from = "client", .relative_to = {}},
      {.name = "pod", .in = "iptables", .dial = pod, .from = "client", .relative_to = "direct"},
      {.name = "svc", .in = "iptables", .dial = service, .from = "client", .relative_to = "pod"}};
  scenario.workloads.resize(1);
  scenario.checks = {CheckKind::translated_at};
  return scenario;
}

TEST(ArmOrder, EveryArmRunsTwiceAndTheSecondPassMirrorsTheFirst) {
  for (int block = 0; block < 20; ++block) {
    const auto order = arm_order(7, 42, block, 0);
    ASSERT_EQ(order.size(), 14u);
    EXPECT_TRUE(std::equal(order.begin(), order.begin() + 7, order.rbegin()));
    EXPECT_EQ(std::set<std::size_t>(order.begin(), order.begin() + 7).size(), 7u);
  }
}

TEST(ArmOrder, IsTheSameForTheSameSeedAndDiffersBetweenBlocks) {
  EXPECT_EQ(arm_order(7, 42, 3, 1), arm_order(7, 42, 3, 1));
  std::set<std::vector<std::size_t>> orders;
  for (int block = 0; block < 20; ++block) orders.insert(arm_order(7, 42, block, 0));
  EXPECT_GT(orders.size(), 15u);
}

TEST(ArmOrder, PutsEveryArmFirstEventually) {
  std::set<std::size_t> first;
  for (int block = 0; block < 200; ++block) first.insert(arm_order(5, 1, block, 0).front());
  EXPECT_EQ(first.size(), 5u);
}

TEST(MakePlan, TellsWhichPodsShareAWorkload) {
  auto scenario = small_scenario();
  scenario.topology.pods.at("client").replicas = 4;
  EXPECT_TRUE(make_plan(scenario, {0, 1})->environments[0].generator_groups.empty());
  scenario.workloads[0].generators = 4;
  EXPECT_EQ(make_plan(scenario, {0, 1})->environments[0].generator_groups,
            std::set<std::string>{"client"});
  // One that a Service sends traffic to stays as it is: events are about single pods.
  for (auto& arm : scenario.arms) arm.from = "web";
  EXPECT_TRUE(make_plan(scenario, {0, 1})->environments[0].generator_groups.empty());
}

TEST(MakePlan, TellsWhetherEventsOrPoliciesReplacePods) {
  auto scenario = small_scenario();
  EXPECT_FALSE(make_plan(scenario, {0, 1})->environments[0].replaces_pods);
  scenario.events = {{.at = {}, .kind = cluster::EventKind::replace, .pod = "web-0"}};
  EXPECT_TRUE(make_plan(scenario, {0, 1})->environments[0].replaces_pods);
  scenario.events.clear();
  scenario.policy.emplace();
  EXPECT_FALSE(make_plan(scenario, {0, 1})->environments[0].replaces_pods);
  scenario.policy->new_pods = {"web-0"};
  EXPECT_TRUE(make_plan(scenario, {0, 1})->environments[0].replaces_pods);
  scenario.policy->new_pods.clear();
  scenario.policy->changes = {{.name = "renew", .restart_pod = "web-0"}};
  EXPECT_TRUE(make_plan(scenario, {0, 1})->environments[0].replaces_pods);
}

TEST(MakePlan, GivesAnEnvironmentItsPoliciesAndLetsThemBeEnforced) {
  auto scenario = small_scenario();
  EXPECT_FALSE(make_plan(scenario, {0, 1})->environments[0].has_policies);
  auto& environment = scenario.environments.at("iptables");
  environment.filler_selectors = 5;
  // None is something, too: what enforces them is there.
  for (const int policies : {0, 100}) {
    environment.filler_policies = policies;
    const auto plan = make_plan(scenario, {0, 1});
    ASSERT_TRUE(plan);
    EXPECT_TRUE(plan->environments[0].has_policies);
    EXPECT_EQ(plan->environments[0].filler.policies, policies);
    EXPECT_EQ(plan->environments[0].filler.selectors, 5);
    EXPECT_FALSE(plan->environments[1].has_policies);
  }
}

TEST(MakePlan, OfARotationHasEveryEnvironmentItsPortsAndHowLongCertificatesLast) {
  auto scenario = small_scenario();
  scenario.arms.clear();
  scenario.workloads.clear();
  scenario.environments.clear();
  scenario.environments["a"] = {.datapath = cluster::DatapathKind::nftables,
                                .mesh = cluster::MeshSpec{}};
  scenario.environments["b"] = scenario.environments["a"];
  scenario.rotation = RotationSpec{.service = "web",
                                   .certificates_last = std::chrono::seconds(7),
                                   .every = std::chrono::seconds(3),
                                   .rotations = 4,
                                   .rotate_root = true};
  const auto plan = make_plan(scenario, {0, 1});
  ASSERT_TRUE(plan) << base::describe_error(plan.error());
  ASSERT_EQ(plan->environments.size(), 2U);
  for (const auto& environment : plan->environments) {
    ASSERT_TRUE(environment.mesh);
    EXPECT_EQ(environment.mesh->certificates_last, std::chrono::seconds(7));
    ASSERT_EQ(environment.ports.size(), 2U);
    EXPECT_EQ(environment.ports[0].name, "tcp-crr");
    EXPECT_EQ(environment.ports[1].name, "tcp-rr");
  }
  // Before the first of seven steps and after each.
  const auto takes = estimate_duration(*plan, {}, "lab");
  EXPECT_GE(takes, 2 * std::chrono::seconds(24));
  EXPECT_LE(takes, 2 * std::chrono::seconds(24) + std::chrono::seconds(5));
  // Without one nobody's certificates are short-lived.
  scenario.rotation.reset();
  ArmSpec arm;
  arm.name = "one";
  arm.in = "a";
  scenario.arms = {arm};
  EXPECT_FALSE(make_plan(scenario, {0, 1})->environments[0].mesh->certificates_last);
}

TEST(MakePlan, MakesTheBareEnvironmentAndLeavesOutUnusedOnes) {
  const auto plan = make_plan(small_scenario(), {0, 1});
  ASSERT_TRUE(plan) << base::describe_error(plan.error());
  ASSERT_EQ(plan->environments.size(), 2u);
  EXPECT_EQ(plan->environments[0].name, "iptables");
  EXPECT_EQ(plan->environments[1].name, "direct");
  EXPECT_EQ(plan->environments[1].datapath, cluster::DatapathKind::direct);
}

TEST(MakePlan, EveryPodAnswersWhetherItIsDialledItselfOrItsService) {
  const auto plan = make_plan(small_scenario(), {0, 1});
  ASSERT_TRUE(plan);
  EXPECT_EQ(plan->arms[1].servers, (std::vector<std::string>{"web-0", "web-1", "web-2"}));
  EXPECT_EQ(plan->arms[2].servers, (std::vector<std::string>{"web-0", "web-1", "web-2"}));
  EXPECT_EQ(plan->arms[2].from, "client-0");
  EXPECT_EQ(plan->arms[2].base, std::optional<std::size_t>(1));
  EXPECT_EQ(plan->arms[0].base, std::nullopt);
}

TEST(MakePlan, OneCoreIsOversubscribed) {
  EXPECT_TRUE(make_plan(small_scenario(), {3})->cores.oversubscribed());
  EXPECT_FALSE(make_plan(small_scenario(), {0, 1})->cores.oversubscribed());
}

TEST(MakePlan, ProxiesHaveCoresOfTheirOwnWhereThereAreFour) {
  auto scenario = small_scenario();
  scenario.environments.at("iptables").mesh = cluster::MeshSpec{};
  const auto two = make_plan(scenario, {0, 1});
  ASSERT_TRUE(two->environments[0].mesh);
  EXPECT_EQ(two->environments[0].mesh->cpu_of,
            (std::map<std::string, int>{{"client", 0}, {"web", 1}}));
  EXPECT_TRUE(two->oversubscribed(two->arms[2]));
  EXPECT_FALSE(two->oversubscribed(two->arms[0])) << "it has no proxies";
  const auto four = make_plan(scenario, {0, 1, 2, 3});
  EXPECT_EQ(four->environments[0].mesh->cpu_of,
            (std::map<std::string, int>{{"client", 2}, {"web", 3}}));
  EXPECT_FALSE(four->oversubscribed(four->arms[2]));
  auto roaming = *two;
  roaming.unpin_proxies();
  EXPECT_TRUE(roaming.environments[0].mesh->cpu_of.empty());
}

TEST(MakePlan, OnlyPlaintextToPodsBehindStrictIsAnExchangeOfItsCheck) {
  auto scenario = small_scenario();
  scenario.checks = {CheckKind::plaintext_refused, CheckKind::handshake_per_connection};
  EXPECT_EQ(check_exchanges(*make_plan(scenario, {0, 1})), 0);
  auto& mesh = scenario.environments.at("iptables").mesh.emplace();
  EXPECT_EQ(check_exchanges(*make_plan(scenario, {0, 1})), 6)
      << "two arms of three pods, one workload";
  mesh.mode = base::kube::MtlsMode::PERMISSIVE;
  EXPECT_EQ(check_exchanges(*make_plan(scenario, {0, 1})), 0);
}

TEST(MakePlan, TheWireIsJudgedWhereAMeshIsToEncryptElseEverywhere) {
  auto scenario = small_scenario();
  const auto judged = [&](bool (*is_to)(const Plan&, const PlannedArm&)) {
    const auto plan = *make_plan(scenario, {0, 1});
    std::vector<std::string> arms;
    for (const auto& arm : plan.arms) {
      if (is_to(plan, arm)) arms.push_back(arm.name);
    }
    return arms;
  };
  const std::vector<std::string> all{"direct", "pod", "svc"};
  const std::vector<std::string> proxied{"pod", "svc"};
  EXPECT_EQ(judged(is_to_be_encrypted), all) << "nobody promises anything";
  EXPECT_EQ(judged(is_to_refuse_impostors), all);
  auto& mesh = scenario.environments.at("iptables").mesh.emplace();
  EXPECT_EQ(judged(is_to_be_encrypted), proxied);
  EXPECT_EQ(judged(is_to_refuse_impostors), proxied);
  mesh.mode = base::kube::MtlsMode::PERMISSIVE;
  EXPECT_EQ(judged(is_to_be_encrypted), proxied);
  EXPECT_EQ(judged(is_to_refuse_impostors), all) << "PERMISSIVE takes plaintext";
  mesh.mode = base::kube::MtlsMode::DISABLE;
  EXPECT_EQ(judged(is_to_be_encrypted), all);
}

TEST(MakePlan, RefusesADatapathUnderTheBareEnvironmentsName) {
  auto scenario = small_scenario();
  scenario.environments["direct"] = {cluster::DatapathKind::iptables};
  scenario.arms[1].in = "direct";
  const auto plan = make_plan(scenario, {0, 1});
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().message,
            "environments.direct: this name is kept for arms outside any environment");
}

TEST(ServerWait, SpinsOnlyWhereOneServerCanBeBusyAtATime) {
  bench::WorkloadSpec workload;
  workload.wait = bench::WaitStrategy::spin;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::spin);
  workload.connections = 2;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::block);
  workload.connections = 1;
  workload.kind = bench::WorkloadKind::tcp_crr;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::block);
  workload.kind = bench::WorkloadKind::http;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::spin);
  workload.keep_alive = false;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::block);
  for (const auto stream : {bench::WorkloadKind::tcp_stream, bench::WorkloadKind::udp_stream}) {
    workload.kind = stream;
    EXPECT_EQ(server_wait(workload), bench::WaitStrategy::block);
  }
  workload.kind = bench::WorkloadKind::tcp_rr;
  workload.wait = bench::WaitStrategy::hybrid;
  EXPECT_EQ(server_wait(workload), bench::WaitStrategy::block);
}

TEST(EstimateDuration, AddsUpWhatARunConsistsOf) {
  auto scenario = small_scenario();
  scenario.blocks = 9;
  scenario.workloads[0].warm_up = std::chrono::milliseconds(50);
  scenario.workloads[0].duration = std::chrono::milliseconds(200);
  const auto plan = make_plan(scenario, {0, 1});
  ASSERT_TRUE(plan);
  const Overheads overheads{.provision_ns = 1'000'000'000,
                            .invocation_ns = 50'000'000,
                            .check_ns = 100'000'000,
                            .finish_ns = 500'000'000,
                            .runs = 1};
  // 2 environments, 10 blocks of 3 arms twice at 300 ms, 3 checks, the end.
  EXPECT_EQ(estimate_duration(*plan, overheads, "lab"),
            std::chrono::milliseconds(2000 + 18000 + 300 + 500));
  // Closed loops wait for nobody.
  EXPECT_EQ(estimate_duration(*plan, overheads, "kubernetes"),
            estimate_duration(*plan, overheads, "lab"));
}

TEST(NoiseLimits, AProbeWatchesAHundredthOfTheLongestInvocation) {
  const auto span_of = [](std::chrono::milliseconds duration) {
    auto scenario = small_scenario();
    scenario.workloads[0].duration = duration;
    const auto plan = make_plan(scenario, {0, 1});
    return plan ? noise_limits(*plan).probe_span_ns : -1;
  };
  EXPECT_EQ(span_of(std::chrono::milliseconds(100)), 3'000'000);
  EXPECT_EQ(span_of(std::chrono::milliseconds(2200)), 22'000'000);
  EXPECT_EQ(span_of(std::chrono::milliseconds(20'000)), 50'000'000);
}

TEST(EstimateDuration, OnAClusterIsWhatLocalPortsNeed) {
  auto scenario = small_scenario();
  scenario.blocks = 9;
  scenario.events = {{.at = std::chrono::milliseconds(100), .pod = "web-0"}};
  scenario.workloads[0] = {.kind = bench::WorkloadKind::tcp_crr,
                           .duration = std::chrono::milliseconds(2500),
                           .warm_up = base::Duration(0),
                           .rate = base::RequestRate{4000},
                           .connections = 8};
  const auto plan = make_plan(scenario, {0, 1});
  ASSERT_TRUE(plan);
  EXPECT_EQ(connections_of(plan->workloads[0].spec), 10'000U);
  const Overheads overheads{};
  // 20 invocations of each arm; the client of two arms opens 40 times 10,000 connections.
  const auto on_cluster = estimate_duration(*plan, overheads, "kubernetes");
  EXPECT_GT(on_cluster, std::chrono::minutes(10));
  EXPECT_GT(on_cluster, estimate_duration(*plan, overheads, "lab"));
}

}  // namespace
}  // namespace stackbench
