// Every datapath of the lab, in real namespaces, on what a Service must do: needs root.
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "cluster/lab/lab_fixture.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::testing::Transport;

struct DatapathCase {
  std::string name;
  DatapathKind kind = DatapathKind::direct;
  std::vector<FaultKind> faults = {};
};

class LabDatapath : public LabFixture, public testing::WithParamInterface<DatapathCase> {
 protected:
  EnvironmentHandle provision() {
    auto plan = plan_of(GetParam().kind);
    plan.faults = GetParam().faults;
    return must(lab.provision(plan));
  }

  // Whether the rules are nftables': the planted fault leaves the translation to them.
  static bool uses_nftables() {
    return GetParam().kind == DatapathKind::nftables || !GetParam().faults.empty();
  }
};

INSTANTIATE_TEST_SUITE_P(
    All, LabDatapath,
    testing::Values(DatapathCase{"iptables", DatapathKind::iptables},
                    DatapathCase{"nftables", DatapathKind::nftables},
                    DatapathCase{"ebpf_socket", DatapathKind::ebpf_socket},
                    DatapathCase{"ebpf_tc", DatapathKind::ebpf_tc},
                    // The planted fault lets traffic succeed, or it would fool nobody.
                    DatapathCase{"ebpf_socket_hook_left_out",
                                 DatapathKind::ebpf_socket,
                                 {FaultKind::hook_left_out}}),
    [](const auto& tested) { return tested.param.name; });

TEST_P(LabDatapath, ClusterIpReachesEveryBackend) {
  const auto environment = provision();
  serve(environment);
  const std::set<std::string> all{"web-0", "web-1", "web-2"};
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    const auto& address = environment.services.at("web").address(family);
    EXPECT_EQ(answered_by("env", {address, 8001}, Transport::tcp, 3), all) << address.to_string();
    EXPECT_EQ(answered_by("env", {address, 8003}, Transport::udp, 3), all) << address.to_string();
  }
  servers.clear();
  EXPECT_TRUE(lab.teardown());
}

TEST_P(LabDatapath, AServiceIsFoundAmongManyOthers) {
  auto plan = plan_of(GetParam().kind);
  plan.faults = GetParam().faults;
  plan.filler = {.services = 300, .family = AddressFamily::ipv4};
  const auto environment = must(lab.provision(plan));
  serve(environment);
  const auto& address = environment.services.at("web").ipv4;
  EXPECT_EQ(answered_by("env", {address, 8001}, Transport::tcp, 3).size(), 3U);
  // How long it took is said, and the fillers are no Services of the scenario's.
  EXPECT_GT(lab.environment("env")->facts().at("load_ns").get<std::int64_t>(), 0);
  EXPECT_EQ(environment.services.size(), 1U);
  servers.clear();
  EXPECT_TRUE(lab.teardown());
}

// Rules' memory is what the whole machine holds more than before, and not known when others gave
// back more meanwhile: an environment that was torn down a moment ago still does.
TEST_P(LabDatapath, WhatManyServicesHoldInTheKernelIsSaid) {
  auto plan = plan_of(GetParam().kind);
  plan.faults = GetParam().faults;
  plan.filler = {.services = 300, .family = AddressFamily::ipv4};
  std::int64_t bytes = 0;
  for (int attempt = 0; attempt < 10 && bytes == 0; ++attempt) {
    must(lab.provision(plan));
    bytes = lab.environment("env")->facts().value("kernel_memory_bytes", std::int64_t{0});
    EXPECT_TRUE(lab.teardown());
  }
  EXPECT_GT(bytes, 0);
}

TEST_P(LabDatapath, ABackendThatIsNotReadyGetsNoConnections) {
  const auto environment = provision();
  serve(environment);
  const auto& service = environment.services.at("web");
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    must(lab.apply("env", slice(environment, family, {"web-0", "web-1"})));
    // Each connection would meet one of them with two chances in three.
    EXPECT_THAT(answered_by("env", {service.address(family), 8001}, Transport::tcp, 2, 25),
                testing::ElementsAre("web-2"));
    must(lab.apply("env", slice(environment, family, {"web-0", "web-1", "web-2"})));
    in_pod("env", "client-0", [&] {
      const auto answer = ask_once({service.address(family), 8001}, Transport::tcp);
      ASSERT_FALSE(answer) << *answer;
      EXPECT_EQ(answer.error().code, ECONNREFUSED) << answer.error().message;
    });
    must(lab.apply("env", slice(environment, family, {})));
    EXPECT_EQ(answered_by("env", {service.address(family), 8001}, Transport::tcp, 3).size(), 3U);
  }
}

TEST_P(LabDatapath, ARemovedServiceIsTranslatedNoMore) {
  const auto environment = provision();
  serve(environment);
  const base::Endpoint service{environment.services.at("web").ipv4, 8001};
  EXPECT_EQ(answered_by("env", service, Transport::tcp, 1).size(), 1U);
  must(lab.remove("env", "Service", "web"));
  if (uses_nftables()) {
    // kube-proxy drops what is sent to a ClusterIP of nobody, so the client only hears nothing.
    EXPECT_THAT(in_node("env", "node1", {"nft", "list", "ruleset"}),
                testing::Not(testing::HasSubstr("dnat to")));
    in_pod("env", "client-0", [&] {
      const auto fd = must(base::testing::open_socket(service, Transport::tcp));
      // Many round trips of the lab, and shorter than the SYN's first repetition after a second.
      const timeval bound{.tv_sec = 0, .tv_usec = 300'000};
      ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)), 0);
      // Without this the kernel keeps a router's error to itself until that repetition, and silence
      // would look the same.
      const int yes = 1;
      ASSERT_EQ(::setsockopt(fd.get(), IPPROTO_IP, IP_RECVERR, &yes, sizeof(yes)), 0);
      const base::SocketAddress address(service);
      ASSERT_EQ(::connect(fd.get(), address.get(), address.size()), -1);
      EXPECT_EQ(errno, EINPROGRESS) << "SO_SNDTIMEO ends connect(2) so, still waiting";
      char reported = 0;
      EXPECT_EQ(::recv(fd.get(), &reported, 1, MSG_ERRQUEUE | MSG_DONTWAIT), -1);
      EXPECT_EQ(errno, EAGAIN) << "an ICMP error came";
    });
    return;
  }
  in_pod("env", "client-0", [&] {
    const auto answer = ask_once(service, Transport::tcp);
    ASSERT_FALSE(answer) << *answer;
    // Nobody has this address: the router says so.
    EXPECT_THAT(answer.error().code, testing::AnyOf(ENETUNREACH, EHOSTUNREACH))
        << answer.error().message;
  });
}

// kube-proxy deletes such flows; without that a UDP client stays with a backend that is gone for
// as long as it speaks.
TEST_P(LabDatapath, AUdpFlowLeavesABackendThatIsNoLongerReady) {
  const auto environment = provision();
  serve(environment);
  const base::Endpoint service{environment.services.at("web").ipv4, 8003};
  in_pod("env", "client-0", [&] {
    const auto fd = must(base::testing::open_socket(service, Transport::udp));
    const auto first = must(base::testing::ask_at(fd.get(), service)).text;
    EXPECT_EQ(must(base::testing::ask_at(fd.get(), service)).text, first);
    must(lab.apply("env", slice(environment, AddressFamily::ipv4, {first})));
    EXPECT_NE(must(base::testing::ask_at(fd.get(), service)).text, first);
  });
}

}  // namespace
}  // namespace cluster
