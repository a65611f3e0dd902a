// Whole runs in the lab with events: what clients notice when a backend leaves, and the two ways a
// datapath may be wrong about it while every request succeeds. Needs root.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include "tests/run_scenario.h"

namespace {

using ::testing::HasSubstr;
using tests::run;
using tests::service_verdicts;

// One Service with three pods under an open loop; `events` and `checks` as a scenario lists them.
std::string churn_scenario(std::string_view datapath, std::string_view workload,
                           std::string_view events, std::string_view checks,
                           std::string_view fault) {
  return fmt::format(
      "question: What do clients notice?\n"
      "topology:\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 3}}}}\n"
      "  services: {{web: {{target: web}}}}\n"
      "environments: {{it: {{datapath: {}}}}}\n"
      "arms: [{{name: service, in: it, dial: service/web}}]\n"
      "workloads: [{{{}, rate: 1000/s, warm_up: 50ms, timeout: 200ms}}]\n"
      "blocks: 6\n"
      "events: [{}]\n"
      "checks: [{}]\n"
      "faults: [{}]\n",
      datapath, workload, events, checks, fault);
}

constexpr std::string_view connects = "kind: tcp_crr, connections: 16, duration: 500ms";
constexpr std::string_view datagrams = "kind: udp_rr, connections: 60, duration: 400ms";
constexpr std::string_view web_0_leaves = "{at: 100ms, kind: unready, pod: web-0}";

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

class Leaving : public ::testing::TestWithParam<std::string> {};

TEST_P(Leaving, IsFeltInTimeAndAStaleBackendIsFoundThoughEveryRequestSucceeds) {
  const auto clean = run(churn_scenario(GetParam(), connects, web_0_leaves, "stale_backend", ""));
  EXPECT_EQ(service_verdicts(clean.report), std::vector<std::string>{"pass"})
      << clean.out << clean.err;
  EXPECT_EQ(failed(clean.report), 0U) << clean.out;
  const auto broken = run(churn_scenario(GetParam(), connects, web_0_leaves, "stale_backend",
                                         "{kind: stale_backend, environment: it}"));
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  EXPECT_EQ(service_verdicts(broken.report), std::vector<std::string>{"fail"}) << broken.out;
  EXPECT_EQ(failed(broken.report), 0U) << broken.out;
  ASSERT_EQ(broken.report["events"].size(), 1U);
  EXPECT_GE(broken.report["events"][0]["stale_median_ns"], 250'000'000) << broken.out;
}

INSTANTIATE_TEST_SUITE_P(, Leaving, ::testing::Values("iptables", "ebpf_socket", "ebpf_tc"),
                         [](const auto& instance) { return instance.param; });

class Flows : public ::testing::TestWithParam<std::string> {};

TEST_P(Flows, OfABackendThatLeavesMoveAndOthersStay) {
  const auto clean =
      run(churn_scenario(GetParam(), datagrams, web_0_leaves, "stale_backend, flows_stay", ""));
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

INSTANTIATE_TEST_SUITE_P(, Flows, ::testing::Values("iptables", "nftables", "ebpf_tc"),
                         [](const auto& instance) { return instance.param; });

TEST(Churn, FlowsThatMoveForNoReasonAreFoundThoughRequestsSucceed) {
  const auto broken =
      run(churn_scenario("nftables", datagrams, web_0_leaves, "stale_backend, flows_stay",
                         "{kind: flows_flushed, environment: it}"));
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  EXPECT_EQ(service_verdicts(broken.report), (std::vector<std::string>{"pass", "fail"}))
      << broken.out;
  expect_hardly_any_failed(broken.report);
}

TEST(Churn, ConnectedSocketsOfEbpfSocketStayWithABackendThatLeft) {
  const auto ran =
      run(churn_scenario("ebpf_socket", datagrams, web_0_leaves, "stale_backend, flows_stay", ""));
  EXPECT_EQ(service_verdicts(ran.report), (std::vector<std::string>{"skip", "pass"}))
      << ran.out << ran.err;
  EXPECT_THAT(ran.out, HasSubstr("bpf_sock_destroy"));
}

TEST(Churn, AKilledBackendIsFeltAsRefusalsUntilItIsNoticedAndIsBackForTheNextInvocation) {
  const auto ran = run(churn_scenario("nftables", connects,
                                      "{at: 100ms, kind: kill, pod: web-1, noticed_after: 50ms}, "
                                      "{at: 400ms, kind: restart, pod: web-1}",
                                      "stale_backend", ""));
  // Failures that an event accounts for are the answer, not trouble.
  EXPECT_TRUE(ran.code == 0 || ran.code == 4) << ran.code << ran.out << ran.err;
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
