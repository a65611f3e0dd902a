#include "stackbench/availability.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using cluster::DatapathKind;
using testing::ElementsAre;
using testing::IsEmpty;

// A cluster of one node and address family, whose Services are nftables', with no load balancer.
class SmallCluster : public cluster::Target {
 public:
  [[nodiscard]] std::string_view name() const override { return "small"; }
  base::Result<std::optional<std::string>> unavailable(
      const cluster::EnvironmentPlan& plan) override {
    if (plan.datapath == DatapathKind::nftables || plan.datapath == DatapathKind::installed) {
      return std::nullopt;
    }
    return fmt::format("kube-proxy runs in nftables mode, not {}", base::enum_name(plan.datapath));
  }
  base::Result<cluster::EnvironmentHandle> provision(
      const cluster::EnvironmentPlan& plan) override {
    cluster::EnvironmentHandle handle;
    handle.name = plan.name;
    handle.datapath = DatapathKind::nftables;
    handle.nodes.push_back({1, address("10.0.0.1"), {}});
    handle.pods = {pod("client", "10.244.0.1"), pod("web", "10.244.0.2")};
    auto& service = handle.services["web"];
    service.name = "web";
    service.target = "web";
    service.ipv4 = address("10.96.0.1");
    return handle;
  }
  base::Result<> teardown() override { return {}; }
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
  base::Result<cluster::AgentStreams> agent(std::string_view, std::string_view) override {
    return cluster::AgentStreams{};
  }
  base::Result<cluster::Observer> observe(std::string_view, std::string_view) override {
    return cluster::Observer{};
  }
  [[nodiscard]] base::Json facts() const override { return {}; }

 private:
  static base::IpAddress address(std::string_view text) {
    return base::IpAddress::parse(text).value();
  }
  static cluster::PodHandle pod(const std::string& group, std::string_view ipv4) {
    cluster::PodHandle made;
    made.name = group + "-0";
    made.group = group;
    made.ipv4 = address(ipv4);
    return made;
  }
};

// Three environments and an arm or more in each; the third takes what is installed.
Plan plan_of_three() {
  Plan plan;
  for (const auto& [name, datapath] :
       {std::pair("iptables", DatapathKind::iptables),
        std::pair("nftables", DatapathKind::nftables), std::pair("any", DatapathKind::installed)}) {
    auto& environment = plan.environments.emplace_back();
    environment.name = name;
    environment.datapath = datapath;
  }
  plan.workloads = {{.name = "tcp_rr", .spec = {}}};
  const auto arm = [](std::string name, std::size_t environment, DialTarget dial,
                      std::optional<std::size_t> base = {}) {
    PlannedArm made;
    made.name = std::move(name);
    made.environment = environment;
    made.dial = std::move(dial);
    made.from = "client-0";
    made.servers = {"web-0"};
    made.base = base;
    return made;
  };
  const DialTarget pod{.kind = DialTarget::Kind::pod, .name = "web"};
  const DialTarget service{.kind = DialTarget::Kind::service, .name = "web"};
  plan.arms = {arm("iptables_pod", 0, pod), arm("nftables_pod", 1, pod, 0),
               arm("nftables_service", 1, service, 1), arm("any_service", 2, service, 2)};
  return plan;
}

std::vector<std::string> arms_of(const Plan& plan) {
  std::vector<std::string> lines;
  for (const auto& arm : plan.arms) {
    lines.push_back(fmt::format("{} in {} against {}", arm.name,
                                plan.environments[arm.environment].name,
                                arm.base ? plan.arms[*arm.base].name : "nothing"));
  }
  return lines;
}

TEST(LeaveOutUnavailable, LeavesEnvironmentsArmsAndBasesOut) {
  auto plan = plan_of_three();
  SmallCluster target;
  ASSERT_TRUE(leave_out_unavailable(plan, target));
  EXPECT_THAT(arms_of(plan), ElementsAre("nftables_pod in nftables against nothing",
                                         "nftables_service in nftables against nftables_pod",
                                         "any_service in any against nftables_service"));
  ASSERT_EQ(plan.skipped_environments.size(), 1);
  EXPECT_EQ(plan.skipped_environments[0].name, "iptables");
  ASSERT_NE(plan.skipped("iptables_pod"), nullptr);
  EXPECT_EQ(*plan.skipped("iptables_pod"), "kube-proxy runs in nftables mode, not iptables");
  EXPECT_EQ(plan.skipped("nftables_pod"), nullptr);
}

TEST(LeaveOutUnavailable, LeavesAPlanAloneThatTheTargetCanHave) {
  auto plan = plan_of_three();
  plan.environments[0].datapath = DatapathKind::nftables;
  SmallCluster target;
  ASSERT_TRUE(leave_out_unavailable(plan, target));
  EXPECT_EQ(plan.arms.size(), 4);
  EXPECT_THAT(plan.skipped_arms, IsEmpty());
}

TEST(LeaveOutUnreachable, SkipsWhatGotNoAddress) {
  auto plan = plan_of_three();
  SmallCluster target;
  ASSERT_TRUE(leave_out_unavailable(plan, target));
  plan.arms[1].dial = {.kind = DialTarget::Kind::load_balancer, .name = "web"};
  auto outside = plan.arms[0];
  outside.name = "outside";
  outside.from = cluster::external_client;
  auto other_family = plan.arms[0];
  other_family.name = "ipv6";
  other_family.family = base::AddressFamily::ipv6;
  plan.arms.push_back(outside);
  plan.arms.push_back(other_family);

  const auto interrupt = base::Interrupt::never();
  const auto session = Session::open(target, plan, interrupt);
  ASSERT_TRUE(session);
  const auto left_out = leave_out_unreachable(plan, *session);
  ASSERT_TRUE(left_out) << left_out.error().message;
  EXPECT_THAT(arms_of(plan), ElementsAre("nftables_pod in nftables against nothing",
                                         "any_service in any against nothing"));
  EXPECT_EQ(*plan.skipped("outside"), "the target has no client outside");
  EXPECT_EQ(*plan.skipped("ipv6"), "client-0 has no ipv6 address");
  EXPECT_THAT(*plan.skipped("nftables_service"), testing::HasSubstr("load_balancer/web"));
}

TEST(LeaveOutUnreachable, TakesOverTheDatapathThatIsThere) {
  auto plan = plan_of_three();
  SmallCluster target;
  ASSERT_TRUE(leave_out_unavailable(plan, target));
  const auto interrupt = base::Interrupt::never();
  const auto session = Session::open(target, plan, interrupt);
  ASSERT_TRUE(session);
  ASSERT_TRUE(leave_out_unreachable(plan, *session));
  EXPECT_EQ(plan.environments[1].datapath, DatapathKind::nftables);
}

TEST(LeaveOutUnenforced, LeavesOutWhatIsNotEnforcedAndWhereNobodyEnforcesWhatHasNone) {
  const PoliciesInForce all{.seen = {.isolated = true, .open = 2, .of = 2}};
  const PoliciesInForce some{.seen = {.isolated = true, .open = 1, .of = 2}};
  const PoliciesInForce none{.seen = {.isolated = false, .open = 2, .of = 2}};
  const auto filled = [] {
    auto plan = plan_of_three();
    for (std::size_t i = 0; i < 3; ++i) {
      plan.environments[i].filler.policies = static_cast<int>(2 * i);
    }
    return plan;
  };
  auto plan = filled();
  leave_out_unenforced(plan, {{1, all}, {2, all}});
  EXPECT_EQ(plan.arms.size(), 4U);

  plan = filled();
  leave_out_unenforced(plan, {{1, all}, {2, some}});
  EXPECT_EQ(plan.arms.size(), 3U) << "the one without any is enforced";
  ASSERT_NE(plan.skipped("any_service"), nullptr);
  EXPECT_THAT(*plan.skipped("any_service"), testing::HasSubstr("1 of 2 are in force"));

  plan = filled();
  leave_out_unenforced(plan, {{1, none}, {2, none}});
  EXPECT_THAT(plan.arms, IsEmpty());
  EXPECT_THAT(*plan.skipped("iptables_pod"), testing::HasSubstr("nobody enforces"));
}

}  // namespace
}  // namespace stackbench
