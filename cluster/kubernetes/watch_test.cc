#include "cluster/kubernetes/watch.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cluster/kubernetes/testing/fake_api_server.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using std::chrono::milliseconds;
using std::chrono::seconds;

const std::string things = "/api/v1/namespaces/it/configmaps";

class WatchTest : public ::testing::Test {
 protected:
  Watch watch(std::string labels = {}) {
    return {{.socket = server_.socket(), .timeout = seconds(5)},
            {.path = things, .label_selector = std::move(labels)}};
  }
  void put(const std::string& name, const std::string& value) {
    server_.put(things + "/" + name,
                {{"metadata", {{"labels", {{"kind", "ours"}}}}}, {"data", {{"it", value}}}});
  }
  static Watch::Condition is(const std::string& name, const std::string& value) {
    return [=](const Objects& all) -> Result<bool> {
      const auto found = all.find("it/" + name);
      return found != all.end() && found->second["data"]["it"] == value;
    };
  }
  static base::MonotonicTime soon() { return base::monotonic_now() + seconds(5); }
  // Does something once so many watches have been asked for.
  std::jthread after_watches(int wanted, std::function<void()> act) {
    return std::jthread([this, wanted, act = std::move(act)] {
      if (server_.await_requests("watch=true", wanted)) act();
    });
  }

  testing::FakeApiServer server_;
};

TEST_F(WatchTest, AnswersFromTheListAloneWhereItHoldsAlready) {
  put("a", "1");
  auto it = watch();
  ASSERT_TRUE(it.until(is("a", "1"), soon()));
  EXPECT_EQ(server_.count("watch=true"), 0);
}

TEST_F(WatchTest, WaitsForTheEventThatMakesItHold) {
  put("a", "1");
  auto it = watch();
  const auto changer = after_watches(1, [&] { put("a", "2"); });
  const auto before = base::monotonic_now().ns;
  ASSERT_TRUE(it.until(is("a", "2"), soon()));
  EXPECT_GT(it.seen_ns(), before);
  EXPECT_EQ(it.lists(), 1);
}

TEST_F(WatchTest, SeesDeletions) {
  put("a", "1");
  auto it = watch();
  const auto changer = after_watches(1, [&] { server_.erase(things + "/a"); });
  ASSERT_TRUE(it.until([](const Objects& all) -> Result<bool> { return all.empty(); }, soon()));
}

TEST_F(WatchTest, ADroppedWatchIsResumedWithoutANewList) {
  put("a", "1");
  auto it = watch();
  const auto dropper = after_watches(1, [&] {
    server_.drop_watches();
    put("a", "2");
  });
  ASSERT_TRUE(it.until(is("a", "2"), soon()));
  EXPECT_EQ(it.lists(), 1);
  EXPECT_GE(it.watches(), 1);
}

TEST_F(WatchTest, AWatchTheServerHasForgottenBeginsWithANewList) {
  put("a", "1");
  auto it = watch();
  const auto forgetter = after_watches(1, [&] {
    put("a", "2");
    server_.forget_history();
    server_.drop_watches();
    put("a", "3");
  });
  ASSERT_TRUE(it.until(is("a", "3"), soon()));
}

TEST_F(WatchTest, A410InsteadOfAWatchBeginsWithANewList) {
  put("a", "1");
  server_.answer_with({.when = "watch=true", .status = 410, .body = R"({"message":"expired"})"});
  auto it = watch();
  const auto changer = after_watches(2, [&] { put("a", "2"); });
  ASSERT_TRUE(it.until(is("a", "2"), soon()));
  EXPECT_EQ(it.lists(), 2);
}

TEST_F(WatchTest, ABusyServerIsAskedAgain) {
  put("a", "1");
  server_.answer_with({.when = "watch=true", .status = 503, .body = "{}", .retry_after = 0});
  auto it = watch();
  const auto changer = after_watches(2, [&] { put("a", "2"); });
  ASSERT_TRUE(it.until(is("a", "2"), soon()));
}

TEST_F(WatchTest, CanBeWaitedOnAgainFromWhereItWas) {
  put("a", "1");
  auto it = watch();
  ASSERT_TRUE(it.until(is("a", "1"), soon()));
  put("a", "2");
  ASSERT_TRUE(it.until(is("a", "2"), soon()));
  put("b", "3");
  ASSERT_TRUE(it.until(is("b", "3"), soon()));
  EXPECT_EQ(it.lists(), 1);
  EXPECT_EQ(it.watches(), 1);
}

TEST_F(WatchTest, SelectsByLabel) {
  put("a", "1");
  server_.put(things + "/theirs", {{"data", {{"it", "1"}}}});
  auto it = watch("kind=ours");
  ASSERT_TRUE(it.until(is("a", "1"), soon()));
  EXPECT_EQ(it.objects().size(), 1U);
}

TEST_F(WatchTest, EndsAtItsDeadline) {
  auto it = watch();
  const auto waited = it.until(is("a", "1"), base::monotonic_now() + milliseconds(30));
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::timed_out);
}

TEST_F(WatchTest, TheConditionsErrorIsTheWaits) {
  put("a", "1");
  auto it = watch();
  const auto waited = it.until(
      [](const Objects&) -> Result<bool> { return base::fail(ErrorKind::input, "never"); }, soon());
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().message, "never");
}

TEST_F(WatchTest, NoRightToListIsSaid) {
  server_.answer_with({.when = "GET " + things,
                       .status = 403,
                       .body = R"({"message":"configmaps is forbidden: cannot list"})"});
  auto it = watch();
  const auto waited = it.until(is("a", "1"), soon());
  ASSERT_FALSE(waited);
  EXPECT_EQ(waited.error().kind, ErrorKind::not_permitted);
}

}  // namespace
}  // namespace cluster
