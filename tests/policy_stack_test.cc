// NetworkPolicies where somebody enforces them: Calico's Felix. What the lab shows of known truth
// is asked of a real engine by the same scenario and the same command.
#include <fstream>

#include <gmock/gmock.h>

#include "tests/own_cluster.h"
#include "tests/verify_on_cluster.h"

namespace {

using testing::IsEmpty;
using tests::tools;

// Of scenarios/policy.yaml, in little: two namespaces, three isolated pods, one change.
constexpr std::string_view small_policy = R"(question: Does Felix enforce what is written?
topology:
  nodes: 2
  namespaces: {shop: {labels: {team: shop}}}
  pods:
    web:   {node: 1, namespace: shop, labels: {app: web}}
    db:    {node: 2, namespace: shop, labels: {app: db}}
    probe: {node: 2, labels: {app: probe}}
policy:
  ports:
    http:     {protocol: TCP, port: 8080}
    http-udp: {protocol: UDP, port: 8080}
  objects:
    - apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: {name: default-deny, namespace: shop}
      spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
    - apiVersion: networking.k8s.io/v1
      kind: NetworkPolicy
      metadata: {name: web, namespace: shop}
      spec:
        podSelector: {matchLabels: {app: web}}
        ingress: [{ports: [{port: http}]}]
  changes:
    - {name: open_web, delete: shop/web}
  repetitions: 3
  window: 1s
  budget: 900ms
  new_pods: [web-0]
checks: [policy_matrix, leak_window, new_pod_protected]
)";

class PolicyStack : public tests::OwnCluster {
 protected:
  void SetUp() override {
    OwnCluster::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    ASSERT_TRUE(std::filesystem::exists(tools / "go/calico/calico-felix"))
        << "run ./bootstrap test stack";
  }
  [[nodiscard]] std::vector<std::string> kubectl_words() const {
    return {(tools / "go/bin/kubectl").string(), "--kubeconfig=" + kubeconfig()};
  }
};

TEST_F(PolicyStack, FelixEnforcesWhatIsWrittenAndDefaultDenyHolds) {
  const auto up = stackbench({"up", "--name", "test", "--nodes", "2", "--cni", "calico"});
  ASSERT_EQ(up.code, 0) << up.err;
  std::printf("%s", up.out.c_str());

  const auto scenario = (home_ / "policy.yaml").string();
  const auto report_path = (home_ / "policy.json").string();
  std::ofstream(scenario) << small_policy;
  const auto ran = stackbench({"run", scenario, "--target", "kubernetes", "--out", report_path});
  std::printf("%s", ran.out.c_str());
  // 3: what a stall leaves open is inconclusive.
  EXPECT_TRUE(ran.code == 0 || ran.code == 3) << ran.err << ran.out;
  const auto text = base::read_file(report_path);
  ASSERT_TRUE(text) << ran.err;
  const auto report = base::parse_json(*text).value_or(base::Json());
  EXPECT_EQ(report["target_facts"]["policy_engine"]["name"], "Calico Felix");
  EXPECT_FALSE(report["checks"].empty());
  for (const auto& check : report["checks"]) {
    // While pods are made this machine may stall for longer than a leak may last unseen.
    const bool stalled = check["name"] == "new_pod_protected" && check["verdict"] == "inconclusive";
    if (!stalled) EXPECT_EQ(check["verdict"], "pass") << check;
  }
  ASSERT_EQ(report["policy"]["new_pods"].size(), 1U);
  EXPECT_EQ(report["policy"]["new_pods"][0]["packets"], 0) << report["policy"]["new_pods"];

  {
    const tests::Shop shop(kubectl_words());
    const std::vector<std::string> words{"--kubeconfig", kubeconfig(), "--yes", "--ephemeral",
                                         "--json"};
    const auto verified = tests::verify_shop(words);
    std::printf("%s", verified.err.c_str());
    EXPECT_EQ(verified.code, 0) << verified.err << verified.out;
    const auto cells = tests::cell_verdicts(verified.report);
    EXPECT_FALSE(cells.empty());
    for (const auto& [cell, verdict] : cells) EXPECT_EQ(verdict, "as_policies_say") << cell;

    // One that no policy selects any more is open, and is found.
    shop.does({"delete", "networkpolicy", "deny-all", "--namespace=shop"});
    EXPECT_EQ(tests::verify_shop(words).code, 1);
  }
  EXPECT_THAT(cluster::testing::left_behind(kubectl_words()), IsEmpty());
  const auto down = stackbench({"down", "--name", "test"});
  EXPECT_EQ(down.code, 0) << down.err;
  EXPECT_EQ(difference(), "");
}

}  // namespace
