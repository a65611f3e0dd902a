// A run whose checks end early, on a target that nobody's agent answers on.
#include "stackbench/run.h"

#include <cstdlib>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

using testing::HasSubstr;

// Its proxies say what they have; agents cannot be had.
class WithoutAgents : public cluster::Target {
 public:
  [[nodiscard]] std::string_view name() const override { return "agentless"; }
  base::Result<cluster::EnvironmentHandle> provision(
      const cluster::EnvironmentPlan& plan) override {
    cluster::EnvironmentHandle handle;
    handle.name = plan.name;
    handle.datapath = plan.datapath;
    for (const auto* group : {"client", "web"}) {
      cluster::PodHandle pod;
      pod.name = fmt::format("{}-0", group);
      pod.group = group;
      pod.ipv4 = base::IpAddress::parse("10.244.0.1").value();
      handle.pods.push_back(pod);
    }
    handle.pods.push_back(handle.pods.front());
    handle.pods.back().name = cluster::external_client;
    auto& service = handle.services["web"];
    service.name = service.target = "web";
    service.ipv4 = base::IpAddress::parse("10.96.0.1").value();
    return handle;
  }
  base::Result<> teardown() override {
    ++teardowns;
    return {};
  }
  base::Result<cluster::WriteStamps> apply(std::string_view, const base::Json&) override {
    return cluster::WriteStamps{};
  }
  base::Result<cluster::WriteStamps> remove(std::string_view, std::string_view,
                                            std::string_view) override {
    return cluster::WriteStamps{};
  }
  base::Result<cluster::WriteStamps> set_readiness(
      std::string_view, base::AddressFamily,
      const std::map<std::string, cluster::Readiness>&) override {
    return cluster::WriteStamps{};
  }
  base::Result<std::vector<cluster::ProxyCounters>> proxy_counters(std::string_view) override {
    constexpr std::int64_t long_ago = 1'000'000'000;
    return std::vector<cluster::ProxyCounters>{{.pod = "web-0", .certificate_expires_s = long_ago}};
  }
  base::Result<cluster::AgentStreams> agent(std::string_view, std::string_view) override {
    return base::fail(base::ErrorKind::system, "the agents are gone");
  }
  base::Result<cluster::Observer> observe(std::string_view, std::string_view) override {
    return base::fail(base::ErrorKind::missing, "nobody observes here");
  }
  [[nodiscard]] base::Json facts() const override { return {}; }

  int teardowns = 0;
};

class ChecksEndEarly : public ::testing::Test {
 protected:
  ChecksEndEarly() {
    std::string name = (std::filesystem::path(::testing::TempDir()) / "run-XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    ::setenv("XDG_STATE_HOME", folder_.c_str(), 1);
  }
  ~ChecksEndEarly() override {
    ::unsetenv("XDG_STATE_HOME");
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  base::Result<FinishedRun> run_with(const std::string& checks) {
    const auto scenario = parse_scenario(
        fmt::format("question: Is it encrypted?\n"
                    "topology:\n"
                    "  pods: {{client: {{node: 1}}, web: {{node: 1}}}}\n"
                    "  services: {{web: {{target: web}}}}\n"
                    "environments: {{mesh: {{datapath: nftables, mesh: {{mode: STRICT}}}}}}\n"
                    "arms: [{{name: mesh, in: mesh, dial: service/web}}]\n"
                    "workloads: [{{kind: tcp_crr}}]\n"
                    "checks: [{}]\n",
                    checks),
        "it.yaml", {});
    if (!scenario) return std::unexpected(scenario.error());
    const auto plan = make_plan(*scenario, {0, 1});
    if (!plan) return std::unexpected(plan.error());
    base::Progress progress({}, [](std::string_view) {});
    return run_scenario(target_, *plan,
                        {.scenario_file = "it.yaml",
                         .overrides = {},
                         .command_line = {},
                         .report_file = folder_ + "/it.json"},
                        progress, base::Interrupt::never());
  }

  std::string folder_;
  WithoutAgents target_;
};

TEST_F(ChecksEndEarly, WhatWasJudgedBeforeACheckEndedTheRunIsReported) {
  const auto ran = run_with("certificates_valid, plaintext_refused");
  ASSERT_TRUE(ran) << ran.error().message;
  EXPECT_TRUE(ran->saved);
  EXPECT_TRUE(std::filesystem::exists(folder_ + "/it.json"));
  ASSERT_EQ(ran->report.checks.size(), 1U);
  EXPECT_EQ(ran->report.checks[0].verdict, reports::Verdict::fail);
  EXPECT_FALSE(ran->report.complete);
  ASSERT_FALSE(ran->report.errors.empty());
  EXPECT_THAT(ran->report.errors[0].message, HasSubstr("the agents are gone"));
  EXPECT_EQ(ran->report.conclusion.exit_code, 2);
  EXPECT_EQ(target_.teardowns, 1);
}

TEST_F(ChecksEndEarly, WhereNothingWasJudgedItsErrorIsAll) {
  const auto ran = run_with("plaintext_refused");
  ASSERT_FALSE(ran);
  EXPECT_THAT(ran.error().message, HasSubstr("the agents are gone"));
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/it.json"));
}

}  // namespace
}  // namespace stackbench
