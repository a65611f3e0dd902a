// Whole runs on a real Kubernetes, by the command as a user calls it. The cluster is the one that
// $KUBECONFIG names (the fixture `kubernetes` of ctest), its kube-proxy in iptables mode.
#include <csignal>

#include <gmock/gmock.h>

#include "tests/on_cluster.h"
#include "tests/run_scenario.h"

namespace tests {
namespace {

using testing::AnyOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::vector<std::string> on_cluster{"--target", "kubernetes"};

constexpr std::string_view two_datapaths = R"(question: Does a cluster answer?
topology:
  nodes: 2
  pods:
    client: {node: 1}
    web:    {node: 2, replicas: 2}
  services:
    web: {target: web, type: NodePort}
environments:
  rules: {datapath: iptables}
  other: {datapath: nftables}
  there: {datapath: installed}
arms:
  - {name: bare,      dial: pod/web}
  - {name: pod,       in: rules, dial: pod/web}
  - {name: service,   in: rules, dial: service/web}
  - {name: node_port, in: there, dial: node_port/web@2}
  - {name: absent,    in: other, dial: service/web}
workloads:
  - {kind: tcp_rr,  duration: 40ms, warm_up: 10ms}
  - {kind: tcp_crr, duration: 40ms, warm_up: 10ms}
blocks: 6
checks: [translated_at]
expect:
  - {metric: rate, workload: tcp_rr, arm: service, at_least: 10/s}
  - {metric: rate, workload: tcp_rr, arm: absent, at_least: 10/s}
)";

const base::Json& named(const base::Json& all, std::string_view name) {
  static const base::Json none;
  for (const auto& one : all) {
    if (one["name"] == name) return one;
  }
  return none;
}

TEST(KubernetesRun, AnswersAndSkipsWhatTheClusterLacks) {
  const auto ran = run(std::string(two_datapaths), on_cluster);
  // On a busy machine it may be inconclusive, or call itself disturbed.
  EXPECT_THAT(ran.code, AnyOf(0, 3, 4)) << ran.err << ran.out;
  ASSERT_TRUE(ran.report.is_object()) << ran.err;
  EXPECT_EQ(ran.report["target"], "kubernetes");
  EXPECT_EQ(ran.report["errors"].size(), 0);
  EXPECT_THAT(ran.report["target_facts"]["kubernetes"].dump(), HasSubstr("v1.33"));
  EXPECT_EQ(ran.report["target_facts"]["cni"]["name"], "bridge");
  EXPECT_EQ(ran.report["drop_watch"]["watched"], true) << ran.report["drop_watch"];
  EXPECT_THAT(ran.report["drop_watch"]["seen_at"].get<std::string>(),
              HasSubstr("the node of client"));

  const auto& arms = ran.report["arms"];
  for (const auto* name : {"pod", "service", "node_port"}) {
    EXPECT_FALSE(named(arms, name).contains("skipped")) << name;
  }
  EXPECT_THAT(named(arms, "absent")["skipped"].get<std::string>(), HasSubstr("iptables mode"));
  EXPECT_THAT(named(arms, "bare")["skipped"].get<std::string>(), HasSubstr("direct is the lab's"));
  EXPECT_EQ(named(ran.report["environments"], "there")["datapath"], "iptables");
  EXPECT_EQ(ran.report["expectations"][1]["verdict"], "skip");

  // Two workloads each; a Service is translated on the node, seen at the pod's real veth.
  EXPECT_THAT(service_verdicts(ran.report), ElementsAre("pass", "pass"));
  for (const auto& check : ran.report["checks"]) EXPECT_EQ(check["verdict"], "pass") << check;
  for (const auto& sample : ran.report["samples"]) {
    EXPECT_TRUE(sample["errors"].empty()) << sample;
  }
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesRun, FindsThatNobodyEnforcesPolicies) {
  // On a cluster whose pods a bridge connects, policies are stored and no more.
  const auto ran = run(R"(question: Are policies enforced here?
topology:
  nodes: 2
  namespaces: {shop: {labels: {team: shop}}}
  pods:
    client: {node: 1}
    web:    {node: 2, namespace: shop, labels: {app: web}}
policy:
  ports:
    http:     {protocol: TCP, port: 80}
    http-udp: {protocol: UDP, port: 80}
  objects:
    - apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: {name: deny, namespace: shop}
      spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
  matrix: {timeout: 100ms, deadline: 2s}
  changes: [{name: renew, restart_pod: web-0}]
  new_pods: [web-0]
  repetitions: 2
checks: [policy_matrix, leak_window, new_pod_protected]
)",
                       on_cluster);
  EXPECT_EQ(ran.code, 1) << ran.err << ran.out;
  ASSERT_TRUE(ran.report.is_object()) << ran.err;
  EXPECT_EQ(ran.report["target_facts"]["policy_engine"]["name"], "none");
  std::map<std::string, std::string> verdicts;
  for (const auto& check : ran.report["checks"]) {
    verdicts[fmt::format("{} {}", check["name"].get<std::string>(), check.value("workload", ""))] =
        check["verdict"];
  }
  EXPECT_EQ(verdicts["policy_matrix "], "fail") << ran.report["checks"];
  EXPECT_EQ(verdicts["leak_window to_denied"], "fail") << ran.report["checks"];
  EXPECT_EQ(verdicts["new_pod_protected "], "fail") << ran.report["checks"];
  EXPECT_THAT(ran.out, HasSubstr("web-0"));
  // From the new pod's first instant, and to it: both are open.
  const auto& pods = ran.report["policy"]["new_pods"];
  ASSERT_EQ(pods.size(), 1U);
  EXPECT_GE(pods[0]["repetitions"], 2);
  EXPECT_TRUE(pods[0].contains("told_after_ns"));
  ASSERT_FALSE(pods[0]["flows"].empty());
  for (const auto& flow : pods[0]["flows"]) EXPECT_GT(flow["packets"], 0) << flow.dump(1);
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesRun, AContextThatIsNotThereIsOneClearError) {
  auto words = on_cluster;
  words.insert(words.end(), {"--context", "elsewhere"});
  const auto ran = run(std::string(two_datapaths), words);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("elsewhere"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesRun, AnImageThatIsNotThereIsNamedAndNothingIsLeft) {
  auto words = on_cluster;
  words.insert(words.end(), {"--agent-image", "stackbench-agent:none"});
  const auto ran = run(std::string(two_datapaths), words);
  EXPECT_EQ(ran.code, 2);
  EXPECT_THAT(ran.err, HasSubstr("stackbench-agent:none"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

TEST(KubernetesRun, WhatAKilledRunLeftIsCleaned) {
  const Folder folder;
  std::ofstream(folder.file("it.yaml")) << two_datapaths;
  std::vector<std::string> argv{command, "run", folder.file("it.yaml"), "--out",
                                folder.file("it.json")};
  argv.insert(argv.end(), on_cluster.begin(), on_cluster.end());
  auto process = base::Process::spawn({.argv = argv, .err = base::Stdio::null()});
  ASSERT_TRUE(process) << base::describe_error(process.error());
  ASSERT_TRUE(comes_true([] { return left_behind().find("pod/") != std::string::npos; }, patience))
      << "no pod was ever made";
  ASSERT_TRUE(process->signal(SIGKILL));
  ASSERT_TRUE(process->wait(patience));
  EXPECT_THAT(left_behind(), HasSubstr("namespace/stackbench-"));
  const auto cleaned =
      base::run({command, "clean", "--target", "kubernetes"}, {.timeout = patience});
  ASSERT_TRUE(cleaned) << base::describe_error(cleaned.error());
  EXPECT_EQ(cleaned->status.code, 0) << cleaned->err;
  EXPECT_THAT(cleaned->out, HasSubstr("removed"));
  EXPECT_THAT(left_behind(), IsEmpty());
}

}  // namespace
}  // namespace tests
