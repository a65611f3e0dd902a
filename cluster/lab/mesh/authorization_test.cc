#include "cluster/lab/mesh/authorization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/lab/mesh/envoy_config.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::AuthorizationAction;
using base::kube::AuthorizationPolicy;
using base::kube::AuthorizationRule;
using ::testing::HasSubstr;
using ::testing::Not;

AuthorizationPolicy policy(AuthorizationAction action, std::vector<AuthorizationRule> rules,
                           std::string name = "it") {
  AuthorizationPolicy made;
  made.metadata.name = std::move(name);
  made.spec.action = action;
  made.spec.rules = std::move(rules);
  return made;
}

AuthorizationRule from(base::kube::AuthorizationSource source) {
  return {.from = {{std::move(source)}}};
}

AuthorizationRule to(base::kube::AuthorizationOperation operation) {
  return {.to = {{std::move(operation)}}};
}

// The rules of the only filter.
Json http_rules(AuthorizationPolicy one) {
  const auto filters = http_authorization({.policies = {std::move(one)}});
  EXPECT_EQ(filters.size(), 1);
  return filters.at(0).at("typed_config").at("rules");
}

Json only_policy(const Json& rules) { return rules.at("policies").begin().value(); }

TEST(Authorization, APrincipalIsTheUriOfThePeersCertificate) {
  const auto rules = http_rules(policy(
      AuthorizationAction::DENY, {from({.principals = {"cluster.local/ns/default/sa/batch"}})}));
  EXPECT_EQ(rules.at("action"), "DENY");
  EXPECT_EQ(rules.at("policies").begin().key(), "ns[default]-policy[it]-rule[0]");
  EXPECT_EQ(only_policy(rules), Json::parse(R"({
    "permissions": [{"any": true}],
    "principals": [{"and_ids": {"ids": [{"or_ids": {"ids": [
      {"authenticated": {"principal_name":
        {"exact": "spiffe://cluster.local/ns/default/sa/batch"}}}]}}]}}]})"));
}

TEST(Authorization, WhatIsExceptedIsNegatedAndHoldsBeside) {
  const auto one = only_policy(
      http_rules(policy(AuthorizationAction::ALLOW,
                        {to({.methods = {"GET"}, .paths = {"/*"}, .not_paths = {"/admin*"}})})));
  EXPECT_EQ(one.at("permissions"), Json::parse(R"([{"and_rules": {"rules": [
    {"or_rules": {"rules": [{"header": {"name": ":method", "string_match": {"exact": "GET"}}}]}},
    {"or_rules": {"rules": [{"url_path": {"path": {"prefix": "/"}}}]}},
    {"not_rule": {"or_rules": {"rules": [{"url_path": {"path": {"prefix": "/admin"}}}]}}}]}}])"));
  EXPECT_EQ(one.at("principals"), Json::parse(R"([{"any": true}])"));
}

TEST(Authorization, ANamespaceIsAPartOfTheUri) {
  const auto one = only_policy(
      http_rules(policy(AuthorizationAction::ALLOW, {from({.namespaces = {"shop", "b-*"}})})));
  const auto& ids = one.at("principals").at(0).at("and_ids").at("ids").at(0).at("or_ids").at("ids");
  EXPECT_EQ(ids.at(0).at("authenticated").at("principal_name").at("safe_regex").at("regex"),
            ".*/ns/shop/.*");
  EXPECT_EQ(ids.at(1).at("authenticated").at("principal_name").at("safe_regex").at("regex"),
            ".*/ns/b-.*/.*");
}

TEST(Authorization, APatternMayBeAnywhereInWhatFollowsTheScheme) {
  const auto name = [](std::string principal) {
    const auto one = only_policy(
        http_rules(policy(AuthorizationAction::ALLOW, {from({.principals = {principal}})})));
    return one.at("principals")
        .at(0)
        .at("and_ids")
        .at("ids")
        .at(0)
        .at("or_ids")
        .at("ids")
        .at(0)
        .at("authenticated")
        .at("principal_name");
  };
  EXPECT_EQ(name("*"), Json::parse(R"({"safe_regex": {"regex": ".+"}})"));
  EXPECT_EQ(name("cluster.local/ns/shop/*"),
            Json::parse(R"({"prefix": "spiffe://cluster.local/ns/shop/"})"));
  EXPECT_EQ(name("*/sa/web.v1"),
            Json::parse(R"({"safe_regex": {"regex": "spiffe://.*/sa/web\\.v1"}})"));
}

TEST(Authorization, ATokensPrincipalIsItsIssuerAndItsSubject) {
  const auto one = only_policy(http_rules(policy(
      AuthorizationAction::ALLOW, {from({.request_principals = {"https://issuer.example/ann"}})})));
  const auto& ids = one.at("principals").at(0).at("and_ids").at("ids").at(0).at("or_ids").at("ids");
  EXPECT_EQ(ids.at(0), Json::parse(R"({"and_ids": {"ids": [
    {"sourced_metadata": {"metadata_matcher": {"filter": "envoy.filters.http.jwt_authn",
      "path": [{"key": "payload"}, {"key": "iss"}],
      "value": {"string_match": {"exact": "https://issuer.example"}}}}},
    {"sourced_metadata": {"metadata_matcher": {"filter": "envoy.filters.http.jwt_authn",
      "path": [{"key": "payload"}, {"key": "sub"}],
      "value": {"string_match": {"exact": "ann"}}}}}]}})"));
}

TEST(Authorization, TokensComeFirstThenDenyThenAllow) {
  const auto filters = http_authorization(
      {.policies = {policy(AuthorizationAction::ALLOW, {from({.principals = {"*"}})}, "a"),
                    policy(AuthorizationAction::DENY, {to({.paths = {"/x"}})}, "d"),
                    policy(AuthorizationAction::ALLOW, {}, "nothing")},
       .jwt_rules = {{.issuer = "i", .jwks = "{}"}}});
  ASSERT_EQ(filters.size(), 3);
  EXPECT_EQ(filters.at(0).at("name"), "envoy.filters.http.jwt_authn");
  EXPECT_EQ(filters.at(1).at("typed_config").at("rules").at("action"), "DENY");
  const auto& allow = filters.at(2).at("typed_config").at("rules");
  EXPECT_EQ(allow.at("action"), "ALLOW");
  EXPECT_EQ(allow.at("policies").size(), 1) << "one without rules adds nothing";
}

TEST(Authorization, AnAllowWithoutRulesIsThereAndAllowsNothing) {
  const auto rules = http_rules(policy(AuthorizationAction::ALLOW, {}));
  EXPECT_EQ(rules, Json::parse(R"({"action": "ALLOW", "policies": {}})"));
}

TEST(Authorization, WithoutObjectsThereIsNoFilter) {
  EXPECT_TRUE(http_authorization({}).empty());
  EXPECT_TRUE(network_authorization({}).empty());
}

// istio.io, "TCP traffic" of security's tasks.
TEST(Authorization, OfTcpAnAllowThatNeedsHttpMatchesNothingAndADenyMore) {
  const auto allow = network_authorization(
      {.policies = {policy(AuthorizationAction::ALLOW, {to({.ports = {"7001"}, .methods = {"GET"}}),
                                                        to({.ports = {"7002"}})})}});
  ASSERT_EQ(allow.size(), 1);
  EXPECT_EQ(allow.at(0).at("typed_config").at("rules").at("policies").size(), 1);
  EXPECT_TRUE(allow.at(0)
                  .at("typed_config")
                  .at("rules")
                  .at("policies")
                  .contains("ns[default]-policy[it]-rule[1]"));
  const auto deny =
      network_authorization({.policies = {policy(AuthorizationAction::DENY,
                                                 {to({.ports = {"7001"}, .methods = {"GET"}})})}});
  EXPECT_EQ(only_policy(deny.at(0).at("typed_config").at("rules")).at("permissions"),
            Json::parse(R"([{"and_rules": {"rules": [
              {"or_rules": {"rules": [{"destination_port": 7001}]}}]}}])"));
  const auto tokens = network_authorization(
      {.policies = {policy(AuthorizationAction::ALLOW, {from({.request_principals = {"*"}})})}});
  EXPECT_TRUE(tokens.at(0).at("typed_config").at("rules").at("policies").empty());
}

TEST(Authorization, OfSeveralIssuersEachTokenMustBeSound) {
  const auto filters = http_authorization(
      {.jwt_rules = {{.issuer = "a", .audiences = {"web"}, .jwks = "ka"},
                     {.issuer = "b", .jwks = "kb", .from_headers = {{"x-token", "t "}}}}});
  const auto& config = filters.at(0).at("typed_config");
  EXPECT_EQ(config.at("providers").at("origins-0"), Json::parse(R"({
    "issuer": "a", "local_jwks": {"inline_string": "ka"}, "payload_in_metadata": "payload",
    "forward": false, "audiences": ["web"]})"));
  EXPECT_EQ(config.at("providers").at("origins-1").at("from_headers"),
            Json::parse(R"([{"name": "x-token", "value_prefix": "t "}])"));
  EXPECT_EQ(config.at("rules").at(0).at("requires"), Json::parse(R"({"requires_all": {
    "requirements": [
      {"requires_any": {"requirements": [{"provider_name": "origins-0"}, {"allow_missing": {}}]}},
      {"requires_any": {"requirements": [{"provider_name": "origins-1"},
                                         {"allow_missing": {}}]}}]}})"));
}

TEST(Authorization, StandsBeforeTheApplicationInEveryChainOfItsPorts) {
  ProxySpec spec{.pod = "web-0",
                 .in_namespace = "default",
                 .account = "web",
                 .address = "10.244.2.2",
                 .directory = "/run/x",
                 .ports = {{.port = 7001, .mode = base::kube::MtlsMode::PERMISSIVE},
                           {.port = 7004,
                            .protocol = ProxiedProtocol::http,
                            .mode = base::kube::MtlsMode::STRICT}},
                 .other_ports = base::kube::MtlsMode::STRICT};
  const auto chains = [&] {
    return proxy_files(spec, 1).at("listeners.json").at("resources").at(1).at("filter_chains");
  };
  EXPECT_THAT(base::dump_json(chains()), Not(HasSubstr("rbac")));
  spec.authorization.policies = {
      policy(AuthorizationAction::DENY, {from({.principals = {"cluster.local/ns/x/sa/y"}})})};
  int of_http = 0;
  int of_tcp = 0;
  for (const auto& chain : chains()) {
    if (chain.at("name") == "virtualInbound-blackhole") continue;
    const auto& first = chain.at("filters").at(0);
    if (first.at("name") == "envoy.filters.network.rbac") {
      ++of_tcp;
      EXPECT_EQ(chain.at("filters").at(1).at("name"), "envoy.filters.network.tcp_proxy");
    } else {
      ++of_http;
      const auto& filters = first.at("typed_config").at("http_filters");
      ASSERT_EQ(filters.size(), 2);
      EXPECT_EQ(filters.at(0).at("name"), "envoy.filters.http.rbac");
      EXPECT_EQ(filters.at(1).at("name"), "envoy.filters.http.router");
    }
  }
  EXPECT_EQ(of_http, 1);
  EXPECT_EQ(of_tcp, 4) << "three of the permissive port, one of every other";
}

}  // namespace
}  // namespace cluster
