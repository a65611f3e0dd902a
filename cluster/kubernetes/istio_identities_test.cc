#include "cluster/kubernetes/istio_identities.h"

#include <gtest/gtest.h>

namespace cluster {
namespace {

using base::Json;

const NamespaceNames names{{"default", "run-7"}, {"partners", "run-7-partners"}};

Json policy(const Json& rule) { return {{"spec", {{"rules", Json::array({rule})}}}}; }

Json of_source(const Json& source) {
  return policy({{"from", Json::array({{{"source", source}}})}});
}

TEST(IstioIdentities, AreOfAGroupsAccount) {
  EXPECT_EQ(spiffe_identity("cluster.local", "run-7", "web"),
            "spiffe://cluster.local/ns/run-7/sa/web");
  const Placement place{.run = "7", .environment = "e", .owner = "me", .in_namespace = "run-7"};
  const auto account = service_account_manifest(place, "web");
  EXPECT_EQ(account["metadata"]["name"], "web");
  EXPECT_EQ(account["metadata"]["namespace"], "run-7");
  EXPECT_EQ(account["automountServiceAccountToken"], false);
}

TEST(IstioIdentities, OfSourcesAreThoseOfTheClustersNamespaces) {
  EXPECT_EQ(with_names_of(
                names, of_source({{"principals",
                                   {"cluster.local/ns/default/sa/client", "*",
                                    "cluster.local/ns/partners/*", "cluster.local/ns/others/sa/x"}},
                                  {"notNamespaces", {"partners", "others"}},
                                  {"serviceAccounts", {"partners/web", "web"}}})),
            of_source({{"principals",
                        {"cluster.local/ns/run-7/sa/client", "*",
                         "cluster.local/ns/run-7-partners/*", "cluster.local/ns/others/sa/x"}},
                       {"notNamespaces", {"run-7-partners", "others"}},
                       {"serviceAccounts", {"run-7-partners/web", "web"}}}));
}

TEST(IstioIdentities, OfConditionsAreToo) {
  const auto when = [](const char* key, const char* value) {
    return policy({{"when", Json::array({{{"key", key}, {"values", {value}}}})}});
  };
  EXPECT_EQ(with_names_of(names, when("source.namespace", "default")),
            when("source.namespace", "run-7"));
  EXPECT_EQ(with_names_of(names, when("source.principal", "d/ns/partners/sa/a")),
            when("source.principal", "d/ns/run-7-partners/sa/a"));
  EXPECT_EQ(with_names_of(names, when("request.headers[x]", "default")),
            when("request.headers[x]", "default"));
}

TEST(IstioIdentities, OfPartsOfNamesAndHostsAreNobodysToTell) {
  EXPECT_FALSE(unnamed_source(of_source({{"principals", {"*", "d/ns/default/*"}}})));
  EXPECT_FALSE(unnamed_source(of_source({{"namespaces", {"partners"}}})));
  EXPECT_EQ(unnamed_source(of_source({{"namespaces", {"part*"}}})).value_or(""),
            "namespaces: \"part*\"");
  EXPECT_TRUE(unnamed_source(of_source({{"notPrincipals", {"d/ns/def*/sa/x"}}})));
  EXPECT_EQ(unnamed_source(policy({{"to", Json::array({{{"operation", {{"hosts", {"a.b"}}}}}})}}))
                .value_or(""),
            "hosts");
}

TEST(IstioIdentities, AreLeftAloneInWhatIsNoPolicy) {
  for (const Json& object :
       {Json::object(), Json{{"spec", nullptr}}, Json{{"spec", {{"rules", "all"}}}},
        policy({{"from", {1, Json::object()}}, {"when", Json::array({nullptr})}})}) {
    EXPECT_EQ(with_names_of(names, object), object);
  }
}

}  // namespace
}  // namespace cluster
