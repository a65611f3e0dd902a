// What Hubble says of dropped packets: read from lines as Cilium's documentation has them
// (Documentation/observability/hubble/configuration/export.rst; the fields that tell of policies
// from api/v1/flow/flow.proto), and asked of the agents of a simulated cluster.
#include "cluster/kubernetes/hubble.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/cilium.h"
#include "cluster/kubernetes/testing/target_fixture.h"

namespace cluster {
namespace {

using base::ErrorKind;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view syn =
    R"({"flow":{"time":"2023-08-21T12:12:18.510175415Z","verdict":"DROPPED","drop_reason":133,)"
    R"("IP":{"source":"10.244.1.60","destination":"10.244.1.5","ipVersion":"IPv4"},)"
    R"("l4":{"TCP":{"source_port":44916,"destination_port":80,"flags":{"SYN":true}}},)"
    R"("source":{"ID":4070,"namespace":"default","pod_name":"xwing"},)"
    R"("destination":{"namespace":"default","pod_name":"deathstar-7848d6c4d5-th9v2"},)"
    R"("Type":"L3_L4","node_name":"kind-kind/kind-worker","traffic_direction":"INGRESS",)"
    R"("drop_reason_desc":"POLICY_DENIED","Summary":"TCP Flags: SYN"},)"
    R"("node_name":"kind-kind/kind-worker","time":"2023-08-21T12:12:18.510175415Z"})";

constexpr std::string_view datagram =
    R"({"flow":{"verdict":"DROPPED",)"
    R"("IP":{"source":"fd00::1","destination":"fd00::2","ipVersion":"IPv6"},)"
    R"("l4":{"UDP":{"source_port":40000,"destination_port":53}},)"
    R"("source":{"namespace":"shop","pod_name":"web-0"},"destination":{"identity":2},)"
    R"("traffic_direction":"EGRESS","drop_reason_desc":"POLICY_DENY","egress_denied_by":[)"
    R"({"name":"no-dns","namespace":"shop","kind":"CiliumNetworkPolicy"},)"
    R"({"name":"all","kind":"CiliumClusterwideNetworkPolicy"}]}})";

TEST(HubbleLine, ADroppedConnectionIsTakenWithItsEndsAndItsReason) {
  const auto denied = read_hubble_line(syn);
  ASSERT_TRUE(denied);
  EXPECT_EQ(denied->from.to_string(), "10.244.1.60:44916");
  EXPECT_EQ(denied->to.to_string(), "10.244.1.5:80");
  EXPECT_EQ(denied->protocol, base::Protocol::TCP);
  EXPECT_EQ(denied->at_ns, 0);
  EXPECT_EQ(denied->verdict,
            "ingress of default/deathstar-7848d6c4d5-th9v2: POLICY_DENIED (Cilium, by Hubble)");
}

TEST(HubbleLine, ThePoliciesThatDenyAreNamed) {
  const auto denied = read_hubble_line(datagram);
  ASSERT_TRUE(denied);
  EXPECT_EQ(denied->to.to_string(), "[fd00::2]:53");
  EXPECT_EQ(denied->protocol, base::Protocol::UDP);
  EXPECT_EQ(denied->verdict,
            "egress of shop/web-0: POLICY_DENY, by CiliumNetworkPolicy shop/no-dns, "
            "CiliumClusterwideNetworkPolicy all (Cilium, by Hubble)");
}

TEST(HubbleLine, WhatIsNoSuchPacketIsPassedOver) {
  for (const std::string_view line :
       {R"({"flow":{"verdict":"FORWARDED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},)"
        R"("l4":{"TCP":{"source_port":1,"destination_port":2}}}})",
        R"({"flow":{"verdict":"DROPPED","IP":{"source":"fe80::1","destination":"ff02::2"},)"
        R"("l4":{"ICMPv6":{"type":133}},"drop_reason_desc":"INVALID_SOURCE_IP"}})",
        R"({"flow":{"verdict":"DROPPED","IP":{"source":"x","destination":"10.0.0.2"},)"
        R"("l4":{"TCP":{"source_port":1,"destination_port":2}}}})",
        R"({"flow":{"verdict":"DROPPED","IP":{"source":"10.0.0.1","destination":"10.0.0.2"},)"
        R"("l4":{"TCP":{"source_port":1,"destination_port":70000}}}})",
        R"({"lost_events":{"source":"HUBBLE_RING_BUFFER","num_events_lost":"12"}})",
        R"({"flow":null})", R"([1,2])", R"({"flow":{"verd)", ""}) {
    EXPECT_FALSE(read_hubble_line(line)) << line;
  }
}

TEST(HubbleCommand, AsksForDropsOfTheseNamespacesThatAreNotTooOld) {
  EXPECT_THAT(hubble_command({.agents = {.in_namespace = "kube-system", .version = "", .nodes = {}},
                              .namespaces = {"a", "b"},
                              .age = std::chrono::milliseconds(2100)}),
              ElementsAre("hubble", "observe", "--server", "unix:///var/run/cilium/hubble.sock",
                          "--verdict", "DROPPED", "--since", "3s", "--output", "jsonpb",
                          "--namespace", "a", "--namespace", "b"));
}

class HubbleTest : public testing::KubernetesTargetTest {
 protected:
  // Cilium in a namespace of its own, with an agent on each node.
  void with_cilium() {
    testing::put_cilium(server_);
    server_.on_exec([this](testing::ExecSession& session) {
      if (session.command().front() == "hubble") {
        asked_.push_back(session.pod());
        if (hubble_is_off_) {
          session.write_err("failed to connect to 'unix:///var/run/cilium/hubble.sock'\n");
          return session.exit(1);
        }
        // One agent's ring has it, and the other has lost some.
        session.write_out(session.pod() == "cilium-aaaaa"
                              ? std::string(syn) + "\n" + std::string(datagram) + "\n"
                              : R"({"lost_events":{"num_events_lost":"1"}})");
        return session.exit(0);
      }
      while (const auto text = session.read()) session.write_out(*text);
      session.exit(0);
    });
  }
  base::Result<std::vector<DeniedPacket>> ask() {
    target_ = target();
    if (target_ == nullptr) return base::fail(ErrorKind::system, "no target");
    if (auto up = target_->provision(testing::plan_of("it")); !up) {
      return std::unexpected(std::move(up).error());
    }
    // Reviews of rights are numbered from here on.
    if (refused_) {
      server_.answer_with({.when = "selfsubjectaccessreviews",
                           .status = 201,
                           .body = R"({"status":{"allowed":false}})",
                           .times = 2});
    }
    return target_->denied_lately("it", base::monotonic_now().ns);
  }

  std::unique_ptr<KubernetesTarget> target_;
  std::vector<std::string> asked_;
  bool hubble_is_off_ = false;
  bool refused_ = false;
};

TEST_F(HubbleTest, TheAgentOfEachNodeIsAsked) {
  with_cilium();
  const auto denied = ask();
  ASSERT_TRUE(denied) << denied.error().message;
  EXPECT_THAT(asked_, ElementsAre("cilium-aaaaa", "cilium-bbbbb"));
  ASSERT_EQ(denied->size(), 2U);
  EXPECT_EQ((*denied)[0].to.port, 80);
  EXPECT_EQ((*denied)[1].to.port, 53);
}

TEST_F(HubbleTest, TheRightsThatAreMissingAreNamedAndNobodyIsAsked) {
  with_cilium();
  refused_ = true;
  const auto denied = ask();
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(denied.error().message,
              HasSubstr("may not list pods, get pods/exec in namespace network"));
  EXPECT_TRUE(asked_.empty());
}

TEST_F(HubbleTest, WhereItIsOffItsOwnWordsAreTold) {
  with_cilium();
  hubble_is_off_ = true;
  const auto denied = ask();
  ASSERT_FALSE(denied);
  EXPECT_THAT(denied.error().message, HasSubstr("exit code 1: failed to connect to"));
}

TEST_F(HubbleTest, ANodeWithoutAnAgentIsNamed) {
  with_cilium();
  server_.erase("/api/v1/namespaces/network/pods/cilium-bbbbb");
  const auto denied = ask();
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().kind, ErrorKind::missing);
  EXPECT_THAT(denied.error().message, HasSubstr("on node n2"));
}

TEST_F(HubbleTest, WithoutCiliumNobodyTells) {
  const auto denied = ask();
  ASSERT_FALSE(denied);
  EXPECT_EQ(denied.error().kind, ErrorKind::missing);
  EXPECT_THAT(denied.error().message, HasSubstr("nobody tells which packets policies denied"));
}

}  // namespace
}  // namespace cluster
