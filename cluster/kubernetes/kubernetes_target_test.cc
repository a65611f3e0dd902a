#include "cluster/kubernetes/kubernetes_target.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/endpoints.h"
#include "cluster/kubernetes/clean.h"
#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::ErrorKind;
using base::Json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::StartsWith;

using testing::KubernetesTargetTest;
using testing::plan_of;

TEST_F(KubernetesTargetTest, ProvisionsPodsAndServicesAndReadsTheirAddresses) {
  const auto it = target();
  ASSERT_NE(it, nullptr);
  const auto environment = it->provision(plan_of());
  ASSERT_TRUE(environment) << environment.error().message;
  EXPECT_EQ(environment->nodes.size(), 2U);
  EXPECT_EQ(environment->nodes[1].ipv4.to_string(), "172.18.0.3");
  ASSERT_EQ(environment->pods.size(), 4U);
  for (const auto& pod : environment->pods) {
    EXPECT_THAT(pod.ipv4.to_string(), StartsWith("10.244.0.")) << pod.name;
    EXPECT_THAT(pod.ipv6.to_string(), StartsWith("fd00:10:244::")) << pod.name;
  }
  const auto& web = environment->services.at("web");
  EXPECT_THAT(web.ipv4.to_string(), StartsWith("10.96.0."));
  EXPECT_THAT(web.ipv6.to_string(), StartsWith("fd00:10:96::"));
  EXPECT_EQ(web.target, "web");
  EXPECT_THAT(web.node_ports, IsEmpty());
  // Those on standby are not in its endpoints, and nobody polled for the others.
  const auto space = fmt::format("stackbench-{}-iptables", it->run());
  const auto slice = server_.object(
      fmt::format("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/web-v4", space));
  int ready = 0;
  for (const auto& endpoint : slice["endpoints"]) ready += endpoint["conditions"]["ready"] ? 1 : 0;
  EXPECT_EQ(ready, 2);
  EXPECT_EQ(server_.count("GET /api/v1/namespaces/" + space + "/pods?limit"), 1);
  // The same again is the same.
  const auto again = it->provision(plan_of());
  ASSERT_TRUE(again);
  EXPECT_EQ(again->services.at("web").ipv4, web.ipv4);
  auto other = plan_of();
  other.topology.pods["web"].replicas = 1;
  EXPECT_EQ(it->provision(other).error().kind, ErrorKind::input);
}

TEST_F(KubernetesTargetTest, TearsDownEverythingAndOnlyItsOwn) {
  server_.put("/api/v1/namespaces/theirs", Json::object());
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  ASSERT_TRUE(it->observe("iptables", "client-0"));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), SizeIs(3));
  const auto pods =
      fmt::format("DELETE /api/v1/namespaces/stackbench-{}-iptables/pods?", it->run());
  // Not to be let is no reason to leave the namespace.
  server_.answer_with({.when = pods, .status = 403});
  const auto down = it->teardown();
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_EQ(server_.count(pods), 1) << "a namespace takes seconds to come to its pods";
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), ElementsAre("theirs"));
  EXPECT_TRUE(it->teardown());
  ASSERT_TRUE(it->provision(plan_of()));  // and it can be had again
}

TEST_F(KubernetesTargetTest, SharesANamespaceWithoutTouchingWhatOthersHaveThere) {
  server_.put("/api/v1/namespaces/team", Json::object());
  server_.put("/api/v1/namespaces/team/services/web",
              {{"spec", {{"type", "ClusterIP"}, {"selector", {{"app", "theirs"}}}}}});
  const auto it = target("team");
  const auto environment = it->provision(plan_of());
  ASSERT_TRUE(environment) << environment.error().message;
  EXPECT_EQ(server_.object("/api/v1/namespaces/team/services/web")["spec"]["selector"]["app"],
            "theirs");
  EXPECT_THAT(in_namespace("/api/v1/namespaces/team/services"), SizeIs(2));
  ASSERT_TRUE(it->teardown());
  EXPECT_THAT(in_namespace("/api/v1/namespaces/team/services"), ElementsAre("team/web"));
  EXPECT_THAT(in_namespace("/api/v1/namespaces/team/pods"), IsEmpty());
}

TEST_F(KubernetesTargetTest, AnImageThatIsMissingIsSaidAndNothingIsLeft) {
  server_.set_pod_fate(testing::PodFate::image_missing);
  const auto it = target();
  const auto environment = it->provision(plan_of());
  ASSERT_FALSE(environment);
  EXPECT_EQ(environment.error().kind, ErrorKind::missing);
  EXPECT_THAT(environment.error().message,
              HasSubstr("environment iptables: pod client-0 on : ErrImageNeverPull"));
  EXPECT_THAT(environment.error().mend, HasSubstr("agent:1"));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), IsEmpty());
}

TEST_F(KubernetesTargetTest, TooFewNodesIsSaidBeforeAnythingIsMade) {
  auto plan = plan_of();
  plan.topology.nodes = 3;
  const auto it = target();
  const auto environment = it->provision(plan);
  ASSERT_FALSE(environment);
  EXPECT_EQ(environment.error().kind, ErrorKind::missing);
  EXPECT_THAT(environment.error().message, HasSubstr("wants 3 nodes and the cluster has 2"));
  EXPECT_EQ(server_.count("PATCH"), 0);
}

TEST_F(KubernetesTargetTest, NodePortsAndBalancersAreRead) {
  auto plan = plan_of();
  plan.topology.services["web"].type = ServiceType::LoadBalancer;
  const auto it = target();
  const auto environment = it->provision(plan);
  ASSERT_TRUE(environment) << environment.error().message;
  const auto& web = environment->services.at("web");
  EXPECT_GE(web.node_ports.at("tcp-rr"), 30000);
  ASSERT_THAT(web.load_balancer_addresses, SizeIs(1));
  EXPECT_THAT(web.load_balancer_addresses[0].to_string(), StartsWith("172.20.0."));
}

TEST_F(KubernetesTargetTest, FillersAreThereWithAnEndpointEach) {
  auto plan = plan_of();
  plan.filler = {.services = 30, .family = AddressFamily::ipv4};
  const auto it = target();
  const auto environment = it->provision(plan);
  ASSERT_TRUE(environment) << environment.error().message;
  const auto space = fmt::format("stackbench-{}-iptables", it->run());
  EXPECT_THAT(in_namespace(fmt::format("/api/v1/namespaces/{}/services", space)), SizeIs(31));
  const auto slice = server_.object(
      fmt::format("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices/other-00030", space));
  EXPECT_EQ(slice["endpoints"][0]["addresses"][0], environment->pods[0].ipv4.to_string());
  EXPECT_LE(server_.connections(), 60);
}

TEST_F(KubernetesTargetTest, ReadinessIsWrittenToPodsAndSeenInSlices) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  const auto changed =
      it->set_readiness("iptables", AddressFamily::ipv4,
                        {{"web-0", Readiness::unready}, {"web-2", Readiness::ready}});
  ASSERT_TRUE(changed) << changed.error().message;
  EXPECT_LT(changed->sent_ns, changed->acked_ns);
  ASSERT_TRUE(changed->published_ns);
  EXPECT_GT(*changed->published_ns, changed->sent_ns);
  EXPECT_FALSE(changed->programmed_ns);
  const auto space = fmt::format("stackbench-{}-iptables", it->run());
  const auto condition = [&](const std::string& pod) {
    const auto object = server_.object(fmt::format("/api/v1/namespaces/{}/pods/{}", space, pod));
    for (const auto& one : object["status"]["conditions"]) {
      if (one["type"] == "stackbench.io/in-service") return one["status"].get<std::string>();
    }
    return std::string("none");
  };
  EXPECT_EQ(condition("web-0"), "False");
  EXPECT_EQ(condition("web-1"), "True");
  EXPECT_EQ(condition("web-2"), "True");
  // Who joins comes first.
  std::vector<std::string> patched;
  for (const auto& line : server_.requests()) {
    const auto at = line.find("/pods/web-");
    if (line.starts_with("PATCH") && line.find("/status?") != std::string::npos &&
        at != std::string::npos) {
      patched.push_back(line.substr(at + 6, 5));
    }
  }
  ASSERT_GE(patched.size(), 2U);
  EXPECT_EQ(patched[patched.size() - 2], "web-2");
  EXPECT_EQ(patched.back(), "web-0");
  // What is so already is not written again.
  const auto before = server_.count("PATCH");
  ASSERT_TRUE(it->set_readiness("iptables", AddressFamily::ipv4, {{"web-0", Readiness::unready}}));
  EXPECT_EQ(server_.count("PATCH"), before);
  EXPECT_EQ(it->set_readiness("iptables", AddressFamily::ipv4, {{"web-9", Readiness::ready}})
                .error()
                .kind,
            ErrorKind::input);
}

TEST_F(KubernetesTargetTest, WhatTerminatesIsDeletedAndMadeAnew) {
  const auto it = target();
  const auto before = it->provision(plan_of());
  ASSERT_TRUE(before) << before.error().message;
  const auto path = fmt::format("/api/v1/namespaces/stackbench-{}-iptables/pods/web-0", it->run());
  const auto left =
      it->set_readiness("iptables", AddressFamily::ipv4,
                        {{"web-0", Readiness::terminating}, {"web-2", Readiness::ready}});
  ASSERT_TRUE(left) << left.error().message;
  EXPECT_TRUE(left->published_ns);
  EXPECT_EQ(server_.count("DELETE " + path + "?gracePeriodSeconds=10"), 1);
  EXPECT_TRUE(server_.object(path).is_null());
  // It is deleted once.
  ASSERT_TRUE(
      it->set_readiness("iptables", AddressFamily::ipv4, {{"web-0", Readiness::terminating}}));
  EXPECT_EQ(server_.count("DELETE " + path), 1);

  const auto back = it->set_readiness(
      "iptables", AddressFamily::ipv4,
      {{"web-0", Readiness::ready}, {"web-1", Readiness::ready}, {"web-2", Readiness::unready}});
  ASSERT_TRUE(back) << back.error().message;
  const auto after = it->provision(plan_of());
  ASSERT_TRUE(after) << after.error().message;
  const auto pod = [](const EnvironmentHandle& environment, std::string_view name) {
    return *std::ranges::find(environment.pods, name, &PodHandle::name);
  };
  EXPECT_NE(pod(*after, "web-0").ipv4.to_string(), pod(*before, "web-0").ipv4.to_string());
  EXPECT_EQ(pod(*after, "web-0").ipv4.to_string(),
            server_.object(path)["status"]["podIP"].get<std::string>());
  EXPECT_EQ(pod(*after, "web-0").id, pod(*before, "web-0").id);
  EXPECT_EQ(pod(*after, "web-1").ipv4, pod(*before, "web-1").ipv4);
}

TEST_F(KubernetesTargetTest, SaysWhyAServiceIsSilent) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  const auto talks = it->why_silent("iptables", "web");
  ASSERT_TRUE(talks) << talks.error().message;
  EXPECT_FALSE(*talks);
  ASSERT_TRUE(it->set_readiness("iptables", AddressFamily::ipv4,
                                {{"web-0", Readiness::unready}, {"web-1", Readiness::unready}}));
  EXPECT_EQ(it->why_silent("iptables", "web")->value_or(""),
            "no endpoint of Service web is ready (there are web-0, web-1, web-2)");
  EXPECT_EQ(it->why_silent("iptables", "other")->value_or(""), "Service other has no endpoints");
}

TEST_F(KubernetesTargetTest, AnAgentWhoseNodeIsGoneCannotBeHadAgain) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  auto streams = it->agent("iptables", "web-1");
  ASSERT_TRUE(streams) << streams.error().message;
  server_.put(
      "/api/v1/nodes/n2",
      {{"status",
        {{"conditions",
          Json::array(
              {{{"type", "Ready"}, {"status", "Unknown"}, {"message", "no word of it"}}})}}}});
  // The pod is still listed; who asks for it is told that nobody is there.
  server_.answer_with({.when = "/pods/web-1/exec", .status = 400, .body = "{}"});
  const auto again = streams->reattach();
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().kind, ErrorKind::peer_lost);
  EXPECT_THAT(again.error().message, StartsWith("node n2 is not Ready: no word of it ("));
}

TEST_F(KubernetesTargetTest, ReachesTheAgentOfAPod) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  auto streams = it->agent("iptables", "web-1");
  ASSERT_TRUE(streams) << streams.error().message;
  ASSERT_EQ(::write(streams->to_agent.get(), "hi", 2), 2);
  std::string text(9, '\0');
  ASSERT_EQ(::read(streams->from_agent.get(), text.data(), text.size()), 9);
  EXPECT_EQ(text, "web-1: hi");
  ASSERT_TRUE(streams->reattach);
  EXPECT_TRUE(streams->reattach());
  EXPECT_EQ(it->agent("iptables", "web-9").error().kind, ErrorKind::input);
  EXPECT_EQ(it->agent("nftables", "web-1").error().kind, ErrorKind::input);
}

TEST_F(KubernetesTargetTest, ObservesAPodAtItsHostSideInterface) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  EXPECT_EQ(server_.count("privileged"), 0);
  const auto observer = it->observe("iptables", "web-0");
  ASSERT_TRUE(observer) << observer.error().message;
  EXPECT_EQ(observer->interface, "veth1234");
  const auto pod = server_.object(fmt::format(
      "/api/v1/namespaces/stackbench-{0}/pods/stackbench-{0}-iptables.web-0", it->run()));
  EXPECT_EQ(pod["spec"]["hostNetwork"], true);
  const auto& term =
      pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
         ["nodeSelectorTerms"][0]["matchFields"][0];
  EXPECT_EQ(term["values"][0], "n2");
}

TEST_F(KubernetesTargetTest, AppliesAnyKindTheClusterKnows) {
  server_.answer_with({.when = "GET /apis/networking.k8s.io/v1",
                       .status = 200,
                       .body = R"({"resources":[{"name":"networkpolicies","kind":"NetworkPolicy",)"
                               R"("namespaced":true}]})"});
  server_.answer_with({.when = "GET /apis/security.istio.io/v1", .status = 404, .body = "{}"});
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  const Json policy = {{"apiVersion", "networking.k8s.io/v1"},
                       {"kind", "NetworkPolicy"},
                       {"metadata", {{"name", "deny"}}},
                       {"spec", {{"podSelector", Json::object()}}}};
  const auto stamps = it->apply("iptables", policy);
  ASSERT_TRUE(stamps) << stamps.error().message;
  EXPECT_GT(stamps->resource_version, 0U);
  const auto path = fmt::format(
      "/apis/networking.k8s.io/v1/namespaces/stackbench-{}-iptables/networkpolicies/deny",
      it->run());
  EXPECT_EQ(server_.object(path)["metadata"]["labels"]["stackbench.io/run"], it->run());
  ASSERT_TRUE(it->remove("iptables", "NetworkPolicy", "deny"));
  EXPECT_TRUE(server_.object(path).is_null());
  EXPECT_TRUE(it->remove("iptables", "NetworkPolicy", "deny"));
  Json unknown = policy;
  unknown["apiVersion"] = "security.istio.io/v1";
  EXPECT_EQ(it->apply("iptables", unknown).error().kind, ErrorKind::missing);
}

TEST_F(KubernetesTargetTest, RefusesSlicesThatAControllerWouldOverwrite) {
  const auto it = target();
  const auto environment = it->provision(plan_of());
  ASSERT_TRUE(environment);
  const auto slice =
      endpoint_slice("web", "web", AddressFamily::ipv4, environment->pods, plan_of().ports);
  const auto refused = it->apply("iptables", base::to_json(slice));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::missing);
  EXPECT_THAT(refused.error().message, HasSubstr("Service web"));
}

TEST_F(KubernetesTargetTest, SaysWhatItHasAndWhatItCannotHave) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  auto plan = plan_of();
  const auto available = it->unavailable(plan);
  ASSERT_TRUE(available);
  EXPECT_FALSE(*available) << **available;
  plan.datapath = DatapathKind::nftables;
  EXPECT_EQ(it->unavailable(plan)->value_or(""),
            "the cluster's kube-proxy runs in iptables mode (ConfigMap kube-system/kube-proxy)");
  const auto facts = it->facts();
  EXPECT_EQ(facts["target"], "kubernetes");
  EXPECT_EQ(facts["kubernetes"], "v1.33.6");
  EXPECT_EQ(facts["service_proxy"]["mode"], "iptables");
  EXPECT_EQ(facts["nodes"]["n1"]["kernel"], "6.1.0");
  EXPECT_EQ(facts["families"], Json::array({"ipv4", "ipv6"}));
  EXPECT_EQ(facts["environments"]["iptables"]["pod_network"]["links"][1]["mtu"], 1450);
  EXPECT_EQ(facts["agents_reached_by"], "WebSocket");
}

TEST_F(KubernetesTargetTest, AClusterThatDoesNotLetUsInIsOneClearError) {
  server_.answer_with({.when = "GET /version",
                       .status = 401,
                       .body = R"({"kind":"Status","message":"Unauthorized"})"});
  const auto refused = KubernetesTarget::create(options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_EQ(refused.error().message, "GET /version: Unauthorized");
}

TEST_F(KubernetesTargetTest, ARightThatIsMissingIsNamedBeforeAnythingIsMade) {
  const std::string review = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
  const testing::CannedAnswer no{
      .when = review, .status = 201, .body = R"({"status":{"allowed":false}})"};
  server_.answer_with(no);
  const auto refused = KubernetesTarget::create(options());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(refused.error().message, HasSubstr("lack rights that a run needs"));

  // What only fillers need is asked where there are some.
  const auto it = target();
  ASSERT_NE(it, nullptr);
  auto plan = plan_of();
  plan.filler = {.services = 1};
  server_.answer_with(no);
  const auto unfilled = it->provision(plan);
  ASSERT_FALSE(unfilled);
  EXPECT_THAT(unfilled.error().message, HasSubstr("endpointslices.discovery.k8s.io"));
  EXPECT_EQ(server_.count("PATCH"), 0);
}

TEST_F(KubernetesTargetTest, AServerThatStopsInTheMiddleIsWaitedFor) {
  server_.answer_with({.when = "PATCH",
                       .status = 502,
                       .body = "dial tcp: connect: connection refused",
                       .content_type = "text/plain",
                       .times = 3});
  const auto it = target();
  const auto environment = it->provision(plan_of());
  ASSERT_TRUE(environment) << environment.error().message;
}

TEST_F(KubernetesTargetTest, CleanTakesWhatGoneRunsLeftAndNothingOfALiveOne) {
  const auto it = target();
  ASSERT_TRUE(it->provision(plan_of()));
  const auto leave = [&](const std::string& name, const std::string& owner) {
    server_.put(
        "/api/v1/namespaces/" + name,
        {{"metadata",
          {{"labels",
            {{"app.kubernetes.io/managed-by", "stackbench"}, {"stackbench.io/run", "dead"}}},
           {"annotations", {{"stackbench.io/owner", owner}}}}}});
  };
  auto gone = server_
                  .object(fmt::format("/api/v1/namespaces/stackbench-{}-iptables",
                                      it->run()))["metadata"]["annotations"]["stackbench.io/owner"]
                  .get<std::string>();
  gone.replace(gone.find("start="), std::string::npos, "start=1");
  leave("stackbench-dead-a", gone);
  leave("stackbench-dead-b", "host=elsewhere machine=x boot=y pids=1 pid=1 start=1");
  const auto would = clean_kubernetes(options(), {.dry_run = true});
  ASSERT_TRUE(would) << would.error().message;
  EXPECT_THAT(would->removed, ElementsAre("namespace stackbench-dead-a"));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), SizeIs(3));
  const auto cleaned = clean_kubernetes(options(), {});
  ASSERT_TRUE(cleaned) << cleaned.error().message;
  EXPECT_THAT(cleaned->left_alone, ElementsAre(HasSubstr("stackbench-dead-b, made on elsewhere")));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"), SizeIs(2));
  ASSERT_TRUE(clean_kubernetes(options(), {.of_other_machines = true}));
  EXPECT_THAT(in_namespace("/api/v1/namespaces"),
              ElementsAre(fmt::format("stackbench-{}-iptables", it->run())));
}

}  // namespace
}  // namespace cluster
