#include "stackbench/verify/probe_plan.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <utility>

#include "base/kube/network_policy.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/topology.h"

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

// Of "Deployment web": whether makers of this kind select pods as why_not_made() knows, or not at
// all.
bool is_known_maker(std::string_view workload) {
  constexpr std::array<std::string_view, 9> kinds{
      "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "ReplicationController",
      "Job",        "CronJob",    "Pod",         "Node"};
  return std::ranges::find(kinds, workload.substr(0, workload.find(' '))) != kinds.end();
}

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

namespace {

// A workload's pods as policies may see them: one of each set of labels, but for those that
// controllers put there. Of equals one on a node that has the fewest probe pods so far.
std::vector<std::size_t> kinds_of_pods(const checks::PolicyWorld& world, const Workload& workload,
                                       std::map<std::string, std::size_t>& on_node) {
  std::map<checks::Labels, std::size_t> chosen;
  for (const auto pod : workload.pods) {
    const auto& one = world.pods[pod];
    if (one.node.empty()) continue;
    checks::Labels labels;
    for (const auto& [label, value] : one.labels) {
      if (!is_label_of_controllers(label)) labels.emplace(label, value);
    }
    const auto [at, is_new] = chosen.try_emplace(std::move(labels), pod);
    if (!is_new && on_node[one.node] < on_node[world.pods[at->second].node]) at->second = pod;
  }
  std::vector<std::size_t> pods;
  for (const auto& [labels, pod] : chosen) pods.push_back(pod);
  // In the order of the world, so that it is no accident which of many are left out.
  std::ranges::sort(pods);
  if (pods.size() > most_kinds_of_pods) pods.resize(most_kinds_of_pods);
  for (const auto pod : pods) ++on_node[world.pods[pod].node];
  return pods;
}

// What a workload is called where a pod of it stands for its like alone.
std::string name_among(const checks::PolicyWorld& world, const Workload& workload, std::size_t pod,
                       std::size_t kinds) {
  if (kinds == 1) return workload.to_string();
  return fmt::format("{} (as {})", workload.to_string(), world.pods[pod].name);
}

}  // namespace

namespace {

// A pod that stands for those like this one. Errors: input, why there can be none. Without a name
// where it is made anew.
base::Result<ProbePod> plan_probe(const cluster::LiveObjects& live,
                                  const checks::PolicyWorld& world, const Workload& workload,
                                  std::size_t original, const checks::Labels& labels_of_ours,
                                  bool ephemeral) {
  const auto& pod = world.pods[original];
  if (pod.host_network) {
    return base::fail(base::ErrorKind::input,
                      "it has its node's network, and NetworkPolicies need not hold for it");
  }
  checks::Labels labels = labels_of_ours;
  for (const auto& [label, value] : pod.labels) {
    if (!is_label_of_controllers(label)) labels.try_emplace(label, value);
  }
  auto reason = why_not_made(live, pod.in_namespace, labels);
  if (reason.empty() && !is_known_maker(workload.name)) {
    reason = fmt::format("{} is of a kind whose selector is not known, and may take it for its own",
                         workload.name);
  }
  if (reason.empty()) reason = what_policies_miss(world, original, labels);
  if (!reason.empty() && ephemeral) {
    return ProbePod{.joins = pod.name,
                    .name = pod.name,
                    .in_namespace = pod.in_namespace,
                    .labels = pod.labels,
                    .node = pod.node,
                    .ports = ports_to_probe({.name = {}})};
  }
  if (!reason.empty()) {
    return base::fail(base::ErrorKind::input, "{} (--ephemeral joins one of its pods instead)",
                      reason);
  }
  ProbePod probe{.name = {},
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
  return probe;
}

}  // namespace

ProbePlan plan_probes(const cluster::LiveObjects& live, const LiveWorld& world,
                      const std::string& run, const std::string& our_namespace,
                      const checks::Labels& labels_of_ours, bool ephemeral) {
  ProbePlan plan;
  plan.our_namespace = our_namespace;
  std::map<std::string, std::size_t> on_node;
  for (const auto& workload : world.workloads) {
    const auto kinds = kinds_of_pods(world.world, workload, on_node);
    if (kinds.empty()) {
      plan.unprobed.push_back(
          {.workload = workload.to_string(), .reason = "none of its pods is on a node"});
    }
    for (const auto kind : kinds) {
      auto name = name_among(world.world, workload, kind, kinds.size());
      auto probe = plan_probe(live, world.world, workload, kind, labels_of_ours, ephemeral);
      if (!probe) {
        plan.unprobed.push_back(
            {.workload = std::move(name), .reason = std::move(probe.error().message)});
        continue;
      }
      if (probe->name.empty()) {
        probe->name = fmt::format("stackbench-{}-probe-{}", run, plan.of_workloads.size() + 1);
      }
      probe->workload = std::move(name);
      plan.of_workloads.push_back(std::move(*probe));
    }
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
                              .role = ProbeRole::elsewhere,
                              .in_namespace = our_namespace,
                              .labels = labels_of_ours,
                              .node = node,
                              .tolerations = any,
                              .ports = ports_to_probe({.name = {}})});
  }
  return plan;
}

ProbePlan plan_lab_probes(const LiveWorld& world, const std::vector<std::uint16_t>& external) {
  ProbePlan plan{.our_namespace = std::string(lab_elsewhere)};
  std::map<std::string, std::size_t> on_node;
  for (const auto& workload : world.workloads) {
    const auto kinds = kinds_of_pods(world.world, workload, on_node);
    for (const auto kind : kinds) {
      const auto& pod = world.world.pods[kind];
      auto name = name_among(world.world, workload, kind, kinds.size());
      if (pod.host_network) {
        plan.unprobed.push_back(
            {.workload = std::move(name),
             .reason = "it has its node's network, and NetworkPolicies need not hold for it"});
        continue;
      }
      plan.of_workloads.push_back({.joins = pod.name,
                                   .name = pod.name,
                                   .workload = std::move(name),
                                   .in_namespace = pod.in_namespace,
                                   .labels = pod.labels,
                                   .node = pod.node,
                                   .ports = ports_to_probe(pod)});
    }
  }
  for (int node = 1; node <= lab_nodes; ++node) {
    plan.elsewhere.push_back({.name = fmt::format("elsewhere-{}", node),
                              .role = ProbeRole::elsewhere,
                              .in_namespace = plan.our_namespace,
                              .node = lab_node(node),
                              .ports = ports_to_probe({.name = {}})});
  }
  const checks::NamedPort dns_udp{
      .name = "dns", .protocol = base::kube::Protocol::UDP, .port = dns_port};
  const checks::NamedPort dns_tcp{
      .name = "dns-tcp", .protocol = base::kube::Protocol::TCP, .port = dns_port};
  plan.beside.push_back({.name = "stackbench-dns",
                         .role = ProbeRole::dns,
                         .in_namespace = std::string(system_namespace),
                         .labels = {{std::string(dns_label), std::string(dns_app)}},
                         .node = lab_node(1),
                         .ports = {dns_udp, dns_tcp}});
  ProbePod outside{.name = std::string(cluster::external_client),
                   .role = ProbeRole::outside,
                   .in_namespace = {},
                   .ports = ports_to_probe({.name = {}})};
  const std::set<std::uint16_t> served(external.begin(), external.end());
  for (const auto port : served) {
    if (port == undeclared_port) continue;
    outside.ports.push_back({.name = {}, .protocol = base::kube::Protocol::TCP, .port = port});
  }
  plan.beside.push_back(std::move(outside));
  return plan;
}

}  // namespace stackbench
