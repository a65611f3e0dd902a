// What announcers are told, against what their definitions ask for (the versions' own CRDs), and
// what is there already.
#include "stackbench/bgp/announcer_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bgp-peer/testing.h"

namespace stackbench::bgp {
namespace {

using base::Json;
using bgp_peer::testing::address;
using bgp_peer::testing::must;
using bgp_peer::testing::prefix;
using cluster::AnnouncerKind;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

Telling telling() {
  return {.run = "abcdefgh",
          .pool = prefix("172.21.0.0/24"),
          .router = address("172.18.0.1"),
          .speakers = {.communities = {{0xfde8'0063}}},
          .nodes = {"node1", "node2"}};
}

// By kind.
std::map<std::string, Json> told(AnnouncerKind kind, const Peering& peering = {},
                                 const Telling& wanted = telling()) {
  std::map<std::string, Json> all;
  for (auto& object : must(told_objects(kind, wanted, peering))) {
    EXPECT_EQ(object["metadata"]["name"], "stackbench-abcdefgh");
    all[object["kind"].get<std::string>()] = object;
  }
  return all;
}

std::vector<std::string> keys_of(const Json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, value] : object.items()) keys.push_back(key);
  return keys;
}

Json on_nodes() {
  return {{"matchExpressions", Json::array({{{"key", "kubernetes.io/hostname"},
                                             {"operator", "In"},
                                             {"values", Json::array({"node1", "node2"})}}})}};
}

TEST(AnnouncerObjects, OfMetalLb) {
  const auto all = told(AnnouncerKind::metallb);
  ASSERT_EQ(all.size(), 4U);
  const Json peer = {{"myASN", 64512},
                     {"peerASN", 64513},
                     {"peerAddress", "172.18.0.1"},
                     {"holdTime", "9s"},
                     {"nodeSelectors", Json::array({on_nodes()})}};
  EXPECT_EQ(all.at("BGPPeer")["spec"], peer) << "native mode refuses graceful restart in any form";
  const Json pool = {{"addresses", Json::array({"172.21.0.0/24"})}, {"autoAssign", false}};
  EXPECT_EQ(all.at("IPAddressPool")["spec"], pool);
  const Json community = {
      {"communities", Json::array({{{"name", "stackbench-abcdefgh-1"}, {"value", "65000:99"}}})}};
  EXPECT_EQ(all.at("Community")["spec"], community);
  const Json advertisement = {{"ipAddressPools", Json::array({"stackbench-abcdefgh"})},
                              {"communities", Json::array({"stackbench-abcdefgh-1"})},
                              {"peers", Json::array({"stackbench-abcdefgh"})},
                              {"nodeSelectors", Json::array({on_nodes()})}};
  EXPECT_EQ(all.at("BGPAdvertisement")["spec"], advertisement);
  // What is referred to is there before who refers to it.
  std::vector<std::string> order;
  for (const auto& object : must(told_objects(AnnouncerKind::metallb, telling(), {}))) {
    order.push_back(object["kind"].get<std::string>());
  }
  EXPECT_THAT(order, ElementsAre("BGPPeer", "IPAddressPool", "Community", "BGPAdvertisement"));
}

TEST(AnnouncerObjects, OfMetalLbWithASessionOfOthers) {
  const auto all = told(AnnouncerKind::metallb, {.there = true, .names = {"tor"}});
  EXPECT_FALSE(all.contains("BGPPeer"));
  EXPECT_EQ(all.at("BGPAdvertisement")["spec"]["peers"], Json::array({"tor"}));
}

TEST(AnnouncerObjects, OfMetalLbWithGracefulRestart) {
  auto wanted = telling();
  wanted.speakers.restart_time_s = 15;
  EXPECT_EQ(told(AnnouncerKind::metallb, {}, wanted).at("BGPPeer")["spec"]["enableGracefulRestart"],
            true);
}

// The shapes of CRDs v2alpha1 of 1.17; v2 has the same fields but for two that are not used here
// (transport.localPort, and group and kind of peerConfigRef).
TEST(AnnouncerObjects, OfCilium) {
  auto wanted = telling();
  wanted.speakers.restart_time_s = 15;
  const auto all = told(AnnouncerKind::cilium, {}, wanted);
  ASSERT_EQ(all.size(), 4U);
  const Json ours = {{"stackbench.io/run", "abcdefgh"}};
  for (const auto& [kind, object] : all) {
    EXPECT_FALSE(object["metadata"].contains("namespace")) << kind << " is cluster-scoped";
    EXPECT_FALSE(object.contains("apiVersion")) << kind << ": the server's, by discovery";
  }

  const auto& cluster = all.at("CiliumBGPClusterConfig")["spec"];
  EXPECT_THAT(keys_of(cluster), UnorderedElementsAre("nodeSelector", "bgpInstances"));
  EXPECT_EQ(cluster["nodeSelector"], on_nodes());
  const Json instance = {
      {"name", "stackbench-abcdefgh"},
      {"localASN", 64512},
      {"peers", Json::array({{{"name", "stackbench-abcdefgh"},
                              {"peerASN", 64513},
                              {"peerAddress", "172.18.0.1"},
                              {"peerConfigRef", {{"name", "stackbench-abcdefgh"}}}}})}};
  EXPECT_EQ(cluster["bgpInstances"], Json::array({instance}));

  const auto& peer = all.at("CiliumBGPPeerConfig")["spec"];
  EXPECT_THAT(keys_of(peer), UnorderedElementsAre("timers", "gracefulRestart", "families"));
  const Json timers = {
      {"connectRetryTimeSeconds", 5}, {"holdTimeSeconds", 9}, {"keepAliveTimeSeconds", 3}};
  EXPECT_EQ(peer["timers"], timers);
  const Json restart = {{"enabled", true}, {"restartTimeSeconds", 15}};
  EXPECT_EQ(peer["gracefulRestart"], restart);
  ASSERT_EQ(peer["families"].size(), 2U);
  for (const auto& family : peer["families"]) {
    EXPECT_EQ(family["safi"], "unicast");
    EXPECT_EQ(family["advertisements"]["matchLabels"], ours);
  }

  const auto& pool = all.at("CiliumLoadBalancerIPPool")["spec"];
  const Json blocks = Json::array({{{"cidr", "172.21.0.0/24"}}});
  EXPECT_EQ(pool["blocks"], blocks) << "not `cidrs`, which 1.17 no longer has";
  EXPECT_EQ(pool["serviceSelector"]["matchLabels"], ours);

  const auto& advertisement = all.at("CiliumBGPAdvertisement");
  EXPECT_EQ(advertisement["metadata"]["labels"], ours) << "the peer's families choose it by this";
  ASSERT_EQ(advertisement["spec"]["advertisements"].size(), 1U);
  const auto& one = advertisement["spec"]["advertisements"][0];
  EXPECT_EQ(one["advertisementType"], "Service");
  EXPECT_EQ(one["service"]["addresses"], Json::array({"LoadBalancerIP"}));
  EXPECT_EQ(one["selector"]["matchLabels"], ours) << "an absent one would choose nothing";
  EXPECT_EQ(one["attributes"]["communities"]["standard"], Json::array({"65000:99"}));

  // Without: switched off, and no time.
  const Json off = {{"enabled", false}};
  EXPECT_EQ(told(AnnouncerKind::cilium).at("CiliumBGPPeerConfig")["spec"]["gracefulRestart"], off);
}

TEST(AnnouncerObjects, AnnotateServices) {
  const auto of = [](AnnouncerKind kind, bool at_address) {
    return must(service_annotations(
        kind, telling(), at_address ? std::optional(address("172.21.0.7")) : std::nullopt));
  };
  EXPECT_THAT(of(AnnouncerKind::metallb, false),
              ElementsAre(Pair("metallb.io/address-pool", "stackbench-abcdefgh")));
  EXPECT_THAT(of(AnnouncerKind::metallb, true),
              ElementsAre(Pair("metallb.io/address-pool", "stackbench-abcdefgh"),
                          Pair("metallb.io/loadBalancerIPs", "172.21.0.7")));
  EXPECT_THAT(of(AnnouncerKind::cilium, false), IsEmpty());
  EXPECT_THAT(of(AnnouncerKind::cilium, true),
              ElementsAre(Pair("lbipam.cilium.io/ips", "172.21.0.7")));
}

Json bgp_peer_of(const std::string& name, const std::string& to, int node_asn = 64512) {
  return {{"metadata", {{"name", name}}},
          {"spec", {{"myASN", node_asn}, {"peerASN", 64513}, {"peerAddress", to}}}};
}

TEST(Peerings, OfMetalLbAreFoundByTheRoutersAddress) {
  const auto find = [](std::vector<Json> peers) {
    return find_peering(AnnouncerKind::metallb, {{"BGPPeer", std::move(peers)}}, telling());
  };
  EXPECT_FALSE(must(find({})).there);
  EXPECT_FALSE(must(find({bgp_peer_of("dc", "10.0.0.1")})).there);
  const auto both = must(find({bgp_peer_of("dc", "10.0.0.1"), bgp_peer_of("tor", "172.18.0.1")}));
  EXPECT_TRUE(both.there);
  EXPECT_THAT(both.names, ElementsAre("tor"));
  const auto wrong = find({bgp_peer_of("tor", "172.18.0.1", 65001)});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message,
              HasSubstr("BGPPeer tor leads to the peer from AS 65001 to AS 64513, and the scenario "
                        "says 64512 and 64513"));
  EXPECT_THAT(wrong.error().mend, HasSubstr("--set bgp.node_asn=65001"));
}

TEST(Peerings, OfCiliumAreUsedOrRefused) {
  const auto find = [](const std::string& to) {
    const Json peer = {
        {"peerASN", 64513}, {"peerAddress", to}, {"peerConfigRef", {{"name", "tor-config"}}}};
    const Json config = {
        {"metadata", {{"name", "bgp"}}},
        {"spec",
         {{"bgpInstances", Json::array({{{"localASN", 64512}, {"peers", Json::array({peer})}}})}}}};
    const Json its = {
        {"metadata", {{"name", "tor-config"}}},
        {"spec",
         {{"families",
           Json::array({{{"afi", "ipv4"},
                         {"advertisements", {{"matchLabels", {{"advertise", "bgp"}}}}}}})}}}};
    return find_peering(AnnouncerKind::cilium,
                        {{"CiliumBGPClusterConfig", {config}}, {"CiliumBGPPeerConfig", {its}}},
                        telling());
  };
  const auto peering = must(find("172.18.0.1"));
  EXPECT_TRUE(peering.there);
  EXPECT_THAT(peering.advertisement_labels, ElementsAre(Pair("advertise", "bgp")));
  const auto all = told(AnnouncerKind::cilium, peering);
  EXPECT_EQ(all.size(), 2U) << "no second session";
  EXPECT_EQ(all.at("CiliumBGPAdvertisement")["metadata"]["labels"], Json({{"advertise", "bgp"}}));
  const auto conflict = find("10.0.0.1");
  ASSERT_FALSE(conflict);
  EXPECT_THAT(conflict.error().message,
              AllOf(HasSubstr("CiliumBGPClusterConfig bgp is there already"),
                    HasSubstr("no peer at 172.18.0.1")));
}

TEST(Pools, OfOthersMayHoldNothingOfOurs) {
  const auto metallb = [](const std::string& range) {
    const Json pool = {{"metadata", {{"name", "theirs"}}},
                       {"spec", {{"addresses", Json::array({range})}}}};
    return check_pool(AnnouncerKind::metallb, {pool}, prefix("172.21.0.0/24"));
  };
  for (const auto* apart : {"172.20.0.1-172.20.255.254", "172.21.1.0/24", "fd00::/64"}) {
    EXPECT_TRUE(metallb(apart)) << apart;
  }
  for (const auto* common :
       {"172.21.0.0/24", "172.16.0.0/12", "172.21.0.255/32", "172.20.0.1-172.21.0.0"}) {
    const auto refused = metallb(common);
    ASSERT_FALSE(refused) << common;
    EXPECT_THAT(
        refused.error().message,
        HasSubstr(fmt::format("bgp.pool: IPAddressPool theirs holds addresses of 172.21.0.0/24: {}",
                              common)));
  }
  const auto cilium = [](const Json& block) {
    const Json pool = {{"metadata", {{"name", "theirs"}}},
                       {"spec", {{"blocks", Json::array({block})}}}};
    return check_pool(AnnouncerKind::cilium, {pool}, prefix("172.21.0.0/24"));
  };
  EXPECT_TRUE(cilium({{"cidr", "10.0.0.0/8"}}));
  EXPECT_TRUE(cilium({{"start", "172.21.1.1"}}));
  EXPECT_FALSE(cilium({{"cidr", "172.21.0.128/25"}}));
  EXPECT_FALSE(cilium({{"start", "172.20.0.1"}, {"stop", "172.21.0.9"}}));
}

}  // namespace
}  // namespace stackbench::bgp
