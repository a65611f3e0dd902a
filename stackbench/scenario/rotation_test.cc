// `rotation` of a scenario: what a sound one means, and each thing that makes no sense, at its
// place.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

struct Text {
  std::string rotation = "service: web, from: client";
  std::string mesh = "{mode: STRICT}";
  std::string checks = "rotation_is_seamless, certificates_renewed, certificates_valid";
  std::string more = {};
};

std::string text_of(const Text& text) {
  return fmt::format(
      "question: What breaks?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{strict: {{datapath: nftables, mesh: {}}}}}\n"
      "rotation: {{{}}}\n"
      "checks: [{}]\n"
      "{}",
      text.mesh, text.rotation, text.checks, text.more);
}
std::string said(const Text& text) { return message_of(text_of(text)); }

TEST(RotationSection, ASoundOneIsCompleted) {
  const auto scenario =
      parse_scenario(text_of({}), "s.yaml", {"rotation.rotate_root=true", "rotation.rotations=2"});
  ASSERT_TRUE(scenario) << scenario.error().message;
  ASSERT_TRUE(scenario->rotation);
  const auto& rotation = *scenario->rotation;
  EXPECT_EQ(rotation.rate.per_second, 150);
  EXPECT_EQ(rotation.every, std::chrono::seconds(2));
  using enum cluster::RotationStep;
  EXPECT_THAT(steps_of(rotation),
              ElementsAre(leaf, leaf, trust_both_roots, leaf_of_new_root, drop_old_root));
  EXPECT_EQ(traffic_lasts(rotation), std::chrono::seconds(12));
  EXPECT_FALSE(has_arms(*scenario));
}

TEST(RotationSection, NamesWhatIsThere) {
  EXPECT_THAT(said({.rotation = "service: wep"}),
              HasSubstr("rotation.service: unknown Service \"wep\"; did you mean \"web\"?"));
  EXPECT_THAT(said({.rotation = "service: web, from: clients"}),
              HasSubstr("rotation.from: unknown group of pods \"clients\""));
  EXPECT_THAT(said({.rotation = "service: web, from: external"}),
              HasSubstr("nobody's proxy is beside the client outside"));
  EXPECT_THAT(said({.rotation = "service: web, evry: 2s"}), HasSubstr("did you mean \"every\"?"));
}

TEST(RotationSection, NeedsAMeshThatShowsCertificates) {
  EXPECT_THAT(said({.mesh = "{mode: DISABLE}"}), HasSubstr("nobody shows a certificate"));
  EXPECT_THAT(message_of("question: What breaks?\n"
                         "topology: {pods: {web: {}}, services: {web: {target: web}}}\n"
                         "environments: {plain: {datapath: nftables}}\n"
                         "rotation: {service: web, from: web}\n"),
              HasSubstr("environments.plain: certificates are rotated in every environment, and "
                        "this one has no mesh"));
}

TEST(RotationSection, NeedsTimesInWhichSomethingCanBeTold) {
  const auto with = [](const std::string& more) {
    return said({.rotation = "service: web, " + more});
  };
  EXPECT_THAT(with("certificates_last: 4500ms"), HasSubstr("in whole seconds (RFC 5280"));
  EXPECT_THAT(with("certificates_last: 2s"),
              HasSubstr("rotation.every: certificates that last 2s may end a second earlier"));
  EXPECT_THAT(with("every: 500ms"), HasSubstr("rotation.every: expected between 1s and"));
  EXPECT_THAT(with("budget: {gap: 2s}"),
              HasSubstr("rotation.budget.gap: each rotation is watched"));
  EXPECT_THAT(with("budget: {renewed: 3s}"), HasSubstr("rotation.budget.renewed"));
  EXPECT_THAT(with("rate: 1/s"), HasSubstr("rotation.rate: expected between 10/s and 5000/s"));
  EXPECT_THAT(with("rotations: 0"), HasSubstr("rotation.rotations"));
  EXPECT_THAT(with("every: 10m, certificates_last: 1h"),
              HasSubstr("one run may be at it for 3600s"));
}

TEST(RotationSection, StandsAlone) {
  EXPECT_THAT(said({.more = "arms: [{name: a, in: strict, dial: service/web}]\n"}),
              HasSubstr("arms: a scenario with a rotation has traffic of its own"));
  EXPECT_THAT(said({.more = "workloads: [{kind: tcp_rr}]\n"}), HasSubstr("traffic of its own"));
  EXPECT_THAT(said({.more = "bgp: {service: web}\n"}), HasSubstr("this one has bgp, too"));
  EXPECT_THAT(said({.more = "family: ipv6\n"}), HasSubstr("dial ipv4"));
  EXPECT_THAT(said({.checks = "translated_at"}), HasSubstr("translated_at is about arms"));
  EXPECT_THAT(message_of(with_line(16, "checks: [rotation_is_seamless]")),
              HasSubstr("say how under rotation"));
}

TEST(RotationSection, HasPlantedFaultsOfItsOwn) {
  const auto planted = [](const std::string& kind, const std::string& rotation = "") {
    return said({.rotation = "service: web" + rotation,
                 .more = fmt::format("faults: [{{kind: {}, environment: strict}}]\n", kind)});
  };
  EXPECT_EQ(planted("certificate_not_renewed"), "no fault");
  EXPECT_EQ(planted("rotation_restarts_proxies"), "no fault");
  EXPECT_EQ(planted("new_root_untrusted", ", rotate_root: true"), "no fault");
  EXPECT_THAT(planted("new_root_untrusted"), HasSubstr("say rotation.rotate_root"));
  EXPECT_THAT(planted("any_ca_trusted"),
              HasSubstr("shows in nothing that a scenario with a rotation"));
  EXPECT_THAT(planted("datagrams_lost"), HasSubstr("shows in nothing"));
}

}  // namespace
}  // namespace stackbench
