// Manifests verified in a lab: clean ones pass, and what is wrong in them or in whoever enforces
// them is found. Needs root.
#include <algorithm>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/testing/lab.h"
#include "stackbench/verify/lab.h"

namespace stackbench {
namespace {

using ::testing::HasSubstr;

// Two workloads in two namespaces, closed but for what they need: web asks db and the DNS, and is
// asked by the world outside.
constexpr std::string_view clean = R"(apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: red}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: it, ports: [{name: http, containerPort: 8080}]}]}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: data}
spec:
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: it, ports: [{name: sql, containerPort: 5432}]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: shop}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny, namespace: data}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress:
    - from: [{ipBlock: {cidr: 203.0.113.0/24}}, {ipBlock: {cidr: "2001:db8::/32"}}]
      ports: [{port: http}]
  egress:
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: data}}}]
      ports: [{port: sql}]
    - to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}}]
      ports: [{port: 53, protocol: UDP}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: data}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress:
    - from: [{namespaceSelector: {matchLabels: {team: red}}}]
      ports: [{port: sql}]
)";

class LabVerify : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = base::testing::no_lab_here()) GTEST_SKIP() << *why;
  }

  static VerifyResult verify(const std::string& manifests,
                             const std::vector<cluster::FaultKind>& faults = {}) {
    const auto result =
        verify_manifests({.cluster = {}, .namespaces = {"shop", "data"}},
                         {.manifests = {{"shop.yaml", manifests}},
                          .agent = STACKBENCH_BINARY_DIR "/stackbench-agent",
                          .faults = faults},
                         [](const std::string&) -> base::Result<bool> { return true; });
    EXPECT_TRUE(result) << base::describe_error(result.error());
    return result && *result ? **result : VerifyResult();
  }

  // What was seen, by "source to destination port protocol"; of the two families the more open.
  static std::map<std::string, CellVerdict> verdicts(const VerifyResult& result) {
    std::map<std::string, CellVerdict> all;
    for (const auto& judged : result.probing->cells) {
      const auto& target = judged.cell.target;
      const auto key =
          fmt::format("{} to {} {} {}", judged.cell.source_name, judged.cell.destination,
                      target.endpoint.port, base::enum_name(target.protocol));
      const auto [at, is_new] = all.try_emplace(key, judged.verdict);
      if (!is_new && judged.verdict == CellVerdict::open_though_denied) at->second = judged.verdict;
    }
    return all;
  }
};

TEST_F(LabVerify, CleanManifestsPassWithEveryPathAsTheySay) {
  const auto result = verify(std::string(clean));
  EXPECT_EQ(verdict_of(result), ClaimVerdict::pass) << render(result, {});
  ASSERT_TRUE(result.probing);
  std::map<std::string, checks::Allowance> expected;
  for (const auto& judged : result.probing->cells) {
    EXPECT_EQ(judged.verdict, CellVerdict::as_policies_say)
        << judged.cell.source_name << " to " << judged.cell.destination << ": "
        << base::enum_name(judged.seen) << ": " << judged.cell.why << judged.note;
    expected[fmt::format("{} to {} {} {}", judged.cell.source_name, judged.cell.destination,
                         judged.cell.target.endpoint.port,
                         base::enum_name(judged.cell.target.protocol))] = judged.cell.expected;
  }
  using checks::Allowance;
  EXPECT_EQ(expected.at("shop/Deployment web to data/StatefulSet db 5432 TCP"), Allowance::allowed);
  EXPECT_EQ(expected.at("data/StatefulSet db to shop/Deployment web 8080 TCP"), Allowance::denied);
  EXPECT_EQ(expected.at("outside of the cluster to shop/Deployment web 8080 TCP"),
            Allowance::allowed);
  EXPECT_EQ(expected.at("outside of the cluster to data/StatefulSet db 5432 TCP"),
            Allowance::denied);
  EXPECT_EQ(expected.at("shop/Deployment web to DNS kube-system/stackbench-dns 53 UDP"),
            Allowance::allowed);
  EXPECT_EQ(expected.at("data/StatefulSet db to outside of the cluster 443 TCP"),
            Allowance::denied);
}

TEST_F(LabVerify, AnUncoveredPodAndWhatIsNotEnforcedAreFound) {
  // The deny-all of data is gone, and db isolated in one direction only.
  auto uncovered = std::string(clean);
  const auto deny = uncovered.find("metadata: {name: deny, namespace: data}");
  uncovered.replace(uncovered.find("[Ingress, Egress]", deny), 17, "[Ingress]");
  const auto result = verify(uncovered, {cluster::FaultKind::policy_udp_egress_open,
                                         cluster::FaultKind::policy_port_too_wide});
  EXPECT_EQ(verdict_of(result), ClaimVerdict::fail);
  const auto text = render(result, {});
  EXPECT_THAT(text, HasSubstr("! egress: db-0: no NetworkPolicy selects it for egress"));
  EXPECT_THAT(text, HasSubstr("as manifests would make it: fail"));
  const auto seen = verdicts(result);
  EXPECT_EQ(seen.at("shop/Deployment web to outside of the cluster 47808 UDP"),
            CellVerdict::open_though_denied)
      << text;
  EXPECT_EQ(seen.at("shop/Deployment web to outside of the cluster 47808 TCP"),
            CellVerdict::as_policies_say);
}

}  // namespace
}  // namespace stackbench
