#include "cluster/processes/addons.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/processes/calico.h"
#include "cluster/processes/components.h"
#include "cluster/processes/coredns.h"
#include "cluster/processes/istio.h"
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
  EXPECT_THAT(definition_folders(tools, {.mesh = Mesh::istio}),
              ElementsAre("/tree/build/go/istio/crds"));
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

TEST(CoreDns, AnswersWhereKubeletsTellTheirPods) {
  const auto objects = addon_objects(tools, {.mesh = Mesh::istio}).value();
  ASSERT_EQ(objects.size(), 2U);
  const auto& service = objects[0].object;
  EXPECT_EQ(objects[0].path, "/api/v1/namespaces/kube-system/services");
  EXPECT_EQ(service["spec"]["clusterIP"], "10.96.0.10");
  EXPECT_FALSE(service["spec"].contains("selector")) << "its slice is ours";
  const auto& slice = objects[1].object;
  EXPECT_EQ(slice["metadata"]["labels"]["kubernetes.io/service-name"], service["metadata"]["name"]);
  EXPECT_EQ(slice["endpoints"][0]["addresses"][0], "172.18.1.1");
  EXPECT_EQ(slice["ports"][0]["port"], 53);
  EXPECT_EQ(slice["ports"][0]["protocol"], "UDP");

  const auto text = corefile(directory);
  EXPECT_THAT(text, HasSubstr("ready 127.0.0.1:8181\n"));
  EXPECT_THAT(text, HasSubstr("kubeconfig /state/clusters/two/pki/coredns.conf\n"));
  EXPECT_THAT(coredns_component(directory, tools).argv,
              ElementsAre("/tree/build/go/coredns", "-conf", "/state/clusters/two/Corefile"));
}

TEST(Istio, IsInstalledByItsOwnCommandFromImagesOfItsVersion) {
  EXPECT_THAT(
      istio_install_command(directory, tools, "1.31.0-dev.x", "/o.yaml"),
      ElementsAre("/tree/build/go/istio/istioctl", "install",
                  "--kubeconfig=/state/clusters/two/kubeconfig", "--filename=/o.yaml",
                  "--set=tag=1.31.0-dev.x", "--readiness-timeout=3m", "--skip-confirmation"));
  // What stock Envoy lacks, and nothing else is taken from it.
  for (const auto* setting :
       {"PILOT_ENABLE_METADATA_EXCHANGE: \"false\"", "PILOT_ENABLE_ALPN_FILTER: \"false\"",
        "hub: stackbench.test/istio"}) {
    EXPECT_THAT(istio_operator(), HasSubstr(setting));
  }
}

TEST(Istio, PutsAProxyBesideAPodWhereOneCameBack) {
  auto pod = pod_asking_for_a_proxy();
  EXPECT_EQ(pod["metadata"]["labels"]["sidecar.istio.io/inject"], "true");
  EXPECT_FALSE(has_proxy(pod));
  EXPECT_FALSE(has_proxy({{"kind", "Status"}}));
  auto native = pod;
  native["spec"]["initContainers"] = {{{"name", "istio-init"}}, {{"name", "istio-proxy"}}};
  EXPECT_TRUE(has_proxy(native));
  native["spec"]["initContainers"].erase(1);
  EXPECT_FALSE(has_proxy(native)) << "one that only starts";
  pod["spec"]["containers"].push_back({{"name", "istio-proxy"}});
  EXPECT_TRUE(has_proxy(pod));
}

}  // namespace
}  // namespace cluster::processes
