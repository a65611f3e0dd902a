#include "cluster/kubernetes/contexts_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace cluster {
namespace {

using ::testing::ElementsAre;

// A cluster that notes what it was asked.
class NotingTarget : public Target {
 public:
  NotingTarget(std::string context, std::vector<std::string>& asked)
      : context_(std::move(context)), asked_(asked) {}

  [[nodiscard]] std::string_view name() const override { return "noting"; }
  base::Result<EnvironmentHandle> provision(const EnvironmentPlan& plan) override {
    asked_.push_back(context_ + " provision " + plan.name);
    return EnvironmentHandle{};
  }
  base::Result<> teardown() override {
    asked_.push_back(context_ + " teardown");
    return {};
  }
  base::Result<WriteStamps> apply(std::string_view environment, const base::Json&) override {
    asked_.push_back(fmt::format("{} apply {}", context_, environment));
    return WriteStamps{};
  }
  base::Result<WriteStamps> remove(std::string_view, std::string_view, std::string_view) override {
    return WriteStamps{};
  }
  base::Result<WriteStamps> set_readiness(std::string_view, base::AddressFamily,
                                          const std::map<std::string, Readiness>&) override {
    return WriteStamps{};
  }
  base::Result<AgentStreams> agent(std::string_view environment, std::string_view pod) override {
    asked_.push_back(fmt::format("{} agent {} {}", context_, environment, pod));
    return AgentStreams{};
  }
  base::Result<Observer> observe(std::string_view, std::string_view) override { return Observer{}; }
  base::Result<std::vector<DeniedPacket>> denied_lately(std::string_view environment,
                                                        std::int64_t since_ns) override {
    asked_.push_back(fmt::format("{} denied {} {}", context_, environment, since_ns));
    return std::vector<DeniedPacket>();
  }
  base::Result<WriteStamps> restart_proxy(std::string_view environment, std::string_view pod,
                                          ProxyEnd) override {
    asked_.push_back(fmt::format("{} restart_proxy {} {}", context_, environment, pod));
    return WriteStamps{};
  }
  base::Result<std::vector<ProxyUsage>> proxy_usage(std::string_view) override {
    asked_.push_back(context_ + " proxy_usage");
    return std::vector<ProxyUsage>();
  }
  base::Result<std::vector<ProxyCounters>> proxy_counters(std::string_view) override {
    asked_.push_back(context_ + " proxy_counters");
    return std::vector<ProxyCounters>();
  }
  base::Result<> close_kept_connections(std::string_view) override {
    asked_.push_back(context_ + " close_kept_connections");
    return {};
  }
  base::Result<MeshIdentities> mesh_identities(std::string_view) override {
    asked_.push_back(context_ + " mesh_identities");
    return MeshIdentities{};
  }
  base::Result<std::optional<ImpostorCertificates>> impostor_certificates(
      std::string_view) override {
    asked_.push_back(context_ + " impostor_certificates");
    return std::nullopt;
  }
  base::Result<Rotated> rotate_certificates(std::string_view environment,
                                            RotationStep step) override {
    asked_.push_back(fmt::format("{} {} {}", context_, base::enum_name(step), environment));
    return Rotated{};
  }
  [[nodiscard]] base::Json facts() const override {
    return {{"version", context_}, {"environments", {{"in_" + context_, {{"n", 1}}}}}};
  }

 private:
  std::string context_;
  std::vector<std::string>& asked_;
};

EnvironmentPlan plan_in(std::string context) {
  EnvironmentPlan plan;
  plan.name = "in_" + context;
  plan.context = std::move(context);
  return plan;
}

class Contexts : public ::testing::Test {
 protected:
  std::vector<std::string> asked_;
  ContextsTarget target_{
      [this](const std::string& context) -> base::Result<std::unique_ptr<Target>> {
        asked_.push_back("reach " + context);
        if (context == "none") return base::fail(base::ErrorKind::missing, "no such context");
        return std::make_unique<NotingTarget>(context, asked_);
      }};
};

TEST_F(Contexts, EachEnvironmentGoesToItsOwnCluster) {
  ASSERT_TRUE(target_.provision(plan_in("a")));
  ASSERT_TRUE(target_.provision(plan_in("b")));
  ASSERT_TRUE(target_.agent("in_a", "client-0"));
  ASSERT_TRUE(target_.apply("in_b", {}));
  ASSERT_TRUE(target_.denied_lately("in_b", 5));
  ASSERT_TRUE(target_.rotate_certificates("in_a", RotationStep::trust_both_roots));
  ASSERT_TRUE(target_.teardown());
  EXPECT_THAT(asked_, ElementsAre("reach a", "a provision in_a", "reach b", "b provision in_b",
                                  "a agent in_a client-0", "b apply in_b", "b denied in_b 5",
                                  "a trust_both_roots in_a", "a teardown", "b teardown"));
}

TEST_F(Contexts, WhatIsAskedOfAMeshIsAskedOfItsCluster) {
  ASSERT_TRUE(target_.provision(plan_in("a")));
  asked_.clear();
  ASSERT_TRUE(target_.restart_proxy("in_a", "web-0", ProxyEnd::killed));
  ASSERT_TRUE(target_.proxy_usage("in_a"));
  ASSERT_TRUE(target_.proxy_counters("in_a"));
  ASSERT_TRUE(target_.close_kept_connections("in_a"));
  ASSERT_TRUE(target_.mesh_identities("in_a"));
  ASSERT_TRUE(target_.impostor_certificates("in_a"));
  EXPECT_THAT(asked_, ElementsAre("a restart_proxy in_a web-0", "a proxy_usage", "a proxy_counters",
                                  "a close_kept_connections", "a mesh_identities",
                                  "a impostor_certificates"));
}

TEST_F(Contexts, FactsOfSeveralAreKeptApartAndTheirEnvironmentsTogether) {
  ASSERT_TRUE(target_.provision(plan_in("a")));
  EXPECT_EQ(target_.facts()["version"], "a");
  ASSERT_TRUE(target_.provision(plan_in("b")));
  const auto facts = target_.facts();
  EXPECT_EQ(facts["contexts"]["b"]["version"], "b");
  EXPECT_EQ(facts["environments"].size(), 2);
}

TEST_F(Contexts, SaysWhichContextIsWrongAndWhichEnvironmentThereIsNot) {
  const auto none = target_.provision(plan_in("none"));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "context none: no such context");
  const auto unknown = target_.agent("in_c", "client-0");
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().message, "there is no environment \"in_c\"");
}

}  // namespace
}  // namespace cluster
