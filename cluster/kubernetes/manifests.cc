#include "cluster/kubernetes/manifests.h"

#include <algorithm>
#include <array>

#include "base/kube/endpoint_slice.h"
#include "base/kube/network_policy.h"
#include "cluster/check_plan.h"
#include "cluster/kubernetes/api_error.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

// The image's user, which has no name on any machine.
constexpr int agent_user = 65532;
// Enough for an agent at rest; no limit, which would be measured.
// A request is a share of a busy node's CPUs as well: with much less a generator would be starved
// by any build beside it, with much more small nodes would have no room for a scenario's pods.
constexpr std::string_view cpu_request = "100m";
constexpr std::string_view memory_request = "32Mi";
constexpr std::string_view injection_label = "sidecar.istio.io/inject";
constexpr std::string_view label_prefix = "stackbench.io/";

Json labels_of(const Placement& place) {
  Json labels = {{managed_by_label, managed_by}, {run_label, place.run}};
  if (!place.environment.empty()) labels[std::string(environment_label)] = place.environment;
  return labels;
}

Json metadata_of(const Placement& place, const std::string& name) {
  Json annotations = Json::object();
  annotations[std::string(owner_annotation)] = place.owner;
  return {{"name", name},
          {"namespace", place.in_namespace},
          {"labels", labels_of(place)},
          {"annotations", std::move(annotations)}};
}

// By the node's name, which every cluster's nodes have; through the scheduler, so that what stands
// against it (taints, no room) is said.
Json pinned_to(const std::string& node) {
  const Json by_name = {
      {"matchFields",
       Json::array({{{"key", "metadata.name"}, {"operator", "In"}, {"values", {node}}}})}};
  return {{"nodeAffinity",
           {{"requiredDuringSchedulingIgnoredDuringExecution",
             {{"nodeSelectorTerms", Json::array({by_name})}}}}}};
}

Json agent_pod(const Placement& place, const std::string& name, const std::string& node,
               const std::string& image) {
  Json metadata = metadata_of(place, name);
  // A sidecar is a scenario's to ask for.
  metadata["labels"][std::string(injection_label)] = "false";
  const Json container = {
      {"name", agent_container},
      {"image", image},
      {"imagePullPolicy", "IfNotPresent"},
      {"command", {agent_path, "listen"}},
      {"resources", {{"requests", {{"cpu", cpu_request}, {"memory", memory_request}}}}},
      {"volumeMounts", Json::array({{{"name", "run"}, {"mountPath", "/run/stackbench"}}})}};
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", std::move(metadata)},
      {"spec",
       {{"affinity", pinned_to(node)},
        {"automountServiceAccountToken", false},
        // With thousands of Services they would fill the environment.
        {"enableServiceLinks", false},
        // An agent that died has lost its jobs: its run is told, and no new one takes its place.
        {"restartPolicy", "Never"},
        {"terminationGracePeriodSeconds", 1},
        {"containers", Json::array({container})},
        {"volumes", Json::array({{{"name", "run"}, {"emptyDir", Json::object()}}})}}}};
}

Json container_ports_of(const std::vector<ServicePort>& ports) {
  Json all = Json::array();
  for (const auto& port : ports) {
    Json one = {{"containerPort", port.target_port}, {"protocol", base::enum_name(port.protocol)}};
    if (!port.name.empty()) one["name"] = port.name;
    all.push_back(std::move(one));
  }
  return all;
}

// What runtimes give by default beside NET_RAW (containerd's list, pkg/oci/spec.go; CRI-O's is
// shorter and lacks that one). To add NET_RAW to none of them is what `baseline` refuses.
constexpr std::array default_capabilities{
    "AUDIT_WRITE",      "CHOWN",   "DAC_OVERRIDE", "FOWNER",  "FSETID", "KILL",      "MKNOD",
    "NET_BIND_SERVICE", "SETFCAP", "SETGID",       "SETPCAP", "SETUID", "SYS_CHROOT"};

// An agent's pod, as one of a group.
Json group_pod(const Placement& place, const std::string& name, const PodHandle& pod,
               const std::string& node, const std::string& image, const PodNeeds& needs) {
  Json manifest = agent_pod(place, name, node, image);
  auto& labels = manifest["metadata"]["labels"];
  for (const auto& [label, value] : pod.labels) {
    if (!labels.contains(label)) labels[label] = value;
  }
  labels[std::string(group_label)] = pod.group;
  auto& spec = manifest["spec"];
  spec["readinessGates"] = Json::array({{{"conditionType", readiness_gate}}});
  spec["securityContext"] = {{"seccompProfile", {{"type", "RuntimeDefault"}}}};
  Json capabilities = Json::object();
  switch (needs.rights) {
    case PodRights::none:
      spec["securityContext"]["runAsNonRoot"] = true;
      spec["securityContext"]["runAsUser"] = agent_user;
      spec["securityContext"]["runAsGroup"] = agent_user;
      capabilities["drop"] = {"ALL"};
      break;
    case PodRights::raw_packets:
      spec["securityContext"]["runAsUser"] = 0;
      capabilities["drop"] = default_capabilities;
      break;
  }
  spec["containers"][0]["securityContext"] = {{"allowPrivilegeEscalation", false},
                                              {"readOnlyRootFilesystem", true},
                                              {"capabilities", std::move(capabilities)}};
  if (!needs.agent_plan.empty()) {
    auto& command = spec["containers"][0]["command"];
    command.push_back("--plan");
    command.push_back(needs.agent_plan);
  }
  if (!needs.ports.empty()) {
    // A safe sysctl, which `restricted` admits.
    spec["securityContext"]["sysctls"] =
        Json::array({{{"name", "net.ipv4.ip_unprivileged_port_start"}, {"value", "0"}}});
    spec["containers"][0]["ports"] = container_ports_of(needs.ports);
  }
  return manifest;
}

Json ports_of(const std::vector<ServicePort>& ports) {
  Json all = Json::array();
  for (const auto& port : ports) {
    all.push_back({{"name", port.name},
                   {"protocol", base::enum_name(port.protocol)},
                   {"port", port.port},
                   {"targetPort", port.target_port}});
  }
  return all;
}

Json slice_ports_of(const std::vector<ServicePort>& ports) {
  Json all = Json::array();
  for (const auto& port : ports) {
    all.push_back({{"name", port.name},
                   {"protocol", base::enum_name(port.protocol)},
                   {"port", port.target_port}});
  }
  return all;
}

std::string_view family_name(base::AddressFamily family) {
  return family == base::AddressFamily::ipv4 ? "IPv4" : "IPv6";
}

std::string path_of(std::string_view group, const Placement& place, std::string_view resource) {
  if (place.in_namespace.empty()) return fmt::format("{}/{}", group, resource);
  return fmt::format("{}/namespaces/{}/{}", group, place.in_namespace, resource);
}

}  // namespace

Result<Placement> place(const std::string& run, const std::string& environment,
                        const std::string& owner, const std::string& in_namespace) {
  std::string name =
      fmt::format("stackbench-{}{}{}", run, environment.empty() ? "" : "-", environment);
  std::ranges::replace(name, '_', '-');
  if (!base::kube::is_dns_label(name)) {
    return base::fail_with_mend(
        base::ErrorKind::input,
        fmt::format("environment {}: \"{}\" cannot be the name of a namespace", environment, name),
        "Choose a name for it of at most 40 letters and digits that ends with one.");
  }
  Placement placement{.run = run, .environment = environment, .owner = owner, .in_namespace = {}};
  if (in_namespace.empty()) {
    placement.in_namespace = std::move(name);
  } else {
    placement.in_namespace = in_namespace;
    placement.own_namespace = false;
    placement.prefix = name + "-";
  }
  return placement;
}

std::string environment_selector(const Placement& place) {
  if (place.environment.empty()) {
    return fmt::format("{}={},!{}", run_label, place.run, environment_label);
  }
  return fmt::format("{}={},{}={}", run_label, place.run, environment_label, place.environment);
}

std::string pods_path(const Placement& place) { return path_of("/api/v1", place, "pods"); }
std::string jobs_path(const Placement& place) { return path_of("/apis/batch/v1", place, "jobs"); }
std::string services_path(const Placement& place) { return path_of("/api/v1", place, "services"); }
std::string slices_path(const Placement& place) {
  return path_of("/apis/discovery.k8s.io/v1", place, "endpointslices");
}

std::string policies_path(const Placement& place) {
  return path_of("/apis/networking.k8s.io/v1", place, "networkpolicies");
}

Result<Placement> place_in(const Placement& place, const std::string& name) {
  Placement there = place;
  if (name == default_namespace) return there;
  there.in_namespace = fmt::format("{}-{}", place.in_namespace, name);
  if (base::kube::is_dns_label(there.in_namespace)) return there;
  return base::fail_with_mend(
      base::ErrorKind::input,
      fmt::format("environment {}, namespace {}: \"{}\" cannot be the name of a namespace",
                  place.environment, name, there.in_namespace),
      "Choose names for both of at most 40 letters and digits together.");
}

bool is_label_of_ours(std::string_view label) {
  return label == managed_by_label || label == injection_label || label.starts_with(label_prefix);
}

Json namespace_manifest(const Placement& place, std::string_view pod_security,
                        const std::map<std::string, std::string>& labels,
                        const std::string& called) {
  Json metadata = metadata_of(place, place.in_namespace);
  metadata.erase("namespace");
  for (const auto& [label, value] : labels) {
    if (!metadata["labels"].contains(label)) metadata["labels"][label] = value;
  }
  if (!called.empty()) metadata["labels"][std::string(namespace_label)] = called;
  metadata["labels"]["pod-security.kubernetes.io/enforce"] = pod_security;
  // With it not even a pod that asks for a proxy gets one.
  if (!place.in_mesh) metadata["labels"]["istio-injection"] = "disabled";
  return {{"apiVersion", "v1"}, {"kind", "Namespace"}, {"metadata", std::move(metadata)}};
}

Json pod_manifest(const Placement& place, const PodHandle& pod, const std::string& node,
                  const std::string& image, const PodNeeds& needs) {
  return group_pod(place, place.name(pod.name), pod, node, image, needs);
}

Json generators_manifest(const Placement& place, const PodHandle& first, int generators,
                         const std::string& node, const std::string& image, const PodNeeds& needs) {
  const auto name = place.name(first.group);
  Json pod = group_pod(place, name, first, node, image, needs);
  pod["metadata"].erase("name");
  pod["metadata"].erase("namespace");
  return {{"apiVersion", "batch/v1"},
          {"kind", "Job"},
          {"metadata", metadata_of(place, name)},
          {"spec",
           {{"completionMode", "Indexed"},
            {"completions", generators},
            {"parallelism", generators},
            {"backoffLimit", 0},
            {"template", {{"metadata", pod["metadata"]}, {"spec", pod["spec"]}}}}}};
}

Json observer_manifest(const Placement& place, const std::string& name, const std::string& node,
                       const std::string& image) {
  Json manifest = agent_pod(place, name, node, image);
  auto& spec = manifest["spec"];
  spec["hostNetwork"] = true;
  // It must run where a pod it looks at does.
  spec["tolerations"] = Json::array({{{"operator", "Exists"}}});
  // Capabilities reach only root's processes.
  spec["securityContext"] = {{"runAsUser", 0}};
  spec["containers"][0]["securityContext"] = {
      {"allowPrivilegeEscalation", false},
      {"readOnlyRootFilesystem", true},
      {"capabilities", {{"drop", {"ALL"}}, {"add", {"BPF", "PERFMON", "NET_ADMIN", "NET_RAW"}}}},
      // bpf(2) is not in the runtime's default profile.
      {"seccompProfile", {{"type", "Unconfined"}}}};
  return manifest;
}

Json meter_manifest(const Placement& place, const std::string& name, const std::string& node,
                    const std::string& image) {
  Json manifest = agent_pod(place, name, node, image);
  auto& spec = manifest["spec"];
  spec["hostPID"] = true;
  spec["tolerations"] = Json::array({{{"operator", "Exists"}}});
  spec["securityContext"] = {{"runAsUser", agent_user},
                             {"runAsGroup", agent_user},
                             {"runAsNonRoot", true},
                             {"seccompProfile", {{"type", "RuntimeDefault"}}}};
  spec["containers"][0]["securityContext"] = {{"allowPrivilegeEscalation", false},
                                              {"readOnlyRootFilesystem", true},
                                              {"capabilities", {{"drop", {"ALL"}}}}};
  return manifest;
}

Json service_manifest(const Placement& place, const std::string& name, const ServiceSpec& spec,
                      const std::vector<ServicePort>& ports) {
  Json selector = Json::object();
  selector[std::string(run_label)] = place.run;
  selector[std::string(environment_label)] = place.environment;
  selector[std::string(group_label)] = spec.target;
  Json service = {{"type", base::enum_name(spec.type)},
                  {"selector", std::move(selector)},
                  {"ports", ports_of(ports)},
                  {"sessionAffinity", base::enum_name(spec.session_affinity)},
                  {"ipFamilyPolicy", "PreferDualStack"}};
  if (spec.type != ServiceType::ClusterIP) {
    service["externalTrafficPolicy"] = base::enum_name(spec.external_traffic_policy);
  }
  Json metadata = metadata_of(place, place.name(name));
  metadata["labels"][std::string(group_label)] = spec.target;
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata", std::move(metadata)},
          {"spec", std::move(service)}};
}

Json filler_service_manifest(const Placement& place, const EnvironmentPlan& plan, int number) {
  return {{"apiVersion", "v1"},
          {"kind", "Service"},
          {"metadata", metadata_of(place, place.name(filler_name(plan.filler, number)))},
          {"spec",
           {{"type", "ClusterIP"},
            {"ports", ports_of(plan.ports)},
            {"ipFamilyPolicy", "SingleStack"},
            {"ipFamilies", {family_name(plan.filler.family)}}}}};
}

Json filler_slice_manifest(const Placement& place, const EnvironmentPlan& plan, int number,
                           const base::IpAddress& pod, const std::string& node) {
  const auto name = place.name(filler_name(plan.filler, number));
  Json metadata = metadata_of(place, name);
  metadata["labels"][std::string(base::kube::service_name_label)] = name;
  metadata["labels"]["endpointslice.kubernetes.io/managed-by"] = "stackbench";
  return {{"apiVersion", "discovery.k8s.io/v1"},
          {"kind", "EndpointSlice"},
          {"metadata", std::move(metadata)},
          {"addressType", family_name(pod.family)},
          {"endpoints", Json::array({{{"addresses", {pod.to_string()}},
                                      {"conditions", {{"ready", true}}},
                                      {"nodeName", node}}})},
          {"ports", slice_ports_of(plan.ports)}};
}

Json own_manifest(const Placement& place, const Json& object) {
  Json own = object;
  auto& metadata = own["metadata"];
  for (const auto* field : {"resourceVersion", "uid", "managedFields"}) metadata.erase(field);
  metadata["name"] = place.name(text_at(object, {"metadata", "name"}));
  metadata["namespace"] = place.in_namespace;
  metadata["labels"][std::string(managed_by_label)] = managed_by;
  metadata["labels"][std::string(run_label)] = place.run;
  metadata["labels"][std::string(environment_label)] = place.environment;
  metadata["annotations"][std::string(owner_annotation)] = place.owner;
  const bool is_policy = text_at(object, {"kind"}) == base::kube::network_policy_kind;
  // Where none are named the server names some (API reference, NetworkPolicySpec.policyTypes), and
  // keeps them as nobody's own when it is applied again: a policy whose egress rules went would
  // isolate its pods for egress still. So they are always ours.
  if (is_policy && !json_at(own, {"spec", "policyTypes"}).is_array()) {
    own["spec"]["policyTypes"] = Json::array({"Ingress"});
    const auto& egress = json_at(own, {"spec", "egress"});
    if (egress.is_array() && !egress.empty()) own["spec"]["policyTypes"].push_back("Egress");
  }
  // Nobody else's pods: in a namespace that others share, an empty selector would be theirs, too.
  if (is_policy && !place.own_namespace) {
    auto& ours = own["spec"]["podSelector"]["matchLabels"];
    ours[std::string(run_label)] = place.run;
    ours[std::string(environment_label)] = place.environment;
  }
  return own;
}

Json readiness_patch(bool in_service) {
  return {{"status",
           {{"conditions", Json::array({{{"type", readiness_gate},
                                         {"status", in_service ? "True" : "False"}}})}}}};
}

}  // namespace cluster
