// Policies of other kinds: which pods they may select.
#include <array>

#include "checks/policy/oracle.h"

namespace checks {
namespace {

using base::Json;
using base::kube::LabelSelector;

// What the scope of an unmodelled kind is read from.
enum class SelectedBy { endpoint_selector, subject, expression };

struct Kind {
  std::string_view group;
  std::string_view kind;
  std::string_view spoken;  // where `kind` alone would be taken for another's
  SelectedBy by;
};

// Sources: docs.cilium.io, Network Policy; network-policy-api.sigs.k8s.io, API reference;
// docs.tigera.io, Calico resource definitions.
constexpr std::array kinds{
    Kind{"cilium.io", "CiliumNetworkPolicy", "CiliumNetworkPolicy", SelectedBy::endpoint_selector},
    Kind{"cilium.io", "CiliumClusterwideNetworkPolicy", "CiliumClusterwideNetworkPolicy",
         SelectedBy::endpoint_selector},
    Kind{"policy.networking.k8s.io", "AdminNetworkPolicy", "AdminNetworkPolicy",
         SelectedBy::subject},
    Kind{"policy.networking.k8s.io", "BaselineAdminNetworkPolicy", "BaselineAdminNetworkPolicy",
         SelectedBy::subject},
    Kind{"policy.networking.k8s.io", "ClusterNetworkPolicy", "ClusterNetworkPolicy",
         SelectedBy::subject},
    Kind{"projectcalico.org", "NetworkPolicy", "Calico NetworkPolicy", SelectedBy::expression},
    Kind{"projectcalico.org", "GlobalNetworkPolicy", "Calico GlobalNetworkPolicy",
         SelectedBy::expression},
    Kind{"crd.projectcalico.org", "NetworkPolicy", "Calico NetworkPolicy", SelectedBy::expression},
    Kind{"crd.projectcalico.org", "GlobalNetworkPolicy", "Calico GlobalNetworkPolicy",
         SelectedBy::expression}};

const Json* member(const Json& of, std::string_view name) {
  if (!of.is_object()) return nullptr;
  const auto found = of.find(name);
  return found == of.end() ? nullptr : &*found;
}

std::string text(const Json& of, std::string_view name) {
  const auto* found = member(of, name);
  return found != nullptr && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<LabelSelector> read_selector(const Json* json) {
  if (json == nullptr) return std::nullopt;
  auto selector = base::from_json<LabelSelector>(*json);
  return selector ? std::optional(std::move(*selector)) : std::nullopt;
}

// A label's key without Cilium's source of it; nothing where it is no label of a pod's own.
std::optional<std::string> pod_label(std::string key) {
  for (const std::string_view source : {"k8s:", "any:"}) {
    if (key.starts_with(source)) key.erase(0, source.size());
  }
  if (key.contains(':') || key.starts_with("io.kubernetes.") || key.starts_with("io.cilium.")) {
    return std::nullopt;
  }
  return key;
}

std::optional<LabelSelector> read_endpoint_selector(const Json& object) {
  const auto* spec = member(object, "spec");
  if (spec == nullptr || member(object, "specs") != nullptr) return std::nullopt;
  const auto raw = read_selector(member(*spec, "endpointSelector"));
  if (!raw) return std::nullopt;
  LabelSelector selector;
  for (const auto& [key, value] : raw->match_labels) {
    const auto label = pod_label(key);
    if (!label) return std::nullopt;
    selector.match_labels[*label] = value;
  }
  for (auto expression : raw->match_expressions) {
    const auto label = pod_label(expression.key);
    if (!label) return std::nullopt;
    expression.key = *label;
    selector.match_expressions.push_back(std::move(expression));
  }
  return selector;
}

void read_subject(const Json& object, UnmodelledPolicy& policy) {
  const auto* spec = member(object, "spec");
  const auto* subject = spec == nullptr ? nullptr : member(*spec, "subject");
  if (subject == nullptr) return;
  policy.namespace_selector = read_selector(member(*subject, "namespaces"));
  if (const auto* pods = member(*subject, "pods")) {
    policy.namespace_selector = read_selector(member(*pods, "namespaceSelector"));
    policy.pod_selector = read_selector(member(*pods, "podSelector"));
  }
}

}  // namespace

std::optional<UnmodelledPolicy> unmodelled_policy(const Json& object) {
  const auto api_version = text(object, "apiVersion");
  const auto group = std::string_view(api_version).substr(0, api_version.find('/'));
  for (const auto& kind : kinds) {
    if (kind.group != group || kind.kind != text(object, "kind")) continue;
    const Json none = Json::object();
    const auto* metadata = member(object, "metadata");
    if (metadata == nullptr) metadata = &none;
    UnmodelledPolicy policy{.kind = std::string(kind.spoken),
                            .name = text(*metadata, "name"),
                            .in_namespace = text(*metadata, "namespace")};
    switch (kind.by) {
      case SelectedBy::endpoint_selector:
        policy.pod_selector = read_endpoint_selector(object);
        break;
      case SelectedBy::subject:
        read_subject(object, policy);
        break;
      case SelectedBy::expression:
        break;  // a language of its own
    }
    return policy;
  }
  return std::nullopt;
}

}  // namespace checks
