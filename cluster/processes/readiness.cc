#include "cluster/processes/readiness.h"

#include <charconv>

namespace cluster::processes {
namespace {

using base::Json;

// Members that may be missing from what a server answers.
const Json& member(const Json& object, const char* name) {
  static const Json nothing;
  if (!object.is_object()) return nothing;
  const auto found = object.find(name);
  return found == object.end() ? nothing : *found;
}

std::string text(const Json& object, const char* name) {
  const auto& found = member(object, name);
  return found.is_string() ? found.get<std::string>() : std::string();
}

std::string what_node_lacks(const Json& node) {
  const auto name = text(member(node, "metadata"), "name");
  std::string ready = "not Ready";
  for (const auto& condition : member(member(node, "status"), "conditions")) {
    if (text(condition, "type") != "Ready") continue;
    if (text(condition, "status") == "True") {
      ready.clear();
    } else {
      ready += ": " + text(condition, "message");
    }
  }
  if (!ready.empty()) return fmt::format("{}: {}", name, ready);
  for (const auto& taint : member(member(node, "spec"), "taints")) {
    const auto key = text(taint, "key");
    if (key.starts_with("node.kubernetes.io/")) return fmt::format("{}: tainted {}", name, key);
  }
  return {};
}

}  // namespace

std::string what_nodes_lack(const Json& list, int nodes) {
  const auto& items = member(list, "items");
  for (const auto& node : items) {
    if (auto lacks = what_node_lacks(node); !lacks.empty()) return lacks;
  }
  const auto found = static_cast<int>(items.size());
  return found == nodes ? std::string()
                        : fmt::format("{} of {} nodes are registered", found, nodes);
}

bool proxy_has_synced(std::string_view metrics) {
  constexpr std::string_view wanted = "kubeproxy_sync_proxy_rules_last_timestamp_seconds";
  bool found = false;
  while (!metrics.empty()) {
    const auto end = metrics.find('\n');
    const auto line = metrics.substr(0, end);
    metrics.remove_prefix(end == std::string_view::npos ? metrics.size() : end + 1);
    if (!line.starts_with(wanted)) continue;
    const auto value = line.substr(line.rfind(' ') + 1);
    double seconds = 0;
    std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (seconds <= 0) return false;
    found = true;
  }
  return found;
}

}  // namespace cluster::processes
