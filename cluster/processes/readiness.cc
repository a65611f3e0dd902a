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

// Why a condition of an object is not true, "not Ready: its message"; nothing when it is.
std::string what_condition_lacks(const Json& object, std::string_view type) {
  auto lacks = fmt::format("not {}", type);
  for (const auto& condition : member(member(object, "status"), "conditions")) {
    if (text(condition, "type") != type) continue;
    if (text(condition, "status") == "True") return {};
    lacks += ": " + text(condition, "message");
  }
  return lacks;
}

std::string name_of(const Json& object) { return text(member(object, "metadata"), "name"); }

std::string what_node_lacks(const Json& node) {
  const auto name = name_of(node);
  if (const auto lacks = what_condition_lacks(node, "Ready"); !lacks.empty()) {
    return fmt::format("{}: {}", name, lacks);
  }
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

std::string what_definitions_lack(const Json& list) {
  for (const auto& definition : member(list, "items")) {
    const auto lacks = what_condition_lacks(definition, "Established");
    if (!lacks.empty()) return fmt::format("{}: {}", name_of(definition), lacks);
  }
  return {};
}

bool every_metric_is_positive(std::string_view metrics, std::string_view name) {
  bool found = false;
  while (!metrics.empty()) {
    const auto end = metrics.find('\n');
    const auto line = metrics.substr(0, end);
    metrics.remove_prefix(end == std::string_view::npos ? metrics.size() : end + 1);
    if (!line.starts_with(name)) continue;
    const auto text = line.substr(line.rfind(' ') + 1);
    double value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    if (value <= 0) return false;
    found = true;
  }
  return found;
}

bool proxy_has_synced(std::string_view metrics) {
  return every_metric_is_positive(metrics, "kubeproxy_sync_proxy_rules_last_timestamp_seconds");
}

}  // namespace cluster::processes
