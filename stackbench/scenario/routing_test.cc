// What a scenario may say of where a mesh's requests go.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stackbench/scenario/sound_scenario.h"

namespace stackbench {
namespace {

using testing::HasSubstr;

constexpr std::string_view routed =
    "{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: web}, "
    "spec: {hosts: [web], http: [{route: [{destination: {host: web}}]}]}}";

struct Text {
  std::string objects = std::string(routed);
  std::string cells = "{name: all, from: client}";
  std::string more = {};
  std::string checks = "[routes_as_specified]";
  std::string workloads = "[{kind: http}]";
  std::string web = "{node: 2, replicas: 2}";
};

std::string said(const Text& text) {
  return message_of(fmt::format(
      "question: Does it hold?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{it: {{datapath: nftables, mesh: {{mode: STRICT, objects: [{}]}}}}}}\n"
      "arms: [{{name: it, in: it, dial: service/web}}]\n"
      "workloads: {}\n"
      "routing: [{}]\n"
      "checks: {}\n"
      "{}",
      text.web, text.objects, text.workloads, text.cells, text.checks, text.more));
}

TEST(ScenarioRouting, ASoundOneHasObjectsAndCells) {
  EXPECT_EQ(said({}), "no fault");
  EXPECT_EQ(said({.cells = "{name: a, from: client, path: /v1/0, headers: {end-user: jason}, "
                           "requests: 400}, {name: b, from: client, method: POST, at_once: 8}, "
                           "{name: c, from: client, fails: web-1}, "
                           "{name: d, from: client, writes: " +
                           std::string(routed) + "}"}),
            "no fault");
}

TEST(ScenarioRouting, ACellIsOneThatCanBeMadeAndJudged) {
  EXPECT_THAT(said({.cells = "{name: a, from: client}, {name: a, from: client}"}),
              HasSubstr("another cell above is called \"a\""));
  EXPECT_THAT(said({.cells = "{name: a, from: clint}"}),
              HasSubstr("unknown group of pods \"clint\"; did you mean \"client\""));
  EXPECT_THAT(said({.cells = "{name: a, from: client, path: v1}"}),
              HasSubstr("routing[0].path: expected a path that begins with /"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, headers: {End-User: jason}}"}),
              HasSubstr("expected the name of a header in small letters"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, fails: web-0, method: POST, at_once: 3}"}),
              HasSubstr("expected one of at_once, fails and writes"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, at_once: 3}"}),
              HasSubstr("routing[0].method: requests under way at one time are POST"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, fails: client-0}"}),
              HasSubstr("\"client-0\" is no pod that an arm's requests come to"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, fails: web-2}"}),
              HasSubstr("\"web-2\" is no pod"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, requests: 9, fails: web-0}"}),
              HasSubstr("routing[0].requests"));
  EXPECT_THAT(said({.cells = "{name: a, from: client, writes: {apiVersion: v1, kind: Service}}"}),
              HasSubstr("expected a VirtualService or a DestinationRule"));
}

TEST(ScenarioRouting, ACheckAndItsCellsGoTogether) {
  EXPECT_THAT(said({.checks = "[]"}), HasSubstr("add routes_as_specified to checks"));
  EXPECT_THAT(said({.cells = ""}), HasSubstr("say some under routing"));
  EXPECT_THAT(said({.workloads = "[{kind: tcp_rr}]"}), HasSubstr("no workload here is http"));
  EXPECT_THAT(said({.objects = ""}),
              HasSubstr("whose mesh has a VirtualService or a DestinationRule"));
}

TEST(ScenarioRouting, ObjectsAreThoseIstioTakes) {
  EXPECT_THAT(said({.objects = "{apiVersion: networking.istio.io/v1, kind: VirtualService, "
                               "metadata: {name: web}, spec: {hosts: [], http: []}}"}),
              HasSubstr("environments.it.mesh.objects[0]: VirtualService default/web: spec.hosts"));
}

TEST(ScenarioRouting, ObjectsAreAboutServicesAndSubsetsThatAreThere) {
  const auto to = [](std::string_view host, std::string_view destination) {
    return fmt::format(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: "
        "{{name: web}}, spec: {{hosts: [{}], http: [{{route: [{{destination: "
        "{}}}]}}]}}}}",
        host, destination);
  };
  EXPECT_THAT(said({.objects = to("webb", "{host: web}")}),
              HasSubstr("objects[0]: unknown Service \"webb\"; did you mean \"web\""));
  EXPECT_THAT(said({.objects = to("web", "{host: wep}")}), HasSubstr("unknown Service \"wep\""));
  EXPECT_THAT(said({.objects = to("web", "{host: web, subset: v1}")}),
              HasSubstr("objects[0]: unknown subset \"v1\""));
  EXPECT_EQ(said({.objects = to("web", "{host: web, subset: v1}") +
                             ", {apiVersion: networking.istio.io/v1, kind: DestinationRule, "
                             "metadata: {name: web}, spec: {host: web, subsets: [{name: v1}]}}"}),
            "no fault");
}

TEST(ScenarioRouting, AFaultHasAnObjectToBreak) {
  EXPECT_EQ(said({.more = "faults: [{kind: weights_ignored, environment: it}]\n"}), "no fault");
  EXPECT_THAT(said({.objects = "", .more = "faults: [{kind: weights_ignored, environment: it}]\n"}),
              HasSubstr("has no VirtualService or DestinationRule to break"));
}

TEST(ScenarioRouting, SinglePodsAreOfTheirGroup) {
  EXPECT_EQ(said({.web = "{node: 2, replicas: 2, single: {web-1: {labels: {version: v2}}}}"}),
            "no fault");
  EXPECT_THAT(said({.web = "{node: 2, replicas: 2, single: {web-2: {labels: {version: v2}}}}"}),
              HasSubstr("there is no such pod in the group \"web\""));
}

}  // namespace
}  // namespace stackbench
