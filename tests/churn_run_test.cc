// Whole runs in the lab with events: what clients notice when a backend leaves, and the two ways a
// datapath may be wrong about it while every request succeeds. Every datapath:
// churn_invocation_test.cc. Needs root.
#include <gtest/gtest.h>

#include "tests/churn_scenario.h"
#include "tests/run_scenario.h"

namespace {

using tests::churn_scenario;
using tests::connects;
using tests::datagrams;
using tests::run_until_judged;
using tests::service_verdicts;
using tests::web_0_leaves;

// Requests that failed in all invocations of the report, warm-up and dropped ones included.
std::uint64_t failed(const base::Json& report) {
  std::uint64_t total = 0;
  for (const auto& sample : report.value("samples", base::Json::array())) {
    for (const auto& [kind, count] : sample["errors"].items()) total += count.get<std::uint64_t>();
  }
  return total;
}

// Few enough to be those whose reply was under way when the kernel was told to forget their flow:
// it finds nobody who waits for it. Deleting a tracked flow costs that, as in any kube-proxy.
void expect_hardly_any_failed(const base::Json& report) {
  std::uint64_t requests = 0;
  for (const auto& sample : report["samples"]) requests += sample["requests"].get<std::uint64_t>();
  EXPECT_LT(failed(report) * 100, requests);
}

TEST(Churn, ALeavingBackendIsFeltInTimeAndAStaleBackendIsFoundThoughEveryRequestSucceeds) {
  const auto clean =
      run_until_judged(churn_scenario("iptables", connects, web_0_leaves, "stale_backend", ""));
  EXPECT_EQ(service_verdicts(clean.report), std::vector<std::string>{"pass"})
      << clean.out << clean.err;
  EXPECT_EQ(failed(clean.report), 0U) << clean.out;
  const auto broken =
      run_until_judged(churn_scenario("iptables", connects, web_0_leaves, "stale_backend",
                                      "{kind: stale_backend, environment: it}"));
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  EXPECT_EQ(service_verdicts(broken.report), std::vector<std::string>{"fail"}) << broken.out;
  EXPECT_EQ(failed(broken.report), 0U) << broken.out;
  ASSERT_EQ(broken.report["events"].size(), 1U);
  EXPECT_GE(broken.report["events"][0]["stale_median_ns"], 250'000'000) << broken.out;
}

TEST(Churn, FlowsOfABackendThatLeavesMoveAndOthersStay) {
  const auto clean = run_until_judged(
      churn_scenario("nftables", datagrams, web_0_leaves, "stale_backend, flows_stay", ""));
  EXPECT_EQ(service_verdicts(clean.report), (std::vector<std::string>{"pass", "pass"}))
      << clean.out << clean.err;
  ASSERT_EQ(clean.report["events"].size(), 1U);
  expect_hardly_any_failed(clean.report);
  // Each flow sends something every 60 ms, so the backend's have moved by the end, all but one that
  // waits for a lost reply.
  const auto held = clean.report["events"][0]["flows_held"].get<double>();
  EXPECT_GT(held, 0) << clean.out;
  EXPECT_GE(clean.report["events"][0]["flows_moved"].get<double>(), 0.9 * held) << clean.out;
}

TEST(Churn, FlowsThatMoveForNoReasonAreFoundThoughRequestsSucceed) {
  const auto broken = run_until_judged(churn_scenario("nftables", datagrams, web_0_leaves,
                                                      "stale_backend, flows_stay",
                                                      "{kind: flows_flushed, environment: it}"));
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  EXPECT_EQ(service_verdicts(broken.report), (std::vector<std::string>{"pass", "fail"}))
      << broken.out;
  expect_hardly_any_failed(broken.report);
}

TEST(Churn, AKilledBackendIsFeltAsRefusalsUntilItIsNoticedAndIsBackForTheNextInvocation) {
  // It is about refusals: a machine that stands still for a quarter of a second must not end it.
  // That 300 ms are found against 200 is shown above.
  const auto ran =
      run_until_judged(churn_scenario("nftables", connects,
                                      "{at: 100ms, kind: kill, pod: web-1, noticed_after: 50ms}, "
                                      "{at: 400ms, kind: restart, pod: web-1}",
                                      "stale_backend", "") +
                       "stale_budget: 400ms\n");
  // Failures that an event accounts for are the answer, not trouble.
  EXPECT_EQ(ran.code, 0) << ran.code << ran.out << ran.err;
  ASSERT_EQ(ran.report["events"].size(), 2U) << ran.out << ran.err;
  const auto& kill = ran.report["events"][0];
  EXPECT_EQ(kill["judged_by"], "sender");
  EXPECT_GT(kill["failed"].value("refused", 0), 0) << ran.out;
  // Those are refused, not lost: nobody waits for a timeout.
  EXPECT_FALSE(kill["failed"].contains("timed_out")) << ran.out;
  EXPECT_TRUE(ran.report["events"][1]["failed"].empty()) << ran.out;
  // Every invocation begins with three backends that answer.
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_EQ(sample["answered_by"].size(), 3U) << sample;
  }
}

}  // namespace
