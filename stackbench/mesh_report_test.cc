#include "stackbench/mesh_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using base::kube::MtlsMode;
using reports::MeshCostOf;

constexpr int blocks = 6;

// Arms none, plaintext and mtls under tcp_crr, on two cores.
Plan three_arms() {
  Plan plan;
  plan.workloads = {{.name = "tcp_crr", .spec = {.kind = bench::WorkloadKind::tcp_crr}}};
  plan.environments.resize(3);
  for (const std::size_t i : {1u, 2u}) {
    plan.environments[i].mesh =
        cluster::MeshPlan{.spec = {.mode = i == 1 ? MtlsMode::DISABLE : MtlsMode::STRICT,
                                   .session_resumption = cluster::SessionResumption::off},
                          .cpu_of = {{"client", 0}, {"web", 1}}};
  }
  for (std::size_t i = 0; i < 3; ++i) {
    PlannedArm arm;
    arm.name = std::vector<std::string>{"none", "plaintext", "mtls"}[i];
    arm.environment = i;
    arm.dial = {.kind = DialTarget::Kind::service, .name = "web"};
    arm.from = "client-0";
    arm.servers = {"web-0"};
    if (i > 0) arm.base = i - 1;
    plan.arms.push_back(std::move(arm));
  }
  plan.scenario.checks = {CheckKind::handshake_per_connection};
  return plan;
}

// One of each arm in every block: 100 requests, a connection for each.
Sample sample_of(std::size_t arm, int block, std::int64_t proxy_ns, std::uint64_t handshakes,
                 std::uint64_t resumed = 0) {
  Sample sample;
  sample.arm = arm;
  sample.block = block;
  sample.client.requests = 100;
  sample.client.connections_opened = 100;
  sample.client.cpu_user_ns = 100 * 10'000;
  sample.servers.resize(1);
  sample.servers[0].requests = 100;
  sample.servers[0].cpu_user_ns = 100 * 5'000;
  if (arm > 0) {
    for (const bool of_client : {true, false}) {
      sample.proxies.push_back({.pod = of_client ? "client-0" : "web-0",
                                .of_client = of_client,
                                .cpu_ns = 100 * proxy_ns,
                                .memory_bytes = of_client ? 40'000'000 : 50'000'000,
                                .connections = 100,
                                .handshakes = handshakes,
                                .resumed = resumed});
    }
  }
  summarise(sample, {.kind = bench::WorkloadKind::tcp_crr});
  return sample;
}

Measurements measured(std::uint64_t handshakes = 100, std::uint64_t resumed = 0) {
  Measurements all;
  for (int block = 1; block <= blocks; ++block) {
    Block kept;
    kept.index = block;
    kept.kept = true;
    all.blocks.push_back(std::move(kept));
    all.samples.push_back(sample_of(0, block, 0, 0));
    all.samples.push_back(sample_of(1, block, 60'000, 0));
    all.samples.push_back(sample_of(2, block, 90'000, handshakes, resumed));
  }
  return all;
}

TEST(MeshRecord, ProxiesAndEncryptionAreToldApart) {
  const auto record = mesh_record(three_arms(), measured());
  ASSERT_TRUE(record);
  ASSERT_EQ(record->costs.size(), 2);
  EXPECT_EQ(record->costs[0].of, MeshCostOf::proxies);
  EXPECT_EQ(record->costs[0].base_arm, "none");
  EXPECT_NEAR(record->costs[0].cpu_per_request_ns, 2 * 60'000, 1e-6) << "of both proxies";
  EXPECT_EQ(record->costs[1].of, MeshCostOf::encryption);
  EXPECT_NEAR(record->costs[1].cpu_per_request_ns, 2 * 30'000, 1e-6);
  EXPECT_EQ(record->costs[1].blocks, blocks);
  EXPECT_TRUE(record->costs[1].interval);
}

// A difference is named by what the proxies counted, and by nothing that only the plan says.
TEST(MeshRecord, WhatWasNotEncryptedIsNoCostOfEncryption) {
  auto plan = three_arms();
  const auto of_mtls = [&](const Measurements& all) {
    for (const auto& cost : mesh_record(plan, all)->costs) {
      if (cost.arm == "mtls") return true;
    }
    return false;
  };
  EXPECT_TRUE(of_mtls(measured()));
  EXPECT_FALSE(of_mtls(measured(0))) << "passed on in clear: from outside, or to a pod without one";
  // Of HTTP those of an invocation before.
  auto pooled = measured(0);
  for (auto& sample : pooled.samples) {
    for (auto& proxy : sample.proxies) proxy.handshakes_ever = sample.arm == 2 ? 1 : 0;
  }
  EXPECT_TRUE(of_mtls(pooled));
  // What goes to a pod's own address a proxy passes on as it came.
  for (auto& arm : plan.arms) arm.dial = {.kind = DialTarget::Kind::pod, .name = "web"};
  EXPECT_FALSE(of_mtls(pooled));
}

TEST(MeshRecord, ArmsThatDifferInMoreThanTheirMeshAreNotCompared) {
  const auto costs = [](const Plan& plan) { return mesh_record(plan, measured())->costs.size(); };
  auto plan = three_arms();
  EXPECT_EQ(costs(plan), 2);
  plan.environments[2].datapath = cluster::DatapathKind::nftables;
  EXPECT_EQ(costs(plan), 1);
  plan = three_arms();
  plan.environments[2].mesh->spec.workers = 2;
  EXPECT_EQ(costs(plan), 1);
  plan = three_arms();
  plan.arms[1].dial = {.kind = DialTarget::Kind::pod, .name = "web"};
  EXPECT_EQ(costs(plan), 0);
}

// As where interception has a hole.
TEST(MeshRecord, ConnectionsThatMetNoProxyAreNoCostOfProxies) {
  auto all = measured();
  for (auto& sample : all.samples) {
    for (auto& proxy : sample.proxies) {
      if (sample.arm == 1) proxy.connections = 0;
    }
  }
  EXPECT_TRUE(mesh_record(three_arms(), all)->costs.empty());
  const auto judged = judge_handshakes(three_arms(), all);
  EXPECT_EQ(judged[0].finding.verdict, base::Verdict::invalid) << judged[0].finding.sentence;
}

// Of two servers each answers half: a proxy's CPU at so many requests a second is that at so many
// of its own pod's.
TEST(MeshRecord, AServersProxyIsSaidForTheRequestsOfItsOwnPod) {
  auto plan = three_arms();
  auto all = measured(50);
  plan.arms[2].servers = {"web-0", "web-1"};
  for (auto& sample : all.samples) {
    if (sample.arm != 2) continue;
    sample.servers.resize(2);
    for (auto& server : sample.servers) server.requests = 50;
  }
  const auto record = mesh_record(plan, all);
  const auto& server = record->proxies[3];
  ASSERT_EQ(server.pod, "web-0");
  EXPECT_NEAR(server.cpu_per_request_ns, 90'000, 1e-6) << "for each of the client's requests";
  EXPECT_NEAR(server.vcpu_per_1000_rps, 0.18, 1e-9);
  EXPECT_NEAR(server.handshakes_per_connection, 1, 1e-9);
  EXPECT_NEAR(record->proxies[2].vcpu_per_1000_rps, 0.09, 1e-9);
  // Where a kept connection went to the other one, nothing is said of it.
  auto& elsewhere = all.samples[2];
  elsewhere.servers[0].requests = 0;
  elsewhere.servers[1].requests = 100;
  EXPECT_NEAR(mesh_record(plan, all)->proxies[3].vcpu_per_1000_rps, 0.18, 1e-9);
}

TEST(MeshRecord, EachProxyIsSaidWithItsCoreAndMemory) {
  const auto record = mesh_record(three_arms(), measured());
  ASSERT_EQ(record->proxies.size(), 4);
  const auto& server = record->proxies[3];
  EXPECT_EQ(server.arm, "mtls");
  EXPECT_EQ(server.pod, "web-0");
  EXPECT_FALSE(server.of_client);
  EXPECT_EQ(server.cpu, 1);
  EXPECT_EQ(server.memory_bytes, 50'000'000);
  EXPECT_NEAR(server.cpu_per_request_ns, 90'000, 1e-6);
  EXPECT_NEAR(server.vcpu_per_1000_rps, 0.09, 1e-9);
  EXPECT_NEAR(server.handshakes_per_connection, 1, 1e-9);
  EXPECT_NEAR(record->proxies[1].handshakes_per_connection, 0, 1e-9);
}

TEST(MeshRecord, ABlockWhoseProxiesWereNotReadInTimeIsLeftOut) {
  auto all = measured();
  auto& late = all.samples[2];
  late.proxies[0].cpu_ns.reset();
  late.values.clear();
  summarise(late, {.kind = bench::WorkloadKind::tcp_crr});
  EXPECT_FALSE(late.values.contains(Metric::cpu_per_request)) << "never without a proxy's share";
  const auto record = mesh_record(three_arms(), all);
  EXPECT_EQ(record->costs[0].blocks, blocks);
  EXPECT_EQ(record->costs[1].blocks, blocks - 1);
}

TEST(MeshRecord, ThereIsNoneWithoutAMesh) {
  auto plan = three_arms();
  for (auto& environment : plan.environments) environment.mesh.reset();
  EXPECT_FALSE(mesh_record(plan, measured()));
  EXPECT_TRUE(judge_handshakes(plan, measured()).empty());
}

TEST(Handshakes, AreJudgedOfEveryArmWithProxies) {
  const auto whole = judge_handshakes(three_arms(), measured());
  ASSERT_EQ(whole.size(), 2);
  EXPECT_EQ(whole[0].arm, 1);
  EXPECT_EQ(whole[0].finding.observed, "none");
  EXPECT_EQ(whole[1].finding.observed, "whole");
  EXPECT_EQ(whole[1].finding.verdict, base::Verdict::pass);
  EXPECT_EQ(judge_handshakes(three_arms(), measured(1))[1].finding.verdict, base::Verdict::invalid);
  EXPECT_EQ(judge_handshakes(three_arms(), measured(100, 80))[1].finding.verdict,
            base::Verdict::invalid);
}

TEST(Handshakes, OfADisturbedBlockCountAsWellAsAnyAndThoseOfTheWarmUpDoNot) {
  auto all = measured();
  all.samples[2].proxies[0].handshakes = 1;
  all.blocks[0].kept = false;
  EXPECT_EQ(judge_handshakes(three_arms(), all)[1].finding.verdict, base::Verdict::invalid);
  all.samples[2].block = 0;
  EXPECT_EQ(judge_handshakes(three_arms(), all)[1].finding.verdict, base::Verdict::pass);
}

TEST(Handshakes, OfHttpAreTheProxiesOwn) {
  auto plan = three_arms();
  plan.workloads[0].spec.kind = bench::WorkloadKind::http;
  auto all = measured(1);
  EXPECT_EQ(judge_handshakes(plan, all)[1].finding.observed, "pooled");
  // But the client's connections must have met its proxy.
  all.samples[2].proxies[0].connections = 0;
  EXPECT_EQ(judge_handshakes(plan, all)[1].finding.verdict, base::Verdict::invalid);
  plan.workloads[0].spec.kind = bench::WorkloadKind::udp_rr;
  EXPECT_TRUE(judge_handshakes(plan, all).empty());
}

TEST(ProxySamples, AreDifferencesInProportionToTheWindow) {
  PlannedArm arm;
  arm.from = "client-0";
  arm.servers = {"web-0"};
  bench::ClientResult client;
  client.start_ns = 1'000'000'000;
  client.end_ns = 1'300'000'000;
  ProxyReadings readings;
  const auto counters = [](std::uint64_t handshakes) {
    return std::vector<cluster::ProxyCounters>{
        {.pod = "client-0", .client_handshakes = handshakes, .connections_out = handshakes + 5},
        {.pod = "other-0", .client_handshakes = 9},
        {.pod = "web-0", .server_handshakes = handshakes + 1, .memory_bytes = 7}};
  };
  readings.before = counters(10);
  readings.after = counters(110);
  readings.first = {{"client-0", 1'000'500'000, 5'000}, {"web-0", 1'000'500'000, 0}};
  readings.last = {{"client-0", 1'299'500'000, 304'000}, {"web-0", 1'299'500'000, 299'000}};
  const auto warm_up = base::Duration(std::chrono::milliseconds(50));
  auto all = proxy_samples(arm, readings, client, warm_up);
  ASSERT_EQ(all.size(), 2) << "another pod's is none of the arm's";
  EXPECT_TRUE(all[0].of_client);
  EXPECT_EQ(all[0].handshakes, 100);
  EXPECT_EQ(all[0].connections, 100);
  EXPECT_EQ(all[0].cpu_ns, 300'000);
  EXPECT_EQ(all[1].handshakes, 100);
  EXPECT_EQ(all[1].memory_bytes, 7);
  EXPECT_EQ(all[0].handshakes_ever, 110);
  // A window that opened a little late was read with its warm-up, the same traffic; one that opened
  // later with what was none.
  const auto known_if_late_by = [&](std::int64_t ns) {
    auto late = client;
    late.start_ns += ns;
    late.end_ns += ns;
    return proxy_samples(arm, readings, late, warm_up)[0].cpu_ns.has_value();
  };
  EXPECT_TRUE(known_if_late_by(50'000'000));
  EXPECT_FALSE(known_if_late_by(56'000'000));
  EXPECT_FALSE(known_if_late_by(80'000'000)) << "too little of the window was read";
}

}  // namespace
}  // namespace stackbench
