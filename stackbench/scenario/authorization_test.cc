// What a scenario may say of a mesh's policies, and of requests they decide about.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using testing::HasSubstr;

constexpr std::string_view allow =
    "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, "
    "spec: {rules: [{from: [{source: {principals: [cluster.local/ns/default/sa/client]}}]}]}}";

struct Text {
  std::string objects = std::string(allow);
  std::string requests =
      "{name: ours, from: client, expect: allowed}, {name: theirs, from: other, expect: denied}";
  std::string more = {};
  std::string checks = "[authorization_enforced]";
};

std::string said(const Text& text) {
  return message_of(fmt::format(
      "question: Does it hold?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, other: {{node: 1}}, web: {{node: 2}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{it: {{datapath: nftables, mesh: {{mode: STRICT, objects: [{}]}}}}}}\n"
      "arms: [{{name: it, in: it, dial: service/web}}]\n"
      "workloads: [{{kind: http}}, {{kind: tcp_rr}}, {{kind: udp_rr}}]\n"
      "authorization: [{}]\n"
      "checks: {}\n"
      "{}",
      text.objects, text.requests, text.checks, text.more));
}

// Of one request beside one that is allowed and one that is not.
std::string said_of(std::string_view request) {
  return said({.requests = fmt::format("{}, {}", Text{}.requests, request)});
}

TEST(ScenarioAuthorization, ASoundOneHasObjectsAndRequests) {
  EXPECT_EQ(said({}), "no fault");
  EXPECT_EQ(said_of("{name: a, from: client, workload: tcp_rr, expect: denied}"), "no fault");
  EXPECT_EQ(said_of("{name: a, from: client, method: POST, path: /x/0, token: abc, "
                    "expect: unauthenticated}"),
            "no fault");
}

TEST(ScenarioAuthorization, AnObjectIsOneThatIstioTakes) {
  EXPECT_THAT(
      said({.objects = "{kind: AuthorisationPolicy}"}),
      HasSubstr("environments.it.mesh.objects[0]: unknown kind \"AuthorisationPolicy\"; did "
                "you mean \"AuthorizationPolicy\""));
  EXPECT_THAT(said({.objects = std::string(allow) + ", " + std::string(allow)}),
              HasSubstr("another object above is AuthorizationPolicy default/a"));
  EXPECT_THAT(said({.objects = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, "
                               "metadata: {name: a}, spec: {action: DENY}}"}),
              HasSubstr("spec.rules: DENY without rules"));
  EXPECT_THAT(said({.objects = "{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, "
                               "metadata: {name: a, namespace: elsewhere}}"}),
              HasSubstr("its namespace \"elsewhere\" is none of this scenario's"));
}

TEST(ScenarioAuthorization, ARequestIsOneThatCanBeMadeAndJudged) {
  EXPECT_THAT(said_of("{name: ours, from: client, expect: denied}"),
              HasSubstr("another request above is called \"ours\""));
  EXPECT_THAT(said_of("{name: a, from: clint, expect: denied}"),
              HasSubstr("did you mean \"client\""));
  EXPECT_THAT(said_of("{name: a, from: client, path: admin, expect: denied}"),
              HasSubstr("expected a path that begins with /"));
  EXPECT_THAT(said_of("{name: a, from: client, path: '/a b', expect: denied}"),
              HasSubstr("text without blanks"));
  EXPECT_THAT(said_of("{name: a, from: client, workload: htp, expect: denied}"),
              HasSubstr("did you mean \"http\""));
  EXPECT_THAT(said_of("{name: a, from: client, workload: udp_rr, expect: denied}"),
              HasSubstr("no requests with replies over TCP"));
  EXPECT_THAT(said_of("{name: a, from: client, workload: tcp_rr, path: /1, expect: denied}"),
              HasSubstr("tcp_rr is no HTTP"));
  EXPECT_THAT(said_of("{name: a, from: client, workload: tcp_rr, expect: unauthenticated}"),
              HasSubstr("carries no token"));
}

TEST(ScenarioAuthorization, TheCheckNeedsSomebodyAllowedSomebodyRefusedAndAPolicy) {
  EXPECT_THAT(said({.requests = "{name: theirs, from: other, expect: denied}"}),
              HasSubstr("whoever refuses everybody proves nothing"));
  EXPECT_THAT(said({.requests = "{name: ours, from: client, expect: allowed}"}),
              HasSubstr("one that is allowed"));
  EXPECT_THAT(said({.objects = ""}), HasSubstr("no arm is in an environment whose mesh has"));
  EXPECT_THAT(said({.checks = "[]"}), HasSubstr("add authorization_enforced to checks"));
}

TEST(ScenarioAuthorization, ItsFaultNeedsSomethingToLeaveOut) {
  const std::string fault = "faults: [{kind: authorization_left_out, environment: it}]\n";
  EXPECT_EQ(said({.more = fault}), "no fault");
  EXPECT_THAT(said({.objects = "", .requests = "", .more = fault, .checks = "[]"}),
              HasSubstr("has no objects about authorization to leave out"));
}

}  // namespace
}  // namespace stackbench
