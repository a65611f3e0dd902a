#include "cluster/processes/configs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/processes/components.h"
#include "cluster/processes/node.h"
#include "cluster/processes/wiring.h"

namespace cluster::processes {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::StartsWith;

const Directory directory("/state/clusters/two");
const Tools tools = tools_below("/tree/build");
const Shape shape{.name = "two", .nodes = 2, .proxy = ProxyMode::nftables};
const NodeFiles files{.directory = "/state/clusters/two/node2",
                      .authority = "/state/clusters/two/pki/ca.crt",
                      .serving_cert = "/cert",
                      .serving_key = "/key",
                      .proxy_kubeconfig = "/proxy.conf",
                      .cni_plugins = "/plugins",
                      .cgroup_root = "/stackbench-1-2-0/node2"};

TEST(Kubeconfig, HasOneContextWithEverythingInside) {
  const auto config = kubeconfig("stackbench-two", "https://127.0.0.1:4711", "CA", {"CERT", "KEY"});
  ASSERT_TRUE(config["clusters"].is_array());
  EXPECT_EQ(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:4711");
  EXPECT_EQ(config["clusters"][0]["cluster"]["certificate-authority-data"], "Q0E=");
  EXPECT_EQ(config["users"][0]["user"]["client-certificate-data"], "Q0VSVA==");
  EXPECT_EQ(config["users"][0]["user"]["client-key-data"], "S0VZ");
  EXPECT_EQ(config["contexts"][0]["context"]["cluster"], config["clusters"][0]["name"]);
  EXPECT_EQ(config["contexts"][0]["context"]["user"], config["users"][0]["name"]);
  EXPECT_EQ(config["current-context"], config["contexts"][0]["name"]);
}

TEST(KubeletConfig, KeepsToItsOwnCgroupAndChangesNothingOfTheMachine) {
  const auto config = kubelet_config(files);
  EXPECT_EQ(config["cgroupRoot"], "/stackbench-1-2-0/node2");
  EXPECT_EQ(config["cgroupsPerQOS"], true);
  EXPECT_EQ(config["enforceNodeAllocatable"], base::Json::array({"pods"}));
  EXPECT_EQ(config["failCgroupV1"], false);
  EXPECT_EQ(config["authentication"]["anonymous"]["enabled"], false);
  EXPECT_EQ(config["authentication"]["x509"]["clientCAFile"], files.authority);
  EXPECT_EQ(config["clusterDNS"], base::Json::array({"10.96.0.10"}));
}

TEST(KubeProxyConfig, HasTheModeAskedForAndLeavesConntrackAlone) {
  auto config = kube_proxy_config(shape, 2, files);
  EXPECT_EQ(config["mode"], "nftables");
  EXPECT_EQ(config["hostnameOverride"], "node2");
  EXPECT_EQ(config["conntrack"]["maxPerCore"], 0);
  EXPECT_EQ(config["conntrack"]["tcpEstablishedTimeout"], "0s");
  config = kube_proxy_config({}, 1, files);
  EXPECT_EQ(config["mode"], "iptables");
}

TEST(CniConfig, GivesEachNodesPodsAddressesOfItsOwn) {
  const auto config = bridge_cni_config(2);
  ASSERT_EQ(config["plugins"].size(), 2U);
  EXPECT_EQ(config["plugins"][0]["type"], "bridge");
  EXPECT_EQ(config["plugins"][0]["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
  EXPECT_EQ(config["plugins"][0]["ipam"]["routes"][0]["dst"], "0.0.0.0/0");
  EXPECT_EQ(config["plugins"][1]["capabilities"]["portMappings"], true);
  const auto node = node_object({}, 2);
  EXPECT_EQ(node["spec"]["podCIDR"], "10.244.2.0/24");
  EXPECT_EQ(node["spec"]["podCIDRs"], base::Json::array({"10.244.2.0/24"}));
  EXPECT_EQ(node["metadata"]["annotations"]["stackbench.io/network-plugin"], "bridge");
}

TEST(ContainerdConfig, NamesOurImageOurToolsAndTheNodesOwnPlaces) {
  const auto text = containerd_config(tools, files);
  EXPECT_THAT(text, HasSubstr("sandbox_image = \"docker.io/library/stackbench-pause:"));
  EXPECT_THAT(text, HasSubstr("BinaryName = \"/tree/build/tools/runc/usr/sbin/runc\""));
  EXPECT_THAT(text, HasSubstr("bin_dir = \"/plugins\""));
  EXPECT_THAT(text, HasSubstr("conf_dir = \"/state/clusters/two/node2/cni\""));
  EXPECT_THAT(text, HasSubstr("restrict_oom_score_adj = true"));
  EXPECT_THAT(text, Not(HasSubstr("{")));
}

TEST(Components, AreCalledByTheirNamesWithFilesOfTheirCluster) {
  std::vector<ComponentPlan> all = api_server_components(directory, tools);
  for (auto& plan : controller_components(directory, tools)) all.push_back(plan);
  all.push_back(containerd_component(directory, tools, 2));
  for (auto& plan : node_components(directory, tools, shape, 2)) all.push_back(plan);
  std::vector<std::string> names;
  for (const auto& plan : all) names.push_back(plan.name);
  EXPECT_THAT(names,
              ElementsAre("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler",
                          "node2-containerd", "node2-kubelet", "node2-kube-proxy"));
  EXPECT_THAT(all[1].argv, Contains("--advertise-address=172.18.1.1"));
  EXPECT_THAT(all[1].argv, Contains("--tls-cert-file=/state/clusters/two/pki/apiserver.crt"));
  EXPECT_THAT(all[5].argv, Contains("--node-ip=172.18.0.3"));
  EXPECT_THAT(all[5].argv, Contains("--kubeconfig=/state/clusters/two/pki/node2.conf"));
  EXPECT_EQ(all[5].node, 2);
  // They inherit neither proxies nor anything else of ours.
  EXPECT_THAT(component_environment(tools),
              ElementsAre(StartsWith("PATH=/tree/build/tools/containerd/usr/bin:"), "HOME=/root",
                          "LANG=C.UTF-8"));
}

TEST(Wiring, PlugsEveryNodeIntoTheRouterAndRoutesPodsToTheirNodes) {
  const auto plans = wire(shape);
  std::vector<std::string> names;
  for (const auto& plan : plans) names.push_back(plan.name);
  EXPECT_THAT(names, ElementsAre("router", "control-plane", "node1", "node2", "external"));
  EXPECT_THAT(plans[0].ip_batch, HasSubstr("link set node2 master br0 up\n"));
  EXPECT_THAT(plans[0].ip_batch, Not(HasSubstr("external master")));
  EXPECT_THAT(plans[2].ip_batch, HasSubstr("addr add 172.18.0.2/16 dev eth0\n"));
  EXPECT_THAT(plans[2].ip_batch, HasSubstr("route add 10.244.2.0/24 via 172.18.0.3\n"));
  EXPECT_THAT(plans[2].ip_batch, Not(HasSubstr("route add 10.244.1.0/24")));
  EXPECT_EQ(plans[2].sysctls.at("net.bridge.bridge-nf-call-iptables"), "1");
  EXPECT_EQ(plans[2].sysctls.at("net.ipv4.ip_forward"), "1");
}

std::vector<std::string> targets(const InitPlan& plan) {
  std::vector<std::string> all;
  for (const auto& mount : plan.mounts) all.push_back(mount.target);
  return all;
}

TEST(NodeInit, PutsPlainFilesOverWhatAKubeletWouldSetOfTheMachine) {
  const auto plan = node_init(directory, tools, {}, 2);
  EXPECT_EQ(plan.hostname, "node2");
  EXPECT_EQ(plan.clock_ahead, base::Duration(0));
  EXPECT_THAT(targets(plan), Contains("/proc/sys/vm/overcommit_memory"));
  EXPECT_THAT(targets(plan), Contains("/proc/sys/kernel/keys/root_maxkeys"));
  EXPECT_THAT(targets(plan), Contains("/var/lib"));
  EXPECT_EQ(plan.mounts.back().target, "/") << "shared, once everything is mounted";
  EXPECT_THAT(plan.kept, IsEmpty());
}

TEST(NodeInit, KeepsWhatTheNodesOwnDirectoriesWouldCover) {
  const auto plan =
      node_init(Directory("/var/lib/ci/state/x"), tools_below("/var/lib/ci/tree/build"), {}, 1);
  EXPECT_THAT(plan.kept, ElementsAre("/var/lib/ci/state/x", "/var/lib/ci/tree/build"));
  EXPECT_THAT(node_init(Directory("/var/libs/x"), tools, {}, 1).kept, IsEmpty());
}

TEST(NodeInit, SetsTheClockThatItsShapeSays) {
  const Shape ahead{.clocks_ahead = {{"node2", std::chrono::milliseconds(50)}}};
  EXPECT_EQ(node_init(directory, tools, ahead, 1).clock_ahead, base::Duration(0));
  EXPECT_EQ(node_init(directory, tools, ahead, 2).clock_ahead, std::chrono::milliseconds(50));
}

}  // namespace
}  // namespace cluster::processes
