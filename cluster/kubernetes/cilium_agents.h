// Cilium's own agents, a pod on each node: what they know is told by programs in their image, run
// by exec in pods that are not ours, by whoever may.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cluster/kubernetes/api_client.h"

namespace cluster {

// Where they are where nothing else is known, and the container in them.
inline constexpr std::string_view cilium_namespace = "kube-system";
inline constexpr std::string_view cilium_container = "cilium-agent";

struct CiliumAgents {
  std::string in_namespace;
  std::string version;          // of the API server: "v1.33.6"
  std::set<std::string> nodes;  // whose agents
};

// The agent's pod of each node, in their order. `who`: what is asked there, for errors ("Hubble").
// Errors: not_permitted (naming each right that is missing), missing (a node without an agent that
// runs), and as ApiClient's.
[[nodiscard]] base::Result<std::vector<std::string>> find_cilium_agents(ApiClient& api,
                                                                        const CiliumAgents& agents,
                                                                        std::string_view who);

}  // namespace cluster
