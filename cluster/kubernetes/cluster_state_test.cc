// What is read from a cluster's objects: nodes, pods, facts.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/cluster_facts.h"
#include "cluster/kubernetes/lost_pods.h"
#include "cluster/kubernetes/nodes.h"
#include "cluster/kubernetes/owner.h"
#include "cluster/kubernetes/pod_state.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Json json(std::string_view text) {
  auto parsed = base::parse_json(text);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? *parsed : Json();
}

Json node(const std::string& name, const std::string& rest = "{}", const char* ready = "True") {
  Json one = {{"metadata", {{"name", name}}},
              {"spec", json(rest)},
              {"status",
               {{"conditions", Json::array({{{"type", "MemoryPressure"}, {"status", "False"}},
                                            {{"type", "Ready"}, {"status", ready}}})},
                {"addresses", Json::array({{{"type", "Hostname"}, {"address", name}},
                                           {{"type", "InternalIP"}, {"address", "10.0.0.7"}},
                                           {{"type", "InternalIP"}, {"address", "fd00::7"}},
                                           {{"type", "ExternalIP"}, {"address", "9.9.9.9"}}})}}}};
  return one;
}

TEST(LostPods, AreThoseThatShouldHaveEnded) {
  const auto pod = [](const std::string& uid, const std::string& on, int grace) {
    Json one = {{"metadata", {{"uid", uid}}}, {"spec", {{"nodeName", on}}}};
    if (grace >= 0) {
      one["metadata"]["deletionTimestamp"] = "2024-01-01T00:00:00Z";
      one["metadata"]["deletionGracePeriodSeconds"] = grace;
    }
    return one;
  };
  const Json pods = {{"items", Json::array({pod("1", "a", 1), pod("2", "b", 30), pod("3", "c", -1),
                                            pod("4", "", 0)})}};
  LostPods lost({.run = {}, .environment = {}, .owner = {}, .in_namespace = "it"});
  const base::MonotonicTime first{1'000'000'000'000};
  using std::chrono::seconds;
  EXPECT_THAT(lost.overdue(pods, first), IsEmpty());
  // Of a grace of 1 s, and a second for the kubelet to say so.
  EXPECT_THAT(lost.overdue(pods, first + std::chrono::milliseconds(1900)), IsEmpty());
  EXPECT_THAT(lost.overdue(pods, first + seconds(2)), ::testing::ElementsAre("a"));
  EXPECT_THAT(lost.overdue(pods, first + seconds(31)), ::testing::ElementsAre("a", "b"));
  EXPECT_THAT(lost.overdue(Json(), first), IsEmpty());
}

TEST(Nodes, TheFirstThatTakePodsByName) {
  const Objects all = {
      {"a", node("a", R"({"taints":[{"key":"node-role.kubernetes.io/control-plane",)"
                      R"("effect":"NoSchedule"}]})")},
      {"b", node("b", R"({"taints":[{"key":"soft","effect":"PreferNoSchedule"}]})")},
      {"c", node("c", R"({"unschedulable":true})")},
      {"d", node("d", "{}", "Unknown")},
      {"e", node("e")},
      {"f", node("f")}};
  const auto chosen = choose_nodes(all, 2);
  ASSERT_TRUE(chosen) << chosen.error().message;
  ASSERT_EQ(chosen->size(), 2U);
  EXPECT_EQ((*chosen)[0].name, "b");
  EXPECT_EQ((*chosen)[1].name, "e");
  EXPECT_EQ((*chosen)[1].handle.number, 2);
  EXPECT_EQ((*chosen)[1].handle.ipv4.to_string(), "10.0.0.7");
  EXPECT_EQ((*chosen)[1].handle.ipv6.to_string(), "fd00::7");
  const auto too_few = choose_nodes(all, 4);
  ASSERT_FALSE(too_few);
  EXPECT_EQ(too_few.error().kind, ErrorKind::missing);
  EXPECT_EQ(too_few.error().message,
            "the scenario wants 4 nodes and the cluster has 3 that take pods: "
            "a is tainted node-role.kubernetes.io/control-plane:NoSchedule, c is cordoned, "
            "d is not Ready");
  EXPECT_FALSE(too_few.error().mend.empty());
}

Json pod(const std::string& phase, const std::string& state, const std::string& rest = "{}") {
  Json one = {{"metadata", {{"name", "web-0"}}},
              {"spec", {{"nodeName", "n1"}, {"containers", Json::array({{{"image", "agent:1"}}})}}},
              {"status", json(rest)}};
  one["status"]["phase"] = phase;
  one["status"]["containerStatuses"] = Json::array({{{"state", json(state)}}});
  return one;
}

TEST(PodState, RunsOnceItsContainerDoesAndItHasAnAddress) {
  EXPECT_EQ(pod_runs(pod("Pending", R"({"waiting":{"reason":"ContainerCreating"}})")), false);
  EXPECT_EQ(pod_runs(pod("Running", R"({"running":{"startedAt":"now"}})")), false);
  EXPECT_EQ(
      pod_runs(pod("Running", R"({"running":{"startedAt":"now"}})", R"({"podIP":"10.1.1.1"})")),
      true);
  EXPECT_EQ(pod_runs(Json::object()), false);
}

TEST(PodState, AnImageThatIsNotThereIsMissingWithItsMend) {
  for (const auto* reason : {"ErrImageNeverPull", "ImagePullBackOff"}) {
    const auto state =
        fmt::format(R"({{"waiting":{{"reason":"{}","message":"no such"}}}})", reason);
    const auto runs = pod_runs(pod("Pending", state));
    ASSERT_FALSE(runs) << reason;
    EXPECT_EQ(runs.error().kind, ErrorKind::missing);
    EXPECT_EQ(runs.error().message, fmt::format("pod web-0 on n1: {}: no such", reason));
    EXPECT_THAT(runs.error().mend, HasSubstr("agent:1"));
    EXPECT_THAT(runs.error().mend, HasSubstr("--agent-image"));
  }
}

TEST(PodState, WhatWillNotGetFurtherIsAnError) {
  const auto crashed = pod_runs(pod("Running", R"({"waiting":{"reason":"CrashLoopBackOff"}})"));
  ASSERT_FALSE(crashed);
  EXPECT_EQ(crashed.error().kind, ErrorKind::system);
  const auto ended = pod_runs(
      pod("Failed", R"({"terminated":{"exitCode":7}})", R"({"reason":"Evicted","message":""})"));
  ASSERT_FALSE(ended);
  EXPECT_EQ(ended.error().message, "pod web-0 on n1 ended: exit code 7 Evicted");
}

TEST(PodState, SaysWhyItIsNotScheduled) {
  const auto waiting = json(R"({"status":{"phase":"Pending","conditions":[
    {"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"no room"}]}})");
  EXPECT_TRUE(is_unschedulable(waiting));
  EXPECT_EQ(pod_stage(waiting), "not scheduled: no room");
  EXPECT_FALSE(is_unschedulable(pod("Running", "{}")));
}

TEST(PodState, ReadsAddressesOfBothFamilies) {
  PodHandle handle;
  read_pod_addresses(json(R"({"status":{"podIPs":[{"ip":"10.1.1.1"},{"ip":"fd00::1"}]}})"), handle);
  EXPECT_EQ(handle.ipv4.to_string(), "10.1.1.1");
  EXPECT_EQ(handle.ipv6.to_string(), "fd00::1");
}

TEST(KubeProxyMode, IsAKeyOfTheFirstLevelAndDefaultsToIptables) {
  const std::string head =
      "apiVersion: kubeproxy.config.k8s.io/v1alpha1\n"
      "kind: KubeProxyConfiguration\n";
  EXPECT_EQ(kube_proxy_mode(head + "detectLocal:\n  mode: ipvs\nmode: nftables\n"), "nftables");
  EXPECT_EQ(kube_proxy_mode(head + "mode: \"\"\n"), "iptables");
  EXPECT_EQ(kube_proxy_mode(head), "iptables");
  EXPECT_EQ(kube_proxy_mode(R"({"kind":"KubeProxyConfiguration","mode":"nftables"})"), "nftables");
  EXPECT_EQ(kube_proxy_mode("mode: nftables"), std::nullopt);
}

TEST(PluginOf, KnowsPluginsByTheirImages) {
  const auto sets = json(R"({"items":[
    {"metadata":{"name":"kube-proxy","namespace":"kube-system"},"spec":{"template":{"spec":{
      "containers":[{"image":"registry.k8s.io/kube-proxy:v1.33.6"}]}}}},
    {"metadata":{"name":"calico-node","namespace":"kube-system"},"spec":{"template":{"spec":{
      "containers":[{"image":"localhost:5000/calico/node:v3.28.0@sha256:00"}]}}}}]})");
  const auto plugin = plugin_of(sets);
  ASSERT_TRUE(plugin);
  EXPECT_EQ(plugin->name, "calico");
  EXPECT_EQ(plugin->version, "v3.28.0");
  EXPECT_EQ(plugin->source, "DaemonSet kube-system/calico-node");
  EXPECT_FALSE(plugin_of(json(R"({"items":[]})")));
}

TEST(PluginSaidBy, IsReadFromNodes) {
  Objects nodes{{"a", json(R"({"metadata":{"name":"a"}})")}};
  EXPECT_FALSE(plugin_said_by(nodes));
  nodes["b"] = json(R"({"metadata":{"annotations":{"stackbench.io/network-plugin":"bridge"}}})");
  const auto plugin = plugin_said_by(nodes);
  ASSERT_TRUE(plugin);
  EXPECT_EQ(plugin->name, "bridge");
  EXPECT_EQ(plugin->source, "annotation stackbench.io/network-plugin of node b");
}

TEST(PolicyEngine, FollowsFromThePlugin) {
  const auto of = [](const char* plugin) {
    return policy_engine_of({.name = plugin, .version = {}, .source = "it"});
  };
  EXPECT_EQ(of("calico").name, "Calico Felix");
  EXPECT_EQ(of("cilium").name, "Cilium");
  EXPECT_EQ(of("bridge").name, "none");
  for (const auto* unknown : {"", "kindnet", "somebody-else's"}) {
    EXPECT_EQ(of(unknown).name, "") << unknown;
    EXPECT_NE(of(unknown).source, "") << unknown;
  }
}

TEST(Unavailable, IsADatapathTheClusterHasNot) {
  const auto why = [](ServiceProxy proxy, DatapathKind datapath) {
    EnvironmentPlan plan{
        .name = "it", .datapath = datapath, .topology = {}, .ports = {}, .faults = {}};
    return why_unavailable({.version = "v1",
                            .proxy = std::move(proxy),
                            .plugin = {},
                            .families = {"ipv4"},
                            .meshes = {}},
                           plan)
        .value_or("");
  };
  const ServiceProxy iptables{.mode = "iptables", .source = "kube-proxy on node n1"};
  EXPECT_THAT(why(iptables, DatapathKind::iptables), IsEmpty());
  EXPECT_EQ(why(iptables, DatapathKind::nftables),
            "the cluster's kube-proxy runs in iptables mode (kube-proxy on node n1)");
  EXPECT_THAT(why(iptables, DatapathKind::ebpf_socket), HasSubstr("iptables mode"));
  EXPECT_THAT(why(iptables, DatapathKind::direct), HasSubstr("lab"));
  const ServiceProxy cilium{.mode = "cilium", .socket_lb = true, .source = "it"};
  EXPECT_THAT(why(cilium, DatapathKind::ebpf_socket), IsEmpty());
  EXPECT_THAT(why(cilium, DatapathKind::ebpf_tc), HasSubstr("is on"));
  EXPECT_THAT(why(cilium, DatapathKind::iptables), HasSubstr("replaced by Cilium"));
  EXPECT_THAT(why({.source = "it is not there"}, DatapathKind::iptables),
              HasSubstr("could not be found out: it is not there"));
}

TEST(Unavailable, IsNotWhatHasPoliciesAndNoServices) {
  EnvironmentPlan plan{
      .name = "it", .datapath = DatapathKind::direct, .topology = {}, .ports = {}, .faults = {}};
  const ClusterFacts facts{.version = "v1",
                           .proxy = {.mode = "iptables", .source = "it"},
                           .plugin = {},
                           .families = {"ipv4"},
                           .meshes = {}};
  EXPECT_TRUE(why_unavailable(facts, plan));
  plan.has_policies = true;
  EXPECT_FALSE(why_unavailable(facts, plan));
}

TEST(InstalledDatapath, IsWhatTheClusterTranslatesBy) {
  const auto of = [](const char* mode, bool socket_lb = false) {
    return installed_datapath({.mode = mode, .socket_lb = socket_lb, .source = "it"});
  };
  EXPECT_EQ(of("iptables"), DatapathKind::iptables);
  EXPECT_EQ(of("nftables"), DatapathKind::nftables);
  EXPECT_EQ(of("cilium", true), DatapathKind::ebpf_socket);
  EXPECT_EQ(of("cilium"), DatapathKind::ebpf_tc);
  EXPECT_EQ(of("ipvs"), DatapathKind::installed);
  EXPECT_EQ(of(""), DatapathKind::installed);
}

TEST(Unavailable, AreFaultsOfALabAndFamiliesThatPodsLack) {
  const ClusterFacts facts{.version = "v1",
                           .proxy = {.mode = "iptables", .source = "it"},
                           .plugin = {},
                           .families = {"ipv4"},
                           .meshes = {}};
  EnvironmentPlan plan{.name = "it",
                       .datapath = DatapathKind::iptables,
                       .topology = {},
                       .ports = {},
                       .faults = {FaultKind::stale_backend}};
  EXPECT_THAT(why_unavailable(facts, plan).value_or(""), HasSubstr("stale_backend"));
  plan.faults = {FaultKind::impostor};
  EXPECT_FALSE(why_unavailable(facts, plan));
  plan.filler = {.services = 1, .family = base::AddressFamily::ipv6};
  EXPECT_THAT(why_unavailable(facts, plan).value_or(""), HasSubstr("no ipv6"));
}

TEST(Owner, IsThisProcessWhileItLives) {
  const auto ours = owner_of_ours();
  EXPECT_EQ(life_of(ours), OwnerLife::alive);
  EXPECT_THAT(machine_of(ours), ::testing::Not(IsEmpty()));
  const auto with = [&](const std::string& field, const std::string& value) {
    const auto at = ours.find(field + "=");
    const auto end = std::min(ours.find(' ', at), ours.size());
    return ours.substr(0, at) + field + "=" + value + ours.substr(end);
  };
  // The same pid, but a process that began at another time.
  EXPECT_EQ(life_of(with("start", "1")), OwnerLife::gone);
  EXPECT_EQ(life_of(with("pid", "4194305")), OwnerLife::gone);
  EXPECT_EQ(life_of(with("pids", "1")), OwnerLife::unknown);
  const auto elsewhere = "host=there machine=none boot=another pids=1 pid=1 start=1";
  EXPECT_EQ(life_of(elsewhere), OwnerLife::unknown);
  EXPECT_EQ(machine_of(elsewhere), "there");
  EXPECT_EQ(life_of(""), OwnerLife::unknown);
}

}  // namespace
}  // namespace cluster
