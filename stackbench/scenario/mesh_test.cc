// What a scenario may say of meshes: each thing that makes no sense, and what a sound one means.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

struct Text {
  std::string mesh = "{mode: STRICT}";
  std::string datapath = "nftables";
  std::string dial = "service/web";
  std::string workload = "{kind: tcp_crr}";
  std::string more = {};
};

std::string said(const Text& text) {
  return message_of(fmt::format(
      "question: What does it cost?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{bare: {{datapath: nftables}}, proxied: {{datapath: {}, mesh: {}}}}}\n"
      "arms: [{{name: none, in: bare, dial: service/web}}, {{name: mtls, in: proxied, dial: {}}}]\n"
      "workloads: [{}]\n"
      "{}",
      text.datapath, text.mesh, text.dial, text.workload, text.more));
}

TEST(Mesh, ASoundOneIsCompleted) {
  EXPECT_EQ(said({}), "no fault");
  EXPECT_EQ(said({.mesh = "{mode: PERMISSIVE, session_resumption: off, workers: 2}"}), "no fault");
  const auto scenario = parse_scenario(
      with_line(6, "  rules: {datapath: iptables, mesh: {mode: DISABLE}}"), "s.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().message;
  const auto& mesh = scenario->environments.at("rules").mesh;
  ASSERT_TRUE(mesh);
  EXPECT_EQ(mesh->mode, MtlsMode::DISABLE);
  EXPECT_EQ(mesh->session_resumption, cluster::SessionResumption::on);
  EXPECT_EQ(mesh->workers, 1);
  EXPECT_FALSE(scenario->environments.at("socket").mesh);
}

TEST(Mesh, NeedsAModeThatIsOne) {
  EXPECT_THAT(said({.mesh = "{}"}), HasSubstr("environments.proxied.mesh.mode: missing"));
  EXPECT_THAT(said({.mesh = "{mode: UNSET}"}), HasSubstr("say DISABLE, PERMISSIVE or STRICT"));
  EXPECT_THAT(said({.mesh = "{mode: strict}"}), HasSubstr("STRICT"));
}

TEST(Mesh, NeedsADatapathThatShowsProxiesTheService) {
  EXPECT_THAT(said({.datapath = "direct"}), HasSubstr("datapath direct implements none"));
  EXPECT_THAT(said({.datapath = "ebpf_socket"}), HasSubstr("hostNamespaceOnly"));
  EXPECT_EQ(said({.datapath = "ebpf_tc"}), "no fault");
}

TEST(Mesh, IsNotAskedForWhatItCannotDo) {
  EXPECT_THAT(said({.dial = "pod/web"}), HasSubstr("dial a Service"));
  EXPECT_EQ(said({.mesh = "{mode: PERMISSIVE}", .dial = "pod/web"}), "no fault");
  EXPECT_THAT(said({.dial = "service/web, from: external"}), HasSubstr("who has no proxy speaks"));
  EXPECT_THAT(said({.mesh = "{mode: PERMISSIVE}", .dial = "service/web, from: external"}),
              Not(HasSubstr("who has no proxy speaks")));
  EXPECT_THAT(said({.more = "family: ipv6\n"}), HasSubstr("IPv4 alone"));
  EXPECT_THAT(said({.workload = "{kind: http, connections: 2, generators: 2}"}),
              HasSubstr("generators"));
  EXPECT_THAT(said({.more = "events: [{at: 100ms, kind: unready, pod: web-0}]\n"}),
              HasSubstr("without events"));
}

TEST(Mesh, ChecksOnItNeedOne) {
  EXPECT_EQ(said({.more = "checks: [plaintext_refused, handshake_per_connection, "
                          "certificates_valid]\n"}),
            "no fault");
  EXPECT_THAT(said({.mesh = "{mode: PERMISSIVE}", .more = "checks: [plaintext_refused]\n"}),
              HasSubstr("no arm is in an environment that has it"));
  EXPECT_THAT(said({.mesh = "{mode: DISABLE}", .more = "checks: [certificates_valid]\n"}),
              HasSubstr("every mesh here is DISABLE"));
  EXPECT_THAT(said({.workload = "{kind: http}", .more = "checks: [handshake_per_connection]\n"}),
              HasSubstr("add tcp_crr or tcp_rr"));
  for (const char* check :
       {"plaintext_refused", "handshake_per_connection", "certificates_valid"}) {
    EXPECT_THAT(message_of(with_line(16, fmt::format("checks: [{}]", check))),
                HasSubstr("no arm is in an environment with a mesh"));
  }
}

TEST(Mesh, WhatIsSentWhileTheWireIsLookedAtIsSomethingAndBounded) {
  EXPECT_EQ(said({.more = "wire: {rate: 3000/s, duration: 60s}\n"}), "no fault");
  EXPECT_THAT(said({.more = "wire: {rate: 10/s, duration: 50ms}\n"}),
              HasSubstr("not one request falls into a duration of 50ms"));
  EXPECT_THAT(said({.more = "wire: {duration: 61s}\n"}), HasSubstr("wire.duration"));
}

TEST(Mesh, FaultsOfItNeedSomethingToBreak) {
  const auto fault = [](const char* kind, const char* environment) {
    return fmt::format("faults: [{{kind: {}, environment: {}}}]\n", kind, environment);
  };
  EXPECT_EQ(said({.more = fault("port_left_out_of_strict", "proxied")}), "no fault");
  EXPECT_EQ(said({.more = fault("certificate_not_renewed", "proxied")}), "no fault");
  EXPECT_EQ(said({.more = fault("any_ca_trusted", "proxied")}), "no fault");
  EXPECT_EQ(said({.mesh = "{mode: PERMISSIVE}", .more = fault("interception_hole", "proxied")}),
            "no fault");
  EXPECT_THAT(said({.more = fault("interception_hole", "bare")}),
              HasSubstr("interception_hole breaks a mesh, and \"bare\" has none"));
  EXPECT_THAT(said({.more = fault("interception_hole", "proxied")}),
              HasSubstr("STRICT, which refuses what leaves by the hole"));
  EXPECT_EQ(said({.mesh = "{mode: PERMISSIVE}",
                  .more = "faults: [{kind: forwarded_in_plaintext, environment: proxied, "
                          "one_in: 50}]\n"}),
            "no fault");
  EXPECT_THAT(said({.more = fault("forwarded_in_plaintext", "proxied")}),
              HasSubstr("the mesh of \"proxied\" is STRICT: only where both are taken"));
  EXPECT_THAT(said({.mesh = "{mode: PERMISSIVE}",
                    .more = "faults: [{kind: interception_hole, environment: proxied, one_in: "
                            "50}]\n"}),
              HasSubstr("only forwarded_in_plaintext has one"));
  EXPECT_THAT(
      said({.mesh = "{mode: PERMISSIVE}", .more = fault("port_left_out_of_strict", "proxied")}),
      HasSubstr("no STRICT to leave a port out of"));
  for (const char* kind : {"certificate_not_renewed", "any_ca_trusted"}) {
    EXPECT_THAT(said({.mesh = "{mode: DISABLE}", .more = fault(kind, "proxied")}),
                HasSubstr("nobody looks at certificates"));
  }
}

}  // namespace
}  // namespace stackbench
