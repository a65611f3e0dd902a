#include "stackbench/verify/live_world.h"

#include <algorithm>
#include <map>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/manifests.h"

namespace stackbench {
namespace {

using base::Json;
using base::Result;
using cluster::json_at;
using cluster::text_at;

constexpr std::string_view template_hash = "pod-template-hash";

bool has_ended(const Json& pod) {
  const auto phase = text_at(pod, {"status", "phase"});
  return phase == "Succeeded" || phase == "Failed";
}

bool is_of_ours(const Json& object) {
  const auto label = [&](std::string_view name) {
    return text_at(object, {"metadata", "labels", name});
  };
  return !label(cluster::run_label).empty() &&
         label(cluster::managed_by_label) == cluster::managed_by;
}

// "Deployment web": of a ReplicaSet's pods, what made the ReplicaSet, whose name only a hash
// follows.
std::string maker_of(const Json& pod) {
  const auto& owners = json_at(pod, {"metadata", "ownerReferences"});
  if (owners.is_array()) {
    for (const auto& owner : owners) {
      const auto& controls = json_at(owner, {"controller"});
      if (!controls.is_boolean() || !controls.get<bool>()) continue;
      const auto kind = text_at(owner, {"kind"});
      auto name = text_at(owner, {"name"});
      const auto hash = "-" + text_at(pod, {"metadata", "labels", template_hash});
      if (kind == "ReplicaSet" && hash.size() > 1 && name.ends_with(hash)) {
        name.resize(name.size() - hash.size());
        return "Deployment " + name;
      }
      return fmt::format("{} {}", kind, name);
    }
  }
  return "Pod " + text_at(pod, {"metadata", "name"});
}

void add_ports(const Json& container, std::vector<checks::NamedPort>& ports) {
  const auto& all = json_at(container, {"ports"});
  if (!all.is_array()) return;
  for (const auto& one : all) {
    const auto& number = json_at(one, {"containerPort"});
    if (!number.is_number_integer()) continue;
    const auto protocol = base::enum_from_name<base::kube::Protocol>(text_at(one, {"protocol"}));
    // Without a name, too: what it says it serves is knocked at.
    ports.push_back({.name = text_at(one, {"name"}),
                     .protocol = protocol.value_or(base::kube::Protocol::TCP),
                     .port = number.get<std::uint16_t>()});
  }
}

// What the peers of all rules select of these namespaces.
std::map<std::string, std::vector<std::string>> selected_by(
    const std::vector<base::kube::NetworkPolicy>& policies,
    const std::map<std::string, checks::Labels>& namespaces) {
  std::map<std::string, std::vector<std::string>> selected;
  const auto add = [&](const base::kube::NetworkPolicyPeer& peer) {
    if (!peer.namespace_selector || *peer.namespace_selector == base::kube::LabelSelector{}) return;
    auto& names = selected[checks::describe_selector(*peer.namespace_selector)];
    if (!names.empty()) return;
    for (const auto& [name, labels] : namespaces) {
      if (checks::selects(*peer.namespace_selector, labels)) names.push_back(name);
    }
  };
  for (const auto& policy : policies) {
    for (const auto& rule : policy.spec.ingress) std::ranges::for_each(rule.from, add);
    for (const auto& rule : policy.spec.egress) std::ranges::for_each(rule.to, add);
  }
  return selected;
}

}  // namespace

checks::PolicyPod policy_pod(const Json& pod) {
  checks::PolicyPod made{.name = text_at(pod, {"metadata", "name"}),
                         .in_namespace = text_at(pod, {"metadata", "namespace"}),
                         .labels = cluster::object_labels(pod),
                         .node = text_at(pod, {"spec", "nodeName"})};
  const auto& host = json_at(pod, {"spec", "hostNetwork"});
  made.host_network = host.is_boolean() && host.get<bool>();
  if (const auto& addresses = json_at(pod, {"status", "podIPs"}); addresses.is_array()) {
    for (const auto& one : addresses) {
      if (const auto address = base::IpAddress::parse(text_at(one, {"ip"}))) {
        made.addresses.push_back(*address);
      }
    }
  }
  if (const auto& containers = json_at(pod, {"spec", "containers"}); containers.is_array()) {
    for (const auto& container : containers) add_ports(container, made.named_ports);
  }
  // Those that stay beside them serve, too (core/v1 Container.restartPolicy).
  if (const auto& sidecars = json_at(pod, {"spec", "initContainers"}); sidecars.is_array()) {
    for (const auto& container : sidecars) {
      if (text_at(container, {"restartPolicy"}) == "Always") add_ports(container, made.named_ports);
    }
  }
  return made;
}

Result<LiveWorld> make_live_world(const cluster::LiveObjects& live) {
  LiveWorld made;
  auto& world = made.world;
  if (live.all_namespaces) {
    for (const auto& object : *live.all_namespaces) {
      if (is_of_ours(object)) continue;
      world.namespaces[text_at(object, {"metadata", "name"})] = cluster::object_labels(object);
    }
  }
  for (const auto& object : live.namespaces) {
    world.namespaces[text_at(object, {"metadata", "name"})] = cluster::object_labels(object);
  }
  std::map<std::pair<std::string, std::string>, std::vector<std::size_t>> makers;
  for (const auto& object : live.pods) {
    if (has_ended(object)) continue;
    auto pod = policy_pod(object);
    if (is_of_ours(object)) {
      made.of_ours.push_back(fmt::format("{}/{}", pod.in_namespace, pod.name));
      continue;
    }
    makers[{pod.in_namespace, maker_of(object)}].push_back(world.pods.size());
    world.pods.push_back(std::move(pod));
  }
  for (auto& [key, pods] : makers) {
    made.workloads.push_back(
        {.name = key.second, .in_namespace = key.first, .pods = std::move(pods)});
  }
  for (const auto& object : live.policies) {
    auto policy = base::kube::read_network_policy(object);
    if (policy) {
      world.policies.push_back(std::move(*policy));
      continue;
    }
    // A server newer than we are may have taken it.
    world.unmodelled.push_back(
        {.kind = fmt::format("NetworkPolicy that cannot be read ({})", policy.error().message),
         .name = text_at(object, {"metadata", "name"}),
         .in_namespace = text_at(object, {"metadata", "namespace"})});
  }
  if (live.all_namespaces) {
    made.selected_namespaces = selected_by(world.policies, world.namespaces);
  }
  for (const auto& object : live.others) {
    auto policy = checks::unmodelled_policy(object);
    world.unmodelled.push_back(
        policy
            ? std::move(*policy)
            : checks::UnmodelledPolicy{.kind = text_at(object, {"kind"}),
                                       .name = text_at(object, {"metadata", "name"}),
                                       .in_namespace = text_at(object, {"metadata", "namespace"})});
  }
  for (const auto& [kind, why] : live.unseen) {
    world.unmodelled.push_back(
        {.kind = fmt::format("{} (which cannot be looked at: {})", kind, why), .name = "any"});
  }
  return made;
}

}  // namespace stackbench
