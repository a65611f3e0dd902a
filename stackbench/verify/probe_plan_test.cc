#include "stackbench/verify/probe_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/verify/cluster_pods.h"
#include "stackbench/verify/probing.h"
#include "stackbench/verify/testing.h"

namespace stackbench {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::json;
using testing::shop;
using ::testing::SizeIs;
using testing::world_of;

const checks::Labels ours{{"app.kubernetes.io/managed-by", "stackbench"},
                          {"stackbench.io/run", "0a1b2c3d"}};

ProbePlan plan_of(const cluster::LiveObjects& live) {
  return plan_probes(live, world_of(live), "0a1b2c3d", "stackbench-0a1b2c3d-verify", ours);
}

base::Json controller(const std::string& kind, std::string_view selector) {
  return {{"kind", kind},
          {"metadata", {{"name", "it"}, {"namespace", "shop"}}},
          {"spec", {{"selector", json(selector)}}}};
}

TEST(ProbePlan, HasAPodWithEachWorkloadsLabelsAndOneElsewhereOnEachNode) {
  auto live = shop();
  // As a Deployment's: by its hash.
  live.controllers.push_back(
      controller("ReplicaSet", R"({"matchLabels":{"app":"web","pod-template-hash":"5f4d"}})"));
  live.pods[2]["spec"]["tolerations"] = json(R"([{"key":"gpu","operator":"Exists"}])");
  const auto plan = plan_of(live);
  EXPECT_THAT(plan.unprobed, IsEmpty());
  ASSERT_THAT(plan.of_workloads, SizeIs(2));
  const auto& db = plan.of_workloads[0];
  EXPECT_EQ(db.name, "stackbench-0a1b2c3d-probe-1");
  EXPECT_EQ(db.in_namespace, "shop");
  EXPECT_EQ(db.workload, "shop/Deployment db");
  EXPECT_EQ(db.labels, (checks::Labels{{"app", "db"},
                                       {"app.kubernetes.io/managed-by", "stackbench"},
                                       {"stackbench.io/run", "0a1b2c3d"}}));
  EXPECT_THAT(db.tolerations, SizeIs(1));
  // Its own port, and one that nobody serves by either protocol.
  ASSERT_THAT(db.ports, SizeIs(3));
  EXPECT_EQ(db.ports[0].name, "http");
  EXPECT_EQ(db.ports[2].port, undeclared_port);
  // Its probe pods are on n1, and one of web's own on n2.
  ASSERT_THAT(plan.elsewhere, SizeIs(2));
  EXPECT_EQ(plan.elsewhere[0].node, "n1");
  EXPECT_EQ(plan.elsewhere[1].node, "n2");
  EXPECT_EQ(plan.elsewhere[0].in_namespace, "stackbench-0a1b2c3d-verify");
}

TEST(ProbePlan, NoControllerIsGivenAPodToTake) {
  for (const auto& [kind, selector] :
       {std::pair{"ReplicaSet", R"({"matchLabels":{"app":"web"}})"},
        std::pair{"StatefulSet", R"({"matchExpressions":[{"key":"app","operator":"Exists"}]})"},
        std::pair{"DaemonSet", R"({"matchLabels":{"app":"web"}})"},
        std::pair{"ReplicationController", R"({"app":"web"})"}}) {
    auto live = shop();
    live.controllers.push_back(controller(kind, selector));
    const auto plan = plan_of(live);
    const auto refused =
        std::ranges::find(plan.unprobed, "shop/Deployment web", &Unprobed::workload);
    ASSERT_NE(refused, plan.unprobed.end()) << kind;
    EXPECT_THAT(refused->reason,
                HasSubstr(fmt::format("{} it selects it and would take it", kind)));
    // One of another namespace takes nothing.
    live.controllers[0]["metadata"]["namespace"] = "other";
    EXPECT_THAT(plan_of(live).unprobed, IsEmpty()) << kind;
  }
}

TEST(ProbePlan, WhoCanHaveNoPodOfOursIsJoinedWhereThatIsAllowed) {
  auto live = shop();
  live.controllers.push_back(controller("DaemonSet", R"({"matchLabels":{"app":"web"}})"));
  const auto plan = plan_probes(live, world_of(live), "0a1b2c3d", "ours", ours, true);
  EXPECT_THAT(plan.unprobed, IsEmpty());
  ASSERT_THAT(plan.of_workloads, SizeIs(2));
  EXPECT_EQ(plan.of_workloads[0].joins, "");
  // Of its pods the one on a node that has no probe pod yet.
  EXPECT_EQ(plan.of_workloads[1].joins, "web-5f4d-2");
  // What the workload itself serves is left alone.
  for (const auto& port : plan.of_workloads[1].ports) EXPECT_EQ(port.port, undeclared_port);
}

TEST(ProbePlan, NoServiceThatPublishesPodsThatAreNotReadyIsGivenOne) {
  auto live = shop();
  live.services.push_back(controller("Service", R"({"app":"web"})"));
  EXPECT_THAT(plan_of(live).unprobed, IsEmpty());
  live.services[0]["spec"]["publishNotReadyAddresses"] = true;
  const auto plan = plan_of(live);
  ASSERT_THAT(plan.unprobed, SizeIs(1));
  EXPECT_THAT(plan.unprobed[0].reason, HasSubstr("Service it publishes pods that are not ready"));
  // A Service without a selector selects nothing.
  live.services[0]["spec"]["selector"] = base::Json::object();
  EXPECT_THAT(plan_of(live).unprobed, IsEmpty());
}

TEST(ProbePlan, APodThatPoliciesTellFromTheWorkloadsOwnStandsForNothing) {
  auto live = shop();
  live.policies.push_back(testing::policy(
      "by-hash", R"({"podSelector":{"matchLabels":{"pod-template-hash":"5f4d"}}})"));
  const auto plan = plan_of(live);
  EXPECT_THAT(plan.of_workloads, IsEmpty());
  ASSERT_THAT(plan.unprobed, SizeIs(2));
  EXPECT_THAT(plan.unprobed[0].reason, HasSubstr("only its controller may put on pods"));
  EXPECT_THAT(plan.elsewhere, IsEmpty());
}

TEST(ProbePlan, APodWithItsNodesNetworkHasNone) {
  auto live = shop();
  live.pods.erase(live.pods.begin(), live.pods.begin() + 2);
  live.pods[0]["spec"]["hostNetwork"] = true;
  const auto plan = plan_of(live);
  ASSERT_THAT(plan.unprobed, SizeIs(1));
  EXPECT_THAT(plan.unprobed[0].reason, HasSubstr("node's network"));
}

TEST(ProbePlan, LeavesOutTheLabelsOfControllersAlone) {
  for (const auto* label :
       {"pod-template-hash", "controller-revision-hash", "statefulset.kubernetes.io/pod-name",
        "apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-name", "controller-uid"}) {
    EXPECT_TRUE(is_label_of_controllers(label)) << label;
  }
  for (const auto* label : {"app", "app.kubernetes.io/name", "job", "tier"}) {
    EXPECT_FALSE(is_label_of_controllers(label)) << label;
  }
}

TEST(ProbingPlace, KnowsWhatEveryPodOfOursCarries) {
  const auto place = probing_place("0a1b2c3d");
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_EQ(place->ours.in_namespace, "stackbench-0a1b2c3d-verify");
  EXPECT_EQ(place->labels_of_ours.at("stackbench.io/run"), "0a1b2c3d");
  EXPECT_EQ(place->labels_of_ours.at("app.kubernetes.io/managed-by"), "stackbench");
}

TEST(ProbePlan, PodsOfOneWorkloadThatPoliciesMayTellApartEachHaveTheirProbe) {
  auto live = shop();
  // In the middle of a rollout.
  live.pods[1]["metadata"]["labels"]["tier"] = "new";
  const auto plan = plan_of(live);
  ASSERT_THAT(plan.of_workloads, SizeIs(3));
  EXPECT_THAT(plan.of_workloads[1].workload, HasSubstr("shop/Deployment web (as web-"));
  EXPECT_EQ(plan.of_workloads[2].labels.at("tier"), "new");
}

TEST(ProbePlan, NoPodIsMadeForAMakerThatMightTakeIt) {
  auto live = shop();
  live.pods[2]["metadata"]["ownerReferences"] =
      json(R"([{"kind": "CloneSet", "name": "db", "controller": true}])");
  const auto plan = plan_of(live);
  ASSERT_THAT(plan.unprobed, SizeIs(1));
  EXPECT_THAT(plan.unprobed[0].reason, HasSubstr("CloneSet db is of a kind whose selector"));
}

TEST(ProbePlan, OfALabJoinsItsOwnPodsAndHasTheOutsideAndDns) {
  const auto plan = plan_lab_probes(world_of(shop()), {443, 443});
  ASSERT_THAT(plan.of_workloads, SizeIs(2));
  EXPECT_EQ(plan.of_workloads[0].joins, plan.of_workloads[0].name);
  EXPECT_THAT(plan.of_workloads[0].labels,
              ::testing::Contains(::testing::Key("pod-template-hash")));
  EXPECT_THAT(plan.elsewhere, SizeIs(lab_nodes));
  ASSERT_THAT(plan.beside, SizeIs(2));
  EXPECT_EQ(plan.beside[0].role, ProbeRole::dns);
  EXPECT_EQ(plan.beside[1].role, ProbeRole::outside);
  EXPECT_THAT(plan.beside[1].ports, SizeIs(3));
}

}  // namespace
}  // namespace stackbench
