// The ways to a Service beside its ClusterIP, in real namespaces: the port at every node, the load
// balancer's address, externalTrafficPolicy and session affinity. Needs root.
#include <cerrno>
#include <set>
#include <string>
#include <vector>

#include <sys/socket.h>
#include <sys/time.h>

#include "cluster/lab/addresses.h"
#include "cluster/lab/lab_fixture.h"

namespace cluster {
namespace {

using base::AddressFamily;
using base::Endpoint;
using base::testing::Transport;

const std::set<std::string> all{"web-0", "web-1", "web-2"};
const std::string outside(external_client);

class LabPaths : public LabFixture, public testing::WithParamInterface<DatapathKind> {
 protected:
  EnvironmentHandle provision(const ServiceSpec& service) {
    auto plan = plan_of(GetParam());
    plan.topology.services["web"] = service;
    auto environment = must(lab.provision(plan));
    serve(environment);
    return environment;
  }

  static ServiceSpec balanced() { return {.target = "web", .type = ServiceType::LoadBalancer}; }

  static const base::IpAddress& balancer(const EnvironmentHandle& environment,
                                         AddressFamily family) {
    for (const auto& address : environment.services.at("web").load_balancer_addresses) {
      if (address.family == family) return address;
    }
    throw std::runtime_error("no load balancer's address");
  }

  static std::uint16_t node_port(const EnvironmentHandle& environment, const std::string& name) {
    return environment.services.at("web").node_ports.at(name);
  }

  // kube-proxy's rules hide every client under Cluster; eBPF, as Cilium's, those alone whose pods
  // are on another node.
  static bool keeps_clients_of_its_own_pods() {
    return GetParam() == DatapathKind::ebpf_socket || GetParam() == DatapathKind::ebpf_tc;
  }

  // Whom the server sees when `client` dials.
  std::string seen_from(const std::string& client, const Endpoint& peer) {
    std::string seen;
    in_pod("env", client, [&] {
      const auto fd = must(base::testing::dial(peer, Transport::tcp));
      seen = must(base::testing::ask_where_from(fd.get()));
    });
    return seen.substr(0, seen.rfind(':'));
  }

  // Whether a connection of the client outside is neither accepted nor refused for many round trips
  // of the lab; the SYN is repeated only after a second.
  bool is_dropped(const Endpoint& peer) {
    bool dropped = false;
    in_pod("env", outside, [&] {
      const auto fd = must(base::testing::open_socket(peer, Transport::tcp));
      const timeval bound{.tv_sec = 0, .tv_usec = 300'000};
      ASSERT_EQ(::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof(bound)), 0);
      const base::SocketAddress address(peer);
      dropped = ::connect(fd.get(), address.get(), address.size()) == -1 && errno == EINPROGRESS;
    });
    return dropped;
  }
};

std::string name_of(const testing::TestParamInfo<DatapathKind>& tested) {
  return std::string(base::enum_name(tested.param));
}

INSTANTIATE_TEST_SUITE_P(, LabPaths,
                         testing::Values(DatapathKind::iptables, DatapathKind::nftables,
                                         DatapathKind::ebpf_socket, DatapathKind::ebpf_tc),
                         name_of);

TEST_P(LabPaths, EveryNodesPortReachesEveryBackendFromInsideAndOutside) {
  const auto environment = provision({.target = "web", .type = ServiceType::NodePort});
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    for (const auto& node : environment.nodes) {
      const Endpoint tcp{node.address(family), node_port(environment, "tcp-rr")};
      const Endpoint udp{node.address(family), node_port(environment, "udp-rr")};
      for (const auto& client : {std::string("client-0"), outside}) {
        EXPECT_EQ(answered_by("env", tcp, Transport::tcp, 3, 80, client), all)
            << client << " " << tcp.to_string();
        EXPECT_EQ(answered_by("env", udp, Transport::udp, 3, 80, client), all)
            << client << " " << udp.to_string();
      }
    }
  }
}

TEST_P(LabPaths, TheLoadBalancersAddressReachesEveryBackendFromInsideAndOutside) {
  const auto environment = provision(balanced());
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    for (const auto& client : {std::string("client-0"), outside}) {
      const auto& address = balancer(environment, family);
      EXPECT_EQ(answered_by("env", {address, 8001}, Transport::tcp, 3, 80, client), all) << client;
      EXPECT_EQ(answered_by("env", {address, 8003}, Transport::udp, 3, 80, client), all) << client;
    }
  }
}

TEST_P(LabPaths, ExternalTrafficPolicyClusterHidesTheClientsAddressAndLocalKeepsIt) {
  const auto client = addresses::external_ipv4().to_string();
  auto service = balanced();
  auto environment = provision(service);
  // All pods are on node 2.
  const auto at_node = [&](int node) {
    return Endpoint{addresses::node_ipv4(node), node_port(environment, "tcp-rr")};
  };
  const Endpoint balanced_at{balancer(environment, AddressFamily::ipv4), 8001};
  EXPECT_EQ(seen_from(outside, at_node(1)), addresses::node_ipv4(1).to_string());
  if (keeps_clients_of_its_own_pods()) {
    EXPECT_EQ(seen_from(outside, at_node(2)), client);
  } else {
    EXPECT_EQ(seen_from(outside, at_node(2)), addresses::node_ipv4(2).to_string());
    EXPECT_NE(seen_from(outside, balanced_at), client);
  }

  servers.clear();
  must(lab.teardown());
  service.external_traffic_policy = base::kube::TrafficPolicy::Local;
  environment = provision(service);
  EXPECT_EQ(seen_from(outside, at_node(2)), client);
  EXPECT_EQ(seen_from(outside, balanced_at), client);
  EXPECT_TRUE(is_dropped(at_node(1))) << "node 1 has no pod to serve it with";
  // Clients inside are served as if they had gone out and back.
  EXPECT_EQ(answered_by("env", at_node(1), Transport::tcp, 3), all);
  EXPECT_EQ(answered_by("env", balanced_at, Transport::tcp, 3), all);
}

TEST_P(LabPaths, UnderAffinityAClientStaysWithItsPod) {
  auto service = balanced();
  service.session_affinity = base::kube::SessionAffinity::ClientIP;
  const auto environment = provision(service);
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    const Endpoint peer{environment.services.at("web").address(family), 8001};
    // By chance alone, 40 connections meet one of three pods in one case out of 10^18.
    EXPECT_EQ(answered_by("env", peer, Transport::tcp, 2, 40).size(), 1U) << peer.to_string();
  }
}

TEST_P(LabPaths, AServiceWithoutEndpointsRefusesOnEveryPath) {
  const auto environment = provision(balanced());
  must(lab.apply("env", slice(environment, AddressFamily::ipv4, all)));
  in_pod("env", outside, [&] {
    for (const auto& peer : {Endpoint{addresses::node_ipv4(1), node_port(environment, "tcp-rr")},
                             Endpoint{balancer(environment, AddressFamily::ipv4), 8001}}) {
      const auto answer = ask_once(peer, Transport::tcp);
      ASSERT_FALSE(answer) << *answer;
      EXPECT_EQ(answer.error().code, ECONNREFUSED) << answer.error().message;
    }
  });
}

class LabEbpfPaths : public LabPaths {};

INSTANTIATE_TEST_SUITE_P(, LabEbpfPaths,
                         testing::Values(DatapathKind::ebpf_socket, DatapathKind::ebpf_tc),
                         name_of);

// Translated without netfilter, whether before a packet exists or packet by packet.
TEST_P(LabEbpfPaths, PodsReachEveryPathAndNothingIsTracked) {
  const auto environment = provision(balanced());
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    for (const auto& node : environment.nodes) {
      const Endpoint peer{node.address(family), node_port(environment, "tcp-rr")};
      EXPECT_EQ(answered_by("env", peer, Transport::tcp, 3), all) << peer.to_string();
    }
    const auto& address = balancer(environment, family);
    EXPECT_EQ(answered_by("env", {address, 8001}, Transport::tcp, 3), all);
    EXPECT_EQ(answered_by("env", {address, 8003}, Transport::udp, 3), all);
  }
  EXPECT_EQ(tracked_flows("env", "node1"), 0);
}

TEST_P(LabEbpfPaths, UnderAffinityAClientStaysWithItsPodOnEveryPath) {
  auto service = balanced();
  service.session_affinity = base::kube::SessionAffinity::ClientIP;
  const auto environment = provision(service);
  for (const auto family : {AddressFamily::ipv4, AddressFamily::ipv6}) {
    std::set<std::string> seen;
    for (const auto& peer :
         {Endpoint{environment.services.at("web").address(family), 8001},
          Endpoint{balancer(environment, family), 8001},
          Endpoint{environment.nodes.back().address(family), node_port(environment, "tcp-rr")}}) {
      seen.merge(answered_by("env", peer, Transport::tcp, 2, 20));
    }
    EXPECT_EQ(seen.size(), 1U);
  }
}

}  // namespace
}  // namespace cluster
