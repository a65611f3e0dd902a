// The mesh of an environment: what its namespaces are told before their pods are made, the pods
// that get a proxy and the one that has none, and what proxies count.
#include <algorithm>
#include <chrono>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/environment.h"
#include "cluster/kubernetes/istio_identities.h"
#include "cluster/kubernetes/proxy_stats.h"
#include "cluster/kubernetes/until.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using std::chrono::seconds;

// Istio's own program in a proxy's container; images need not say where programs are looked for.
constexpr std::string_view proxy_agent = "/usr/local/bin/pilot-agent";
// A connection that nobody uses ends a second later.
constexpr base::Duration connections_patience = std::chrono::seconds(20);
constexpr base::Duration look_again = std::chrono::milliseconds(100);
// A proxy that is told to end does so at once; the answer goes with it.
constexpr base::Duration envoy_patience = std::chrono::seconds(10);
// For a renewal, beside what certificates last.
constexpr base::Duration renewal_patience = std::chrono::seconds(20);
// The kubelet starts the first anew at once, and later ones after 10 s, 20 s, 40 s and so on.
constexpr base::Duration restart_patience = std::chrono::minutes(2);

}  // namespace

void ClusterEnvironment::use_mesh(const IstioFacts& istio) { istio_ = istio; }

bool ClusterEnvironment::has_proxy(const PodHandle& pod) const {
  const auto labels = pod_labels_.find(pod.name);
  const bool refused = labels != pod_labels_.end() &&
                       labels->second.contains(std::string(inject_label)) &&
                       labels->second.at(std::string(inject_label)) == no_injection;
  return istio_ && plan_.mesh && pod.name != external_client && !refused;
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
    auto objects = mesh_objects(plan_, place.in_namespace);
    // Of two that hold for all of a namespace Istio heeds the older.
    if (has_mode_of_its_own(*plan_.mesh, name)) objects.erase(objects.begin());
    for (auto& made : port_left_out(plan_, place.in_namespace)) objects.push_back(std::move(made));
    for (const auto& made : objects) {
      const auto path =
          fmt::format("/apis/{}/namespaces/{}/{}/{}", made.api_version, place.in_namespace,
                      made.resource, text_at(made.object, {"metadata", "name"}));
      RETURN_IF_ERROR(api_->apply(path, own_manifest(place, made.object)));
    }
  }
  for (const auto& object : plan_.mesh->spec.objects) {
    auto in_namespace = text_at(object, {"metadata", "namespace"});
    if (in_namespace.empty()) in_namespace = default_namespace;
    ASSIGN_OR_RETURN(const Placement* place, find_place(in_namespace));
    ASSIGN_OR_RETURN(const auto resource, istio_resource_of(text_at(object, {"kind"})));
    const auto path =
        fmt::format("/apis/{}/namespaces/{}/{}/{}", text_at(object, {"apiVersion"}),
                    place->in_namespace, resource, text_at(object, {"metadata", "name"}));
    RETURN_IF_ERROR(api_->apply(path, own_manifest(*place, with_own_names(object))));
  }
  return create_service_accounts();
}

Result<> ClusterEnvironment::create_service_accounts() {
  for (const auto& [group, spec] : plan_.topology.pods) {
    const auto& place = places_.find(spec.in_namespace)->second;
    const auto path =
        fmt::format("/api/v1/namespaces/{}/serviceaccounts/{}", place.in_namespace, group);
    RETURN_IF_ERROR(api_->apply(path, service_account_manifest(place, group)));
  }
  return {};
}

Json ClusterEnvironment::with_own_names(const Json& object) const {
  NamespaceNames names;
  for (const auto& [name, place] : places_) names.emplace(name, place.in_namespace);
  return with_names_of(names, object);
}

std::string ClusterEnvironment::identity_of(const PodHandle& pod) const {
  if (istio_->trust_domain.empty()) return {};
  return spiffe_identity(istio_->trust_domain, place_of(pod).in_namespace, pod.group);
}

Result<MeshIdentities> ClusterEnvironment::mesh_identities() const {
  MeshIdentities all;
  if (!plan_.mesh || !istio_) return all;
  for (const auto& pod : handle_.pods) {
    if (istio_->trust_domain.empty() || !has_proxy(pod)) continue;
    all.spiffe[pod.name] = identity_of(pod);
  }
  // Istio writes it into each namespace, for proxies to trust.
  const auto roots = api_->find(
      fmt::format("/api/v1/namespaces/{}/configmaps/istio-ca-root-cert", place_.in_namespace));
  if (!roots && roots.error().kind != ErrorKind::not_permitted) {
    return std::unexpected(roots.error());
  }
  if (roots && *roots) all.roots = text_at(**roots, {"data", "root-cert.pem"});
  const auto& plane = istio_->in_namespace;
  const auto services =
      api_->get(fmt::format("/api/v1/namespaces/{}/services?fieldSelector={}", plane,
                            url_escape("metadata.name=" + istio_->control_plane)));
  const auto slices = api_->get(
      fmt::format("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices?labelSelector={}", plane,
                  url_escape("kubernetes.io/service-name=" + istio_->control_plane)));
  // Who may not look there finds what proxies send to it among what went elsewhere.
  all.control_plane = control_plane_of(services.value_or(Json()), slices.value_or(Json()));
  return all;
}

Result<> ClusterEnvironment::check_proxy(const PodHandle& pod, const Json& object) const {
  const bool wanted = has_proxy(pod);
  if (!wanted && !plan_.mesh) return {};
  for (const auto* kind : {"initContainers", "containers"}) {
    const auto& list = json_at(object, {"spec", kind});
    if (!list.is_array()) continue;
    const auto is_proxy = [](const Json& one) { return text_at(one, {"name"}) == proxy_container; };
    if (!std::ranges::any_of(list, is_proxy)) continue;
    if (wanted) return {};
    return base::fail_with_mend(
        ErrorKind::missing,
        fmt::format("pod {} came back with a proxy, though it says that it wants none",
                    object_name(pod)),
        "Somebody injects proxies whatever the label sidecar.istio.io/inject says.");
  }
  if (!wanted) return {};
  return base::fail_with_mend(
      ErrorKind::missing,
      fmt::format("pod {} came back without a proxy, though it asks for one", object_name(pod)),
      "Does Istio's sidecar injector run, and does its webhook look at namespaces of this name?");
}

Result<std::string> ClusterEnvironment::proxy_metrics(const PodHandle& pod) const {
  ASSIGN_OR_RETURN(
      const auto answer,
      of_ours(api_->checked({.target = fmt::format("{}:{}/proxy{}", pod_path(pod), proxy_stats_port,
                                                   proxy_stats_path())})));
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

// The proxy's image has no shell, and Istio's own program has a way to Envoy's administration.
Result<std::string> ClusterEnvironment::ask_envoy(const PodHandle& pod, Agents& agents,
                                                  const char* method, const char* what) const {
  return agents.run({.in_namespace = place_of(pod).in_namespace,
                     .pod = object_name(pod),
                     .container = std::string(proxy_container),
                     .command = {std::string(proxy_agent), "request", method, what}},
                    envoy_patience);
}

void ClusterEnvironment::ask_version_of_proxies(Agents& agents) {
  for (const auto& pod : handle_.pods) {
    if (!has_proxy(pod)) continue;
    envoy_version_ = envoy_version_of(ask_envoy(pod, agents, "GET", "server_info").value_or(""));
    return;
  }
}

Result<Rotated> ClusterEnvironment::await_renewal(Agents& agents) {
  struct Before {
    const PodHandle* pod;
    std::string serial;
    std::int64_t seen_ns;  // for certain it was still this one
  };
  const auto look = [&](const PodHandle& pod) -> Result<ShownCertificate> {
    ASSIGN_OR_RETURN(const auto said, ask_envoy(pod, agents, "GET", "certs"));
    return shown_certificate(said);
  };
  Rotated rotated{.sent_ns = base::monotonic_now().ns};
  std::vector<Before> waiting;
  for (const auto& pod : handle_.pods) {
    if (!has_proxy(pod)) continue;
    const auto asked = base::monotonic_now();
    ASSIGN_OR_RETURN(const auto shown, look(pod));
    waiting.push_back({&pod, shown.serial, asked.ns});
  }
  const auto patience = renewal_patience + plan_.mesh->certificates_last.value_or(seconds(0));
  const auto until = Until::after(patience, api_->options().interrupt);
  for (;;) {
    for (auto& one : waiting) {
      const auto asked = base::monotonic_now();
      ASSIGN_OR_RETURN(const auto shown, look(*one.pod));
      if (shown.serial == one.serial) {
        one.seen_ns = asked.ns;
        continue;
      }
      rotated.given.push_back(
          {.pod = one.pod->name,
           .identity = spiffe_identity(istio_->trust_domain, place_of(*one.pod).in_namespace,
                                       one.pod->group),
           .serial = shown.serial,
           .not_after_s = shown.not_after_s,
           .at_ns = one.seen_ns});
      one.pod = nullptr;
    }
    std::erase_if(waiting, [](const Before& one) { return one.pod == nullptr; });
    if (waiting.empty()) break;
    if (until.passed()) {
      return base::fail_with_mend(
          ErrorKind::timed_out,
          fmt::format("the proxy of {} has had one certificate for {} s", waiting.front().pod->name,
                      std::chrono::floor<seconds>(patience).count()),
          "Does its istio-agent heed SECRET_TTL, and istiod sign for so short a time?");
    }
    RETURN_IF_ERROR(let_pass(look_again, until));
  }
  rotated.acked_ns = base::monotonic_now().ns;
  return rotated;
}

Result<WriteStamps> ClusterEnvironment::restart_proxy(std::string_view pod, Agents& agents) {
  ASSIGN_OR_RETURN(const PodHandle* handle, find_pod(pod));
  Watch watch(api_->options(), {.path = pods_path(place_of(*handle)),
                                .field_selector = "metadata.name=" + object_name(*handle)});
  RETURN_IF_ERROR(watch.until([](const Objects& all) -> Result<bool> { return !all.empty(); },
                              base::monotonic_now() + envoy_patience));
  const auto before = proxy_status(watch.objects().begin()->second);
  if (!before) {
    return base::fail(ErrorKind::input, "environment {}: there is no proxy beside {}", plan_.name,
                      pod);
  }
  if (!before->sidecar) {
    return base::fail_with_mend(
        ErrorKind::missing,
        fmt::format("the proxy of {} is a container of its pod, which nobody would start again",
                    pod),
        "Native sidecars (Istio's ENABLE_NATIVE_SIDECARS, Kubernetes 1.29) are started anew.");
  }
  WriteStamps stamps{.sent_ns = base::monotonic_now().ns};
  const auto told = ask_envoy(*handle, agents, "POST", "quitquitquit");
  if (!told && told.error().kind == ErrorKind::interrupted) return std::unexpected(told.error());
  const auto until = [&](bool back, base::Duration patience) {
    return watch.until(
        [&](const Objects& all) -> Result<bool> {
          if (all.empty()) return base::fail(ErrorKind::system, "it was deleted by somebody");
          const auto now = proxy_status(all.begin()->second);
          if (!now) return false;
          const bool restarted = now->restarts > before->restarts;
          return back ? restarted && now->ready : restarted || !now->ready;
        },
        base::monotonic_now() + patience);
  };
  auto ended = until(false, envoy_patience);
  // That it was not told is why; where it ended, its answer went with it.
  if (!ended && !told) ended = std::unexpected(told.error());
  if (!ended)
    return base::in_context(std::move(ended).error(), "the proxy of {}, told to end", pod);
  stamps.acked_ns = base::monotonic_now().ns;
  if (auto back = until(true, restart_patience); !back) {
    return base::in_context(std::move(back).error(), "the proxy of {}, which is to be started anew",
                            pod);
  }
  stamps.programmed_ns = base::monotonic_now().ns;
  return stamps;
}

Json ClusterEnvironment::mesh_facts() const {
  const auto& spec = plan_.mesh->spec;
  Json facts = istio_json(*istio_);
  facts["mode"] = base::enum_name(spec.mode);
  facts["session_resumption"] = base::enum_name(spec.session_resumption);
  facts["workers"] = spec.workers;
  facts["proxy"] = envoy_version_.empty() ? "unknown" : envoy_version_;
  return facts;
}

}  // namespace cluster
