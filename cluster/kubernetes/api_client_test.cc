#include "cluster/kubernetes/api_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/bulk.h"
#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ApiClientTest : public ::testing::Test {
 protected:
  ApiClient client(base::Duration timeout = seconds(5)) {
    return ApiClient({.socket = server_.socket(), .timeout = timeout});
  }
  testing::FakeApiServer server_;
};

const std::string service = "/api/v1/namespaces/it/services/web";
const Json manifest = {{"metadata", {{"name", "web"}}},
                       {"spec", {{"type", "ClusterIP"}, {"ports", Json::array()}}}};

TEST_F(ApiClientTest, WritesOnOneConnectionWithStampsAndVersion) {
  auto api = client();
  const auto before = base::monotonic_now().ns;
  const auto first = api.apply(service, manifest);
  ASSERT_TRUE(first) << first.error().message;
  const auto second = api.apply(service, manifest);
  ASSERT_TRUE(second);
  EXPECT_LE(before, first->sent_ns);
  EXPECT_LT(first->sent_ns, first->acked_ns);
  EXPECT_LE(first->acked_ns, second->sent_ns);
  EXPECT_GT(second->resource_version(), first->resource_version());
  EXPECT_THAT(server_.requests().front(),
              HasSubstr("PATCH " + service + "?fieldManager=stackbench&force=true"));
  EXPECT_EQ(server_.connections(), 1);
  EXPECT_EQ(api.requests(), 2U);
}

TEST_F(ApiClientTest, WhatIsNotThereIsNothingToFindAndNoErrorToRemove) {
  auto api = client();
  const auto found = api.find(service);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_FALSE(*found);
  EXPECT_TRUE(api.remove(service));
  const auto got = api.get(service);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::missing);
  EXPECT_THAT(got.error().message, HasSubstr("GET " + service + ": "));
}

TEST_F(ApiClientTest, ARefusalNamesVerbAndResourceAndIsNotTriedAgain) {
  server_.answer_with(
      {.when = "PATCH",
       .status = 403,
       .body = R"({"kind":"Status","message":"services \"web\" is forbidden: User \"me\" cannot )"
               R"(patch resource \"services\" in API group \"\" in the namespace \"it\""})"});
  auto api = client();
  const auto refused = api.apply(service, manifest);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::not_permitted);
  EXPECT_THAT(refused.error().message, HasSubstr("cannot patch resource \"services\""));
  EXPECT_FALSE(refused.error().mend.empty());
  EXPECT_EQ(server_.count("PATCH"), 1);
}

TEST_F(ApiClientTest, KindsOfErrorsFollowTheStatus) {
  auto api = client();
  const auto kind_of = [&](int status) {
    server_.answer_with({.when = "GET /x", .status = status, .body = R"({"message":"why"})"});
    const auto got = api.get("/x");
    EXPECT_FALSE(got);
    return got ? ErrorKind::usage : got.error().kind;
  };
  EXPECT_EQ(kind_of(401), ErrorKind::not_permitted);
  EXPECT_EQ(kind_of(422), ErrorKind::input);
  EXPECT_EQ(kind_of(409), ErrorKind::system);
}

TEST_F(ApiClientTest, ComesBackWhenAskedTo) {
  server_.answer_with({.when = "PATCH", .status = 429, .body = "{}", .retry_after = 1});
  auto api = client();
  const auto before = base::monotonic_now();
  const auto done = api.apply(service, manifest);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->tries, 2);
  EXPECT_GE(base::monotonic_now() - before, seconds(1));
  // Of the try that was answered.
  EXPECT_GE(done->sent_ns - before.ns, base::Duration(seconds(1)).count());
}

TEST_F(ApiClientTest, DoesNotWaitLongerThanItsDeadlineToComeBack) {
  server_.answer_with({.when = "GET",
                       .status = 429,
                       .body = R"({"message":"too many requests"})",
                       .retry_after = 3600});
  auto api = client(milliseconds(100));
  const auto got = api.get("/x");
  ASSERT_FALSE(got);
  EXPECT_THAT(got.error().message, HasSubstr("too many requests (HTTP 429)"));
}

TEST_F(ApiClientTest, AServerThatIsDownForAWhileIsWaitedFor) {
  server_.answer_with({.when = "PATCH",
                       .status = 502,
                       .body = "dial tcp 10.0.0.1:6443: connect: connection refused",
                       .content_type = "text/plain",
                       .times = 3});
  auto api = client();
  const auto done = api.apply(service, manifest);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(done->tries, 4);
}

TEST_F(ApiClientTest, AServerThatStaysDownIsSaidToBeUnreachable) {
  server_.answer_with({.when = "GET",
                       .status = 502,
                       .body = "dial tcp 10.0.0.1:6443: connect: connection refused\n",
                       .content_type = "text/plain",
                       .times = 1000});
  auto api = client(milliseconds(100));
  const auto got = api.get("/version");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().message,
            "GET /version: the API server was not reached: dial tcp 10.0.0.1:6443: connect: "
            "connection refused");
  EXPECT_THAT(got.error().mend, HasSubstr("cluster-info"));
}

TEST_F(ApiClientTest, AConnectionThatWasClosedIsReplaced) {
  auto api = client();
  ASSERT_TRUE(api.apply(service, manifest));
  server_.answer_with({.when = "PATCH", .closes = true});
  const auto done = api.apply(service, manifest);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(server_.connections(), 2);
}

// What was stored although its answer was lost was stored when it was sent first.
TEST_F(ApiClientTest, WhatWasTriedAgainWasSentWhenItMayFirstHaveBeenCarriedOut) {
  auto api = client();
  ASSERT_TRUE(api.apply(service, manifest));
  for (const auto& [status, is_first] : {std::pair{503, true}, {429, false}}) {
    server_.answer_with({.when = "PATCH", .status = status});
    const auto before = base::monotonic_now().ns;
    const auto done = api.apply(service, manifest);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(done->tries, 2) << status;
    // Between the tries lies a pause of at least 50 ms.
    EXPECT_EQ(done->sent_ns - before < 50'000'000, is_first) << status;
  }
}

TEST_F(ApiClientTest, SilenceEndsAtTheDeadline) {
  server_.answer_with({.when = "GET", .status = 0, .delay = milliseconds(300)});
  auto api = client(milliseconds(50));
  const auto got = api.get(service);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::timed_out);
  EXPECT_EQ(got.error().message, "GET " + service + ": no answer in time");
}

TEST_F(ApiClientTest, NobodyAtTheSocketIsMissing) {
  ApiClient api({.socket = server_.socket() + "-not", .timeout = seconds(1)});
  const auto got = api.get("/version");
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().kind, ErrorKind::missing);
}

TEST_F(ApiClientTest, ManyRequestsGoAFewAtATime) {
  const auto done = for_each_request(
      client().options(), 40, [](ApiClient& api, std::size_t index) -> base::Result<> {
        RETURN_IF_ERROR(api.apply(fmt::format("{}-{}", service, index), manifest));
        return {};
      });
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(server_.count("PATCH"), 40);
  EXPECT_LE(server_.connections(), 6);
}

TEST_F(ApiClientTest, TheFirstErrorEndsManyRequests) {
  const auto done = for_each_request(client().options(), 1000,
                                     [](ApiClient&, std::size_t index) -> base::Result<> {
                                       if (index < 3) return {};
                                       return base::fail(ErrorKind::input, "no more");
                                     });
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().message, "no more");
}

TEST(UrlEscape, LeavesOnlyWhatNeedsNoEscape) {
  EXPECT_EQ(url_escape("a=b,!c/d"), "a%3Db%2C%21c%2Fd");
  EXPECT_EQ(url_escape("plain-._~09"), "plain-._~09");
}

}  // namespace
}  // namespace cluster
