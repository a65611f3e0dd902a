// The cluster's nodes, and which of them an environment gets.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/watch.h"
#include "cluster/target.h"

namespace cluster {

struct ClusterNode {
  std::string name;
  NodeHandle handle;  // its number, and its InternalIPs
};

// All nodes, by name. Errors: as ApiClient::get().
[[nodiscard]] base::Result<Objects> list_nodes(ApiClient& api);

// Why pods without tolerations cannot go there: "not Ready", "tainted node-role...:NoSchedule";
// empty where they can.
[[nodiscard]] std::string unusable_because(const base::Json& node);

// Why a node can be taken for gone: "node n2 is not Ready: Kubelet stopped posting node status.",
// "there is no node n2 any more"; nothing where it is Ready. Errors: as ApiClient::checked().
[[nodiscard]] base::Result<std::optional<std::string>> why_lost(ApiClient& api,
                                                                const std::string& node);

// The first `wanted` usable ones by name, numbered from 1. Errors: missing (too few; every other
// node is named with the reason).
[[nodiscard]] base::Result<std::vector<ClusterNode>> choose_nodes(const Objects& nodes, int wanted);

}  // namespace cluster
