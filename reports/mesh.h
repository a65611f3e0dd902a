// What a report says of a mesh: what its proxies cost and what encryption adds, each by itself.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/describe.h"
#include "base/scalar.h"
#include "base/terminal.h"
#include "reports/judgement.h"

namespace reports {

// What an arm has that its base arm has not.
enum class MeshCostOf {
  proxies,                 // proxies that pass on what they get, against none
  encryption,              // the same proxies with mutual TLS between them, against without
  proxies_and_encryption,  // proxies with mutual TLS, against none
};

// Total CPU of a request, client, servers and proxies together: by how much it is more than the
// base arm's, inside each block.
struct MeshCost {
  MeshCostOf of = MeshCostOf::proxies;
  std::string workload = {};
  std::string arm = {};
  std::string base_arm = {};
  double cpu_per_request_ns = 0;
  std::optional<Interval> interval = {};
  int blocks = 0;
};

template <typename Visit, base::SelfOf<MeshCost> Self>
void describe(Visit& visit, Self& self) {
  visit("of", self.of, {.doc = "What the arm has and its base arm has not.", .required = true});
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("base_arm", self.base_arm, {.doc = "The arm it is compared with.", .required = true});
  visit("cpu_per_request_ns", self.cpu_per_request_ns,
        {.doc = "CPU of client, servers and proxies together: how much more a request takes, "
                "Hodges-Lehmann estimate over blocks.",
         .required = true});
  visit("interval", self.interval, {.doc = "Exact signed-rank interval; absent under 6 blocks."});
  visit("blocks", self.blocks, {.doc = "Blocks behind it.", .required = true});
}

// One proxy under one workload.
struct ProxyCost {
  std::string workload = {};
  std::string arm = {};
  std::string pod = {};
  bool of_client = false;
  std::optional<int> cpu = {};  // it is pinned to
  double cpu_per_request_ns = 0;
  std::optional<Interval> interval = {};
  double vcpu_per_1000_rps = 0;  // as it is often said: at that rate of its own pod's requests
  std::int64_t memory_bytes = 0;
  double handshakes_per_connection = 0;
  double resumed_share = 0;  // of the handshakes
  int blocks = 0;
};

template <typename Visit, base::SelfOf<ProxyCost> Self>
void describe(Visit& visit, Self& self) {
  visit("workload", self.workload, {.doc = "The workload.", .required = true});
  visit("arm", self.arm, {.doc = "The arm.", .required = true});
  visit("pod", self.pod, {.doc = "The pod it is beside.", .required = true});
  visit("of_client", self.of_client, {.doc = "Beside the client; else beside a server."});
  visit("cpu", self.cpu, {.doc = "The core it is pinned to."});
  visit("cpu_per_request_ns", self.cpu_per_request_ns,
        {.doc = "CPU of its cgroup for each of the client's requests, borrowed softirq included.",
         .required = true});
  visit("interval", self.interval, {.doc = "Of cpu_per_request_ns."});
  visit("vcpu_per_1000_rps", self.vcpu_per_1000_rps,
        {.doc = "CPUs it keeps busy at 1,000 requests a second of its own pod's."});
  visit(
      "memory_bytes", self.memory_bytes,
      {.doc = "Middle of all after an invocation: in a lab the proportional set size, on a cluster "
              "what Envoy and istio-agent have resident."});
  visit("handshakes_per_connection", self.handshakes_per_connection,
        {.doc = "TLS handshakes with the other proxy for each of the client's connections, of a "
                "server for its share of them."});
  visit("resumed_share", self.resumed_share, {.doc = "How many of them resumed a session."});
  visit("blocks", self.blocks, {.doc = "Blocks behind it.", .required = true});
}

struct MeshRecord {
  std::vector<MeshCost> costs = {};
  std::vector<ProxyCost> proxies = {};
};

template <typename Visit, base::SelfOf<MeshRecord> Self>
void describe(Visit& visit, Self& self) {
  visit("costs", self.costs, {.doc = "Proxies and encryption, each by itself."});
  visit("proxies", self.proxies, {.doc = "Every proxy under every workload."});
}

// Both as tables.
[[nodiscard]] std::string mesh_text(const MeshRecord& mesh, const base::Terminal& terminal);

}  // namespace reports

template <>
struct base::EnumNames<reports::MeshCostOf> {
  static constexpr std::array names{
      std::pair{reports::MeshCostOf::proxies, std::string_view("proxies")},
      std::pair{reports::MeshCostOf::encryption, std::string_view("encryption")},
      std::pair{reports::MeshCostOf::proxies_and_encryption,
                std::string_view("proxies_and_encryption")}};
};
