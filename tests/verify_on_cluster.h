// A namespace of somebody else's on a cluster, with workloads in it, for tests of `stackbench
// verify`; and the command, as a user calls it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <gmock/gmock.h>

#include "tests/on_cluster.h"
#include "tests/run_scenario.h"

namespace tests {

// Of a Deployment web of two pods and a StatefulSet db of one, each isolated in both directions;
// web may be reached at TCP 80 and may reach db at TCP 5432.
inline constexpr std::string_view shop_manifest = R"(apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: it
          image: stackbench-agent:0.1.0
          ports: [{name: http, containerPort: 80}]
          volumeMounts: [{name: run, mountPath: /run/stackbench}]
      volumes: [{name: run, emptyDir: {}}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: it
          image: stackbench-agent:0.1.0
          ports: [{name: sql, containerPort: 5432}]
          volumeMounts: [{name: run, mountPath: /run/stackbench}]
      volumes: [{name: run, emptyDir: {}}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  policyTypes: [Ingress, Egress]
  ingress: [{ports: [{port: http}]}]
  egress: [{to: [{podSelector: {matchLabels: {app: db}}}], ports: [{port: sql}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db}
spec:
  podSelector: {matchLabels: {app: db}}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: sql}]}]
)";

class Shop {
 public:
  // `kubectl`: the program and its flags. With its pods on their nodes.
  explicit Shop(std::vector<std::string> kubectl = {"kubectl"}) : kubectl_(std::move(kubectl)) {
    does({"create", "namespace", "shop"});
    does({"apply", "--namespace=shop", "--filename=-"}, std::string(shop_manifest));
    does({"rollout", "status", "deployment/web", "--namespace=shop", "--timeout=60s"});
    does({"rollout", "status", "statefulset/db", "--namespace=shop", "--timeout=60s"});
  }
  ~Shop() { does({"delete", "namespace", "shop", "--wait=false"}); }
  Shop(const Shop&) = delete;
  Shop& operator=(const Shop&) = delete;

  void does(const std::vector<std::string>& words, const std::string& in = {}) const {
    auto argv = kubectl_;
    argv.insert(argv.end(), words.begin(), words.end());
    const auto done = base::run(argv, {.stdin_text = in, .timeout = patience});
    ASSERT_TRUE(done) << base::describe_error(done.error());
    EXPECT_EQ(done->status.code, 0) << words.front() << ": " << done->err;
  }

 private:
  std::vector<std::string> kubectl_;
};

// `stackbench verify default-deny -n shop`, with more words; its report where --json is among them.
inline Ran verify_shop(const std::vector<std::string>& words) {
  std::vector<std::string> argv{command, "verify", "default-deny", "-n", "shop"};
  argv.insert(argv.end(), words.begin(), words.end());
  const auto result = base::run(argv, {.timeout = patience});
  if (!result) {
    ADD_FAILURE() << base::describe_error(result.error());
    return {};
  }
  return {result->status.code, result->out, result->err,
          base::parse_json(result->out).value_or(base::Json())};
}

// Of the probed cells, by "source to destination port protocol", the verdict.
inline std::map<std::string, std::string> cell_verdicts(const base::Json& report) {
  std::map<std::string, std::string> verdicts;
  for (const auto& cell : report["probes"]["cells"]) {
    const auto endpoint = cell["endpoint"].get<std::string>();
    verdicts[fmt::format(
        "{} to {} {} {}", cell["source"].get<std::string>(), cell["destination"].get<std::string>(),
        endpoint.substr(endpoint.rfind(':') + 1), cell["protocol"].get<std::string>())] =
        cell["verdict"];
  }
  return verdicts;
}

}  // namespace tests
