// The check connection_table over whole runs: its planted fault and the clean twin. Needs root.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

// Twenty flows take turns, one request at a time, so that no answer comes too late for its entry:
// in a table for sixteen every flow begins anew each time, and every request succeeds.
// Both are up at once, clean and broken.
std::string flows_scenario(std::string_view datapath, std::string_view dial,
                           std::string_view from) {
  return fmt::format(
      "question: Does the table keep its connections?\n"
      "topology:\n"
      "  nodes: 2\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 2}}}}\n"
      "  services: {{web: {{target: web, type: LoadBalancer}}}}\n"
      "environments: {{clean: {{datapath: {0}}}, broken: {{datapath: {0}}}}}\n"
      "arms:\n"
      "  - {{name: service, in: clean, dial: {1}, from: {2}}}\n"
      "  - {{name: pod, in: clean, dial: pod/web, from: {2}}}\n"
      "  - {{name: broken_service, in: broken, dial: {1}, from: {2}}}\n"
      "workloads: [{{kind: udp_rr, duration: 60ms, warm_up: 5ms, rate: 400/s, connections: 20, "
      "timeout: 200ms}}]\n"
      "blocks: 6\n"
      "checks: [connection_table]\n"
      "faults: [{{kind: connection_table_too_small, environment: broken}}]\n",
      datapath, dial, from);
}

struct Through {
  std::string name;
  std::string datapath;
  std::string dial;
  std::string from;
};

class ConnectionTable : public ::testing::TestWithParam<Through> {
 protected:
  static tests::Ran run() {
    const auto& [name, datapath, dial, from] = GetParam();
    return tests::run(flows_scenario(datapath, dial, from));
  }
};

INSTANTIATE_TEST_SUITE_P(, ConnectionTable,
                         ::testing::Values(Through{"ebpf_tc_from_a_pod", "ebpf_tc", "service/web",
                                                   "client"},
                                           Through{"ebpf_socket_from_outside", "ebpf_socket",
                                                   "load_balancer/web", "external"}),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(ConnectionTable, KeepsEveryConnectionAndATooSmallOneIsFoundThoughEveryRequestSucceeds) {
  const auto ran = run();
  EXPECT_EQ(ran.code, 1) << ran.out << ran.err;
  EXPECT_EQ(tests::service_verdicts(ran.report), std::vector<std::string>{"pass"})
      << ran.out << ran.err;
  // An arm that goes through no table has no finding, not a pass.
  ASSERT_EQ(ran.report["checks"].size(), 2U) << ran.out << ran.err;
  EXPECT_EQ(tests::verdicts_of(ran.report, "pod"), std::vector<std::string>{});

  EXPECT_EQ(tests::verdicts_of(ran.report, "broken_service"), std::vector<std::string>{"fail"})
      << ran.out << ran.err;
  for (const auto& check : ran.report["checks"]) {
    if (check["arm"] != "broken_service") continue;
    EXPECT_EQ(check["evidence"]["capacity"], 16);
    EXPECT_GT(check["evidence"]["evicted"], 0);
  }
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_GT(sample["requests"], 0);
    EXPECT_TRUE(sample["errors"].empty()) << base::dump_json(sample);
  }
}

}  // namespace
