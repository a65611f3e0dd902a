// What the lab's tests in real namespaces share: a LabTarget, servers in its pods and clients.
#pragma once

#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/testing/lab.h"
#include "cluster/lab/lab_target.h"

namespace cluster {

// What a test stands on must work; where it does not, the test ends here with the reason.
template <typename T>
T must(base::Result<T> result) {
  if (!result) throw std::runtime_error(base::describe_error(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

inline constexpr std::uint16_t tcp_target = 7001;
inline constexpr std::uint16_t udp_target = 7003;

inline EnvironmentPlan plan_of(DatapathKind datapath, std::string name = "env") {
  EnvironmentPlan plan;
  plan.name = std::move(name);
  plan.datapath = datapath;
  plan.topology.pods["client"] = {.node = 1, .replicas = 1};
  plan.topology.pods["web"] = {.node = 2, .replicas = 3};
  plan.topology.services["web"] = {.target = "web"};
  plan.ports = {{"tcp-rr", Protocol::TCP, 8001, tcp_target},
                {"udp-rr", Protocol::UDP, 8003, udp_target}};
  return plan;
}

class LabFixture : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  }

  // Runs `work` in a pod's network namespace and, so that its sockets are the pod's for the cgroup
  // hooks, in its cgroup.
  template <typename Work>
  void in_pod(const std::string& environment, const std::string& pod, Work work) {
    const auto* found = lab.environment(environment);
    ASSERT_NE(found, nullptr);
    const std::string before = own_cgroup();
    join(found->cgroup(pod));
    must(lab.sandbox()->inside(found->netns(pod), [&]() -> base::Result<> {
      work();
      return {};
    }));
    join(before);
  }

  // Starts servers at every pod of `web`, each answering with its pod's name.
  void serve(const EnvironmentHandle& environment) {
    for (const auto& pod : environment.pods) {
      if (pod.group != "web") continue;
      in_pod(environment.name, pod.name, [&] {
        servers.push_back(must(base::testing::EchoServer::start(
            {{{pod.ipv4, tcp_target}, pod.name}, {{pod.ipv6, tcp_target}, pod.name}},
            base::testing::Transport::tcp)));
        servers.push_back(must(base::testing::EchoServer::start(
            {{{pod.ipv4, udp_target}, pod.name}, {{pod.ipv6, udp_target}, pod.name}},
            base::testing::Transport::udp)));
      });
    }
  }

  // Who answers one new connection (or datagram) of the client.
  static base::Result<std::string> ask_once(const base::Endpoint& peer,
                                            base::testing::Transport transport) {
    ASSIGN_OR_RETURN(const base::UniqueFd fd, base::testing::dial(peer, transport));
    return base::testing::ask(fd.get());
  }

  // Who answers new connections of `client`, until `expected` different ones have or `most` were
  // made.
  std::set<std::string> answered_by(const std::string& environment, const base::Endpoint& peer,
                                    base::testing::Transport transport, std::size_t expected,
                                    int most = 80, const std::string& client = "client-0") {
    std::set<std::string> seen;
    in_pod(environment, client, [&] {
      for (int i = 0; i < most && seen.size() < expected; ++i) {
        const auto answer = ask_once(peer, transport);
        ASSERT_TRUE(answer) << peer.to_string() << ": " << answer.error().message;
        seen.insert(*answer);
      }
    });
    return seen;
  }

  std::string in_node(const std::string& environment, const std::string& node,
                      const std::vector<std::string>& argv) {
    return must(lab.sandbox()->run({.netns = lab.environment(environment)->netns(node)}, argv));
  }

  int tracked_flows(const std::string& environment, const std::string& node) {
    int flows = -1;
    must(lab.sandbox()->inside(lab.environment(environment)->netns(node), [&]() -> base::Result<> {
      ASSIGN_OR_RETURN(const auto text, read_sysctl("net.netfilter.nf_conntrack_count"));
      flows = std::stoi(text);
      return {};
    }));
    return flows;
  }

  // The slice of one family, with the pods in `unready` not ready.
  static base::Json slice(const EnvironmentHandle& environment, base::AddressFamily family,
                          const std::set<std::string>& unready) {
    const bool ipv4 = family == base::AddressFamily::ipv4;
    base::Json object = {{"apiVersion", "discovery.k8s.io/v1"},
                         {"kind", "EndpointSlice"},
                         {"metadata",
                          {{"name", ipv4 ? "web-ipv4" : "web-ipv6"},
                           {"labels", {{"kubernetes.io/service-name", "web"}}}}},
                         {"addressType", ipv4 ? "IPv4" : "IPv6"},
                         {"endpoints", base::Json::array()},
                         {"ports",
                          {{{"name", "tcp-rr"}, {"protocol", "TCP"}, {"port", tcp_target}},
                           {{"name", "udp-rr"}, {"protocol", "UDP"}, {"port", udp_target}}}}};
    for (const auto& pod : environment.pods) {
      if (pod.group != "web") continue;
      object["endpoints"].push_back({{"addresses", {pod.address(family).to_string()}},
                                     {"conditions", {{"ready", !unready.contains(pod.name)}}},
                                     {"targetRef", {{"kind", "Pod"}, {"name", pod.name}}}});
    }
    return object;
  }

  LabTarget lab;
  std::vector<base::testing::EchoServer> servers;

 private:
  static std::string own_cgroup() {
    const auto text = must(base::read_file("/proc/self/cgroup"));
    const auto at = text.find("0::");
    const auto end = text.find('\n', at);
    return must(base::testing::cgroup2_mount()) + text.substr(at + 3, end - at - 3);
  }
  static void join(const std::string& cgroup) {
    const base::UniqueFd procs(::open((cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::write(procs.get(), "0", 1), 1) << cgroup;
  }
};

}  // namespace cluster
