#include "cluster/processes/addons.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/processes/calico.h"
#include "cluster/processes/components.h"
#include "cluster/processes/metallb.h"
#include "cluster/processes/wiring.h"

namespace cluster::processes {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const Directory directory("/state/clusters/two");
const Tools tools = tools_below("/tree/build");
const Shape with_both{.name = "two", .nodes = 2, .cni = Cni::calico, .bgp = Bgp::metallb};

std::vector<std::string> names_of(const Shape& shape) {
  std::vector<std::string> names;
  for (const auto& plan : node_components(directory, tools, shape, 2)) names.push_back(plan.name);
  return names;
}

TEST(Addons, RunOnANodeWhereTheyAreAskedFor) {
  EXPECT_THAT(names_of({}), ElementsAre("node2-kubelet", "node2-kube-proxy"));
  EXPECT_THAT(names_of(with_both), ElementsAre("node2-kubelet", "node2-kube-proxy", "node2-felix",
                                               "node2-metallb-speaker"));
}

TEST(Addons, BringTheirDefinitions) {
  EXPECT_THAT(definition_folders(tools, {}), IsEmpty());
  EXPECT_THAT(definition_folders(tools, with_both),
              ElementsAre("/tree/build/go/calico/crds", "/tree/build/go/metallb/crds"));
}

TEST(Calico, GivesEachNodesPodsAddressesOfItsOwnAndEnforcesPolicies) {
  const auto config = calico_cni_config(directory, 2);
  ASSERT_EQ(config["plugins"].size(), 2U);
  const auto& calico = config["plugins"][0];
  EXPECT_EQ(calico["type"], "calico");
  EXPECT_EQ(calico["nodename"], "node2");
  EXPECT_EQ(calico["policy"]["type"], "k8s");
  EXPECT_EQ(calico["ipam"]["ranges"][0][0]["subnet"], "10.244.2.0/24");
  EXPECT_EQ(calico["kubernetes"]["kubeconfig"], "/state/clusters/two/pki/calico.conf");
  EXPECT_EQ(config["plugins"][1]["capabilities"]["portMappings"], true);
}

TEST(Calico, FelixMakesNoMapThatTheKernelMayKeep) {
  EXPECT_THAT(felix_component(directory, tools, 1).environment,
              testing::Contains("FELIX_DebugSkipCTLBCleanup=true"));
}

TEST(Calico, SendsWhatIsForNoPodNowhere) {
  const auto node2 = wire(with_both)[3];
  ASSERT_EQ(node2.name, "node2");
  EXPECT_THAT(node2.ip_batch, HasSubstr("route add blackhole 10.244.2.0/24\n"));
  EXPECT_THAT(node2.ip_batch, HasSubstr("route add 10.244.1.0/24 via 172.18.0.2\n"));
  EXPECT_THAT(wire({.nodes = 2})[3].ip_batch, Not(HasSubstr("blackhole")));
}

TEST(Calico, TellsItsVersion) {
  const auto [path, object] = calico_cluster_information("v3.28.5");
  EXPECT_EQ(path, "/apis/crd.projectcalico.org/v1/clusterinformations");
  EXPECT_EQ(object["spec"]["calicoVersion"], "v3.28.5");
  EXPECT_EQ(object["spec"]["datastoreReady"], true);
}

TEST(MetalLb, PeersWithTheRouterAndHasAPodForEachSpeaker) {
  const auto objects = metallb_objects(with_both);
  std::vector<std::string> paths;
  for (const auto& [path, object] : objects) paths.push_back(path);
  const std::string in_namespace = "/namespaces/metallb-system/";
  EXPECT_THAT(paths,
              ElementsAre("/api/v1/namespaces", "/api/v1" + in_namespace + "serviceaccounts",
                          "/api/v1" + in_namespace + "pods", "/api/v1" + in_namespace + "pods",
                          "/apis/metallb.io/v1beta1" + in_namespace + "ipaddresspools",
                          "/apis/metallb.io/v1beta1" + in_namespace + "bgpadvertisements",
                          "/apis/metallb.io/v1beta2" + in_namespace + "bgppeers"));
  const auto& pod = objects[3].object;
  EXPECT_EQ(pod["metadata"]["name"], "speaker-node2");
  EXPECT_EQ(pod["spec"]["schedulingGates"].size(), 1U) << "no kubelet is to run it";
  EXPECT_EQ(objects[4].object["spec"]["addresses"][0], "172.20.0.1-172.20.255.254");
  EXPECT_EQ(objects[5].object["spec"]["ipAddressPools"][0], objects[4].object["metadata"]["name"]);
  EXPECT_EQ(objects[6].object["spec"]["peerAddress"], "172.18.0.1");

  const auto speaker = metallb_speaker_component(directory, tools, 2);
  EXPECT_EQ(speaker.node, 2);
  EXPECT_THAT(speaker.environment, Contains("METALLB_POD_NAME=speaker-node2"));
  EXPECT_THAT(speaker.environment, Contains("KUBECONFIG=/state/clusters/two/pki/metallb.conf"));
}

TEST(MetalLb, HasLoadedWhenItSaysSo) {
  const std::string name = "metallb_k8s_client_config_loaded_bool";
  EXPECT_FALSE(metallb_has_loaded(""));
  EXPECT_FALSE(metallb_has_loaded("# TYPE " + name + " gauge\n" + name + " 0\n"));
  EXPECT_TRUE(metallb_has_loaded("# TYPE " + name + " gauge\n" + name + " 1\n"));
}

}  // namespace
}  // namespace cluster::processes
