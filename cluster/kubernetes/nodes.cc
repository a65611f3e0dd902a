#include "cluster/kubernetes/nodes.h"

#include <algorithm>

#include "base/units.h"
#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

ClusterNode node_of(const Json& object, int number) {
  ClusterNode node{.name = text_at(object, {"metadata", "name"}),
                   .handle = {.number = number, .ipv4 = {}, .ipv6 = {}}};
  const auto& addresses = json_at(object, {"status", "addresses"});
  if (!addresses.is_array()) return node;
  for (const auto& entry : addresses) {
    if (text_at(entry, {"type"}) != "InternalIP") continue;
    const auto address = base::IpAddress::parse(text_at(entry, {"address"}));
    if (!address) continue;
    auto& place =
        address->family == base::AddressFamily::ipv4 ? node.handle.ipv4 : node.handle.ipv6;
    if (place == base::IpAddress{.family = {}, .bytes = {}}) place = *address;
  }
  return node;
}

// The condition Ready; null where a node has none yet.
const Json& readiness_of(const Json& node) {
  static const Json none;
  const auto& conditions = json_at(node, {"status", "conditions"});
  if (!conditions.is_array()) return none;
  const auto found = std::ranges::find_if(
      conditions, [](const Json& condition) { return text_at(condition, {"type"}) == "Ready"; });
  return found == conditions.end() ? none : *found;
}

bool is_ready(const Json& node) { return text_at(readiness_of(node), {"status"}) == "True"; }

}  // namespace

Result<Objects> list_nodes(ApiClient& api) {
  ASSIGN_OR_RETURN(const auto list, api.get("/api/v1/nodes"));
  Objects nodes;
  if (const auto& items = json_at(list, {"items"}); items.is_array()) {
    for (const auto& node : items) nodes.emplace(object_key(node), node);
  }
  return nodes;
}

Result<std::optional<std::string>> why_lost(ApiClient& api, const std::string& node) {
  // A list of one: the right to list nodes is all that a run has to them.
  ASSIGN_OR_RETURN(const auto list,
                   api.get("/api/v1/nodes?fieldSelector=" + url_escape("metadata.name=" + node)));
  const auto& items = json_at(list, {"items"});
  if (!items.is_array() || items.empty()) {
    return fmt::format("there is no node {} any more", node);
  }
  if (is_ready(items.front())) return std::nullopt;
  return fmt::format("node {} is not Ready: {}", node,
                     text_at(readiness_of(items.front()), {"message"}));
}

std::string unusable_because(const Json& node) {
  if (!is_ready(node)) return "not Ready";
  const auto& cordoned = json_at(node, {"spec", "unschedulable"});
  if (cordoned.is_boolean() && cordoned.get<bool>()) return "cordoned";
  const auto& taints = json_at(node, {"spec", "taints"});
  if (!taints.is_array()) return {};
  for (const auto& taint : taints) {
    const auto effect = text_at(taint, {"effect"});
    if (effect == "NoSchedule" || effect == "NoExecute") {
      return fmt::format("tainted {}:{}", text_at(taint, {"key"}), effect);
    }
  }
  return {};
}

Result<std::vector<ClusterNode>> choose_nodes(const Objects& nodes, int wanted) {
  std::vector<ClusterNode> chosen;
  std::vector<std::string> others;
  int usable = 0;
  for (const auto& [name, node] : nodes) {
    const auto reason = unusable_because(node);
    if (!reason.empty()) {
      others.push_back(fmt::format("{} is {}", name, reason));
    } else if (++usable <= wanted) {
      chosen.push_back(node_of(node, usable));
    }
  }
  if (usable >= wanted) return chosen;
  return base::fail_with_mend(
      base::ErrorKind::missing,
      fmt::format("the scenario wants {} and the cluster has {} that take pods{}{}",
                  base::format_count(static_cast<std::uint64_t>(wanted), "node"), usable,
                  others.empty() ? "" : ": ", fmt::join(others, ", ")),
      "Add nodes to the cluster, or put more pods on one: --set topology.nodes and "
      "topology.pods.NAME.node.");
}

}  // namespace cluster
