// The scenario of tests of policies: small, and such that every fault shows.
#pragma once

#include <string>
#include <string_view>

#include <fmt/format.h>

namespace tests {

// `environments`, `faults`: as a scenario lists them; `more`: of its policy section.
inline std::string policy_scenario(std::string_view environments, std::string_view faults,
                                   std::string_view more, std::string_view checks) {
  return fmt::format(
      "question: Is it enforced?\n"
      "topology:\n"
      "  namespaces: {{shop: {{labels: {{team: shop}}}}}}\n"
      "  pods:\n"
      "    client: {{node: 1, namespace: shop, labels: {{app: client}}}}\n"
      "    db:     {{node: 1, namespace: shop, labels: {{app: db}}}}\n"
      "    web:    {{node: 2, namespace: shop, labels: {{app: web}}}}\n"
      "    probe:  {{node: 2, labels: {{app: probe}}}}\n"
      "environments: {{{}}}\n"
      "faults: [{}]\n"
      "policy:\n"
      "  ports:\n"
      "    http: {{port: 8080}}\n"
      "    admin: {{port: 8081}}\n"
      "    http-udp: {{protocol: UDP, port: 8080}}\n"
      "  matrix: {{timeout: 100ms}}\n"
      "  objects:\n"
      // A range, so that one port too many is 8081.
      "    - apiVersion: networking.k8s.io/v1\n"
      "      kind: NetworkPolicy\n"
      "      metadata: {{name: web, namespace: shop}}\n"
      "      spec:\n"
      "        podSelector: {{matchLabels: {{app: web}}}}\n"
      "        ingress:\n"
      "          - from: [{{podSelector: {{matchLabels: {{app: client}}}}}}]\n"
      "            ports: [{{port: 8079, endPort: 8080}}]\n"
      // The pods of node 1, and those of node 2 excepted.
      "    - apiVersion: networking.k8s.io/v1\n"
      "      kind: NetworkPolicy\n"
      "      metadata: {{name: db, namespace: shop}}\n"
      "      spec:\n"
      "        podSelector: {{matchLabels: {{app: db}}}}\n"
      "        policyTypes: [Ingress, Egress]\n"
      "        ingress:\n"
      "          - from: [{{ipBlock: {{cidr: 10.244.0.0/16, except: [10.244.2.0/24]}}}}]\n"
      "{}"
      "checks: [{}]\n",
      environments, faults, more, checks);
}

inline constexpr std::string_view policy_changes =
    "  repetitions: 2\n"
    "  watched_flows: 4\n"
    "  window: 110ms\n"
    "  new_pods: [db-0]\n"
    "  budget: 20ms\n"
    // What the lab's enforcement does: it drops what it denies, and tells nobody.
    "  established: {busy_tcp: stalled, udp: stalled}\n"
    "  changes:\n"
    "    - name: isolate\n"
    "      create:\n"
    "        apiVersion: networking.k8s.io/v1\n"
    "        kind: NetworkPolicy\n"
    "        metadata: {name: isolate}\n"
    "        spec: {podSelector: {matchLabels: {app: probe}}}\n"
    "    - {name: relabel, label_pod: {name: client-0, labels: {app: visitor}}}\n"
    "    - {name: renew, restart_pod: db-0}\n";

}  // namespace tests
