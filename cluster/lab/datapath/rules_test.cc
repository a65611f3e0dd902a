// The texts of the rule-based datapaths: chain names as kube-proxy's, whole files as committed.
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "cluster/lab/addresses.h"
#include "cluster/lab/datapath/direct.h"
#include "cluster/lab/datapath/iptables.h"
#include "cluster/lab/datapath/kube_proxy_names.h"
#include "cluster/lab/datapath/nftables.h"
#include "cluster/lab/datapath/rule_sync.h"

namespace cluster {
namespace {

using base::AddressFamily;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

base::Endpoint at(std::string_view text) {
  const auto endpoint = base::Endpoint::parse(text);
  EXPECT_TRUE(endpoint) << text;
  return endpoint.value_or(base::Endpoint{});
}

ServiceEntry entry(std::string service, std::string port_name, Protocol protocol,
                   std::string_view cluster, const std::vector<std::string_view>& backends,
                   std::string in_namespace = "default") {
  ServiceEntry made{.service = std::move(service),
                    .port_name = std::move(port_name),
                    .protocol = protocol,
                    .cluster = at(cluster),
                    .backends = {},
                    .in_namespace = std::move(in_namespace)};
  for (const auto backend : backends) made.backends.push_back({at(backend), "web"});
  return made;
}

ServiceTable example() {
  return {
      {entry("empty", "", Protocol::TCP, "10.96.0.12:80", {}),
       entry("empty", "", Protocol::TCP, "[fd00:10:96::c]:80", {}),
       entry("web", "tcp-rr", Protocol::TCP, "10.96.0.11:8001",
             {"10.244.2.2:7001", "10.244.2.3:7001", "10.244.2.4:7001"}),
       entry("web", "tcp-rr", Protocol::TCP, "[fd00:10:96::b]:8001", {"[fd00:10:244:2::2]:7001"}),
       entry("web", "udp-rr", Protocol::UDP, "10.96.0.11:8003", {"10.244.2.2:7003"})}};
}

DatapathNode node_of(int number) {
  return {.name = fmt::format("node{}", number),
          .number = number,
          .ipv4 = addresses::node_ipv4(number),
          .ipv6 = addresses::node_ipv6(number),
          .cluster_cidr_ipv4 = std::string(addresses::cluster_cidr_ipv4),
          .cluster_cidr_ipv6 = std::string(addresses::cluster_cidr_ipv6)};
}

// A Service of type LoadBalancer whose pods are on nodes 2 and 3.
ServiceTable external_example() {
  auto web = entry("web", "tcp-rr", Protocol::TCP, "10.96.0.11:8001",
                   {"10.244.2.2:7001", "10.244.3.2:7001"});
  web.backends[0].node = "node2";
  web.backends[1].node = "node3";
  web.node_port = 30001;
  web.load_balancer_ips = {at("172.20.0.1:0").address};
  return {{web}};
}

std::string golden(const std::string& name) {
  const auto text = base::read_file(std::string(STACKBENCH_SOURCE_DIR) +
                                    "/cluster/lab/datapath/testdata/" + name);
  EXPECT_TRUE(text) << name;
  return text.value_or("");
}

// Chain names that every cluster's `iptables-save` shows.
TEST(KubeProxyNames, AreThoseOfRealClusters) {
  EXPECT_EQ(
      iptables_service_chain(entry("kubernetes", "https", Protocol::TCP, "10.96.0.1:443", {})),
      "KUBE-SVC-NPX46M4PTMTKRN6Y");
  EXPECT_EQ(iptables_service_chain(
                entry("kube-dns", "dns", Protocol::UDP, "10.96.0.10:53", {}, "kube-system")),
            "KUBE-SVC-TCOU7JCQXEZGVUNU");
  EXPECT_EQ(iptables_service_chain(
                entry("kube-dns", "dns-tcp", Protocol::TCP, "10.96.0.10:53", {}, "kube-system")),
            "KUBE-SVC-ERIFXISQEP7F7OF4");
  // From kube-proxy's own tests (pkg/proxy/nftables/proxier_test.go).
  const auto web = entry("svc1", "p80", Protocol::TCP, "172.30.0.41:80", {"10.180.0.1:80"}, "ns1");
  EXPECT_EQ(nftables_service_chain(web), "service-ULMVA6XW-ns1/svc1/tcp/p80");
  EXPECT_EQ(nftables_endpoint_chain(web, web.backends[0]),
            "endpoint-5OJB2KTY-ns1/svc1/tcp/p80__10.180.0.1/80");
}

TEST(KubeProxyNames, FitTheKernelsLimits) {
  const auto longest =
      entry(std::string(63, 's'), std::string(63, 'p'), Protocol::TCP, "[fd00:10:96::b]:8001",
            {"[fd00:10:244:2::2]:7001"}, std::string(63, 'n'));
  // XT_EXTENSION_MAXNAMELEN and NFT_CHAIN_MAXNAMELEN, each with its NUL.
  EXPECT_LT(iptables_service_chain(longest).size(), 29U);
  EXPECT_LT(iptables_endpoint_chain(longest, longest.backends[0]).size(), 29U);
  EXPECT_LT(nftables_service_chain(longest).size(), 256U);
  EXPECT_LT(nftables_endpoint_chain(longest, longest.backends[0]).size(), 256U);
  EXPECT_THAT(nftables_endpoint_chain(longest, longest.backends[0]), Not(HasSubstr(":")));
}

TEST(IptablesRules, AreTheCommittedText) {
  EXPECT_EQ(iptables_rules(example(), AddressFamily::ipv4, node_of(1)),
            golden("iptables_ipv4.txt"));
  EXPECT_EQ(iptables_rules(example(), AddressFamily::ipv6, node_of(1)),
            golden("iptables_ipv6.txt"));
}

TEST(IptablesRules, GiveEveryBackendTheSameChance) {
  const auto rules = iptables_rules(example(), AddressFamily::ipv4, node_of(1));
  // 1/3 of all, 1/2 of the rest, all of what is left: a third each.
  EXPECT_THAT(rules, HasSubstr("10.244.2.2:7001\" -m statistic --mode random --probability "
                               "0.3333333333 "));
  EXPECT_THAT(rules, HasSubstr("10.244.2.3:7001\" -m statistic --mode random --probability "
                               "0.5000000000 "));
  EXPECT_THAT(rules, HasSubstr("10.244.2.4:7001\" -j KUBE-SEP-"));
}

// kube-proxy puts each jump first, so the order is its lists' reversed.
TEST(IptablesRules, JumpFromInputInKubeProxysOrder) {
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    const auto rules = iptables_rules({}, family, node_of(1));
    std::vector<std::string> jumps;
    for (std::size_t at = rules.find("-A INPUT "); at != std::string::npos;
         at = rules.find("-A INPUT ", at + 1)) {
      const auto line = rules.substr(at, rules.find('\n', at) - at);
      jumps.push_back(line.substr(line.rfind(' ') + 1));
    }
    EXPECT_THAT(jumps, ElementsAre("KUBE-FIREWALL", "KUBE-PROXY-FIREWALL", "KUBE-NODEPORTS",
                                   "KUBE-EXTERNAL-SERVICES"));
    EXPECT_LT(rules.find("-A OUTPUT -j KUBE-FIREWALL\n"), rules.find("-A OUTPUT -m"));
  }
}

TEST(IptablesRules, TreatLoopbackAsEachFamilyNeeds) {
  const auto ipv4 = iptables_rules({}, AddressFamily::ipv4, node_of(1));
  const auto ipv6 = iptables_rules({}, AddressFamily::ipv6, node_of(1));
  EXPECT_THAT(ipv4, HasSubstr("-A KUBE-FIREWALL "));
  EXPECT_THAT(ipv6, Not(HasSubstr("-A KUBE-FIREWALL ")));
  EXPECT_THAT(ipv4, HasSubstr("--dst-type LOCAL -j KUBE-NODEPORTS\n"));
  EXPECT_THAT(ipv6, HasSubstr("--dst-type LOCAL ! -d ::1/128 -j KUBE-NODEPORTS\n"));
}

// Lines that hold `text`, without what stands before it.
std::vector<std::string> lines_from(const std::string& rules, std::string_view text) {
  std::vector<std::string> found;
  std::istringstream lines(rules);
  for (std::string line; std::getline(lines, line);) {
    if (const auto at = line.find(text); at != std::string::npos) found.push_back(line.substr(at));
  }
  return found;
}

TEST(IptablesRules, MasqueradeWhoComesFromOutsideUnlessThePolicyIsLocal) {
  auto table = external_example();
  const auto chain = iptables_external_chain(table.entries[0]);
  const auto cluster = iptables_service_chain(table.entries[0]);
  const auto local = iptables_local_chain(table.entries[0]);
  const auto rules = iptables_rules(table, AddressFamily::ipv4, node_of(2));
  EXPECT_THAT(rules,
              HasSubstr("-m comment --comment \"default/web:tcp-rr loadbalancer IP\" -m tcp -p "
                        "tcp -d 172.20.0.1/32 --dport 8001 -j " +
                        chain + "\n"));
  EXPECT_THAT(rules,
              HasSubstr("-A KUBE-NODEPORTS -m comment --comment \"default/web:tcp-rr\" -m tcp "
                        "-p tcp --dport 30001 -j " +
                        chain + "\n"));
  EXPECT_THAT(lines_from(rules, "-A " + chain),
              ElementsAre("-A " + chain +
                              " -m comment --comment \"masquerade traffic for "
                              "default/web:tcp-rr external destinations\" -j KUBE-MARK-MASQ",
                          "-A " + chain + " -j " + cluster));

  table.entries[0].external_local = true;
  const auto on_node2 = iptables_rules(table, AddressFamily::ipv4, node_of(2));
  EXPECT_THAT(
      lines_from(on_node2, "-A " + chain),
      ElementsAre(HasSubstr("-s 10.244.0.0/16 -j " + cluster),
                  HasSubstr("--src-type LOCAL -j KUBE-MARK-MASQ"),
                  HasSubstr("--src-type LOCAL -j " + cluster), "-A " + chain + " -j " + local));
  EXPECT_THAT(lines_from(on_node2, "-A " + local),
              ElementsAre(HasSubstr("-> 10.244.2.2:7001\" -j KUBE-SEP-")));
  EXPECT_THAT(on_node2, Not(HasSubstr("no local endpoints")));
}

TEST(IptablesRules, DropWhatComesUnderLocalToANodeWithoutEndpoints) {
  auto table = external_example();
  table.entries[0].external_local = true;
  const auto rules = iptables_rules(table, AddressFamily::ipv4, node_of(1));
  EXPECT_THAT(
      lines_from(rules, "-A KUBE-EXTERNAL-SERVICES"),
      ElementsAre("-A KUBE-EXTERNAL-SERVICES -m comment --comment \"default/web:tcp-rr has no "
                  "local endpoints\" -m tcp -p tcp -d 172.20.0.1/32 --dport 8001 -j DROP",
                  "-A KUBE-EXTERNAL-SERVICES -m comment --comment \"default/web:tcp-rr has no "
                  "local endpoints\" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport 30001 "
                  "-j DROP"));
  table.entries[0].backends.clear();
  EXPECT_THAT(
      lines_from(iptables_rules(table, AddressFamily::ipv4, node_of(1)), "has no"),
      ElementsAre("has no endpoints\" -m tcp -p tcp -d 10.96.0.11/32 --dport 8001 -j REJECT",
                  "has no endpoints\" -m tcp -p tcp -d 172.20.0.1/32 --dport 8001 -j REJECT",
                  "has no endpoints\" -m addrtype --dst-type LOCAL -m tcp -p tcp --dport "
                  "30001 -j REJECT"));
}

TEST(IptablesRules, RememberClientsUnderAffinity) {
  auto table = external_example();
  table.entries[0].affinity = std::chrono::seconds(60);
  const auto endpoint = iptables_endpoint_chain(table.entries[0], table.entries[0].backends[0]);
  const auto rules = iptables_rules(table, AddressFamily::ipv4, node_of(1));
  EXPECT_THAT(rules, HasSubstr(" -m recent --name " + endpoint +
                               " --rcheck --seconds 60 --reap -j " + endpoint + "\n"));
  EXPECT_THAT(rules, HasSubstr(" -m recent --name " + endpoint + " --set -m tcp -p tcp -j DNAT "));
  table.entries[0].affinity = {};
  EXPECT_THAT(iptables_rules(table, AddressFamily::ipv4, node_of(1)), Not(HasSubstr("recent")));
}

TEST(NftablesRules, MasqueradeWhoComesFromOutsideUnlessThePolicyIsLocal) {
  auto table = external_example();
  const auto chain = nftables_external_chain(table.entries[0]);
  const auto cluster = nftables_service_chain(table.entries[0]);
  const auto local = nftables_local_chain(table.entries[0]);
  const auto rules = nftables_rules(table, AddressFamily::ipv4, node_of(2));
  EXPECT_THAT(rules, HasSubstr("172.20.0.1 . tcp . 8001 : goto " + chain));
  EXPECT_THAT(rules, HasSubstr("      tcp . 30001 : goto " + chain));
  EXPECT_THAT(rules, HasSubstr("  chain " + chain + " {\n    jump mark-for-masquerade\n    goto " +
                               cluster + "\n  }\n"));

  table.entries[0].external_local = true;
  const auto on_node2 = nftables_rules(table, AddressFamily::ipv4, node_of(2));
  EXPECT_THAT(on_node2,
              HasSubstr("  chain " + chain + " {\n    ip saddr 10.244.0.0/16 goto " + cluster));
  EXPECT_THAT(on_node2, HasSubstr("    goto " + local + "\n  }\n"));
  EXPECT_THAT(
      on_node2,
      HasSubstr("  chain " + local + " {\n    numgen random mod 1 vmap { 0 : goto " +
                nftables_endpoint_chain(table.entries[0], table.entries[0].backends[0]) + " }\n"));
  EXPECT_THAT(on_node2, Not(HasSubstr(": drop")));

  const auto on_node1 = nftables_rules(table, AddressFamily::ipv4, node_of(1));
  EXPECT_THAT(on_node1, Not(HasSubstr(local)));
  EXPECT_THAT(on_node1, HasSubstr("172.20.0.1 . tcp . 8001 comment \"default/web:tcp-rr\" : drop"));
  EXPECT_THAT(on_node1, HasSubstr("tcp . 30001 comment \"default/web:tcp-rr\" : drop"));
}

TEST(NftablesRules, RememberClientsUnderAffinity) {
  auto table = external_example();
  table.entries[0].affinity = std::chrono::seconds(60);
  const auto set = nftables_affinity_set(table.entries[0], table.entries[0].backends[0]);
  const auto rules = nftables_rules(table, AddressFamily::ipv4, node_of(1));
  EXPECT_THAT(rules, HasSubstr("  set " + set +
                               " {\n    type ipv4_addr\n    flags dynamic,timeout\n"
                               "    timeout 60s\n  }\n"));
  EXPECT_THAT(rules, HasSubstr("    update @" + set + " { ip saddr }\n"));
  EXPECT_THAT(rules, HasSubstr("    ip saddr @" + set + " goto endpoint-"));
  table.entries[0].affinity = {};
  EXPECT_THAT(nftables_rules(table, AddressFamily::ipv4, node_of(1)), Not(HasSubstr("affinity")));
}

TEST(Frontends, AreTheClusterIpTheBalancersAndThePortOfEveryNode) {
  const auto table = external_example();
  EXPECT_THAT(frontends_of(table.entries[0], {node_of(1), node_of(2)}),
              ElementsAre(at("10.96.0.11:8001"), at("172.20.0.1:8001"), at("172.18.0.2:30001"),
                          at("172.18.0.3:30001")));
}

TEST(NftablesRules, AreTheCommittedText) {
  EXPECT_EQ(nftables_rules(example(), AddressFamily::ipv4, node_of(1)),
            golden("nftables_ipv4.txt"));
  EXPECT_EQ(nftables_rules(example(), AddressFamily::ipv6, node_of(1)),
            golden("nftables_ipv6.txt"));
}

TEST(NftablesRules, OfNoServicesTranslateNothing) {
  const auto rules = nftables_rules({}, AddressFamily::ipv4, node_of(1));
  EXPECT_THAT(rules, Not(HasSubstr("dnat to")));
  EXPECT_THAT(rules, Not(HasSubstr("verdict\n    elements")));
  EXPECT_THAT(rules, HasSubstr("set cluster-ips {\n    type ipv4_addr\n  }"));
}

// The order makes a port that a Service does not offer an error and an address of nobody a silence.
TEST(NftablesRules, DropWhatIsSentToAnUnallocatedClusterIp) {
  EXPECT_THAT(nftables_rules({}, AddressFamily::ipv4, node_of(1)),
              HasSubstr("ip daddr @cluster-ips reject comment \"Reject traffic to invalid ports of "
                        "ClusterIPs\"\n    ip daddr { 10.96.0.0/16 } drop "));
  EXPECT_THAT(
      nftables_rules({}, AddressFamily::ipv6, node_of(1)),
      HasSubstr("ip6 daddr @cluster-ips reject comment \"Reject traffic to invalid ports of "
                "ClusterIPs\"\n    ip6 daddr { fd00:10:96::/112 } drop "));
}

TEST(NftablesRules, HoldTheNodesOwnAddressForNodePorts) {
  EXPECT_THAT(nftables_rules({}, AddressFamily::ipv4, node_of(2)),
              HasSubstr("set nodeport-ips {\n    type ipv4_addr\n    elements = {\n      "
                        "172.18.0.3\n    }"));
  EXPECT_THAT(nftables_rules({}, AddressFamily::ipv6, node_of(2)),
              HasSubstr("set nodeport-ips {\n    type ipv6_addr\n    elements = {\n      "
                        "fd00:172:18::3\n    }"));
}

// A node whose programs only take notes; "fail" makes the next one fail.
struct FakeNode {
  std::vector<std::string> calls;
  bool fails = false;
  int flows_that_vanish = 0;  // while conntrack looks, one at each look

  DatapathNode node() {
    return {.name = "node1",
            .ipv4 = addresses::node_ipv4(1),
            .ipv6 = addresses::node_ipv6(1),
            .run = [this](const std::vector<std::string>& argv,
                          std::string_view input) -> base::Result<std::string> {
              calls.push_back(fmt::format("{} <{}>", fmt::join(argv, " "), input.size()));
              if (argv[0] == "conntrack" && flows_that_vanish > 0) {
                --flows_that_vanish;
                return base::fail(base::ErrorKind::system,
                                  "conntrack: exit code 1: conntrack v1.4.7 (conntrack-tools): "
                                  "Operation failed: such conntrack doesn't exist");
              }
              if (argv[0] == "conntrack") {
                return base::fail(base::ErrorKind::system,
                                  "conntrack: exit code 1: conntrack v1.4.7 (conntrack-tools): 0 "
                                  "flow entries have been deleted.");
              }
              if (fails) return base::fail(base::ErrorKind::system, "nft: no");
              return std::string("v1\n");
            }};
  }
};

std::vector<DatapathNode> one(DatapathNode node) {
  std::vector<DatapathNode> nodes;
  nodes.push_back(std::move(node));
  return nodes;
}

TEST(RuleDatapaths, LoadATableOnceAndOnlyWhatChanged) {
  FakeNode fake;
  auto datapath = make_iptables_datapath(one(fake.node()));
  ASSERT_TRUE(datapath) << datapath.error().message;
  fake.calls.clear();
  ASSERT_TRUE((*datapath)->sync(example()));
  EXPECT_EQ(fake.calls.size(), 2U);
  ASSERT_TRUE((*datapath)->sync(example()));
  EXPECT_EQ(fake.calls.size(), 2U) << "the same table again changes nothing";
  auto fewer = example();
  fewer.entries[2].backends.pop_back();
  ASSERT_TRUE((*datapath)->sync(fewer));
  ASSERT_EQ(fake.calls.size(), 3U) << "only IPv4 changed";
  EXPECT_THAT(fake.calls[2], testing::StartsWith("iptables-restore "));
}

TEST(RuleDatapaths, LoadAgainAfterAFailureAndNameTheNode) {
  FakeNode fake;
  auto datapath = make_nftables_datapath(one(fake.node()));
  ASSERT_TRUE(datapath);
  fake.fails = true;
  const auto failed = (*datapath)->sync(example());
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().message, "node1: nft: no");
  fake.fails = false;
  fake.calls.clear();
  ASSERT_TRUE((*datapath)->sync({}));
  EXPECT_EQ(fake.calls.size(), 1U) << "what holds after a failure is not known";
}

TEST(RuleDatapaths, SayWhichToolTheyUsed) {
  FakeNode fake;
  auto datapath = make_nftables_datapath(one(fake.node()));
  ASSERT_TRUE(datapath);
  ASSERT_TRUE((*datapath)->sync(example()));
  const auto facts = (*datapath)->facts();
  EXPECT_EQ(facts["nft"], "v1");
  EXPECT_GT(facts["chains_per_node"].get<int>(), 36);
}

// kube-proxy's order is random, so a report must be able to say that ours is not.
TEST(RuleDatapaths, SayInWhichOrderIptablesWalksServices) {
  FakeNode fake;
  auto datapath = make_iptables_datapath(one(fake.node()));
  ASSERT_TRUE(datapath) << datapath.error().message;
  EXPECT_EQ((*datapath)->facts()["service_order"], "by name");
}

TEST(RuleDatapaths, ForgetTheUdpFlowsOfABackendThatLeft) {
  FakeNode fake;
  auto datapath = make_nftables_datapath(one(fake.node()));
  ASSERT_TRUE(datapath && (*datapath)->sync(example()));
  fake.calls.clear();
  auto without = example();
  without.entries[4].backends.clear();
  ASSERT_TRUE((*datapath)->sync(without));
  EXPECT_THAT(fake.calls,
              ElementsAre(testing::StartsWith("nft -f - "),
                          "conntrack -D -f ipv4 -p udp --orig-dst 10.96.0.11 --orig-port-dst 8003 "
                          "--reply-src 10.244.2.2 <0>"));
}

// conntrack(8) gives up at the first flow that went between its look and its deletion.
TEST(RuleDatapaths, LookAgainWhereAFlowWentByItself) {
  FakeNode fake;
  const auto node = fake.node();
  fake.flows_that_vanish = 3;
  EXPECT_TRUE(delete_flows(node, {"-f", "ipv4"}));
  EXPECT_THAT(fake.calls, testing::SizeIs(4));
  fake.calls.clear();
  fake.flows_that_vanish = 1000;
  const auto given_up = delete_flows(node, {"-f", "ipv4"});
  ASSERT_FALSE(given_up);
  EXPECT_THAT(given_up.error().message, testing::HasSubstr("such conntrack doesn't exist"));
  EXPECT_THAT(fake.calls, testing::SizeIs(50));
}

TEST(LostUdpFlows, AreThoseOfUdpAlone) {
  const auto before = example();
  EXPECT_THAT(lost_udp_flows(before, before, {}), ElementsAre());
  EXPECT_THAT(lost_udp_flows({}, before, {}), ElementsAre());
  EXPECT_THAT(lost_udp_flows(before, {}, {}),
              ElementsAre(LostFlow{at("10.96.0.11:8003"), at("10.244.2.2:7003")}));
}

TEST(DirectDatapath, RunsNothingOnItsNodes) {
  FakeNode fake;
  auto datapath = make_direct_datapath(one(fake.node()));
  ASSERT_TRUE(datapath);
  ASSERT_TRUE((*datapath)->sync(example()));
  EXPECT_THAT(fake.calls, ElementsAre());
}

}  // namespace
}  // namespace cluster
