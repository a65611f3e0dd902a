// The check connection_table over whole runs: its planted fault and the clean twin. Needs root.
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/run_scenario.h"

namespace {

// Twenty flows take turns, one request at a time, so that no answer comes too late for its entry:
// in a table for sixteen every flow begins anew each time, and every request succeeds.
std::string flows_scenario(std::string_view datapath, std::string_view dial, std::string_view from,
                           std::string_view fault) {
  return fmt::format(
      "question: Does the table keep its connections?\n"
      "topology:\n"
      "  nodes: 2\n"
      "  pods: {{client: {{node: 1}}, web: {{node: 2, replicas: 2}}}}\n"
      "  services: {{web: {{target: web, type: LoadBalancer}}}}\n"
      "environments: {{it: {{datapath: {}}}}}\n"
      "arms:\n"
      "  - {{name: service, in: it, dial: {}, from: {}}}\n"
      "  - {{name: pod, in: it, dial: pod/web, from: {}}}\n"
      "workloads: [{{kind: udp_rr, duration: 60ms, warm_up: 5ms, rate: 400/s, connections: 20, "
      "timeout: 200ms}}]\n"
      "blocks: 6\n"
      "checks: [connection_table]\n"
      "faults: [{}]\n",
      datapath, dial, from, from, fault);
}

struct Through {
  std::string name;
  std::string datapath;
  std::string dial;
  std::string from;
};

class ConnectionTable : public ::testing::TestWithParam<Through> {
 protected:
  static tests::Ran run(std::string_view fault) {
    const auto& [name, datapath, dial, from] = GetParam();
    return tests::run(flows_scenario(datapath, dial, from, fault));
  }
};

INSTANTIATE_TEST_SUITE_P(, ConnectionTable,
                         ::testing::Values(Through{"ebpf_tc_from_a_pod", "ebpf_tc", "service/web",
                                                   "client"},
                                           Through{"ebpf_socket_from_outside", "ebpf_socket",
                                                   "load_balancer/web", "external"}),
                         [](const auto& tested) { return tested.param.name; });

TEST_P(ConnectionTable, KeepsEveryConnectionAndATooSmallOneIsFoundThoughEveryRequestSucceeds) {
  const auto clean = run("");
  EXPECT_EQ(tests::service_verdicts(clean.report), std::vector<std::string>{"pass"})
      << clean.out << clean.err;
  // An arm that goes through no table has no finding, not a pass.
  EXPECT_EQ(clean.report["checks"].size(), 1U);

  const auto broken = run("{kind: connection_table_too_small, environment: it}");
  EXPECT_EQ(tests::service_verdicts(broken.report), std::vector<std::string>{"fail"})
      << broken.out << broken.err;
  EXPECT_EQ(broken.code, 1) << broken.out << broken.err;
  const auto& evidence = broken.report["checks"][0]["evidence"];
  EXPECT_EQ(evidence["capacity"], 16);
  EXPECT_GT(evidence["evicted"], 0);
  for (const auto& sample : broken.report["samples"]) {
    EXPECT_GT(sample["requests"], 0);
    EXPECT_TRUE(sample["errors"].empty()) << base::dump_json(sample);
  }
}

}  // namespace
