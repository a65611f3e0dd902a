#include "cluster/kubernetes/manifests.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/check_plan.h"

namespace cluster {
namespace {

using base::Json;

EnvironmentPlan example_plan() {
  return {.name = "iptables",
          .datapath = DatapathKind::iptables,
          .topology = {.nodes = 2,
                       .pods = {{"client", {.node = 1}}, {"web", {.node = 2, .replicas = 2}}},
                       .services = {{"web", {.target = "web"}}}},
          .ports = {{"tcp-rr", Protocol::TCP, 8001, 9001}, {"udp-rr", Protocol::UDP, 8001, 9001}},
          .faults = {},
          .filler = {.services = 4}};
}

Placement own_place() { return *place("0a1b2c3d", "iptables", "host=here pid=1", ""); }

TEST(Placement, HasANamespaceOfItsOwnOrAPrefixInASharedOne) {
  const auto own = place("0a1b2c3d", "ebpf_tc", "", "");
  ASSERT_TRUE(own);
  EXPECT_EQ(own->in_namespace, "stackbench-0a1b2c3d-ebpf-tc");
  EXPECT_TRUE(own->own_namespace);
  EXPECT_EQ(own->name("web-0"), "web-0");
  const auto shared = place("0a1b2c3d", "ebpf_tc", "", "team");
  ASSERT_TRUE(shared);
  EXPECT_EQ(shared->in_namespace, "team");
  EXPECT_FALSE(shared->own_namespace);
  EXPECT_EQ(shared->name("web-0"), "stackbench-0a1b2c3d-ebpf-tc-web-0");
  EXPECT_EQ(environment_selector(*shared),
            "stackbench.io/run=0a1b2c3d,stackbench.io/environment=ebpf_tc");
}

TEST(Placement, RefusesNamesThatNoNamespaceCanHave) {
  for (const auto* name : {"ends_", "a_name_that_is_far_too_long_for_any_namespace_to_carry"}) {
    const auto refused = place("0a1b2c3d", name, "", "");
    ASSERT_FALSE(refused) << name;
    EXPECT_EQ(refused.error().kind, base::ErrorKind::input);
    EXPECT_FALSE(refused.error().mend.empty());
  }
}

TEST(Manifests, APodHasNoPrivilegeAndIsPinnedToItsNode) {
  const auto plan = example_plan();
  const auto pods = pods_of(plan);
  const auto pod = pod_manifest(own_place(), pods[1], "worker-2", "agent:1");
  const auto expected = base::parse_json(R"({
    "apiVersion": "v1", "kind": "Pod",
    "metadata": {
      "name": "web-0", "namespace": "stackbench-0a1b2c3d-iptables",
      "labels": {
        "app.kubernetes.io/managed-by": "stackbench", "stackbench.io/run": "0a1b2c3d",
        "stackbench.io/environment": "iptables", "stackbench.io/group": "web",
        "sidecar.istio.io/inject": "false"},
      "annotations": {"stackbench.io/owner": "host=here pid=1"}},
    "spec": {
      "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchFields": [
          {"key": "metadata.name", "operator": "In", "values": ["worker-2"]}]}]}}},
      "automountServiceAccountToken": false, "enableServiceLinks": false,
      "restartPolicy": "Never", "terminationGracePeriodSeconds": 1,
      "readinessGates": [{"conditionType": "stackbench.io/in-service"}],
      "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532,
                          "seccompProfile": {"type": "RuntimeDefault"}},
      "containers": [{
        "name": "agent", "image": "agent:1", "imagePullPolicy": "IfNotPresent",
        "command": ["/usr/bin/stackbench-agent", "listen"],
        "resources": {"requests": {"cpu": "100m", "memory": "32Mi"}},
        "volumeMounts": [{"name": "run", "mountPath": "/run/stackbench"}],
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                            "capabilities": {"drop": ["ALL"]}}}],
      "volumes": [{"name": "run", "emptyDir": {}}]}})");
  ASSERT_TRUE(expected);
  // As documents, whatever the order of their keys.
  EXPECT_EQ(nlohmann::json(pod), nlohmann::json(*expected)) << base::dump_json_pretty(pod);
}

TEST(Manifests, APodHasTheScenariosLabelsBesideOurs) {
  const auto plan = example_plan();
  auto pod = pods_of(plan)[1];
  pod.labels = {{"app", "web"}, {"stackbench.io/run", "forged"}};
  const auto labels = pod_manifest(own_place(), pod, "n", "agent:1")["metadata"]["labels"];
  EXPECT_EQ(labels["app"], "web");
  EXPECT_EQ(labels["stackbench.io/run"], "0a1b2c3d");
  EXPECT_EQ(labels["stackbench.io/group"], "web");
}

TEST(Manifests, RawPacketsTakeNoCapabilityThatBaselineRefuses) {
  const auto plan = example_plan();
  const auto pod = pod_manifest(own_place(), pods_of(plan)[1], "n", "agent:1",
                                {.rights = PodRights::raw_packets});
  EXPECT_EQ(pod["spec"]["securityContext"]["runAsUser"], 0);
  EXPECT_FALSE(pod["spec"]["securityContext"].contains("runAsNonRoot"));
  const auto& security = pod["spec"]["containers"][0]["securityContext"];
  EXPECT_EQ(security["allowPrivilegeEscalation"], false);
  // Of what runtimes give, one is left; none is added.
  EXPECT_FALSE(security["capabilities"].contains("add"));
  const auto dropped = security["capabilities"]["drop"].get<std::vector<std::string>>();
  EXPECT_THAT(dropped, ::testing::SizeIs(13));
  EXPECT_THAT(dropped, ::testing::Contains("DAC_OVERRIDE"));
  EXPECT_THAT(dropped, ::testing::Not(::testing::Contains("NET_RAW")));
}

TEST(Manifests, PortsAreDeclaredByTheNamesPoliciesUse) {
  const auto plan = example_plan();
  const auto pod =
      pod_manifest(own_place(), pods_of(plan)[1], "n", "agent:1", {.ports = plan.ports});
  EXPECT_EQ(pod["spec"]["containers"][0]["ports"][1],
            *base::parse_json(R"({"containerPort":9001,"protocol":"UDP","name":"udp-rr"})"));
  EXPECT_EQ(pod["spec"]["securityContext"]["sysctls"][0]["name"],
            "net.ipv4.ip_unprivileged_port_start");
  EXPECT_EQ(pod["spec"]["securityContext"]["runAsNonRoot"], true);
}

TEST(Manifests, ANamespaceHasTheScenariosLabelsAndName) {
  const auto there = place_in(own_place(), "other");
  ASSERT_TRUE(there) << there.error().message;
  const auto made = namespace_manifest(*there, "baseline", {{"team", "red"}}, "other");
  EXPECT_EQ(made["metadata"]["name"], "stackbench-0a1b2c3d-iptables-other");
  const auto& labels = made["metadata"]["labels"];
  EXPECT_EQ(labels["team"], "red");
  EXPECT_EQ(labels["stackbench.io/namespace"], "other");
  EXPECT_EQ(labels["stackbench.io/run"], "0a1b2c3d");
  EXPECT_EQ(labels["pod-security.kubernetes.io/enforce"], "baseline");
  EXPECT_EQ(place_in(own_place(), "default")->in_namespace, own_place().in_namespace);
  EXPECT_EQ(place_in(own_place(), std::string(40, 'a')).error().kind, base::ErrorKind::input);
}

TEST(Manifests, GeneratorsAreAnIndexedJobOfTheSamePods) {
  const auto plan = example_plan();
  const auto pods = pods_of(plan);
  const auto alone = pod_manifest(own_place(), pods[1], "worker-2", "agent:1");
  const auto job = generators_manifest(own_place(), pods[1], 8, "worker-2", "agent:1");
  EXPECT_EQ(job["metadata"]["name"], "web");
  EXPECT_EQ(job["metadata"]["labels"]["stackbench.io/run"], "0a1b2c3d");
  const auto& spec = job["spec"];
  EXPECT_EQ(spec["completionMode"], "Indexed");
  EXPECT_EQ(spec["completions"], 8);
  EXPECT_EQ(spec["parallelism"], 8);
  EXPECT_EQ(spec["backoffLimit"], 0);
  EXPECT_EQ(spec["template"]["spec"], alone["spec"]);
  EXPECT_EQ(spec["template"]["metadata"]["labels"], alone["metadata"]["labels"]);
  EXPECT_FALSE(spec["template"]["metadata"].contains("name"));
}

TEST(Manifests, AnObserverHasExactlyTheCapabilitiesProbesTake) {
  const auto pod = observer_manifest(own_place(), "observer", "worker-1", "agent:1");
  const auto& spec = pod["spec"];
  EXPECT_EQ(spec["hostNetwork"], true);
  EXPECT_FALSE(spec.contains("hostPID"));
  const auto& security = spec["containers"][0]["securityContext"];
  EXPECT_EQ(security["capabilities"]["drop"], Json::array({"ALL"}));
  EXPECT_EQ(security["capabilities"]["add"],
            Json::array({"BPF", "PERFMON", "NET_ADMIN", "NET_RAW"}));
  EXPECT_FALSE(security.contains("privileged"));
  EXPECT_EQ(security["allowPrivilegeEscalation"], false);
}

TEST(Manifests, AServiceSelectsTheGroupOfItsOwnRunAndEnvironment) {
  const auto plan = example_plan();
  const auto service =
      service_manifest(own_place(), "web",
                       {.target = "web",
                        .type = ServiceType::NodePort,
                        .external_traffic_policy = base::kube::TrafficPolicy::Local,
                        .session_affinity = base::kube::SessionAffinity::ClientIP},
                       plan.ports);
  const auto expected = base::parse_json(R"({
    "type": "NodePort",
    "selector": {"stackbench.io/run": "0a1b2c3d", "stackbench.io/environment": "iptables",
                 "stackbench.io/group": "web"},
    "ports": [{"name": "tcp-rr", "protocol": "TCP", "port": 8001, "targetPort": 9001},
              {"name": "udp-rr", "protocol": "UDP", "port": 8001, "targetPort": 9001}],
    "sessionAffinity": "ClientIP", "ipFamilyPolicy": "PreferDualStack",
    "externalTrafficPolicy": "Local"})");
  ASSERT_TRUE(expected);
  EXPECT_EQ(nlohmann::json(service["spec"]), nlohmann::json(*expected));
  // A ClusterIP has no policy for traffic from outside, and the API server refuses one.
  EXPECT_FALSE(service_manifest(own_place(), "web", {.target = "web"}, plan.ports)["spec"].contains(
      "externalTrafficPolicy"));
}

TEST(Manifests, AFillerHasNoSelectorAndAnEndpointOfOurs) {
  auto plan = example_plan();
  plan.filler.family = base::AddressFamily::ipv6;
  const auto service = filler_service_manifest(own_place(), plan, 1);
  EXPECT_EQ(service["metadata"]["name"], "filler-00001");
  EXPECT_FALSE(service["spec"].contains("selector"));
  EXPECT_EQ(service["spec"]["ipFamilies"], Json::array({"IPv6"}));
  const auto slice =
      filler_slice_manifest(own_place(), plan, 4, *base::IpAddress::parse("fd00::2"), "worker-1");
  EXPECT_EQ(slice["metadata"]["name"], "other-00004");
  EXPECT_EQ(slice["metadata"]["labels"]["kubernetes.io/service-name"], "other-00004");
  EXPECT_EQ(slice["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"], "stackbench");
  EXPECT_EQ(slice["addressType"], "IPv6");
  EXPECT_EQ(slice["endpoints"][0]["addresses"], Json::array({"fd00::2"}));
  EXPECT_EQ(slice["ports"][1]["port"], 9001);
}

TEST(Manifests, ReadinessIsTheGatesCondition) {
  EXPECT_EQ(base::dump_json(readiness_patch(false)),
            R"({"status":{"conditions":[{"type":"stackbench.io/in-service","status":"False"}]}})");
}

TEST(PodsOf, NumbersByGroupThenReplicaWithThoseOnStandbyLast) {
  auto plan = example_plan();
  plan.topology.pods["web"].standby = 1;
  std::vector<std::string> lines;
  for (const auto& pod : pods_of(plan)) {
    lines.push_back(
        fmt::format("{} {} node{}{}", pod.id, pod.name, pod.node, pod.standby ? " standby" : ""));
  }
  EXPECT_THAT(lines, ::testing::ElementsAre("1 client-0 node1", "2 web-0 node2", "3 web-1 node2",
                                            "4 web-2 node2 standby"));
}

}  // namespace
}  // namespace cluster
