#include "stackbench/churn.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace stackbench {
namespace {

using cluster::EventKind;
using testing::ElementsAre;

// Remembers what was written, as "ready: web-0 web-1", those that are in the end; can refuse
// writes.
class FakeTarget : public cluster::Target {
 public:
  std::vector<std::string>* done = nullptr;
  bool refuses = false;
  std::set<std::string> ready{"web-0", "web-1"};

  [[nodiscard]] std::string_view name() const override { return "fake"; }
  base::Result<cluster::EnvironmentHandle> provision(const cluster::EnvironmentPlan&) override {
    return cluster::EnvironmentHandle{};
  }
  base::Result<> teardown() override { return {}; }
  base::Result<cluster::WriteStamps> apply(std::string_view, const base::Json&) override {
    return cluster::WriteStamps{};
  }
  base::Result<cluster::WriteStamps> remove(std::string_view, std::string_view,
                                            std::string_view) override {
    return cluster::WriteStamps{};
  }
  base::Result<cluster::WriteStamps> set_readiness(
      std::string_view, base::AddressFamily,
      const std::map<std::string, cluster::Readiness>& pods) override {
    if (refuses) return base::fail(base::ErrorKind::system, "no more room");
    for (const auto& [pod, readiness] : pods) {
      if (readiness == cluster::Readiness::ready) {
        ready.insert(pod);
      } else {
        ready.erase(pod);
      }
    }
    done->push_back(fmt::format("ready: {}", fmt::join(ready, " ")));
    const auto now = base::monotonic_now().ns;
    return cluster::WriteStamps{
        .sent_ns = now, .acked_ns = now + 1, .published_ns = now + 2, .programmed_ns = now + 3};
  }
  base::Result<cluster::AgentStreams> agent(std::string_view, std::string_view) override {
    return cluster::AgentStreams{};
  }
  base::Result<cluster::Observer> observe(std::string_view, std::string_view) override {
    return cluster::Observer{};
  }
  [[nodiscard]] base::Json facts() const override { return {}; }
};

class ChurnTest : public ::testing::Test {
 protected:
  ChurnTest() {
    target_.done = &done_;
    environment_.name = "it";
    for (std::uint32_t i = 0; i < 3; ++i) {
      cluster::PodHandle pod;
      pod.name = fmt::format("web-{}", i);
      pod.group = "web";
      pod.node = 1;
      pod.id = i + 1;
      pod.standby = i == 2;
      environment_.pods.push_back(pod);
    }
    environment_.services["web"].target = "web";
    const auto note = [this](const char* what) {
      return [this, what](const std::string& pod) -> base::Result<> {
        done_.push_back(fmt::format("{} {}", what, pod));
        return {};
      };
    };
    control_ = {.start = note("start"), .stop = note("stop"), .kill = note("kill")};
  }

  Churn churn() { return {target_, environment_, base::AddressFamily::ipv4, control_, interrupt_}; }

  // Every event is due at once.
  base::Result<std::vector<checks::Happened>> run(Churn& churn,
                                                  const std::vector<EventSpec>& events) {
    return churn.run(events, base::MonotonicTime{});
  }

  FakeTarget target_;
  cluster::EnvironmentHandle environment_;
  ServerControl control_;
  base::Interrupt interrupt_ = base::Interrupt::never();
  std::vector<std::string> done_;
};

EventSpec event(EventKind kind, std::string pod) { return {.kind = kind, .pod = std::move(pod)}; }

TEST_F(ChurnTest, DoesWhatAKubeletAndTheControllerWouldDoInTheirOrder) {
  auto course = churn();
  auto replace = event(EventKind::replace, "web-1");
  replace.by = "web-2";
  replace.grace = base::Duration(0);
  const auto happened =
      run(course, {event(EventKind::unready, "web-0"), event(EventKind::ready, "web-0"),
                   event(EventKind::kill, "web-0"), event(EventKind::restart, "web-0"), replace});
  ASSERT_TRUE(happened) << happened.error().message;
  EXPECT_THAT(done_,
              ElementsAre("ready: web-1",                       // unready
                          "ready: web-0 web-1",                 // ready
                          "kill web-0", "ready: web-1",         // kill
                          "start web-0", "ready: web-0 web-1",  // restart
                          "ready: web-0 web-2", "stop web-1"    // replace, in one write
                          ));
  ASSERT_EQ(happened->size(), 5U);
  const auto& kill = (*happened)[2];
  EXPECT_EQ(kill.event, 2U);
  EXPECT_EQ(kill.identity, 1U);
  EXPECT_LT(kill.happened_ns, kill.sent_ns);
  const auto& last = happened->back();
  EXPECT_EQ(last.happened_ns, last.sent_ns);
  EXPECT_EQ(last.by, "web-2");
  EXPECT_EQ(last.published_ns, last.sent_ns + 2);
  EXPECT_EQ(last.programmed_ns, last.sent_ns + 3);
}

TEST_F(ChurnTest, IsAsAtFirstAfterwardsWhateverHappened) {
  auto course = churn();
  ASSERT_TRUE(run(course, {event(EventKind::unready, "web-0")}));
  target_.refuses = true;
  EXPECT_FALSE(run(course, {event(EventKind::unready, "web-1")}));
  target_.refuses = false;
  ASSERT_TRUE(course.restore());
  EXPECT_EQ(done_.back(), "ready: web-0 web-1");
}

TEST_F(ChurnTest, AnEventThatFailsEndsTheCourse) {
  control_.kill = [](const std::string&) -> base::Result<> {
    return base::fail(base::ErrorKind::peer_lost, "gone");
  };
  auto course = churn();
  const auto happened =
      run(course, {event(EventKind::kill, "web-0"), event(EventKind::restart, "web-0")});
  ASSERT_FALSE(happened);
  EXPECT_EQ(happened.error().message, "gone");
  EXPECT_TRUE(done_.empty());
}

}  // namespace
}  // namespace stackbench
