// A target `kubernetes` whose cluster is the simulated one, of two nodes.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cluster/kubernetes/kubernetes_target.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster::testing {

inline EnvironmentPlan plan_of(const std::string& name = "iptables") {
  return {.name = name,
          .datapath = DatapathKind::iptables,
          .topology = {.nodes = 2,
                       .pods = {{"client", {.node = 1}},
                                {"web", {.node = 2, .replicas = 2, .standby = 1}}},
                       .services = {{"web", {.target = "web"}}}},
          .ports = {{"tcp-rr", Protocol::TCP, 8001, 9001}},
          .faults = {}};
}

class KubernetesTargetTest : public ::testing::Test {
 protected:
  KubernetesTargetTest() {
    // Where `clean` meets nobody else's sockets.
    if (::mkdtemp(directory_.data()) == nullptr) std::abort();
    ::setenv("TMPDIR", directory_.c_str(), 1);
    server_.add_node("n1", "172.18.0.2");
    server_.add_node("n2", "172.18.0.3");
    server_.put("/api/v1/namespaces/kube-system/configmaps/kube-proxy",
                {{"data", {{"config.conf", "kind: KubeProxyConfiguration\nmode: iptables\n"}}}});
    server_.on_exec([](ExecSession& session) {
      if (session.command().back() == "network") {
        // In a pod, and on its node.
        const bool inside = session.pod().find('.') == std::string::npos;
        session.write_out(inside
                              ? R"({"links":[{"name":"lo","index":1,"peer_index":1,"mtu":65536},)"
                                R"({"name":"eth0","index":2,"peer_index":7,"mtu":1450}],)"
                                R"("congestion_control":"bbr"})"
                              : R"({"links":[{"name":"eth0","index":2,"peer_index":3,"mtu":1500},)"
                                R"({"name":"veth1234","index":7,"peer_index":2,"mtu":1450}]})");
        return session.exit(0);
      }
      while (const auto text = session.read()) session.write_out(session.pod() + ": " + *text);
      session.exit(0);
    });
  }

  ~KubernetesTargetTest() override {
    ::unsetenv("TMPDIR");
    std::filesystem::remove_all(directory_);
  }

  [[nodiscard]] KubernetesOptions options() const {
    return {.kubectl = server_.kubectl(),
            .request_timeout = std::chrono::seconds(5),
            .agent_image = "agent:1"};
  }
  std::unique_ptr<KubernetesTarget> target(const std::string& in_namespace = {}) {
    auto wanted = options();
    wanted.in_namespace = in_namespace;
    auto made = KubernetesTarget::create(std::move(wanted));
    EXPECT_TRUE(made) << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  [[nodiscard]] std::vector<std::string> in_namespace(const std::string& resource) const {
    std::vector<std::string> names;
    Watch all({.socket = server_.socket()}, {.path = resource});
    EXPECT_TRUE(all.until([](const Objects&) -> base::Result<bool> { return true; }, {}));
    for (const auto& [name, object] : all.objects()) names.push_back(name);
    return names;
  }

  std::string directory_ = "/tmp/kubernetes-target-XXXXXX";
  FakeApiServer server_;
};

}  // namespace cluster::testing
