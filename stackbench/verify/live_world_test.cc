#include "stackbench/verify/live_world.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/fake_api_server.h"
#include "stackbench/verify/testing.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;
using testing::pod;
using testing::shop;
using testing::world_of;

TEST(LiveWorld, HasPodsByTheirMakers) {
  auto live = shop();
  live.pods.push_back(pod("debug", "debug", 4));
  auto ended = pod("migrate-x", "migrate", 5);
  ended["status"]["phase"] = "Succeeded";
  live.pods.push_back(ended);
  auto ours = pod("stackbench-1-probe-1", "web", 6);
  ours["metadata"]["labels"]["stackbench.io/run"] = "1";
  // Whoever borrows that label is not hidden by it.
  auto borrows = pod("borrows", "web", 8);
  borrows["metadata"]["labels"]["stackbench.io/run"] = "1";
  live.pods.push_back(borrows);
  ours["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "stackbench";
  live.pods.push_back(ours);
  auto set = pod("kafka-0", "kafka", 7);
  set["metadata"]["ownerReferences"] =
      base::Json::array({{{"kind", "StatefulSet"}, {"name", "kafka"}, {"controller", true}}});
  live.pods.push_back(set);
  const auto made = world_of(live);
  std::vector<std::string> names;
  for (const auto& workload : made.workloads) names.push_back(workload.to_string());
  EXPECT_THAT(
      names, ::testing::ElementsAre("shop/Deployment db", "shop/Deployment web", "shop/Pod borrows",
                                    "shop/Pod debug", "shop/StatefulSet kafka"));
  EXPECT_THAT(made.of_ours, ::testing::ElementsAre("shop/stackbench-1-probe-1"));
  const auto& web = made.world.pods[made.workloads[1].pods[0]];
  EXPECT_EQ(web.node, "n1");
  EXPECT_EQ(web.addresses[0].to_string(), "10.1.0.1");
  EXPECT_EQ(web.named_ports[0].port, 8080);
  EXPECT_EQ(made.world.namespaces.at("shop").at("team"), "red");
  EXPECT_TRUE(checks::validate(made.world));
}

TEST(LiveWorld, APolicyThatCannotBeReadIsNoPolicyThatIsNotThere) {
  auto live = shop();
  live.policies.push_back(testing::policy(
      "new", R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"Newer"}]}})"));
  const auto made = world_of(live);
  ASSERT_EQ(made.world.unmodelled.size(), 1U);
  EXPECT_THAT(made.world.unmodelled[0].kind, HasSubstr("cannot be read"));
  EXPECT_EQ(checks::unmodelled_of(made.world, 0).size(), 1U);
}

TEST(LiveObjects, AreThoseOfTheNamespacesWithEveryKindOfPolicy) {
  cluster::testing::FakeApiServer server;
  server.put("/api/v1/namespaces/shop", base::Json::object());
  server.put("/api/v1/namespaces/other", base::Json::object());
  server.put("/api/v1/namespaces/shop/pods/web", base::Json::object());
  server.put("/api/v1/namespaces/other/pods/theirs", base::Json::object());
  server.put("/apis/networking.k8s.io/v1/namespaces/shop/networkpolicies/deny",
             base::Json::object());
  server.put("/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies/l7", base::Json::object());
  server.put("/apis/apps/v1/namespaces/shop/daemonsets/agent", base::Json::object());
  // The first that fits a request answers it.
  server.answer_with({.when = "/namespaces/", .status = 0, .times = 100});
  server.answer_with({.when = "GET /apis/cilium.io/v2/ciliumclusterwidenetworkpolicies",
                      .status = 403,
                      .body = R"({"kind":"Status","message":"not you"})"});
  server.answer_with({.when = "GET /apis/cilium.io/v2", .status = 200, .body = R"({"resources":[
    {"name":"ciliumnetworkpolicies","kind":"CiliumNetworkPolicy","namespaced":true},
    {"name":"ciliumnetworkpolicies/status","kind":"CiliumNetworkPolicy","namespaced":true},
    {"name":"ciliumendpoints","kind":"CiliumEndpoint","namespaced":true},
    {"name":"ciliumclusterwidenetworkpolicies","kind":"CiliumClusterwideNetworkPolicy",
     "namespaced":false}]})"});
  server.answer_with({.when = "GET /apis", .status = 200, .body = R"({"groups":[
    {"name":"apps","preferredVersion":{"groupVersion":"apps/v1"}},
    {"name":"cilium.io","preferredVersion":{"groupVersion":"cilium.io/v2"}}]})"});
  cluster::ApiClient api({.socket = server.socket()});
  const auto live = cluster::read_live_objects(api, {"shop"}, true);
  ASSERT_TRUE(live) << live.error().message;
  ASSERT_EQ(live->pods.size(), 1U);
  EXPECT_EQ(live->pods[0]["metadata"]["name"], "web");
  ASSERT_EQ(live->policies.size(), 1U);
  EXPECT_EQ(live->policies[0]["kind"], "NetworkPolicy");
  ASSERT_EQ(live->others.size(), 1U);
  EXPECT_EQ(live->others[0]["apiVersion"], "cilium.io/v2");
  EXPECT_EQ(live->others[0]["kind"], "CiliumNetworkPolicy");
  ASSERT_EQ(live->unseen.size(), 1U);
  EXPECT_EQ(live->unseen[0].kind, "CiliumClusterwideNetworkPolicy");
  ASSERT_EQ(live->controllers.size(), 1U);
  EXPECT_EQ(live->controllers[0]["kind"], "DaemonSet");
  const auto missing = cluster::read_live_objects(api, {"nowhere"}, false);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, base::ErrorKind::input);
}

}  // namespace
}  // namespace stackbench
