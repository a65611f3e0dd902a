// What the tests of ebpf_socket stand on: one network namespace that has no route to any Service
// address (whatever arrives has been translated at the socket), three backends in each family, and
// a cgroup with the hooks that the test process is in.
#pragma once

#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "base/testing/lab.h"
#include "cluster/lab/datapath/ebpf_socket.h"

namespace cluster {
using base::testing::Transport;

inline base::Endpoint at(std::string_view text) { return base::Endpoint::parse(text).value(); }

// A family as an application may use it.
struct Family {
  std::string name;
  base::Endpoint service;
  std::vector<base::Endpoint> backends;
  bool mapped = false;  // an AF_INET6 socket that dials ::ffff:a.b.c.d

  friend void PrintTo(const Family& family, std::ostream* out) { *out << family.name; }
};

inline const std::vector<base::Endpoint> backends4 = {at("10.244.1.1:7001"), at("10.244.1.2:7001"),
                                                      at("10.244.1.3:7001")};
inline const std::vector<base::Endpoint> backends6 = {
    at("[fd00:244:1::1]:7001"), at("[fd00:244:1::2]:7001"), at("[fd00:244:1::3]:7001")};
inline const Family ipv4{"ipv4", at("10.96.0.10:8001"), backends4};
inline const Family ipv6{"ipv6", at("[fd00:96::10]:8001"), backends6};
inline const Family mapped{"mapped", at("10.96.0.10:8001"), backends4, true};

inline ServiceEntry entry_of(const Family& family, Protocol protocol, std::size_t backends) {
  ServiceEntry entry{.service = "web",
                     .port_name = "",
                     .protocol = protocol,
                     .cluster = family.service,
                     .backends = {}};
  for (std::size_t i = 0; i < backends; ++i) {
    entry.backends.push_back({.endpoint = family.backends.at(i), .pod = fmt::format("web-{}", i)});
  }
  return entry;
}

inline ServiceTable table_of(std::size_t backends) {
  ServiceTable table;
  for (const auto& family : {ipv4, ipv6}) {
    for (const auto protocol : {Protocol::TCP, Protocol::UDP}) {
      table.entries.push_back(entry_of(family, protocol, backends));
    }
  }
  return table;
}

class EbpfSocket : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto reason = base::testing::no_lab_here()) GTEST_SKIP() << *reason;
    auto netns = base::testing::TestNetns::make();
    ASSERT_TRUE(netns) << base::describe_error(netns.error());
    netns_.emplace(std::move(*netns));
    std::vector<std::pair<base::Endpoint, std::string>> served;
    for (std::size_t i = 0; i < 3; ++i) {
      for (const auto& backend : {backends4[i], backends6[i]}) {
        const auto added = netns_->run(fmt::format("ip address add {}/{} dev lo nodad",
                                                   backend.address, backend.address.host_prefix()));
        ASSERT_TRUE(added) << base::describe_error(added.error());
        served.emplace_back(backend, fmt::format("web-{}", i));
      }
    }
    auto cgroup = base::testing::TestCgroup::make();
    ASSERT_TRUE(cgroup) << base::describe_error(cgroup.error());
    cgroup_.emplace(std::move(*cgroup));
    for (const auto transport : {Transport::tcp, Transport::udp}) {
      auto server =
          netns_->inside([&] { return base::testing::EchoServer::start(served, transport); });
      ASSERT_TRUE(server) << base::describe_error(server.error());
      servers_.push_back(std::move(*server));
    }
    const auto entered = cgroup_->enter();
    ASSERT_TRUE(entered) << base::describe_error(entered.error());
    hook();
  }

  void hook() {
    DatapathNode node;
    node.name = "node1";
    node.cgroup = cgroup_->path();
    std::vector<DatapathNode> nodes;
    nodes.push_back(std::move(node));
    auto made = make_ebpf_socket_datapath(nodes);
    ASSERT_TRUE(made) << base::describe_error(made.error());
    datapath_ = std::move(*made);
  }

  void sync(const ServiceTable& table) {
    const auto synced = datapath_->sync(table);
    ASSERT_TRUE(synced) << base::describe_error(synced.error());
  }

  base::Result<base::UniqueFd> dial(const base::Endpoint& peer, Transport transport,
                                    bool through_ipv6 = false) const {
    return netns_->inside([&] { return base::testing::dial(peer, transport, through_ipv6); });
  }

  // Who answers a fresh TCP connection; the error's sentence when none does.
  std::string answer_of(const base::Endpoint& service) const {
    const auto socket = dial(service, Transport::tcp);
    if (!socket) return socket.error().message;
    const auto answer = base::testing::ask(socket->get());
    return answer ? *answer : answer.error().message;
  }

  std::optional<base::testing::TestNetns> netns_;
  std::optional<base::testing::TestCgroup> cgroup_;
  std::vector<base::testing::EchoServer> servers_;
  std::unique_ptr<Datapath> datapath_;
};

}  // namespace cluster
