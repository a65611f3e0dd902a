// What the tests of ebpf_tc stand on: a node with two pods on it, and what lies beyond its uplink.
//
//   client ── pod1 ┐
//                  node eth0 ── outside, which is also where the pods of the other nodes are
//   server ── pod2 ┘
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <unistd.h>

#include "base/testing/lab.h"
#include "cluster/fabric/sandbox.h"
#include "cluster/lab/datapath/ebpf_tc.h"

namespace cluster {

struct TcAddresses {
  std::string name;
  base::Endpoint service;        // a ClusterIP
  base::Endpoint other_service;  // another, with the same backends
  base::Endpoint balancer;       // the load balancer's address
  base::IpAddress node;
  base::IpAddress client;
  base::IpAddress server;  // the pod on this node
  base::IpAddress remote;  // the pod on another one
  base::IpAddress outside;

  friend void PrintTo(const TcAddresses& addresses, std::ostream* out) { *out << addresses.name; }
};

inline TcAddresses tc_addresses(bool ipv4) {
  const auto address = [&](std::string_view v4, std::string_view v6) {
    return base::IpAddress::parse(ipv4 ? v4 : v6).value();
  };
  const auto service = address("10.96.0.11", "fd00:96::11");
  return {.name = ipv4 ? "ipv4" : "ipv6",
          .service = {service, 8001},
          .other_service = {service, 8002},
          .balancer = {address("172.20.0.1", "fd00:172:20::1"), 8001},
          .node = address("172.18.0.2", "fd00:172:18::2"),
          .client = address("10.244.1.2", "fd00:244:1::2"),
          .server = address("10.244.1.3", "fd00:244:1::3"),
          .remote = address("10.244.2.2", "fd00:244:2::2"),
          .outside = address("172.18.0.1", "fd00:172:18::1")};
}

inline constexpr std::uint16_t tc_port = 7001;

class EbpfTcFixture : public ::testing::Test {
 protected:
  using Transport = base::testing::Transport;

  void SetUp() override {
    if (const auto reason = base::testing::no_lab_here()) GTEST_SKIP() << *reason;
    for (auto* place : {&node, &client, &server, &outside}) {
      auto made = base::testing::TestNetns::make();
      ASSERT_TRUE(made) << base::describe_error(made.error());
      place->emplace(std::move(*made));
    }
    const auto forwarding = node->inside([] {
      return write_sysctls({{"net.ipv4.ip_forward", "1"}, {"net.ipv6.conf.all.forwarding", "1"}});
    });
    ASSERT_TRUE(forwarding) << base::describe_error(forwarding.error());
    plug(*client, "pod1");
    plug(*server, "pod2");
    plug(*outside, "eth0");
    for (const bool ipv4 : {true, false}) {
      const auto at = tc_addresses(ipv4);
      run(*node, fmt::format("ip address add {}/{} dev eth0{}", at.node, at.node.host_prefix(),
                             ipv4 ? "" : " nodad"));
      give(*client, at.client, at.node, "pod1");
      give(*server, at.server, at.node, "pod2");
      give(*outside, at.outside, at.node, "eth0");
      run(*outside, fmt::format("ip address add {}/{} dev lo{}", at.remote, at.remote.host_prefix(),
                                ipv4 ? "" : " nodad"));
      run(*node, fmt::format("ip route add {} via {} dev eth0 onlink", at.remote, at.outside));
      for (const auto& [netns, pod, name] :
           {std::tuple(&*server, at.server, "local"), std::tuple(&*outside, at.remote, "remote"),
            std::tuple(&*client, at.client, "itself")}) {
        for (const auto transport : {Transport::tcp, Transport::udp}) {
          auto started = netns->inside([&] {
            return base::testing::EchoServer::start({{{pod, tc_port}, name}}, transport);
          });
          ASSERT_TRUE(started) << base::describe_error(started.error());
          servers_.push_back(std::move(*started));
        }
      }
    }
  }

  void hook(const EbpfTcSettings& settings = {}) {
    DatapathNode hooked;
    hooked.name = "node1";
    hooked.ipv4 = tc_addresses(true).node;
    hooked.ipv6 = tc_addresses(false).node;
    hooked.uplink = "eth0";
    hooked.inside = [this](const std::function<base::Result<>()>& work) {
      return node->inside(work);
    };
    for (const auto* interface : {"pod1", "pod2"}) {
      hooked.pods.push_back(
          {.name = interface, .ipv4 = {}, .ipv6 = {}, .cgroup = "", .interface = interface});
    }
    auto made = make_ebpf_tc_datapath({hooked}, settings);
    ASSERT_TRUE(made) << base::describe_error(made.error());
    datapath = std::move(*made);
  }

  // Both Services, TCP and UDP, of type LoadBalancer, with these pods behind them.
  static ServiceTable table_of(const TcAddresses& at, const std::vector<base::IpAddress>& pods,
                               std::uint16_t port = tc_port) {
    ServiceTable table;
    for (const auto& cluster : {at.service, at.other_service}) {
      for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
        ServiceEntry entry{.service = fmt::format("web-{}", cluster.port),
                           .port_name = "",
                           .protocol = protocol,
                           .cluster = cluster,
                           .backends = {},
                           .load_balancer_ips = {at.balancer.address}};
        for (const auto& pod : pods) {
          entry.backends.push_back({.endpoint = {pod, port},
                                    .pod = pod.to_string(),
                                    .node = pod == at.remote ? "node2" : "node1"});
        }
        table.entries.push_back(std::move(entry));
      }
    }
    return table;
  }

  void sync(const ServiceTable& table) const {
    const auto synced = datapath->sync(table);
    ASSERT_TRUE(synced) << base::describe_error(synced.error());
  }

  [[nodiscard]] std::uint64_t counted(const std::string& what) const {
    return datapath->facts().at("connection_table").at(what).get<std::uint64_t>();
  }

  static base::Result<base::UniqueFd> dial(const base::testing::TestNetns& from,
                                           const base::Endpoint& peer, Transport transport) {
    return from.inside([&] { return base::testing::dial(peer, transport); });
  }

  // Who answers a new connection; the error's sentence when nobody does.
  static std::string answer(const base::testing::TestNetns& from, const base::Endpoint& peer,
                            Transport transport) {
    const auto socket = dial(from, peer, transport);
    if (!socket) return socket.error().message;
    const auto text = base::testing::ask(socket->get());
    return text ? *text : text.error().message;
  }

  static void run(const base::testing::TestNetns& where, const std::string& command) {
    const auto done = where.run(command);
    ASSERT_TRUE(done) << base::describe_error(done.error());
  }

  std::optional<base::testing::TestNetns> node, client, server, outside;
  std::unique_ptr<Datapath> datapath;

 private:
  // Neighbours are known beforehand, as in a lab: the gateway is an address of no interface.
  static constexpr std::string_view node_mac = "ee:ee:ee:ee:ee:ee";
  static constexpr std::string_view child_mac = "02:5b:00:00:00:01";

  void plug(const base::testing::TestNetns& child, const std::string& interface) {
    run(*node, fmt::format("ip link add name {} address {} type veth peer name eth0 address {} "
                           "netns /proc/{}/fd/{}",
                           interface, node_mac, child_mac, ::getpid(), child.fd()));
    run(*node, fmt::format("ip link set {} up", interface));
    run(child, "ip link set eth0 up");
  }
  void give(const base::testing::TestNetns& child, const base::IpAddress& own,
            const base::IpAddress& gateway, const std::string& interface) {
    const bool ipv4 = own.family == base::AddressFamily::ipv4;
    run(child, fmt::format("ip address add {}/{} dev eth0{}", own, own.host_prefix(),
                           ipv4 ? "" : " nodad"));
    run(child,
        fmt::format("ip neigh replace {} lladdr {} nud permanent dev eth0", gateway, node_mac));
    run(child,
        fmt::format("ip {} route add default via {} dev eth0 onlink", ipv4 ? "-4" : "-6", gateway));
    run(*node, fmt::format("ip neigh replace {} lladdr {} nud permanent dev {}", own, child_mac,
                           interface));
    run(*node, fmt::format("ip route add {} dev {}", own, interface));
  }

  std::vector<base::testing::EchoServer> servers_;
};

}  // namespace cluster
