// What policies take of the target `kubernetes`: namespaces, labels, NetworkPolicies.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Labels = std::map<std::string, std::string>;

class PoliciesTest : public testing::KubernetesTargetTest {
 protected:
  PoliciesTest() {
    server_.answer_with({.when = "GET /apis/networking.k8s.io/v1",
                         .status = 200,
                         .body =
                             R"({"resources":[{"name":"networkpolicies","kind":"NetworkPolicy",)"
                             R"("namespaced":true}]})"});
  }

  static EnvironmentPlan plan() {
    auto plan = testing::plan_of("it");
    plan.topology.namespaces = {{"other", {.labels = {{"team", "red"}}}}};
    plan.topology.pods["web"].in_namespace = "other";
    plan.topology.pods["web"].labels = {{"app", "web"}, {"tier", "front"}};
    plan.has_policies = true;
    return plan;
  }
  void bring_up(const EnvironmentPlan& plan, const std::string& in_namespace = {}) {
    target_ = target(in_namespace);
    ASSERT_NE(target_, nullptr);
    auto up = target_->provision(plan);
    ASSERT_TRUE(up) << up.error().message;
    environment_ = std::move(*up);
  }
  [[nodiscard]] std::string space(const std::string& name = {}) const {
    return fmt::format("stackbench-{}-it{}{}", target_->run(), name.empty() ? "" : "-", name);
  }
  [[nodiscard]] const PodHandle& pod(std::string_view name) const {
    return *std::ranges::find(environment_.pods, name, &PodHandle::name);
  }
  static Json policy(const std::string& in_namespace) {
    return {{"apiVersion", "networking.k8s.io/v1"},
            {"kind", "NetworkPolicy"},
            {"metadata", {{"name", "deny"}, {"namespace", in_namespace}}},
            {"spec", {{"podSelector", Json::object()}}}};
  }
  [[nodiscard]] Json stored(const std::string& in_namespace, const std::string& name) const {
    return server_.object(fmt::format("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/{}",
                                      in_namespace, name));
  }

  std::unique_ptr<KubernetesTarget> target_;
  EnvironmentHandle environment_;
};

TEST_F(PoliciesTest, ANamespaceOfAScenarioIsOneOfTheRunsOwn) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  const auto& other = environment_.namespaces.at("other");
  EXPECT_EQ(other.name, space("other"));
  EXPECT_EQ(other.labels.at("team"), "red");
  EXPECT_EQ(other.labels.at("stackbench.io/namespace"), "other");
  EXPECT_EQ(environment_.namespaces.at("default").name, space());
  // What is in it is found there, with the Service of its pods.
  EXPECT_EQ(pod("web-0").in_namespace, "other");
  EXPECT_EQ(pod("web-0").labels.at("app"), "web");
  EXPECT_EQ(pod("web-0").labels.at("stackbench.io/group"), "web");
  EXPECT_THAT(in_namespace(fmt::format("/api/v1/namespaces/{}/pods", space("other"))), SizeIs(3));
  EXPECT_THAT(in_namespace(fmt::format("/api/v1/namespaces/{}/services", space("other"))),
              ElementsAre(space("other") + "/web"));
  EXPECT_TRUE(target_->why_silent("it", "web"));
  ASSERT_TRUE(target_->agent("it", "web-1"));
  ASSERT_TRUE(target_->observe("it", "web-1"));
  const auto changed =
      target_->set_readiness("it", base::AddressFamily::ipv4, {{"web-0", Readiness::unready}});
  EXPECT_TRUE(changed) << changed.error().message;
  const auto down = target_->teardown();
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), IsEmpty());
}

TEST_F(PoliciesTest, WhatFailsInOneNamespaceLeavesNone) {
  server_.set_pod_fate(testing::PodFate::image_missing);
  target_ = target();
  ASSERT_FALSE(target_->provision(plan()));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), IsEmpty());
}

TEST_F(PoliciesTest, FillersAreObjectsOfTheEnvironmentTheAllowingOneFirst) {
  auto filled = plan();
  filled.filler = {.services = 0, .policies = 30};
  bring_up(filled);
  ASSERT_FALSE(HasFatalFailure());
  for (int number = 1; number < 30; ++number) {
    const auto name = fmt::format("filler-{:05}", number);
    EXPECT_TRUE(stored(space(), name).is_object()) << name;
  }
  const auto first = stored(space(), "filler-00001");
  EXPECT_EQ(first["metadata"]["labels"]["stackbench.io/run"], target_->run());
  EXPECT_EQ(first["spec"]["ingress"][0]["from"].size(), 2U);
  const auto requests = server_.requests();
  const auto created = std::ranges::find_if(requests, [](const std::string& line) {
    return line.starts_with("PATCH") && line.find("/networkpolicies/") != std::string::npos;
  });
  ASSERT_NE(created, requests.end());
  EXPECT_NE(created->find("/networkpolicies/filler-last"), std::string::npos) << *created;
  const auto down = target_->teardown();
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), IsEmpty());
}

TEST_F(PoliciesTest, APolicyGoesToTheNamespaceThatStandsForItsOwn) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  const auto stamps = target_->apply("it", policy("other"));
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_GT(stamps->resource_version, 0U);
  const auto there = stored(space("other"), "deny");
  EXPECT_EQ(there["metadata"]["labels"]["stackbench.io/run"], target_->run());
  EXPECT_EQ(there["spec"]["podSelector"], Json::object());
  EXPECT_TRUE(stored(space(), "deny").is_null());
  // By its name alone where there is one, else by its namespace, too.
  ASSERT_TRUE(target_->apply("it", policy("default")));
  const auto which = target_->remove("it", "NetworkPolicy", "deny");
  ASSERT_FALSE(which);
  EXPECT_EQ(which.error().kind, ErrorKind::input);
  ASSERT_TRUE(target_->remove("it", "NetworkPolicy", "default/deny"));
  EXPECT_TRUE(stored(space(), "deny").is_null());
  ASSERT_TRUE(target_->remove("it", "NetworkPolicy", "deny"));
  EXPECT_TRUE(stored(space("other"), "deny").is_null());
  EXPECT_EQ(target_->apply("it", policy("nowhere")).error().kind, ErrorKind::input);
}

TEST_F(PoliciesTest, ThePolicyTypesThatAServerWouldKeepAreWritten) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  auto both = policy("other");
  both["spec"]["egress"] = Json::array({Json::object()});
  ASSERT_TRUE(target_->apply("it", both));
  EXPECT_EQ(stored(space("other"), "deny")["spec"]["policyTypes"],
            Json::array({"Ingress", "Egress"}));
  // Its egress rules go, and with them that it isolates for egress.
  for (const bool empty : {false, true}) {
    auto less = policy("other");
    if (empty) less["spec"]["egress"] = Json::array();
    ASSERT_TRUE(target_->apply("it", less));
    EXPECT_EQ(stored(space("other"), "deny")["spec"]["policyTypes"], Json::array({"Ingress"}));
  }
  // What is said is left.
  auto said = policy("other");
  said["spec"]["policyTypes"] = Json::array({"Egress"});
  ASSERT_TRUE(target_->apply("it", said));
  EXPECT_EQ(stored(space("other"), "deny")["spec"]["policyTypes"], Json::array({"Egress"}));
}

TEST_F(PoliciesTest, WhatTheServerFindsWrongIsSaidInItsWords) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  server_.answer_with(
      {.when = "PATCH /apis/networking.k8s.io",
       .status = 422,
       .body = R"({"kind":"Status","message":"spec.ingress[0].ports[0].endPort: Invalid value"})"});
  const auto refused = target_->apply("it", policy("other"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::input);
  EXPECT_THAT(refused.error().message, HasSubstr("endPort: Invalid value"));
}

TEST_F(PoliciesTest, LabelsAreReplacedAndThoseOfOursStay) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  const auto stamps = target_->set_labels("it", LabelledKind::pod, "web-0", {{"app", "db"}});
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_LT(stamps->sent_ns, stamps->acked_ns);
  EXPECT_GT(stamps->resource_version, 0U);
  auto again = target_->provision(plan());
  ASSERT_TRUE(again);
  environment_ = *again;
  EXPECT_EQ(pod("web-0").labels, (Labels{{"app", "db"},
                                         {"app.kubernetes.io/managed-by", "stackbench"},
                                         {"sidecar.istio.io/inject", "false"},
                                         {"stackbench.io/environment", "it"},
                                         {"stackbench.io/group", "web"},
                                         {"stackbench.io/run", target_->run()}}));
  EXPECT_EQ(pod("web-1").labels.at("tier"), "front");
  ASSERT_TRUE(target_->set_labels("it", LabelledKind::name_space, "other", {{"team", "blue"}}));
  const auto object = server_.object("/api/v1/namespaces/" + space("other"));
  EXPECT_EQ(object["metadata"]["labels"]["team"], "blue");
  EXPECT_EQ(object["metadata"]["labels"]["stackbench.io/run"], target_->run());
  // A pod that is made anew has them.
  ASSERT_TRUE(
      target_->set_readiness("it", base::AddressFamily::ipv4, {{"web-0", Readiness::terminating}}));
  ASSERT_TRUE(
      target_->set_readiness("it", base::AddressFamily::ipv4, {{"web-0", Readiness::ready}}));
  const auto made = server_.object(fmt::format("/api/v1/namespaces/{}/pods/web-0", space("other")));
  EXPECT_EQ(made["metadata"]["labels"]["app"], "db");
  EXPECT_FALSE(made["metadata"]["labels"].contains("tier"));

  for (const auto* ours : {"stackbench.io/run", "kubernetes.io/metadata.name"}) {
    EXPECT_EQ(
        target_->set_labels("it", LabelledKind::name_space, "other", {{ours, "x"}}).error().kind,
        ErrorKind::input);
  }
  EXPECT_EQ(target_->set_labels("it", LabelledKind::pod, "web-9", {}).error().kind,
            ErrorKind::input);
  EXPECT_EQ(target_->set_labels("it", LabelledKind::name_space, "no", {}).error().kind,
            ErrorKind::input);
}

TEST_F(PoliciesTest, APodIsMadeAnewUnderItsName) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  const auto before = pod("web-0").ipv4;
  const auto stamps = target_->restart_pod("it", "web-0", {});
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_GT(stamps->resource_version, 0U);
  environment_ = *target_->provision(plan());
  EXPECT_NE(pod("web-0").ipv4, before);
  EXPECT_EQ(pod("web-0").labels.at("app"), "web");
  EXPECT_EQ(target_->restart_pod("it", "web-9", {}).error().kind, ErrorKind::input);
}

TEST_F(PoliciesTest, AnAgentMadeAnewHasItsPlanAndItsAddressIsToldOnce) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  const auto before = pod("web-0").ipv4;
  const auto path = fmt::format("/api/v1/namespaces/{}/pods/web-0", space("other"));
  const auto command = [&] { return server_.object(path)["spec"]["containers"][0]["command"]; };
  EXPECT_EQ(command(), (Json{"/usr/bin/stackbench-agent", "listen"}));
  std::vector<PodHandle> told;
  const auto stamps = target_->restart_pod(
      "it", "web-0", {.agent_plan = R"({"session":"s"})", .on_address = [&](const PodHandle& now) {
                        told.push_back(now);
                        return base::Result<>();
                      }});
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_EQ(command(),
            (Json{"/usr/bin/stackbench-agent", "listen", "--plan", R"({"session":"s"})"}));
  environment_ = *target_->provision(plan());
  ASSERT_EQ(told.size(), 1U);
  EXPECT_EQ(told[0].name, "web-0");
  EXPECT_EQ(told[0].ipv4, pod("web-0").ipv4);
  EXPECT_NE(told[0].ipv4, before);
  // Whatever the caller meets with it ends the wait.
  const auto failed =
      target_->restart_pod("it", "web-0", {.on_address = [](const PodHandle&) -> base::Result<> {
                             return base::fail(ErrorKind::peer_lost, "a sender is gone");
                           }});
  ASSERT_FALSE(failed);
  EXPECT_THAT(failed.error().message, HasSubstr("a sender is gone"));
  EXPECT_EQ(command(), (Json{"/usr/bin/stackbench-agent", "listen"})) << "this one had no plan";
}

TEST_F(PoliciesTest, InASharedNamespaceAPolicySelectsOurPodsAlone) {
  server_.put("/api/v1/namespaces/team", Json::object());
  auto alone = testing::plan_of("it");
  alone.has_policies = true;
  bring_up(alone, "team");
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_EQ(environment_.namespaces.at("default").labels,
            (Labels{{"kubernetes.io/metadata.name", "team"}}));
  ASSERT_TRUE(target_->apply("it", policy("default")));
  const auto name = fmt::format("stackbench-{}-it-deny", target_->run());
  EXPECT_EQ(stored("team", name)["spec"]["podSelector"]["matchLabels"]["stackbench.io/run"],
            target_->run());
  EXPECT_EQ(
      target_->set_labels("it", LabelledKind::name_space, "default", {{"a", "b"}}).error().kind,
      ErrorKind::missing);
  ASSERT_TRUE(target_->teardown());
  EXPECT_THAT(in_namespace("/apis/networking.k8s.io/v1/namespaces/team/networkpolicies"),
              IsEmpty());
  // One of its own it cannot have there.
  const auto why = target_->unavailable(plan());
  ASSERT_TRUE(why);
  EXPECT_THAT(why->value_or(""), HasSubstr("keeps to namespace team"));
}

TEST_F(PoliciesTest, ThoseOfOthersAreToldFromTheRunsOwn) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(target_->apply("it", policy("other")));
  server_.put(fmt::format("/apis/networking.k8s.io/v1/namespaces/{}/networkpolicies/theirs",
                          space("other")),
              {{"metadata", {{"name", "theirs"}, {"namespace", space("other")}}}});
  // The first that fits a request answers it.
  server_.answer_with({.when = "/namespaces/", .status = 0, .times = 100});
  server_.answer_with({.when = "GET /apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
                       .status = 403,
                       .body = R"({"kind":"Status","message":"not you"})"});
  server_.answer_with({.when = "GET /apis/cilium.io/v2",
                       .status = 200,
                       .body = R"({"resources":[{"name":"ciliumclusterwidenetworkpolicies",)"
                               R"("kind":"CiliumClusterwideNetworkPolicy","namespaced":false}]})"});
  server_.answer_with({.when = "GET /apis",
                       .status = 200,
                       .body = R"({"groups":[{"name":"cilium.io",)"
                               R"("preferredVersion":{"groupVersion":"cilium.io/v2"}}]})"});
  const auto others = target_->other_policies("it");
  ASSERT_TRUE(others) << others.error().message;
  ASSERT_EQ(others->objects.size(), 1U);
  EXPECT_EQ(others->objects[0]["kind"], "NetworkPolicy");
  EXPECT_EQ(others->objects[0]["metadata"]["name"], "theirs");
  EXPECT_EQ(others->objects[0]["metadata"]["namespace"], "other");
  ASSERT_EQ(others->unseen.size(), 1U);
  EXPECT_THAT(others->unseen.at("CiliumClusterwideNetworkPolicy"), HasSubstr("not you"));
}

TEST_F(PoliciesTest, AnObjectOfOursThatIsGoneIsAnErrorAndNothingTheClusterLacks) {
  bring_up(plan());
  ASSERT_FALSE(HasFatalFailure());
  server_.answer_with({.when = "PATCH", .status = 404, .body = "{}", .times = 2});
  EXPECT_EQ(target_->set_labels("it", LabelledKind::pod, "web-0", {{"a", "b"}}).error().kind,
            ErrorKind::system);
  EXPECT_EQ(target_->apply("it", policy("other")).error().kind, ErrorKind::system);
}

TEST_F(PoliciesTest, TheRightToWriteThemIsAskedForBeforeAnythingIsMade) {
  target_ = target();
  ASSERT_NE(target_, nullptr);
  server_.answer_with({.when = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                       .status = 201,
                       .body = R"({"status":{"allowed":false}})",
                       .times = 4});
  const auto refused = target_->provision(plan());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(refused.error().message,
              HasSubstr("create networkpolicies.networking.k8s.io, patch networkpolicies."));
  EXPECT_EQ(server_.count("PATCH"), 0);
}

TEST_F(PoliciesTest, FlowsAreWatchedByPodsThatBaselineAdmits) {
  auto flows = plan();
  flows.watches_flows = true;
  bring_up(flows);
  ASSERT_FALSE(HasFatalFailure());
  const auto object = server_.object("/api/v1/namespaces/" + space("other"));
  EXPECT_EQ(object["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "baseline");
  const auto made = server_.object(fmt::format("/api/v1/namespaces/{}/pods/web-0", space("other")));
  EXPECT_EQ(made["spec"]["securityContext"]["runAsUser"], 0);
}

}  // namespace
}  // namespace cluster
