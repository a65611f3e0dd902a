#include "cluster/kubernetes/pod_network.h"

#include "base/json.h"

namespace cluster {

base::Result<base::PodNetwork> read_pod_network(Agents& agents, const std::string& in_namespace,
                                                const std::string& pod) {
  ASSIGN_OR_RETURN(const auto text, agents.run(in_namespace, pod, {"network"}));
  ASSIGN_OR_RETURN(const auto json, base::parse_json(text));
  return base::from_json<base::PodNetwork>(json, "network");
}

}  // namespace cluster
