#include "cluster/kubernetes/rights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::Field;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string review = "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

std::vector<std::string> names_of(const std::vector<Right>& rights) {
  std::vector<std::string> names;
  for (const auto& right : rights) names.push_back(right.to_string());
  return names;
}

TEST(Rights, OpeningAnExecTakesCreateOnlyWhereTheServerAsksForIt) {
  for (const auto* older : {"v1.33.13", "v1.34.0+rke2r1", "v1.9.1", "unknown"}) {
    EXPECT_THAT(names_of(rights_of_run("", older)), Not(Contains("create pods/exec"))) << older;
  }
  for (const auto* newer : {"v1.35.0", "v1.36.2-gke.1"}) {
    EXPECT_THAT(names_of(rights_of_run("", newer)), Contains("create pods/exec")) << newer;
  }
}

TEST(Rights, InANamespaceNothingElseIsAskedForButNodes) {
  for (const auto& right : rights_of_run("bench", "v1.33.1")) {
    EXPECT_EQ(right.in_namespace, right.resource == "nodes" ? "" : "bench") << right.to_string();
  }
  EXPECT_THAT(rights_for_fillers("bench"), Each(Field(&Right::in_namespace, "bench")));
  EXPECT_THAT(rights_for_policies("bench"), Each(Field(&Right::in_namespace, "bench")));
  EXPECT_THAT(names_of(rights_for_policies("bench")),
              Contains("deletecollection networkpolicies.networking.k8s.io"));
  EXPECT_THAT(names_of(rights_for_policies("")), Not(Contains(HasSubstr("deletecollection"))));
  // What is deleted with its namespace elsewhere is deleted by us there.
  EXPECT_THAT(names_of(rights_of_run("bench", "")),
              Contains("deletecollection endpointslices.discovery.k8s.io"));
  EXPECT_THAT(names_of(rights_of_run("", "")),
              Not(Contains(HasSubstr("deletecollection endpointslices"))));
  // But pods of a node that is gone, which nothing else takes away.
  EXPECT_THAT(names_of(rights_of_run("", "")), Contains("deletecollection pods"));
}

TEST(Rights, AllThatAreMissingAreNamedAtOnce) {
  testing::FakeApiServer server;
  const auto all = rights_of_run("", "v1.33.1");
  server.answer_with({.when = review,
                      .status = 201,
                      .body = R"({"status":{"allowed":false}})",
                      .times = static_cast<int>(all.size())});
  const auto checked = check_rights({.socket = server.socket()}, all);
  ASSERT_FALSE(checked);
  EXPECT_EQ(checked.error().kind, base::ErrorKind::not_permitted);
  for (const auto& name : names_of(all)) EXPECT_THAT(checked.error().message, HasSubstr(name));
  EXPECT_EQ(server.count(review), static_cast<int>(all.size()));
}

TEST(Rights, OneThatIsMissingIsNamedAlone) {
  testing::FakeApiServer server;
  server.answer_with({.when = review, .status = 201, .body = R"({"status":{"allowed":false}})"});
  server.answer_with({.when = review, .status = 201, .body = R"({"status":{"allowed":true}})"});
  const auto checked =
      check_rights({.socket = server.socket()}, {{.verb = "get", .resource = "pods/exec"}});
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message, ::testing::EndsWith("in all namespaces: get pods/exec"));
  EXPECT_TRUE(check_rights({.socket = server.socket()}, {{.verb = "list", .resource = "nodes"}}));
}

TEST(Rights, AServerThatDoesNotTellIsLeftToRefuseByItself) {
  testing::FakeApiServer server;
  server.answer_with({.when = review, .status = 403, .body = R"({"message":"no"})"});
  EXPECT_TRUE(check_rights({.socket = server.socket()}, {{.verb = "list", .resource = "nodes"}}));
}

}  // namespace
}  // namespace cluster
