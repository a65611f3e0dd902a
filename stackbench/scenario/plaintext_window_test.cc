// What a scenario may say of windows: each thing that makes no sense, and what a sound one means.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using testing::HasSubstr;

struct Text {
  std::string pods =
      "client: {node: 1}, outsider: {node: 1, labels: {sidecar.istio.io/inject: \"false\"}}, "
      "web: {node: 2, replicas: 2}";
  std::string mesh = "{mode: STRICT}";
  std::string ends = "service: web, client: client, outsider: outsider";
  std::string changes = "{kind: pod_start}, {kind: policy_flip}";
  std::string more = {};
  std::string checks = "no_plaintext_window";
};

std::string yaml(const Text& text) {
  return fmt::format(
      "question: For how long?\n"
      "topology:\n"
      "  pods: {{{}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{strict: {{datapath: nftables, mesh: {}}}}}\n"
      "plaintext_window: {{{}, changes: [{}]}}\n"
      "checks: [{}]\n"
      "{}\n",
      text.pods, text.mesh, text.ends, text.changes, text.checks, text.more);
}

std::string said(const Text& text) { return message_of(yaml(text)); }

TEST(PlaintextWindow, ASoundOneIsCompleted) {
  EXPECT_EQ(said({}), "no fault");
  const auto scenario = parse_scenario(yaml({}), "s.yaml", {});
  ASSERT_TRUE(scenario) << scenario.error().message;
  const auto& spec = *scenario->plaintext_window;
  EXPECT_EQ(spec.changes[0].pod, "web-0");
  EXPECT_EQ(spec.changes[0].budget, base::Duration(0));
  EXPECT_FALSE(spec.changes[1].pod);
  EXPECT_EQ(spec.changes[1].budget, flip_budget_by_default);
  EXPECT_EQ(spec.knocks.per_second, 1'250);
  EXPECT_EQ(spec.repetitions, 3);
}

TEST(PlaintextWindow, NeedsEndsThatAreThereAndWhereTheyMustBe) {
  EXPECT_THAT(said({.ends = "service: wob, client: client, outsider: outsider"}),
              HasSubstr("unknown Service \"wob\"; did you mean \"web\"?"));
  EXPECT_THAT(said({.ends = "service: web, client: outsider, outsider: outsider"}),
              HasSubstr("so they have no proxy"));
  EXPECT_THAT(said({.ends = "service: web, client: client, outsider: client"}),
              HasSubstr("label them sidecar.istio.io/inject: \"false\""));
  EXPECT_THAT(said({.pods = "client: {node: 1}, web: {node: 2}, "
                            "outsider: {node: 2, labels: {sidecar.istio.io/inject: \"false\"}}"}),
              HasSubstr("both are on one node"));
  EXPECT_THAT(said({.pods = "client: {node: 1}, web: {node: 1}, "
                            "outsider: {node: 1, labels: {sidecar.istio.io/inject: \"false\"}}"}),
              HasSubstr("cannot be seen on its uplink"));
}

TEST(PlaintextWindow, NeedsAMeshThatIsStrict) {
  EXPECT_THAT(said({.mesh = "{mode: PERMISSIVE}"}), HasSubstr("no window: say STRICT"));
  EXPECT_THAT(said({.more = "faults: [{kind: interception_late, environment: strct}]"}),
              HasSubstr("did you mean \"strict\"?"));
}

TEST(PlaintextWindow, RefusesChangesThatMakeNoSense) {
  EXPECT_THAT(said({.changes = ""}), HasSubstr("expected at least one change"));
  EXPECT_THAT(said({.changes = "{kind: pod_starts}"}), HasSubstr("pod_start"));
  EXPECT_THAT(said({.changes = "{kind: pod_start, pod: web-2}"}),
              HasSubstr("unknown pod that is watched \"web-2\""));
  EXPECT_THAT(said({.changes = "{kind: policy_flip, pod: web-0}"}),
              HasSubstr("the whole namespace's"));
  EXPECT_THAT(said({.changes = "{kind: pod_start, in: loose}"}),
              HasSubstr("unknown environment \"loose\""));
  EXPECT_THAT(said({.changes = "{kind: policy_flip, budget: 500ms}"}),
              HasSubstr("would not be seen to close"));
}

TEST(PlaintextWindow, StandsAlone) {
  EXPECT_THAT(said({.more = "arms: [{name: a, in: strict, dial: service/web}]"}),
              HasSubstr("asks of that alone"));
  EXPECT_THAT(said({.more = "blocks: 20"}), HasSubstr("plaintext_window.repetitions"));
  EXPECT_THAT(said({.checks = "plaintext_refused"}), HasSubstr("is about arms"));
  EXPECT_THAT(message_of(with_line(16, "checks: [no_plaintext_window]")),
              HasSubstr("say which under plaintext_window"));
}

TEST(PlaintextWindow, TakesTheFaultsThatItSees) {
  EXPECT_EQ(said({.more = "faults: [{kind: interception_late, environment: strict, delay: 20ms}, "
                          "{kind: peer_authentication_late, environment: strict}, "
                          "{kind: interception_hole, environment: strict}]"}),
            "no fault");
  EXPECT_THAT(said({.changes = "{kind: policy_flip}",
                    .more = "faults: [{kind: interception_late, environment: strict}]"}),
              HasSubstr("interception_late makes a pod_start late"));
  EXPECT_THAT(
      said({.more = "faults: [{kind: interception_hole, environment: strict, delay: 1ms}]"}),
      HasSubstr("have one"));
}

}  // namespace
}  // namespace stackbench
