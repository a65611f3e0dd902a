#include "base/kube/authorization_policy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/kube/istio_object.h"
#include "base/kube/request_authentication.h"

namespace base::kube {
namespace {

using testing::HasSubstr;

// As a user writes it.
Json deny_admin() {
  return {
      {"apiVersion", "security.istio.io/v1"},
      {"kind", "AuthorizationPolicy"},
      {"metadata", {{"name", "admin"}, {"namespace", "shop"}}},
      {"spec",
       {{"selector", {{"matchLabels", {{"app", "web"}}}}},
        {"action", "DENY"},
        {"rules", Json::array({{{"from", Json::array({{{"source", {{"namespaces", {"batch"}}}}}})},
                                {"to", Json::array({{{"operation",
                                                      {{"methods", {"POST", "PUT"}},
                                                       {"paths", {"/admin*"}}}}}})}}})}}}};
}

Json tokens() {
  return {{"apiVersion", "security.istio.io/v1"},
          {"kind", "RequestAuthentication"},
          {"metadata", {{"name", "tokens"}, {"namespace", "shop"}}},
          {"spec",
           {{"jwtRules", Json::array({{{"issuer", "https://issuer.example"},
                                       {"jwks", R"({"keys": [{"kty": "RSA"}]})"}}})}}}};
}

std::string refused(const Json& object) {
  const auto read = read_authorization_policy(object);
  return read ? "taken" : read.error().message;
}

std::string refused_tokens(const Json& object) {
  const auto read = read_request_authentication(object);
  return read ? "taken" : read.error().message;
}

TEST(AuthorizationPolicy, ReadsWhatItWrites) {
  const auto read = read_authorization_policy(deny_admin());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->spec.action, AuthorizationAction::DENY);
  EXPECT_EQ(read->spec.rules.at(0).from.at(0).source.namespaces, std::vector<std::string>{"batch"});
  EXPECT_EQ(read->spec.rules.at(0).to.at(0).operation.methods,
            (std::vector<std::string>{"POST", "PUT"}));
  EXPECT_EQ(read_authorization_policy(to_json(*read)), read);
}

TEST(AuthorizationPolicy, OneWithoutRulesAllowsNothing) {
  auto nothing = deny_admin();
  nothing["spec"] = Json::object();
  const auto read = read_authorization_policy(nothing);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->spec.action, AuthorizationAction::ALLOW);
  EXPECT_TRUE(read->spec.rules.empty());
}

TEST(AuthorizationPolicy, SaysWhatIstioWouldRefuse) {
  auto none = deny_admin();
  none["spec"].erase("rules");
  EXPECT_THAT(refused(none), HasSubstr("AuthorizationPolicy shop/admin: spec.rules: DENY without"));
  auto empty = deny_admin();
  empty["spec"]["rules"][0]["from"][0]["source"] = Json::object();
  EXPECT_THAT(refused(empty), HasSubstr("spec.rules[0].from[0].source: expected at least one"));
  auto port = deny_admin();
  port["spec"]["rules"][0]["to"][0]["operation"]["ports"] = {"http"};
  EXPECT_THAT(refused(port), HasSubstr("to[0].operation.ports: expected ports of 1 to 65535"));
  auto star = deny_admin();
  star["spec"]["rules"][0]["to"][0]["operation"]["paths"] = {"/a*b"};
  EXPECT_THAT(refused(star), HasSubstr("operation.paths: expected a whole text"));
  auto version = deny_admin();
  version["apiVersion"] = "v1";
  EXPECT_THAT(refused(version), HasSubstr("apiVersion: expected security.istio.io/v1"));
}

TEST(AuthorizationPolicy, NothingItSaysIsPassedOver) {
  auto further = deny_admin();
  further["spec"]["rules"][0]["from"][0]["source"]["ipBlocks"] = {"10.0.0.0/8"};
  auto read = read_authorization_policy(further);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::missing);
  EXPECT_THAT(read.error().message,
              HasSubstr("spec.rules[0].from[0].source.ipBlocks: this field is not implemented"));
  auto custom = deny_admin();
  custom["spec"]["action"] = "CUSTOM";
  read = read_authorization_policy(custom);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().kind, ErrorKind::missing);
  auto stored = deny_admin();
  stored["metadata"]["uid"] = "x";
  stored["status"] = Json::object();
  EXPECT_EQ(refused(stored), "taken") << "what a server adds is no policy";
}

TEST(AuthorizationPolicy, WhatIsNoObjectIsRefusedAndNoMore) {
  for (const auto& odd : {Json(), Json::array(), Json("x"), Json{{"metadata", 1}, {"spec", 2}}}) {
    EXPECT_FALSE(read_authorization_policy(odd));
    EXPECT_FALSE(read_request_authentication(odd));
  }
}

TEST(IstioObject, IsAboutItsNamespacesPodsOfItsLabelsAndTheRootsAboutEverybodys) {
  ObjectMeta of_shop;
  of_shop.in_namespace = "shop";
  ObjectMeta of_mesh;
  of_mesh.in_namespace = "istio-system";
  const std::optional<WorkloadSelector> web{{.match_labels = {{"app", "web"}}}};
  EXPECT_TRUE(is_about(of_shop, {}, "shop", {}));
  EXPECT_FALSE(is_about(of_shop, {}, "default", {}));
  EXPECT_TRUE(is_about(of_mesh, {}, "default", {}));
  EXPECT_TRUE(is_about(of_mesh, web, "default", {{"app", "web"}, {"tier", "1"}}));
  EXPECT_FALSE(is_about(of_shop, web, "shop", {{"app", "db"}}));
}

TEST(RequestAuthentication, ReadsWhatItWrites) {
  const auto read = read_request_authentication(tokens());
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->spec.jwt_rules.at(0).issuer, "https://issuer.example");
  EXPECT_EQ(read_request_authentication(to_json(*read)), read);
}

TEST(RequestAuthentication, NeedsKeysThatAreThere) {
  auto none = tokens();
  none["spec"]["jwtRules"][0]["jwks"] = "{}";
  EXPECT_THAT(refused_tokens(none),
              HasSubstr("RequestAuthentication shop/tokens: spec.jwtRules[0].jwks: expected JSON"));
  auto fetched = tokens();
  fetched["spec"]["jwtRules"][0]["jwksUri"] = "https://issuer.example/keys";
  EXPECT_THAT(refused_tokens(fetched), HasSubstr("spec.jwtRules[0].jwksUri: this field is not"));
  auto unnamed = tokens();
  unnamed["spec"]["jwtRules"][0]["issuer"] = "";
  EXPECT_THAT(refused_tokens(unnamed), HasSubstr("jwtRules[0].issuer: expected a name"));
}

}  // namespace
}  // namespace base::kube
