// The mesh of an environment: what its namespaces are told before their pods are made, the pods
// that get a proxy and the one that has none, and what proxies count.
#include <algorithm>
#include <chrono>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/environment.h"
#include "cluster/kubernetes/proxy_stats.h"
#include "cluster/kubernetes/until.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;

// A connection that nobody uses ends a second later.
constexpr base::Duration connections_patience = std::chrono::seconds(20);
constexpr base::Duration look_again = std::chrono::milliseconds(100);

}  // namespace

void ClusterEnvironment::use_mesh(const IstioFacts& istio) { istio_ = istio; }

bool ClusterEnvironment::has_proxy(const PodHandle& pod) const {
  return istio_ && plan_.mesh && pod.name != external_client;
}

void ClusterEnvironment::add_client_outside_mesh() {
  if (!plan_.mesh) return;
  handle_.pods.push_back({.name = std::string(external_client),
                          .group = std::string(external_client),
                          .node = 1,
                          .ipv4 = {},
                          .ipv6 = {},
                          .id = static_cast<std::uint32_t>(handle_.pods.size() + 1)});
}

Result<> ClusterEnvironment::create_mesh_objects() {
  if (!plan_.mesh) return {};
  for (const auto& [name, place] : places_) {
    auto objects = mesh_objects(plan_.mesh->spec, place.in_namespace);
    if (std::ranges::find(plan_.faults, FaultKind::port_left_out_of_strict) != plan_.faults.end()) {
      for (auto& made : port_left_out(plan_, place.in_namespace)) {
        objects.push_back(std::move(made));
      }
    }
    for (const auto& made : objects) {
      const auto path =
          fmt::format("/apis/{}/namespaces/{}/{}/{}", made.api_version, place.in_namespace,
                      made.resource, text_at(made.object, {"metadata", "name"}));
      RETURN_IF_ERROR(api_->apply(path, own_manifest(place, made.object)));
    }
  }
  return {};
}

Result<> ClusterEnvironment::check_proxy(const PodHandle& pod, const Json& object) const {
  if (!has_proxy(pod)) return {};
  for (const auto* kind : {"initContainers", "containers"}) {
    const auto& list = json_at(object, {"spec", kind});
    if (!list.is_array()) continue;
    const auto is_proxy = [](const Json& one) { return text_at(one, {"name"}) == "istio-proxy"; };
    if (std::ranges::any_of(list, is_proxy)) return {};
  }
  return base::fail_with_mend(
      ErrorKind::missing,
      fmt::format("pod {} came back without a proxy, though it asks for one", object_name(pod)),
      "Does Istio's sidecar injector run, and does its webhook look at namespaces of this name?");
}

Result<std::string> ClusterEnvironment::proxy_metrics(const PodHandle& pod) const {
  ASSIGN_OR_RETURN(
      const auto answer,
      of_ours(api_->checked({.target = fmt::format("{}:{}/proxy/stats/prometheus", pod_path(pod),
                                                   proxy_stats_port)})));
  if (answer.body.is_string()) return answer.body.get<std::string>();
  return base::fail(ErrorKind::system, "the proxy of {} shows no statistics", pod.name);
}

Result<std::vector<ProxyCounters>> ClusterEnvironment::proxy_counters() const {
  std::vector<ProxyCounters> all;
  for (const auto& pod : handle_.pods) {
    if (!has_proxy(pod)) continue;
    ASSIGN_OR_RETURN(const auto metrics, proxy_metrics(pod));
    auto counters = read_proxy_counters(metrics);
    counters.pod = pod.name;
    all.push_back(std::move(counters));
  }
  return all;
}

std::vector<MeteredPod> ClusterEnvironment::metered_pods() const {
  std::vector<MeteredPod> all;
  for (const auto& pod : handle_.pods) {
    if (!has_proxy(pod)) continue;
    all.push_back({.name = pod.name, .uid = uids_.find(pod.name)->second, .node = node_of(pod)});
  }
  return all;
}

Result<> ClusterEnvironment::close_kept_connections() const {
  if (!plan_.mesh) return {};
  const auto until = Until::after(connections_patience, api_->options().interrupt);
  for (const auto& pod : handle_.pods) {
    if (!has_proxy(pod)) continue;
    for (;;) {
      ASSIGN_OR_RETURN(const auto metrics, proxy_metrics(pod));
      const auto open = read_open_proxy_connections(metrics);
      if (open == 0) break;
      if (until.passed()) {
        return base::fail(ErrorKind::timed_out,
                          "the proxy of {} keeps {} connections that nobody uses", pod.name, open);
      }
      RETURN_IF_ERROR(let_pass(look_again, until));
    }
  }
  return {};
}

Json ClusterEnvironment::mesh_facts() const {
  const auto& spec = plan_.mesh->spec;
  Json facts = istio_json(*istio_);
  facts["mode"] = base::enum_name(spec.mode);
  facts["session_resumption"] = base::enum_name(spec.session_resumption);
  facts["workers"] = spec.workers;
  return facts;
}

}  // namespace cluster
