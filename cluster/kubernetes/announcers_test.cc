// Who announces load balancers' addresses, told from what a simulated API server knows; and what is
// written for a run, and taken away.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/clean.h"
#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

using Kinds = std::vector<std::pair<std::string, std::string>>;

class AnnouncersTest : public testing::KubernetesTargetTest {
 protected:
  void answer(const std::string& path, const Json& body) {
    server_.answer_with({.when = "GET " + path,
                         .status = 200,
                         .body = base::dump_json(body),
                         .times = 1000,
                         .exact = true});
  }
  void serve_group(const std::string& group, const std::vector<std::string>& versions) {
    Json list = Json::array();
    for (const auto& version : versions) list.push_back({{"groupVersion", group + "/" + version}});
    answer("/apis/" + group, {{"versions", std::move(list)}});
  }
  void serve_kinds(const std::string& api_version, const Kinds& kinds, bool namespaced) {
    Json list = Json::array();
    for (const auto& [name, kind] : kinds) {
      list.push_back({{"name", name}, {"kind", kind}, {"namespaced", namespaced}});
      list.push_back({{"name", name + "/status"}, {"kind", kind}, {"namespaced", namespaced}});
    }
    answer("/apis/" + api_version, {{"resources", std::move(list)}});
  }
  void serve_metallb() {
    serve_group("metallb.io", {"v1beta2", "v1beta1"});
    serve_kinds("metallb.io/v1beta2", {{"bgppeers", "BGPPeer"}}, true);
    serve_kinds("metallb.io/v1beta1",
                {{"bgppeers", "BGPPeer"},
                 {"bgpadvertisements", "BGPAdvertisement"},
                 {"bfdprofiles", "BFDProfile"},
                 {"communities", "Community"},
                 {"ipaddresspools", "IPAddressPool"}},
                true);
  }
  void serve_cilium(const std::string& preferred) {
    const Kinds kinds{{"ciliumloadbalancerippools", "CiliumLoadBalancerIPPool"},
                      {"ciliumbgpclusterconfigs", "CiliumBGPClusterConfig"},
                      {"ciliumbgppeerconfigs", "CiliumBGPPeerConfig"},
                      {"ciliumbgpadvertisements", "CiliumBGPAdvertisement"}};
    serve_group("cilium.io", {"v2", "v2alpha1"});
    const Kinds policies{{"ciliumnetworkpolicies", "CiliumNetworkPolicy"}};
    serve_kinds("cilium.io/v2", preferred == "v2" ? kinds : policies, false);
    serve_kinds("cilium.io/v2alpha1", kinds, false);
  }
  [[nodiscard]] ApiClient api() const { return ApiClient({.socket = server_.socket()}); }
  std::vector<Announcer> found() {
    auto client = api();
    auto all = find_announcers(client);
    EXPECT_TRUE(all) << all.error().message;
    return all ? std::move(*all) : std::vector<Announcer>();
  }
};

TEST_F(AnnouncersTest, NobodyIsFoundWhereNobodysDefinitionsAre) {
  EXPECT_THAT(found(), IsEmpty());
  // As where it is the network, and without its BGP control plane.
  serve_group("cilium.io", {"v2"});
  serve_kinds("cilium.io/v2", {{"ciliumnetworkpolicies", "CiliumNetworkPolicy"}}, false);
  EXPECT_THAT(found(), IsEmpty());
}

TEST_F(AnnouncersTest, MetalLbIsFoundWithTheVersionItsServerPrefersAndItsNamespace) {
  serve_metallb();
  auto all = found();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].kind, AnnouncerKind::metallb);
  EXPECT_EQ(all[0].in_namespace, "metallb-system");
  EXPECT_THAT(all[0].resources, SizeIs(4)) << "BFDProfiles are nothing we write";
  EXPECT_EQ(all[0].find("BGPPeer").value()->api_version, "metallb.io/v1beta2");
  EXPECT_EQ(all[0].find("Community").value()->path,
            "/apis/metallb.io/v1beta1/namespaces/metallb-system/communities");
  EXPECT_EQ(all[0].find("BFDProfile").error().kind, ErrorKind::missing);
  // Where its chart was installed into another namespace.
  server_.put("/api/v1/namespaces/lb/pods/speaker-x",
              {{"metadata", {{"labels", {{"app.kubernetes.io/name", "metallb"}}}}}});
  all = found();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].in_namespace, "lb");
}

TEST_F(AnnouncersTest, CiliumIsFoundInEitherVersionAndMetalLbComesFirst) {
  serve_cilium("v2alpha1");
  auto all = found();
  ASSERT_THAT(all, SizeIs(1));
  EXPECT_EQ(all[0].kind, AnnouncerKind::cilium);
  EXPECT_EQ(all[0].in_namespace, "");
  EXPECT_EQ(all[0].find("CiliumBGPClusterConfig").value()->path,
            "/apis/cilium.io/v2alpha1/ciliumbgpclusterconfigs");
  serve_metallb();
  all = found();
  ASSERT_THAT(all, SizeIs(2));
  EXPECT_EQ(all[0].kind, AnnouncerKind::metallb);
}

TEST_F(AnnouncersTest, CiliumOfALaterVersionIsToldInThatOne) {
  serve_cilium("v2");
  const auto all = found();
  ASSERT_THAT(all, SizeIs(1));
  for (const auto& [kind, resource] : all[0].resources) {
    EXPECT_EQ(resource.api_version, "cilium.io/v2") << kind;
  }
}

TEST_F(AnnouncersTest, WhatARunToldGoesWithItAndNothingElse) {
  serve_metallb();
  const std::string pools = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools";
  server_.put(pools + "/theirs", {{"spec", {{"addresses", Json::array({"10.1.0.0/24"})}}}});
  const auto it = target();
  ASSERT_NE(it, nullptr);
  const auto announcer = it->announcer();
  ASSERT_TRUE(announcer && *announcer);
  const Json pool = {{"kind", "IPAddressPool"},
                     {"metadata", {{"name", "ours"}}},
                     {"spec", {{"addresses", Json::array({"172.21.0.0/24"})}}}};
  ASSERT_TRUE(it->announce(**announcer, {pool}, {}));
  const auto written = server_.object(pools + "/ours");
  EXPECT_EQ(written["apiVersion"], "metallb.io/v1beta1");
  EXPECT_EQ(written["metadata"]["namespace"], "metallb-system");
  EXPECT_EQ(written["metadata"]["labels"]["stackbench.io/run"], it->run());
  EXPECT_EQ(written["metadata"]["labels"]["app.kubernetes.io/managed-by"], "stackbench");
  const auto all = it->objects_of(**announcer, "IPAddressPool");
  ASSERT_TRUE(all);
  EXPECT_THAT(*all, SizeIs(2));
  ASSERT_TRUE(it->teardown());
  EXPECT_THAT(in_namespace(pools), ElementsAre("metallb-system/theirs"));
}

TEST_F(AnnouncersTest, CleanFindsWhatAKilledRunTold) {
  serve_metallb();
  const std::string pools = "/apis/metallb.io/v1beta1/namespaces/metallb-system/ipaddresspools";
  const auto it = target();
  ASSERT_NE(it, nullptr);
  const auto announcer = it->announcer();
  ASSERT_TRUE(announcer && *announcer);
  const Json pool = {{"kind", "IPAddressPool"}, {"metadata", {{"name", "live"}}}};
  ASSERT_TRUE(it->announce(**announcer, {pool}, {}));
  auto dead = server_.object(pools + "/live");
  auto owner = dead["metadata"]["annotations"]["stackbench.io/owner"].get<std::string>();
  owner.replace(owner.find("start="), std::string::npos, "start=1");
  dead["metadata"]["annotations"]["stackbench.io/owner"] = owner;
  dead["metadata"]["labels"]["stackbench.io/run"] = "dead";
  server_.put(pools + "/dead", dead);
  const auto would = clean_kubernetes(options(), {.dry_run = true});
  ASSERT_TRUE(would) << would.error().message;
  EXPECT_THAT(would->removed, ElementsAre("IPAddressPool dead of metallb"));
  EXPECT_THAT(in_namespace(pools), SizeIs(2));
  ASSERT_TRUE(clean_kubernetes(options(), {}));
  EXPECT_THAT(in_namespace(pools), ElementsAre("metallb-system/live"));
}

TEST_F(AnnouncersTest, EveryRightThatIsMissingIsNamed) {
  serve_metallb();
  const auto it = target();
  ASSERT_NE(it, nullptr);
  server_.answer_with({.when = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
                       .status = 201,
                       .body = R"({"status":{"allowed":false}})",
                       .times = 1000});
  const auto refused = it->announcer();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(refused.error().message, AllOf(HasSubstr("create ipaddresspools.metallb.io"),
                                             HasSubstr("delete communities.metallb.io")));
}

TEST_F(AnnouncersTest, AnEnvironmentsLoadBalancersCarryWhatIsAskedOfThem) {
  serve_metallb();
  const auto it = target();
  ASSERT_NE(it, nullptr);
  const auto announcer = it->announcer();
  ASSERT_TRUE(announcer && *announcer);
  ASSERT_TRUE(it->announce(**announcer, {}, {{"metallb.io/address-pool", "ours"}}));
  auto plan = testing::plan_of();
  plan.topology.services["web"].type = ServiceType::LoadBalancer;
  plan.topology.services["inside"] = {.target = "web"};
  ASSERT_TRUE(it->provision(plan));
  const auto annotations = [&](const std::string& name) {
    return server_.object(fmt::format("/api/v1/namespaces/stackbench-{}-iptables/services/{}",
                                      it->run(), name))["metadata"]["annotations"];
  };
  EXPECT_EQ(annotations("web")["metallb.io/address-pool"], "ours");
  EXPECT_FALSE(annotations("inside").contains("metallb.io/address-pool"));
}

}  // namespace
}  // namespace cluster
