// Pods that talk through real Envoys, in real namespaces.
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <signal.h>

#include "cluster/lab/lab_fixture.h"

namespace cluster {
namespace {

namespace fs = std::filesystem;
using base::kube::MtlsMode;
using base::testing::Transport;
using testing::AllOf;
using testing::HasSubstr;

EnvironmentPlan mesh_plan(std::string name, MtlsMode mode, std::vector<FaultKind> faults = {}) {
  auto plan = plan_of(DatapathKind::nftables, std::move(name));
  plan.topology.pods["web"] = {.node = 2, .replicas = 1, .labels = {{"app", "web"}}};
  plan.mesh = MeshPlan{.spec = {.mode = mode}};
  plan.faults = std::move(faults);
  return plan;
}

class MeshLab : public LabFixture {
 protected:
  void SetUp() override {
    LabFixture::SetUp();
    if (IsSkipped()) return;
    if (const auto envoy = find_envoy(); !envoy) GTEST_SKIP() << envoy.error().message;
  }

  const EnvironmentHandle& up(const EnvironmentPlan& plan) {
    const auto handle = must(lab.provision(plan));
    serve(handle);
    return handles_.emplace(plan.name, handle).first->second;
  }

  // What one connection of a pod came to: who answered, or the error.
  std::string asked(const EnvironmentHandle& env, const std::string& from,
                    const base::Endpoint& to) {
    std::string said;
    in_pod(env.name, from, [&] {
      const auto answer = ask_at_length(to);
      said = answer ? *answer : answer.error().message;
    });
    return said;
  }
  // A proxy that looks for TLS waits for as much as the header of a record.
  static base::Result<std::string> ask_at_length(const base::Endpoint& peer) {
    constexpr std::string_view question = "who answers?";
    ASSIGN_OR_RETURN(const auto fd, base::testing::dial(peer, Transport::tcp));
    if (::send(fd.get(), question.data(), question.size(), MSG_NOSIGNAL) < 0) {
      return base::system_error(errno, "send");
    }
    std::array<char, 64> answer{};
    const auto got = ::recv(fd.get(), answer.data(), answer.size(), 0);
    if (got < 0) return base::system_error(errno, "recv");
    return std::string(answer.data(), static_cast<std::size_t>(got));
  }
  std::string through_the_mesh(const EnvironmentHandle& env) {
    return asked(env, "client-0", {env.services.at("web").ipv4, 8001});
  }
  std::string in_the_clear(const EnvironmentHandle& env) {
    return asked(env, "external", {web(env).ipv4, tcp_target});
  }
  static const PodHandle& web(const EnvironmentHandle& env) {
    return *std::ranges::find(env.pods, "web-0", &PodHandle::name);
  }
  ProxyCounters counters(const EnvironmentHandle& env, std::string_view pod) {
    const auto all = must(lab.proxy_counters(env.name));
    return *std::ranges::find(all, pod, &ProxyCounters::pod);
  }

 private:
  std::map<std::string, EnvironmentHandle> handles_;
};

base::Json of_web(const char* port_mode) {
  return {{"apiVersion", "security.istio.io/v1"},
          {"kind", "PeerAuthentication"},
          {"metadata", {{"name", "web"}, {"namespace", "default"}}},
          {"spec",
           {{"selector", {{"matchLabels", {{"app", "web"}}}}},
            {"portLevelMtls", {{std::to_string(tcp_target), {{"mode", port_mode}}}}}}}};
}

constexpr const char* reset = "Connection reset by peer";

TEST_F(MeshLab, StrictTakesMutualTlsAloneUntilAPortIsSaidToTakeMore) {
  const auto& env = up(mesh_plan("strict", MtlsMode::STRICT));
  EXPECT_EQ(through_the_mesh(env), "web-0");
  EXPECT_EQ(counters(env, "client-0").client_handshakes, 1);
  EXPECT_EQ(counters(env, "web-0").server_handshakes, 1);
  EXPECT_THAT(in_the_clear(env), HasSubstr(reset));
  EXPECT_EQ(counters(env, "web-0").no_chain, 1);

  const auto stamps = must(lab.apply("strict", of_web("PERMISSIVE")));
  EXPECT_GT(*stamps.programmed_ns, stamps.acked_ns);
  EXPECT_EQ(in_the_clear(env), "web-0");
  EXPECT_EQ(through_the_mesh(env), "web-0");
  EXPECT_EQ(counters(env, "client-0").client_handshakes, 2) << "who can still speaks TLS";

  must(lab.apply("strict", of_web("DISABLE")));
  EXPECT_EQ(through_the_mesh(env), "web-0");
  EXPECT_EQ(in_the_clear(env), "web-0");
  EXPECT_EQ(counters(env, "web-0").server_handshakes, 2) << "nobody does any more";

  must(lab.remove("strict", "PeerAuthentication", "web"));
  EXPECT_EQ(through_the_mesh(env), "web-0");
  EXPECT_THAT(in_the_clear(env), HasSubstr(reset));
  EXPECT_EQ(counters(env, "web-0").server_handshakes, 3);

  for (const auto& usage : must(lab.proxy_usage("strict"))) EXPECT_GT(usage.cpu_ns, 0) << usage.pod;
  EXPECT_GT(counters(env, "web-0").memory_bytes, 5'000'000);
  const auto mesh = lab.facts().at("environments").at("strict").at("mesh");
  EXPECT_EQ(mesh.at("proxies").at("web-0").at("identity"),
            "spiffe://cluster.local/ns/default/sa/web");
  EXPECT_TRUE(mesh.at("proxies").at("web-0").at("files").contains("listeners.json"));
}

TEST_F(MeshLab, FaultsAreThereOnlyWhereTheyArePlanted) {
  // Traffic goes on as if nothing were, but for the certificates.
  const auto& left_out =
      up(mesh_plan("left_out", MtlsMode::STRICT, {FaultKind::port_left_out_of_strict}));
  EXPECT_EQ(through_the_mesh(left_out), "web-0");
  EXPECT_EQ(in_the_clear(left_out), "web-0");

  const auto& hole = up(mesh_plan("hole", MtlsMode::PERMISSIVE, {FaultKind::interception_hole}));
  EXPECT_EQ(through_the_mesh(hole), "web-0");
  EXPECT_EQ(counters(hole, "client-0").connections_out, 0);
  EXPECT_EQ(counters(hole, "web-0").server_handshakes, 0);

  const auto& expired =
      up(mesh_plan("expired", MtlsMode::STRICT, {FaultKind::certificate_not_renewed}));
  EXPECT_NE(through_the_mesh(expired), "web-0");
  EXPECT_GT(counters(expired, "client-0").client_failed, 0);
  EXPECT_LT(*counters(expired, "web-0").certificate_expires_s, ::time(nullptr));
  EXPECT_GT(*counters(left_out, "web-0").certificate_expires_s, ::time(nullptr));
}

TEST_F(MeshLab, WhatEnvoyRefusesIsSaidInItsWords) {
  must(lab.provision(mesh_plan("any", MtlsMode::PERMISSIVE)));
  const auto& environment = *lab.environment("any");
  // Where no proxy is.
  const Place place{.netns = environment.netns("external"),
                    .cgroup = environment.cgroup("external")};
  const ProxySpec spec{.pod = "web-0",
                       .in_namespace = "default",
                       .account = "web",
                       .address = "10.244.2.2",
                       .directory = "/run/odd",
                       .ports = {{.port = 7001, .mode = MtlsMode::STRICT}}};
  const auto authority = must(pki::Authority::create("cluster.local"));
  const auto nobody = must(authority.issue({.common_name = ""}));
  auto proxy = must(Proxy::start(*lab.sandbox(), spec, nobody, authority.own().certificate,
                                 {.program = "/run/mesh/envoy", .place = place}));
  const auto outcome = proxy.await();
  ASSERT_FALSE(outcome);
  EXPECT_THAT(base::describe_error(outcome.error()),
              AllOf(HasSubstr("the Envoy of web-0 refuses its configuration"),
                    HasSubstr("neither subject CN nor SAN")));
}

// In a thread, whose mask and pending signals go with it. The Envoy is one that never serves.
TEST_F(MeshLab, AWaitForAProxyEndsWhenTheUserWantsToStop) {
  const auto idle = fs::path(testing::TempDir()) / fmt::format("idle-envoy-{}", ::getpid());
  must(base::write_file(idle.string(),
                        "#!/bin/sh\n"
                        "[ \"$1\" != --version ] || exec echo 'envoy  version: a/1.36.0/Clean'\n"
                        "exec sleep 60\n"));
  fs::permissions(idle, fs::perms(0755));
  ::setenv("STACKBENCH_ENVOY", idle.c_str(), 1);
  std::thread([&] {
    const auto interrupt = must(base::Interrupt::install());
    LabTarget own({.interrupt = &interrupt});
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread): caught, that is what is tested
    ASSERT_EQ(::pthread_kill(::pthread_self(), SIGINT), 0);
    const auto outcome = own.provision(mesh_plan("idle", MtlsMode::STRICT));
    ASSERT_FALSE(outcome);
    EXPECT_EQ(outcome.error().kind, base::ErrorKind::interrupted) << outcome.error().message;
    must(own.teardown());
  }).join();
  ::unsetenv("STACKBENCH_ENVOY");
  fs::remove(idle);
}

TEST_F(MeshLab, WithoutAnEnvoyItSaysHowToGetOne) {
  ::setenv("STACKBENCH_ENVOY", "/nowhere/envoy", 1);
  const auto outcome = lab.provision(mesh_plan("none", MtlsMode::STRICT));
  ::unsetenv("STACKBENCH_ENVOY");
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, base::ErrorKind::missing);
  EXPECT_THAT(base::describe_error(outcome.error()),
              AllOf(HasSubstr("/nowhere/envoy"), HasSubstr("./bootstrap")));
}

}  // namespace
}  // namespace cluster
