#include "stackbench/verify/lab_pods.h"

#include <algorithm>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/manifests.h"
#include "stackbench/verify/live_world.h"

namespace stackbench {
namespace {

using base::Json;
using base::Result;
using cluster::text_at;

constexpr std::string_view lab_environment = "verify";

bool has_host_network(const Json& pod) {
  const auto& host = cluster::json_at(pod, {"spec", "hostNetwork"});
  return host.is_boolean() && host.get<bool>();
}

// A pod as the lab is asked for it: the only one of its group.
cluster::PodSpec spec_of(const Json& object) {
  const auto pod = policy_pod(object);
  cluster::PodSpec spec{.node = pod.node.ends_with('2') ? 2 : 1,
                        .in_namespace = pod.in_namespace,
                        .labels = pod.labels};
  for (const auto& port : pod.named_ports) {
    // SCTP is not on this wire, and a port without a name is in no policy's words.
    if (port.name.empty() || port.protocol == base::kube::Protocol::SCTP) continue;
    spec.named_ports.push_back({.name = port.name,
                                .protocol = port.protocol == base::kube::Protocol::UDP
                                                ? base::Protocol::UDP
                                                : base::Protocol::TCP,
                                .port = port.port,
                                .target_port = port.port});
  }
  return spec;
}

// Of the plan's pods those that no manifest made.
Json object_of(const ProbePod& pod) {
  return {
      {"apiVersion", "v1"},
      {"kind", "Pod"},
      {"metadata", {{"name", pod.name}, {"namespace", pod.in_namespace}, {"labels", pod.labels}}},
      {"spec", {{"nodeName", pod.node}}},
      {"status", {{"phase", "Running"}}}};
}

void give_addresses(Json& pod, const std::vector<base::IpAddress>& addresses) {
  auto& all = pod["status"]["podIPs"] = Json::array();
  for (const auto& address : addresses) all.push_back({{"ip", address.to_string()}});
}

}  // namespace

std::vector<base::IpAddress> lab_outside_addresses() {
  return {*base::IpAddress::parse("203.0.113.7"), *base::IpAddress::parse("2001:db8::7")};
}

Result<LabPods> LabPods::bring_up(cluster::LabTarget& lab, cluster::LiveObjects& live,
                                  const ProbePlan& plan,
                                  const std::vector<base::Endpoint>& external,
                                  const std::vector<cluster::FaultKind>& faults) {
  LabPods made(lab);
  cluster::EnvironmentPlan environment{.name = std::string(lab_environment),
                                       .datapath = cluster::DatapathKind::direct,
                                       .topology = {.nodes = lab_nodes, .pods = {}, .services = {}},
                                       .ports = {},
                                       .faults = faults,
                                       .has_policies = true,
                                       .external_addresses = lab_outside_addresses()};
  for (const auto& endpoint : external) {
    auto& addresses = environment.external_addresses;
    if (std::ranges::find(addresses, endpoint.address) == addresses.end()) {
      addresses.push_back(endpoint.address);
    }
  }
  auto& topology = environment.topology;
  for (const auto& object : live.namespaces) {
    topology.namespaces[text_at(object, {"metadata", "name"})].labels =
        cluster::object_labels(object);
  }
  const auto add = [&](const Json& object) {
    const Key key{text_at(object, {"metadata", "namespace"}),
                  text_at(object, {"metadata", "name"})};
    const auto group = fmt::format("p{}", made.names_.size() + 1);
    topology.namespaces.try_emplace(key.first);
    topology.pods[group] = spec_of(object);
    made.names_[key] = group + "-0";
    made.pods_[key] = object;
  };
  for (const auto& pod : live.pods) {
    if (!has_host_network(pod)) add(pod);
  }
  for (const auto& pod : plan.elsewhere) add(object_of(pod));
  for (const auto& pod : plan.beside) {
    if (pod.role != ProbeRole::outside) add(object_of(pod));
  }
  // That one is always there.
  const auto fallback = topology.namespaces.extract(std::string(cluster::default_namespace));
  ASSIGN_OR_RETURN(const auto handle, lab.provision(environment));
  if (fallback) {
    RETURN_IF_ERROR(lab.set_labels(environment.name, cluster::LabelledKind::name_space,
                                   cluster::default_namespace, fallback.mapped().labels));
  }
  for (auto& [key, object] : made.pods_) {
    const auto pod = std::ranges::find(handle.pods, made.names_[key], &cluster::PodHandle::name);
    give_addresses(object, {pod->ipv4, pod->ipv6});
  }
  for (auto& pod : live.pods) {
    const auto found = made.pods_.find(
        {text_at(pod, {"metadata", "namespace"}), text_at(pod, {"metadata", "name"})});
    if (found != made.pods_.end()) pod = found->second;
  }
  made.elsewhere_ = handle.namespaces.at(plan.our_namespace).labels;
  Json outside = Json::object();
  give_addresses(outside, environment.external_addresses);
  const Key of_outside{"", std::string(cluster::external_client)};
  made.pods_[of_outside] = std::move(outside);
  made.names_[of_outside] = cluster::external_client;
  if (live.policies.empty()) return made;
  RETURN_IF_ERROR(lab.apply(environment.name, {{"apiVersion", "networking.k8s.io/v1"},
                                               {"kind", "NetworkPolicyList"},
                                               {"items", live.policies}}));
  return made;
}

Result<checks::Labels> LabPods::prepare() { return elsewhere_; }

Result<> LabPods::create(const ProbePod& pod) {
  if (pods_.contains({pod.in_namespace, pod.name})) return {};
  return base::fail(base::ErrorKind::input, "there is no pod {}/{}", pod.in_namespace, pod.name);
}

Result<Json> LabPods::await(const ProbePod& pod) { return pods_.at({pod.in_namespace, pod.name}); }

Result<cluster::AgentStreams> LabPods::agent(const ProbePod& pod) {
  return lab_->agent(lab_environment, names_.at({pod.in_namespace, pod.name}));
}

}  // namespace stackbench
