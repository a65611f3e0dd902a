#include "cluster/kubernetes/cilium_agents.h"

#include <algorithm>

#include <fmt/ranges.h>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/rights.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

constexpr std::string_view agent_selector = "k8s-app%3Dcilium";

Result<> check_may_ask(ApiClient& api, const CiliumAgents& agents, std::string_view who) {
  std::vector<Right> rights{
      {.verb = "list", .resource = "pods", .in_namespace = agents.in_namespace}};
  const auto exec = rights_to_exec(agents.in_namespace, agents.version);
  rights.insert(rights.end(), exec.begin(), exec.end());
  ASSIGN_OR_RETURN(const auto missing, missing_rights(api.options(), rights));
  if (missing.empty()) return {};
  return base::fail(ErrorKind::not_permitted,
                    "{} is asked in the pods of Cilium's agents, and these credentials may not {} "
                    "in namespace {}",
                    who, fmt::join(missing, ", "), agents.in_namespace);
}

}  // namespace

Result<std::vector<std::string>> find_cilium_agents(ApiClient& api, const CiliumAgents& agents,
                                                    std::string_view who) {
  RETURN_IF_ERROR(check_may_ask(api, agents, who));
  ASSIGN_OR_RETURN(const auto list,
                   api.get(fmt::format("/api/v1/namespaces/{}/pods?labelSelector={}",
                                       agents.in_namespace, agent_selector)));
  std::vector<std::string> pods;
  for (const auto& node : agents.nodes) {
    const auto& items = json_at(list, {"items"});
    const auto runs = [&](const Json& pod) {
      return text_at(pod, {"spec", "nodeName"}) == node &&
             text_at(pod, {"status", "phase"}) == "Running";
    };
    const auto found = std::ranges::find_if(items, runs);
    if (found == items.end()) {
      return base::fail(ErrorKind::missing,
                        "there is no agent of Cilium that runs on node {} (in {})", node,
                        agents.in_namespace);
    }
    pods.push_back(text_at(*found, {"metadata", "name"}));
  }
  return pods;
}

}  // namespace cluster
