// A cluster's objects for tests: namespace shop with a Deployment, isolated as it should be, and
// what a test makes of it.
#pragma once

#include <string>
#include <string_view>

#include <gtest/gtest.h>

#include "cluster/kubernetes/live_objects.h"
#include "stackbench/verify/live_world.h"

namespace stackbench::testing {

inline base::Json json(std::string_view text) {
  auto parsed = base::parse_json(text);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return parsed ? *parsed : base::Json();
}

// A pod of shop that runs, with one label `app` and the address 10.1.0.NUMBER.
inline base::Json pod(const std::string& name, const std::string& app, int number) {
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", {{"name", name}, {"namespace", "shop"}, {"labels", {{"app", app}}}}},
      {"spec",
       {{"nodeName", number % 2 == 0 ? "n2" : "n1"},
        {"containers",
         base::Json::array(
             {{{"ports", base::Json::array({{{"name", "http"}, {"containerPort", 8080}}})}}})}}},
      {"status",
       {{"phase", "Running"},
        {"podIPs", base::Json::array({{{"ip", fmt::format("10.1.0.{}", number)}}})}}}};
}

// The same, made by a Deployment of that name.
inline base::Json deployed(const std::string& deployment, const std::string& app, int number) {
  auto made = pod(fmt::format("{}-5f4d-{}", deployment, number), app, number);
  made["metadata"]["labels"]["pod-template-hash"] = "5f4d";
  made["metadata"]["ownerReferences"] = base::Json::array(
      {{{"kind", "ReplicaSet"}, {"name", deployment + "-5f4d"}, {"controller", true}}});
  return made;
}

inline base::Json policy(const std::string& name, std::string_view spec) {
  return {{"apiVersion", "networking.k8s.io/v1"},
          {"kind", "NetworkPolicy"},
          {"metadata", {{"name", name}, {"namespace", "shop"}}},
          {"spec", json(spec)}};
}

// shop: web (two pods) and db, both isolated in both directions; web may be reached at its port,
// and may reach db.
inline cluster::LiveObjects shop() {
  cluster::LiveObjects live;
  live.namespaces.push_back(json(R"({"metadata":{"name":"shop","labels":{"team":"red"}}})"));
  live.pods = {deployed("web", "web", 1), deployed("web", "web", 2), deployed("db", "db", 3)};
  live.policies = {policy("deny-all", R"({"podSelector":{},"policyTypes":["Ingress","Egress"]})"),
                   policy("web", R"({"podSelector":{"matchLabels":{"app":"web"}},
        "policyTypes":["Ingress","Egress"],
        "ingress":[{"ports":[{"port":"http"}]}],
        "egress":[{"to":[{"podSelector":{"matchLabels":{"app":"db"}}}]}]})")};
  return live;
}

inline LiveWorld world_of(const cluster::LiveObjects& live) {
  auto made = make_live_world(live);
  EXPECT_TRUE(made) << made.error().message;
  return made ? *made : LiveWorld();
}

}  // namespace stackbench::testing
