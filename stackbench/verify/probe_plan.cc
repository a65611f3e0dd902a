#include "stackbench/verify/probe_plan.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/kube/network_policy.h"
#include "cluster/kubernetes/api_error.h"

namespace stackbench {
namespace {

using base::Json;
using checks::PolicyDirection;
using cluster::json_at;
using cluster::text_at;

constexpr std::array<std::string_view, 6> controllers_labels{
    "pod-template-hash",       "controller-revision-hash",
    "pod-template-generation", "apps.kubernetes.io/pod-index",
    "controller-uid",          "job-name"};
constexpr std::array<std::string_view, 2> controllers_prefixes{"statefulset.kubernetes.io/",
                                                               "batch.kubernetes.io/"};

// More would only cost time: of each pair of them a control is asked.
constexpr std::size_t most_nodes_probed = 4;

// Of a Service and of a ReplicationController it is a map, of the others a LabelSelector. One that
// is not there selects nothing.
std::optional<base::kube::LabelSelector> selector_of(const Json& object) {
  const auto& selector = json_at(object, {"spec", "selector"});
  if (!selector.is_object() || selector.empty()) return std::nullopt;
  const auto kind = text_at(object, {"kind"});
  if (kind != "Service" && kind != "ReplicationController") {
    auto read = base::from_json<base::kube::LabelSelector>(selector);
    return read ? std::optional(std::move(*read)) : std::nullopt;
  }
  base::kube::LabelSelector made;
  for (const auto& [name, value] : selector.items()) {
    if (value.is_string()) made.match_labels[name] = value.get<std::string>();
  }
  return made;
}

bool is_true(const Json& value) { return value.is_boolean() && value.get<bool>(); }

// Whether policies would do the same with a pod of these labels. Empty where they would.
std::string what_policies_miss(checks::PolicyWorld world, std::size_t original,
                               const checks::Labels& labels) {
  auto probe = world.pods[original];
  const auto name = probe.name;
  probe.name += "-probe";
  probe.labels = labels;
  world.pods.push_back(std::move(probe));
  const auto other = world.pods.size() - 1;
  for (const auto direction : {PolicyDirection::egress, PolicyDirection::ingress}) {
    if (checks::isolating(world, original, direction) !=
        checks::isolating(world, other, direction)) {
      return fmt::format(
          "policies select {} by labels that only its controller may put on pods, or that are ours",
          name);
    }
  }
  return {};
}

const Json* find_object(const std::vector<Json>& objects, const checks::PolicyPod& pod) {
  const auto found = std::ranges::find_if(objects, [&](const Json& object) {
    return text_at(object, {"metadata", "name"}) == pod.name &&
           text_at(object, {"metadata", "namespace"}) == pod.in_namespace;
  });
  return found == objects.end() ? nullptr : &*found;
}

std::vector<checks::NamedPort> ports_to_probe(const checks::PolicyPod& pod) {
  std::vector<checks::NamedPort> ports;
  std::set<std::pair<base::kube::Protocol, std::uint16_t>> seen;
  for (const auto& port : pod.named_ports) {
    if (port.protocol == base::kube::Protocol::SCTP || port.port == 0) continue;
    if (ports.size() == most_probed_ports) break;
    if (seen.emplace(port.protocol, port.port).second) ports.push_back(port);
  }
  for (const auto protocol : {base::kube::Protocol::TCP, base::kube::Protocol::UDP}) {
    if (!seen.emplace(protocol, undeclared_port).second) continue;
    ports.push_back({.name = {}, .protocol = protocol, .port = undeclared_port});
  }
  return ports;
}

}  // namespace

bool is_label_of_controllers(std::string_view label) {
  return std::ranges::find(controllers_labels, label) != controllers_labels.end() ||
         std::ranges::any_of(controllers_prefixes,
                             [&](std::string_view prefix) { return label.starts_with(prefix); });
}

std::string why_not_made(const cluster::LiveObjects& live, const std::string& in_namespace,
                         const checks::Labels& labels) {
  const auto selects = [&](const Json& object) {
    if (text_at(object, {"metadata", "namespace"}) != in_namespace) return false;
    const auto selector = selector_of(object);
    return selector && checks::selects(*selector, labels);
  };
  for (const auto& controller : live.controllers) {
    if (!selects(controller)) continue;
    return fmt::format("{} {} selects it and would take it for one of its own",
                       text_at(controller, {"kind"}), text_at(controller, {"metadata", "name"}));
  }
  for (const auto& service : live.services) {
    if (!is_true(json_at(service, {"spec", "publishNotReadyAddresses"})) || !selects(service)) {
      continue;
    }
    return fmt::format("Service {} publishes pods that are not ready, and would send it traffic",
                       text_at(service, {"metadata", "name"}));
  }
  return {};
}

ProbePlan plan_probes(const cluster::LiveObjects& live, const LiveWorld& world,
                      const std::string& run, const std::string& our_namespace,
                      const checks::Labels& labels_of_ours, bool ephemeral) {
  ProbePlan plan;
  for (const auto& workload : world.workloads) {
    const auto refuse = [&](std::string reason) {
      plan.unprobed.push_back({.workload = workload.to_string(), .reason = std::move(reason)});
    };
    const auto scheduled = std::ranges::find_if(
        workload.pods, [&](std::size_t pod) { return !world.world.pods[pod].node.empty(); });
    if (scheduled == workload.pods.end()) {
      refuse("none of its pods is on a node");
      continue;
    }
    const auto& pod = world.world.pods[*scheduled];
    if (pod.host_network) {
      refuse("it has its node's network, and NetworkPolicies need not hold for it");
      continue;
    }
    checks::Labels labels = labels_of_ours;
    for (const auto& [label, value] : pod.labels) {
      if (!is_label_of_controllers(label)) labels.try_emplace(label, value);
    }
    auto reason = why_not_made(live, pod.in_namespace, labels);
    if (reason.empty()) reason = what_policies_miss(world.world, *scheduled, labels);
    if (!reason.empty() && ephemeral) {
      plan.of_workloads.push_back({.joins = pod.name,
                                   .name = pod.name,
                                   .workload = workload.to_string(),
                                   .in_namespace = pod.in_namespace,
                                   .labels = pod.labels,
                                   .node = pod.node,
                                   .ports = ports_to_probe({.name = {}})});
      continue;
    }
    if (!reason.empty()) {
      refuse(reason + " (--ephemeral joins one of its pods instead)");
      continue;
    }
    ProbePod probe{.name = fmt::format("stackbench-{}-probe-{}", run, plan.of_workloads.size() + 1),
                   .workload = workload.to_string(),
                   .in_namespace = pod.in_namespace,
                   .labels = std::move(labels),
                   .node = pod.node,
                   .ports = ports_to_probe(pod)};
    if (const auto* object = find_object(live.pods, pod)) {
      if (const auto& tolerations = json_at(*object, {"spec", "tolerations"});
          tolerations.is_array()) {
        probe.tolerations = tolerations;
      }
    }
    plan.of_workloads.push_back(std::move(probe));
  }
  // Where its probe pods are, and where else its pods are: a rule may hold on one node and not on
  // another.
  std::set<std::string> nodes;
  for (const auto& probe : plan.of_workloads) nodes.insert(probe.node);
  for (const auto& pod : world.world.pods) {
    if (nodes.empty() || nodes.size() >= most_nodes_probed) break;
    if (!pod.node.empty()) nodes.insert(pod.node);
  }
  const Json any = Json::array({{{"operator", "Exists"}}});
  for (const auto& node : nodes) {
    plan.elsewhere.push_back({.name = fmt::format("elsewhere-{}", plan.elsewhere.size() + 1),
                              .workload = {},
                              .in_namespace = our_namespace,
                              .labels = labels_of_ours,
                              .node = node,
                              .tolerations = any,
                              .ports = ports_to_probe({.name = {}})});
  }
  return plan;
}

}  // namespace stackbench
