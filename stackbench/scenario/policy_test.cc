// The policy section of a scenario: what is read, what is refused, and where.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view sound_policy = R"(question: Is it enforced?
topology:
  pods: {client: {node: 1}, web: {node: 2, replicas: 2, namespace: shop, labels: {app: web}}}
  namespaces: {shop: {labels: {team: shop}}}
policy:
  objects:
    - apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: {name: deny, namespace: shop}
      spec: {podSelector: {}}
  changes:
    - {name: opens, delete: shop/deny}
checks: [policy_matrix, leak_window]
)";

// The sound one with `from` replaced by `to`.
std::string with(std::string_view from, std::string_view to) {
  std::string text(sound_policy);
  const auto at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(PolicySection, IsCompletedAsAnApiServerWould) {
  const auto scenario = parse_scenario(sound_policy, "s.yaml", {});
  ASSERT_TRUE(scenario) << base::describe_error(scenario.error());
  const auto& policy = *scenario->policy;
  EXPECT_EQ(policy.objects[0].spec.policy_types, std::vector{base::kube::PolicyType::Ingress});
  EXPECT_EQ(policy.ports.size(), 6u);
  EXPECT_EQ(policy.ports.at("admin-udp"), (ProbePort{base::Protocol::UDP, 8081}));
  EXPECT_TRUE(scenario->arms.empty());
}

TEST(PolicySection, ReadsBackWhatItWrites) {
  const auto scenario = parse_scenario(sound_policy, "s.yaml", {});
  ASSERT_TRUE(scenario);
  const auto text = base::dump_json_pretty(base::to_json(*scenario));
  const auto again = parse_scenario(text, "again", {});
  ASSERT_TRUE(again) << base::describe_error(again.error());
  EXPECT_EQ(base::dump_json_pretty(base::to_json(*again)), text);
}

TEST(PolicySection, StandsInPlaceOfArms) {
  EXPECT_THAT(message_of(with("checks:", "arms: [{name: one, dial: pod/web}]\nchecks:")),
              HasSubstr("s.yaml:13:1: arms: a scenario with a policy asks of policies alone; ask "
                        "this in one of its own\n"));
  EXPECT_THAT(message_of(with("policy_matrix", "translated_at")),
              HasSubstr("checks[0]: translated_at is about arms, and a scenario with a policy has "
                        "none"));
  EXPECT_THAT(message_of(with_line(16, "checks: [policy_matrix]")),
              HasSubstr("checks[0]: policy_matrix is about NetworkPolicies: say which under "
                        "policy"));
}

TEST(PolicySection, HasNoBlocks) {
  EXPECT_THAT(
      message_of(with("checks:", "blocks: 20\nchecks:")),
      HasSubstr("s.yaml:13:9: blocks: a scenario with a policy has no blocks: how often its "
                "changes are watched is policy.repetitions"));
}

TEST(PolicySection, ANamedPortIsOfItsProtocol) {
  const auto message = [](std::string_view port) {
    return message_of(with("podSelector: {}",
                           fmt::format("podSelector: {{}}, ingress: [{{ports: [{}]}}]", port)));
  };
  EXPECT_THAT(
      message("{port: http-udp}"),
      HasSubstr("policy.objects[0].spec.ingress[0].ports[0].port: \"http-udp\" is a port of "
                "UDP, and this rule is about TCP, so that it selects nothing: say protocol: "
                "UDP"));
  EXPECT_EQ(message("{port: http-udp, protocol: UDP}"), "no fault");
  EXPECT_EQ(message("{port: http}"), "no fault");
}

TEST(PolicySection, FaultsOfManifestsAreAtTheirPlaces) {
  EXPECT_EQ(message_of(with("podSelector: {}", "podSelector: {}, ingres: []")),
            "s.yaml:10:31: policy.objects[0].spec.ingres: unknown field; did you mean "
            "\"ingress\"?\n"
            "   10 |       spec: {podSelector: {}, ingres: []}\n"
            "      |                               ^\n"
            "1 error in s.yaml");
  EXPECT_THAT(message_of(with("podSelector: {}",
                              "podSelector: {}, ingress: [{from: [{}], ports: [{port: 0}]}]")),
              testing::AllOf(HasSubstr("s.yaml:10:49: policy.objects[0].spec.ingress[0].from[0]: "
                                       "must specify a peer"),
                             HasSubstr("s.yaml:10:69: policy.objects[0].spec.ingress[0].ports[0]."
                                       "port: expected a port between 1 and 65535, got 0")));
  EXPECT_THAT(
      message_of(with("podSelector: {}", "podSelector: {}, ingress: [{ports: [{port: htpp}]}]")),
      HasSubstr("ports[0].port: unknown port \"htpp\"; did you mean \"http\"?"));
  EXPECT_THAT(message_of(with("namespace: shop}\n", "namespace: shpo}\n")),
              HasSubstr("policy.objects[0].metadata.namespace: unknown namespace \"shpo\"; did you "
                        "mean \"shop\"?"));
  EXPECT_THAT(message_of(with("{app: web}", "{app: \"not a label\"}")),
              HasSubstr("topology.pods.web.labels.app: Kubernetes takes no such value of a label"));
}

TEST(PolicySection, ChangesAreOnesThatCanBeUndone) {
  EXPECT_THAT(message_of(with("delete: shop/deny", "delete: deny")),
              HasSubstr("policy.changes[0].delete: unknown policy \"default/deny\"; known here: "
                        "shop/deny"));
  EXPECT_THAT(message_of(with(", delete: shop/deny", "")),
              HasSubstr("policy.changes[0]: expected exactly one of create, update, delete, "
                        "label_pod, label_namespace and restart_pod, got none"));
  EXPECT_THAT(
      message_of(with("delete: shop/deny", "label_pod: {name: web-3, labels: {app: api}}")),
      HasSubstr(
          "policy.changes[0].label_pod.name: unknown pod \"web-3\"; did you mean \"web-0\"?"));
  EXPECT_THAT(
      message_of(with("delete: shop/deny", "restart_pod: web-3")),
      HasSubstr("policy.changes[0].restart_pod: unknown pod \"web-3\"; did you mean \"web-0\"?"));
  EXPECT_THAT(message_of(with("delete: shop/deny",
                              "create: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, "
                              "metadata: {name: deny, namespace: shop}}")),
              HasSubstr("policy.changes[0].create.metadata.name: shop/deny is among policy.objects "
                        "already: update it"));
}

TEST(PolicySection, AChangeToWhatIsThereAlreadyIsRefused) {
  EXPECT_THAT(message_of(with("delete: shop/deny", "label_pod: {name: web-0, labels: {app: web}}")),
              HasSubstr("policy.changes[0].label_pod.labels: web-0 is as it is already"));
  EXPECT_EQ(message_of(with("delete: shop/deny", "label_pod: {name: web-0, labels: {app: api}}")),
            "no fault");
  EXPECT_THAT(message_of(with("delete: shop/deny",
                              "update: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, "
                              "metadata: {name: deny, namespace: shop}, spec: {podSelector: {}}}")),
              HasSubstr("policy.changes[0].update: shop/deny is as it is already"));
  EXPECT_EQ(message_of(with("delete: shop/deny",
                            "update: {apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, "
                            "metadata: {name: deny, namespace: shop}, spec: {podSelector: "
                            "{matchLabels: {app: web}}}}")),
            "no fault");
  EXPECT_THAT(message_of(with("delete: shop/deny", "label_namespace: {name: default, labels: {}}")),
              HasSubstr("policy.changes[0].label_namespace.labels: default is as it is already"));
}

TEST(PolicySection, ChecksNeedSomethingToLookAt) {
  EXPECT_THAT(message_of(with("  changes:\n    - {name: opens, delete: shop/deny}\n", "")),
              HasSubstr("checks[1]: leak_window watches packets while something changes; say what "
                        "under policy.changes"));
  EXPECT_THAT(message_of(with("leak_window", "established_connections")),
              HasSubstr("say what is expected under policy.established"));
  EXPECT_EQ(message_of(with("checks: [policy_matrix, leak_window",
                            "  established: {udp: stalled}\nchecks: [established_connections")),
            "no fault");
}

TEST(PolicySection, TimesAndPartsAreHeldToWhatCanBeSeen) {
  EXPECT_THAT(message_of(sound_policy, {"policy.budget=2s"}),
              HasSubstr("a leak of 2s would not be seen to end: give policy.window more"));
  EXPECT_THAT(message_of(sound_policy, {"policy.only={from: client-0, to: web-9}"}),
              HasSubstr("policy.only.to: unknown pod \"web-9\""));
  EXPECT_THAT(message_of(sound_policy, {"policy.ports={a: {port: 1}, b: {port: 1}}"}),
              HasSubstr("policy.ports.b: TCP port 1 is that of \"a\" already"));
  EXPECT_THAT(message_of(sound_policy, {"topology.pods.web.replicas=99"}),
              HasSubstr("are 60000 cells, and at most 50000 are probed"));
}

}  // namespace
}  // namespace stackbench
