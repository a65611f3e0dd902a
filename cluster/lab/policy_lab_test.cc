// NetworkPolicy in a lab, packet by packet, in real namespaces: needs root.
#include <array>
#include <memory>
#include <string>
#include <tuple>

#include "base/bpf/bpf.h"
#include "cluster/lab/policy_fixture.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::testing::Transport;

// One environment for all of them.
class LabPolicy : public SharedPolicyLab {
 protected:
  static Outcome probe(const std::string& from, const std::string& to,
                       std::uint16_t port = tcp_target, Transport transport = Transport::tcp,
                       AddressFamily family = AddressFamily::ipv4) {
    return shared->probe(from, shared->at(to, port, family), transport);
  }
};

TEST_F(LabPolicy, DefaultDenyClosesAtOnceAndItsRemovalOpens) {
  const auto outcomes = [&] {
    std::set<Outcome> all;
    for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
      for (const auto* to : {"web-0", "near-0"}) {
        all.insert(probe("client-0", to, tcp_target, Transport::tcp, family));
        all.insert(probe("client-0", to, udp_target, Transport::udp, family));
      }
    }
    return all;
  };
  EXPECT_EQ(outcomes(), std::set{Outcome::answered});
  const auto stamps = shared->apply("deny", deny_all_ingress);
  EXPECT_LE(stamps.sent_ns, stamps.acked_ns);
  EXPECT_LE(stamps.acked_ns, *stamps.programmed_ns);
  EXPECT_GT(stamps.resource_version, 0U);
  EXPECT_EQ(outcomes(), std::set{Outcome::denied});
  shared->remove("deny");
  EXPECT_EQ(outcomes(), std::set{Outcome::answered});
}

TEST_F(LabPolicy, ADenialNamesThePodTheDirectionAndTheGeneration) {
  shared->apply("deny", deny_all_ingress);
  ASSERT_EQ(probe("client-0", "web-0"), Outcome::denied);
  const auto in = *shared->last_denial;
  EXPECT_EQ(in.pod, "web-0");
  EXPECT_FALSE(in.egress);
  EXPECT_EQ(in.reason, DenialReason::no_rule_allows);
  EXPECT_EQ(in.node, 2);
  EXPECT_EQ(in.to, shared->at("web-0", tcp_target));
  EXPECT_EQ(in.from.address, shared->pod("client-0").ipv4);
  EXPECT_EQ(in.protocol, IPPROTO_TCP);
  shared->clear();
  shared->apply("deny-out", R"({"podSelector": {}, "policyTypes": ["Egress"]})");
  ASSERT_EQ(probe("client-0", "web-0", udp_target, Transport::udp), Outcome::denied);
  EXPECT_EQ(shared->last_denial->pod, "client-0");
  EXPECT_TRUE(shared->last_denial->egress);
  EXPECT_EQ(shared->last_denial->node, 1);
  EXPECT_GT(shared->last_denial->generation, in.generation);
  const auto recent = must(shared->target().recent_denials("env"));
  EXPECT_EQ(recent.lost, 0U);
  EXPECT_GE(recent.total, 2U);
}

TEST_F(LabPolicy, PeersAreSelectedByLabelAndByNamespace) {
  shared->apply("to-web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "client"}}}]}]})");
  EXPECT_EQ(probe("client-0", "web-0"), Outcome::answered);
  EXPECT_EQ(probe("near-0", "web-0"), Outcome::denied);
  EXPECT_EQ(probe("stranger-0", "web-0"), Outcome::denied);
  EXPECT_EQ(probe("near-0", "client-0"), Outcome::answered) << "nobody isolates it";
  shared->apply("to-web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}]}]})");
  EXPECT_EQ(probe("stranger-0", "web-0"), Outcome::answered);
  EXPECT_EQ(probe("client-0", "web-0"), Outcome::denied);
}

TEST_F(LabPolicy, BlocksHoldTheClientOutsideUnlessItIsExcepted) {
  const auto apply = [&](std::string_view except) {
    shared->apply("block", fmt::format(R"({{"podSelector": {{}}, "ingress": [{{"from": [
        {{"ipBlock": {{"cidr": "172.19.0.0/16"{}}}}}]}}]}})",
                                       except));
  };
  apply("");
  EXPECT_EQ(probe("external", "web-0"), Outcome::answered);
  EXPECT_EQ(probe("client-0", "web-0"), Outcome::denied);
  apply(R"(, "except": ["172.19.0.2/32"])");
  EXPECT_EQ(probe("external", "web-0"), Outcome::denied);
  apply(R"(, "except": ["172.19.0.3/32"])");
  EXPECT_EQ(probe("external", "web-0"), Outcome::answered);
  EXPECT_EQ(probe("external", "web-0", tcp_target, Transport::tcp, AddressFamily::ipv6),
            Outcome::denied);
}

TEST_F(LabPolicy, PortsAreThoseNamedAndNoOthers) {
  shared->apply("named", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"ports": [{"port": "tcp-rr"}, {"protocol": "UDP", "port": 7010, "endPort": 7012}]}]})");
  EXPECT_EQ(probe("client-0", "web-0", tcp_target), Outcome::answered);
  EXPECT_EQ(probe("client-0", "web-0", other_target), Outcome::denied);
  EXPECT_EQ(probe("client-0", "web-0", ranged_target, Transport::udp), Outcome::answered);
  EXPECT_EQ(probe("client-0", "web-0", udp_target, Transport::udp), Outcome::denied);
  // The port is open, but nobody listens: the error is the connection's own, and passes though
  // neither may send the other anything of the kind.
  shared->apply("web-out", R"({"podSelector": {"matchLabels": {"app": "web"}},
                              "policyTypes": ["Egress"]})");
  shared->apply("client-in", R"({"podSelector": {"matchLabels": {"app": "client"}}})");
  EXPECT_EQ(probe("client-0", "web-0", 7012, Transport::udp), Outcome::refused);
  // Of a datagram in several fragments only the first has ports.
  EXPECT_EQ(shared->probe("client-0", shared->at("web-0", ranged_target), Transport::udp,
                          std::string(4000, 'x')),
            Outcome::answered);
}

TEST_F(LabPolicy, EgressIsJudgedByThePodBehindAService) {
  const auto service = shared->handle().services.at("web");
  const auto allow = [&](std::string_view app) {
    shared->apply("out", fmt::format(R"({{"podSelector": {{"matchLabels": {{"app": "client"}}}},
        "policyTypes": ["Egress"], "egress": [{{"ports": [{{"port": 7001}}], "to": [
            {{"podSelector": {{"matchLabels": {{"app": "{}"}}}}}}]}}]}})",
                                     app));
  };
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    allow("web");
    EXPECT_EQ(shared->probe("client-0", {service.address(family), 8001}), Outcome::answered);
    EXPECT_EQ(probe("client-0", "near-0", tcp_target, Transport::tcp, family), Outcome::denied);
    allow("near");
    EXPECT_EQ(shared->probe("client-0", {service.address(family), 8001}), Outcome::denied);
    EXPECT_EQ(shared->last_denial->to, shared->at("web-0", tcp_target, family));
    EXPECT_EQ(probe("client-0", "near-0", tcp_target, Transport::tcp, family), Outcome::answered);
  }
}

TEST_F(LabPolicy, AClientOutsideIsKnownThoughThisNodeHidesIt) {
  const auto handle = shared->handle();
  const base::Endpoint node_port{handle.nodes[0].ipv4,
                                 handle.services.at("near").node_ports.at("tcp-rr")};
  EXPECT_EQ(shared->probe("external", node_port), Outcome::answered);
  shared->apply("deny", R"({"podSelector": {"matchLabels": {"app": "near"}}})");
  EXPECT_EQ(shared->probe("external", node_port), Outcome::denied);
  shared->apply("deny", R"({"podSelector": {"matchLabels": {"app": "near"}}, "ingress": [
      {"from": [{"ipBlock": {"cidr": "172.19.0.2/32"}}]}]})");
  EXPECT_EQ(shared->probe("external", node_port), Outcome::answered);
}

TEST_F(LabPolicy, WhatAPodSendsItselfAndItsNodeIsNeverDenied) {
  shared->apply("deny", R"({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})");
  const auto handle = shared->handle();
  std::string who;
  const auto fd = shared->begin("web-0", {handle.services.at("web").ipv4, 8001}, Transport::tcp);
  EXPECT_EQ(shared->ask(fd, "?", &who), Outcome::answered);
  EXPECT_EQ(who, "web-0");
  EXPECT_EQ(must(shared->ask_from_node("node2", shared->at("web-0", tcp_target))), "web-0");
  // Another node is an address like any other.
  EXPECT_EQ(shared->probe("external", shared->at("web-0", tcp_target)), Outcome::denied);
}

TEST_F(LabPolicy, AConnectionIsJudgedAgainAndGoesOnWhenItIsAllowedAgain) {
  for (const auto transport : {Transport::tcp, Transport::udp}) {
    const auto port = transport == Transport::tcp ? tcp_target : udp_target;
    const auto kept = shared->begin("client-0", shared->at("web-0", port), transport);
    EXPECT_EQ(shared->ask(kept), Outcome::answered);
    shared->apply("deny", deny_all_ingress);
    EXPECT_EQ(shared->ask(kept), Outcome::denied);
    EXPECT_EQ(shared->last_denial->reason, DenialReason::revoked);
    shared->apply("deny", R"({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})");
    // What was sent meanwhile comes again (TCP), or not (UDP).
    EXPECT_EQ(shared->ask(kept), Outcome::answered);
    shared->clear();
  }
}

TEST_F(LabPolicy, ARevokedConnectionIsNotRevivedByItsOwnAnswer) {
  // A server that answers late.
  base::UniqueFd server;
  const auto late = shared->at("web-0", 7020);
  shared->inside("web-0", [&] { server = must(base::testing::listen_at(late, Transport::udp)); });
  const auto client = shared->begin("client-0", late, Transport::udp);
  ASSERT_EQ(::send(client.get(), "?", 1, 0), 1);
  const auto asked = must(base::testing::receive_from(server.get()));
  shared->apply("deny", R"({"podSelector": {"matchLabels": {"app": "web"}}})");
  const auto before = must(shared->target().recent_denials("env")).total;
  must(base::testing::send_to(server.get(), asked.from, "late"));
  ASSERT_TRUE(base::testing::eventually(
      [&] { return must(shared->target().recent_denials("env")).total > before; }));
  EXPECT_EQ(must(shared->target().recent_denials("env")).denials.back().reason,
            DenialReason::revoked);
  EXPECT_EQ(shared->ask(client), Outcome::denied);
}

TEST_F(LabPolicy, AnswersPassTheIsolationOfWhoAsked) {
  shared->apply("deny", R"({"podSelector": {"matchLabels": {"app": "client"}}})");
  EXPECT_EQ(probe("client-0", "web-0"), Outcome::answered);
  EXPECT_EQ(probe("client-0", "web-0", udp_target, Transport::udp), Outcome::answered);
  EXPECT_EQ(probe("web-0", "client-0"), Outcome::denied);
}

TEST_F(LabPolicy, ChangesOfLabelsAreFollowed) {
  shared->apply("to-web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "client"}}},
                {"namespaceSelector": {"matchLabels": {"team": "blue"}}}]}]})");
  EXPECT_EQ(probe("near-0", "web-0"), Outcome::denied);
  EXPECT_EQ(probe("stranger-0", "web-0"), Outcome::denied);
  auto& target = shared->target();
  must(target.set_labels("env", LabelledKind::pod, "near-0", {{"app", "client"}}));
  EXPECT_EQ(probe("near-0", "web-0"), Outcome::answered);
  EXPECT_EQ(shared->pod("near-0").labels, (Labels{{"app", "client"}}));
  must(target.set_labels("env", LabelledKind::name_space, "other", {{"team", "blue"}}));
  EXPECT_EQ(probe("stranger-0", "web-0"), Outcome::answered);
  EXPECT_EQ(shared->handle().namespaces.at("other").labels,
            (Labels{{"kubernetes.io/metadata.name", "other"}, {"team", "blue"}}));
  must(target.set_labels("env", LabelledKind::pod, "near-0", {{"app", "near"}}));
  must(target.set_labels("env", LabelledKind::name_space, "other", {{"team", "red"}}));
  EXPECT_EQ(probe("near-0", "web-0"), Outcome::denied);
  EXPECT_EQ(probe("stranger-0", "web-0"), Outcome::denied);
}

TEST_F(LabPolicy, APodThatRestartsIsKnownByItsNewAddress) {
  shared->apply("to-web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"from": [{"podSelector": {"matchLabels": {"app": "near"}}}]}]})");
  const auto before = shared->pod("near-0");
  EXPECT_EQ(probe("near-0", "web-0"), Outcome::answered);
  must(shared->target().restart_pod("env", "near-0", {}));
  const auto after = shared->pod("near-0");
  EXPECT_NE(after.ipv4, before.ipv4);
  EXPECT_NE(after.ipv6, before.ipv6);
  EXPECT_EQ(after.id, before.id);
  shared->serve_at(after);
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    EXPECT_EQ(probe("near-0", "web-0", tcp_target, Transport::tcp, family), Outcome::answered);
    EXPECT_EQ(probe("client-0", "near-0", tcp_target, Transport::tcp, family), Outcome::answered);
  }
  // Services find it there.
  const auto service = shared->handle().services.at("near");
  EXPECT_EQ(shared->probe("client-0", {service.ipv4, 8001}), Outcome::answered);
}

TEST_F(LabPolicy, ManyPoliciesAreOneWriteAndOneGeneration) {
  PolicyLab lab(policy_plan(DatapathKind::direct));
  const auto generation = [&] {
    return lab.target().environment("env")->facts().at("network_policy").at("generation");
  };
  base::Json list = {{"apiVersion", "networking.k8s.io/v1"},
                     {"kind", "NetworkPolicyList"},
                     {"items", base::Json::array()}};
  for (int i = 0; i < 1000; ++i) {
    list["items"].push_back(PolicyLab::policy(
        fmt::format("p{}", i),
        fmt::format(R"({{"podSelector": {{}}, "ingress": [{{"ports": [{{"port": {}}}], "from": [
            {{"ipBlock": {{"cidr": "172.{}.{}.0/24"}}}}]}}]}})",
                    6002 + i, 16 + i / 256, i % 256)));
  }
  const auto before = generation().get<int>();
  must(lab.target().apply("env", list));
  EXPECT_EQ(generation(), before + 1);
  // p999 allows 7001, but to others; p768 is of the client outside, and allows another port.
  EXPECT_EQ(lab.probe("external", lab.at("web-0", tcp_target)), Outcome::denied);
  list["items"].front() = PolicyLab::policy("p999", R"({"podSelector": {}, "ingress": [
      {"ports": [{"port": 7001}], "from": [{"ipBlock": {"cidr": "172.19.0.0/24"}}]}]})");
  list["items"].erase(list["items"].begin() + 1, list["items"].end());
  must(lab.target().apply("env", list));
  EXPECT_EQ(lab.probe("external", lab.at("web-0", tcp_target)), Outcome::answered);
  EXPECT_EQ(lab.probe("client-0", lab.at("web-0", tcp_target)), Outcome::denied);
  const auto facts = lab.target().environment("env")->facts().at("network_policy");
  EXPECT_EQ(facts.at("policies"), 1000);
  EXPECT_EQ(facts.at("rule_sets"), 1);
}

TEST_F(LabPolicy, WhatItsProgramsCostIsSaid) {
  const auto runs = [&](const char* of) {
    const auto facts = shared->target().environment("env")->facts().at("network_policy");
    return facts.at("hooks").at("policy_to_pod").at(of).get<std::int64_t>();
  };
  const auto statistics = must(base::enable_program_statistics());
  const auto before = runs("run_count");
  const auto time_before = runs("run_time_ns");
  shared->apply("in", R"({"podSelector": {}, "ingress": [{"from": [{"podSelector": {}}]}]})");
  for (int i = 0; i < 50; ++i) EXPECT_EQ(probe("client-0", "web-0"), Outcome::answered);
  EXPECT_GE(runs("run_count"), before + 50);
  EXPECT_GT(runs("run_time_ns"), time_before);
}

TEST_F(LabPolicy, WhatIsMalformedChangesNothing) {
  const auto refused = [&](const base::Json& object) {
    const auto stamps = shared->target().apply("env", object);
    return stamps ? "nothing" : stamps.error().message;
  };
  EXPECT_THAT(refused(PolicyLab::policy("deny", deny_all_ingress, "nowhere")),
              testing::HasSubstr("namespaces \"nowhere\" not found"));
  EXPECT_THAT(refused(PolicyLab::policy("deny", R"({"podSelector": {}, "ingress": [
                  {"ports": [{"port": 80, "endPort": 79}]}]})")),
              testing::HasSubstr("endPort"));
  EXPECT_THAT(refused({{"apiVersion", "networking.k8s.io/v1"},
                       {"kind", "NetworkPolicyList"},
                       {"items",
                        {PolicyLab::policy("deny", deny_all_ingress),
                         PolicyLab::policy("Deny", deny_all_ingress)}}}),
              testing::HasSubstr("metadata.name"));
  EXPECT_EQ(probe("client-0", "web-0"), Outcome::answered);
  const auto labels =
      shared->target().set_labels("env", LabelledKind::pod, "near-0", {{"a/b/c", "x"}});
  ASSERT_FALSE(labels);
  EXPECT_EQ(labels.error().message,
            "Pod default/near-0: metadata.labels: \"a/b/c\" is no label key");
  EXPECT_FALSE(shared->target().set_labels("env", LabelledKind::name_space, "nowhere", {}));
}

// What every datapath does with packets on their way must not matter.
class LabPolicyDatapath : public testing::TestWithParam<DatapathKind> {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  }
};

INSTANTIATE_TEST_SUITE_P(All, LabPolicyDatapath,
                         testing::Values(DatapathKind::iptables, DatapathKind::ebpf_socket,
                                         DatapathKind::ebpf_tc),
                         [](const auto& tested) {
                           return std::string(base::enum_name(tested.param));
                         });

TEST_P(LabPolicyDatapath, ServicesAreJudgedByThePodsBehindThem) {
  auto plan = policy_plan(GetParam());
  plan.has_policies = false;  // from the first policy on
  // A program at the uplink then gives the packet to the pod's interface itself, in the node's
  // name.
  if (GetParam() == DatapathKind::ebpf_tc) plan.faults = {FaultKind::source_rewritten};
  PolicyLab lab(plan);
  const auto handle = lab.handle();
  const auto& web = handle.services.at("web");
  const auto& near = handle.services.at("near");
  const base::Endpoint node_port{handle.nodes[0].ipv4, near.node_ports.at("tcp-rr")};
  EXPECT_FALSE(lab.target().environment("env")->facts().contains("network_policy"));
  const auto older = lab.begin("client-0", lab.at("web-0", tcp_target), Transport::tcp);
  EXPECT_EQ(lab.ask(older), Outcome::answered);
  base::UniqueFd listener;
  const base::Endpoint pushed = lab.at("web-0", 7030);
  lab.inside("web-0", [&] { listener = must(base::testing::listen_at(pushed, Transport::tcp)); });
  const auto reader = lab.begin("client-0", pushed, Transport::tcp);
  const base::UniqueFd pusher(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ASSERT_TRUE(pusher);

  lab.apply("in", R"({"podSelector": {"matchLabels": {"app": "near"}}, "ingress": [
      {"from": [{"ipBlock": {"cidr": "172.19.0.2/32"}}, {"podSelector": {}}]}]})");
  lab.apply("out", R"({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"],
      "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "web"}}}]}]})");
  lab.apply("web", R"({"podSelector": {"matchLabels": {"app": "web"}}, "ingress": [
      {"ports": [{"port": "tcp-rr"}, {"protocol": "UDP"}]}]})");
  EXPECT_TRUE(lab.target().environment("env")->facts().contains("network_policy"));
  EXPECT_EQ(lab.ask(older), Outcome::answered) << "whoever began it was allowed to";
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    EXPECT_EQ(lab.probe("client-0", {web.address(family), 8001}), Outcome::answered);
    EXPECT_EQ(lab.probe("client-0", {web.address(family), 8003}, Transport::udp),
              Outcome::answered);
    EXPECT_EQ(lab.probe("client-0", {near.address(family), 8001}), Outcome::denied);
    EXPECT_EQ(lab.probe("web-0", {near.address(family), 8001}), Outcome::answered);
    EXPECT_EQ(lab.probe("stranger-0", {near.address(family), 8001}), Outcome::denied);
    EXPECT_EQ(lab.probe("near-0", {near.address(family), 8001}), Outcome::answered) << "itself";
    // Ports are in the first fragment alone.
    EXPECT_EQ(lab.probe("near-0", lab.at("web-0", ranged_target, family), Transport::udp,
                        std::string(4000, 'x')),
              Outcome::answered);
  }
  EXPECT_EQ(lab.probe("external", node_port), Outcome::answered);
  lab.apply("in", R"({"podSelector": {"matchLabels": {"app": "near"}}, "ingress": [
      {"from": [{"podSelector": {}}]}]})");
  EXPECT_EQ(lab.probe("external", node_port), Outcome::denied);
  lab.apply("web", R"({"podSelector": {"matchLabels": {"app": "web"}}})");
  EXPECT_EQ(lab.ask(older), Outcome::denied);
  // The other side of such a connection: what it sends might be of a connection it began.
  ASSERT_EQ(::send(pusher.get(), "!", 1, MSG_NOSIGNAL), 1);
  const auto denied = [&] {
    const auto recent = must(lab.target().recent_denials("env"));
    return std::ranges::any_of(recent.denials, [&](const Denial& denial) {
      return denial.from == pushed && denial.reason == DenialReason::unknown_connection;
    });
  };
  EXPECT_TRUE(base::testing::eventually(denied));
  char byte = 0;
  EXPECT_EQ(::recv(reader.get(), &byte, 1, MSG_DONTWAIT), -1);
}

}  // namespace
}  // namespace cluster
