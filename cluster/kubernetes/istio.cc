#include "cluster/kubernetes/istio.h"

#include <algorithm>
#include <cctype>
#include <ctime>
#include <utility>

#include <openssl/evp.h>

#include "base/kube/authorization_policy.h"
#include "base/kube/peer_authentication.h"
#include "base/kube/request_authentication.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cluster_facts.h"
#include "cluster/kubernetes/istio_identities.h"
#include "cluster/kubernetes/manifests.h"
#include "cluster/pki/impostors.h"

namespace cluster {
namespace {

using base::ErrorKind;
using base::Json;
using base::Result;
using base::kube::MtlsMode;

constexpr std::string_view security_version = "security.istio.io/v1";
constexpr std::string_view networking_version = "networking.istio.io/v1";
constexpr std::string_view filter_version = "networking.istio.io/v1alpha3";
constexpr std::string_view revision_label = "istio.io/rev";
constexpr std::string_view default_revision = "default";
constexpr std::string_view proxy_config_annotation = "proxy.istio.io/config";
constexpr std::string_view object_name = "stackbench";
constexpr std::string_view default_trust_domain = "cluster.local";
// How long a connection between proxies that nobody uses is kept: longer than any pause within a
// measurement, and soon over.
constexpr std::string_view kept_for = "1s";

const Json& items_of(const Json& list) {
  static const Json none = Json::array();
  const auto& items = json_at(list, {"items"});
  return items.is_array() ? items : none;
}

const Json& control_plane_container(const Json& deployment) {
  static const Json none;
  const auto& containers = json_at(deployment, {"spec", "template", "spec", "containers"});
  return containers.is_array() && !containers.empty() ? containers.front() : none;
}

// Of the filters that only Istio's own build of Envoy has, those that this control plane leaves
// out.
std::vector<std::string> left_out(const Json& deployment) {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {"PILOT_ENABLE_METADATA_EXCHANGE", "metadata exchange"},
      {"PILOT_ENABLE_ALPN_FILTER", "ALPN override"}};
  std::vector<std::string> names;
  const auto& environment = json_at(control_plane_container(deployment), {"env"});
  if (!environment.is_array()) return names;
  for (const auto& [setting, name] : known) {
    const auto is_off = [&](const Json& one) {
      return text_at(one, {"name"}) == setting && text_at(one, {"value"}) == "false";
    };
    if (std::ranges::any_of(environment, is_off)) names.emplace_back(name);
  }
  return names;
}

MeshObject object_of(std::string_view api_version, std::string_view resource, std::string_view kind,
                     std::string_view name, const std::string& in_namespace, Json spec) {
  return {.api_version = std::string(api_version),
          .resource = std::string(resource),
          .object = {{"apiVersion", api_version},
                     {"kind", kind},
                     {"metadata", {{"name", name}, {"namespace", in_namespace}}},
                     {"spec", std::move(spec)}}};
}

Json destination_rule(const MeshSpec& spec, const std::string& in_namespace) {
  Json policy = {{"connectionPool", {{"http", {{"idleTimeout", kept_for}}}}}};
  // Unless said, a proxy finds out by itself what the other end takes.
  if (spec.mode == MtlsMode::DISABLE) policy["tls"] = {{"mode", "DISABLE"}};
  return {{"host", fmt::format("*.{}.svc.cluster.local", in_namespace)},
          {"trafficPolicy", std::move(policy)}};
}

// The first port, where the fault is planted that leaves it out of STRICT.
const ServicePort* left_out_port(const EnvironmentPlan& plan) {
  if (std::ranges::find(plan.faults, FaultKind::port_left_out_of_strict) == plan.faults.end()) {
    return nullptr;
  }
  const auto first = std::ranges::find(plan.ports, Protocol::TCP, &ServicePort::protocol);
  return first == plan.ports.end() ? nullptr : &*first;
}

// The filter chains of a port that end a mesh's TLS. Of one that takes plaintext, too, there is
// another, which passes on any other TLS, and which is refused with a socket of TLS; so they are
// told by what proxies offer (ALPN), of HTTP and of TCP.
std::vector<Json> chains_of_mesh(const ServicePort& port, bool takes_plaintext) {
  const Json chain = {{"destinationPort", port.target_port}, {"transportProtocol", "tls"}};
  if (!takes_plaintext) return {chain};
  std::vector<Json> all;
  for (const auto* offered : {"istio", "istio-http/1.1"}) {
    all.push_back(chain);
    all.back()["applicationProtocols"] = offered;
  }
  return all;
}

// Without tickets and without a cache nobody resumes.
Json no_resumption(const EnvironmentPlan& plan) {
  const Json context = {
      {"@type",
       "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"},
      {"disable_stateless_session_resumption", true},
      {"disable_stateful_session_resumption", true}};
  const Json change = {
      {"transport_socket", {{"name", "envoy.transport_sockets.tls"}, {"typed_config", context}}}};
  Json patches = Json::array();
  for (const auto& port : plan.ports) {
    if (port.protocol != Protocol::TCP) continue;
    const bool takes_plaintext =
        plan.mesh->spec.mode != MtlsMode::STRICT || &port == left_out_port(plan);
    for (const auto& chain : chains_of_mesh(port, takes_plaintext)) {
      patches.push_back(
          {{"applyTo", "FILTER_CHAIN"},
           {"match", {{"context", "SIDECAR_INBOUND"}, {"listener", {{"filterChain", chain}}}}},
           {"patch", {{"operation", "MERGE"}, {"value", change}}}});
    }
  }
  return {{"configPatches", std::move(patches)}};
}

// What Istio's program has to say of itself comes before what it was asked for.
std::string_view without_log(std::string_view said) {
  return said.substr(std::min(said.find('{'), said.size()));
}

Result<std::string> decoded(const std::string& base64) {
  std::string text(base64.size(), '\0');
  const int size = ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                                     reinterpret_cast<const unsigned char*>(base64.data()),
                                     static_cast<int>(base64.size()));
  if (size < 0) return base::fail(ErrorKind::input, "it is no base64");
  const auto padding = std::ranges::count(base64, '=');
  text.resize(static_cast<std::size_t>(size - padding));
  return text;
}

}  // namespace

std::optional<IstioFacts> istio_of(const Json& deployments, const Json& daemon_sets,
                                   const Json& webhooks) {
  const auto& all = items_of(deployments);
  if (all.empty()) return std::nullopt;
  // Of several, the one that pods get which name none.
  const auto is_default = [](const Json& one) {
    const auto labels = object_labels(one);
    const auto revision = labels.find(std::string(revision_label));
    return revision == labels.end() || revision->second == default_revision;
  };
  auto chosen = std::ranges::find_if(all, is_default);
  if (chosen == all.end()) chosen = all.begin();
  IstioFacts facts{.version = image_tag(text_at(control_plane_container(*chosen), {"image"})),
                   .source = fmt::format("image of Deployment {}", object_key(*chosen)),
                   .in_namespace = text_at(*chosen, {"metadata", "namespace"}),
                   .control_plane = text_at(*chosen, {"metadata", "name"}),
                   .ambient = !items_of(daemon_sets).empty(),
                   .without = left_out(*chosen)};
  if (!is_default(*chosen)) {
    facts.revision = object_labels(*chosen).at(std::string(revision_label));
  }
  facts.sidecars = !items_of(webhooks).empty();
  return facts;
}

IstioFacts find_istio(ApiClient& api) {
  std::string why;
  const auto look = [&](const std::string& path) -> Json {
    auto found = api.find(path);
    if (found && *found) return std::move(**found);
    if (!found && why.empty()) why = found.error().message;
    return {};
  };
  const auto selected = [](std::string_view path, std::string_view app) {
    return fmt::format("{}?labelSelector={}", path, url_escape(fmt::format("app={}", app)));
  };
  const auto deployments = look(selected("/apis/apps/v1/deployments", "istiod"));
  if (!why.empty()) return {.source = why};
  const auto webhooks = look(selected(
      "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", "sidecar-injector"));
  // Who may not look at webhooks finds out when a pod comes back without a proxy.
  const bool unseen = !why.empty();
  auto facts =
      istio_of(deployments, look(selected("/apis/apps/v1/daemonsets", "ztunnel")), webhooks);
  if (!facts) return {.source = "its kinds are there, and no Deployment is labelled app=istiod"};
  facts->sidecars = facts->sidecars || unseen;
  why.clear();
  const auto name = facts->revision.empty() ? "istio" : "istio-" + facts->revision;
  const auto config =
      look(fmt::format("/api/v1/namespaces/{}/configmaps/{}", facts->in_namespace, name));
  if (config.is_object()) {
    facts->trust_domain = trust_domain_of(config);
    // By itself it would be somebody's wish.
    if (!facts->without.empty() && !tells_metrics(config)) {
      facts->without.emplace_back("Istio's statistics (istio_requests_total)");
    }
  }
  constexpr int monitoring_port = 15014;
  const auto said = api.request_once(
      {.target = fmt::format("/api/v1/namespaces/{}/services/http:{}:{}/proxy/version",
                             facts->in_namespace, facts->control_plane, monitoring_port)});
  if (said && said->status == 200 && said->body.is_string()) {
    auto version = said->body.get<std::string>();
    while (version.ends_with('\n')) version.pop_back();
    facts->version = std::move(version);
    facts->source = fmt::format("{} in {} itself", facts->control_plane, facts->in_namespace);
  }
  return *std::move(facts);
}

std::optional<std::string> why_no_sidecars(const std::optional<IstioFacts>& istio) {
  if (!istio) {
    return "the scenario asks for a mesh, and this cluster has no Istio (one of this machine's own "
           "has after: stackbench up --mesh istio)";
  }
  if (istio->control_plane.empty()) {
    return fmt::format("the scenario asks for a mesh, and no Istio was found here: {}",
                       istio->source);
  }
  if (istio->sidecars) return std::nullopt;
  return fmt::format("Istio {} injects no sidecars here{}", istio->version,
                     istio->ambient ? ": it runs in ambient mode, which this scenario's words do "
                                      "not describe"
                                    : "");
}

std::optional<std::string> why_not_told(const MeshPlan& mesh) {
  for (const auto& object : mesh.spec.objects) {
    if (const auto known = istio_resource_of(text_at(object, {"kind"})); !known) {
      return known.error().message + " (run it in the lab)";
    }
    if (const auto named = unnamed_source(object)) {
      return fmt::format(
          "{} {} has {}, and what that means in namespaces of other names is not "
          "known (run it in the lab)",
          text_at(object, {"kind"}), text_at(object, {"metadata", "name"}), *named);
    }
  }
  if (mesh.rotates_root) {
    return "the root of a cluster's mesh is everybody's in it, and not a run's to rotate "
           "(--set rotation.rotate_root=false leaves that out)";
  }
  return std::nullopt;
}

std::string trust_domain_of(const Json& config_map) {
  auto said = first_level_value(text_at(config_map, {"data", "mesh"}), "trustDomain");
  return said.empty() ? std::string(default_trust_domain) : said;
}

bool tells_metrics(const Json& config_map) {
  const auto mesh = text_at(config_map, {"data", "mesh"});
  const auto providers = mesh.find("defaultProviders:");
  return providers != std::string::npos && mesh.find("metrics:", providers) != std::string::npos;
}

Json istio_json(const IstioFacts& istio) {
  return {{"name", "istio"},
          {"version", istio.version.empty() ? "unknown" : istio.version},
          {"trust_domain", istio.trust_domain.empty() ? "unknown" : istio.trust_domain},
          {"source", istio.source},
          {"sidecars", istio.sidecars},
          {"ambient", istio.ambient},
          {"stock_envoy_lacks", istio.without}};
}

Result<std::string_view> istio_resource_of(std::string_view kind) {
  constexpr std::pair<std::string_view, std::string_view> known[] = {
      {base::kube::authorization_policy_kind, "authorizationpolicies"},
      {base::kube::request_authentication_kind, "requestauthentications"},
      {base::kube::peer_authentication_kind, "peerauthentications"}};
  for (const auto& [name, resource] : known) {
    if (name == kind) return resource;
  }
  return base::fail(ErrorKind::missing, "a mesh on a cluster is not told objects of kind {}", kind);
}

std::vector<MeshObject> mesh_objects(const EnvironmentPlan& plan, const std::string& in_namespace) {
  const auto& spec = plan.mesh->spec;
  std::vector<MeshObject> all;
  const Json mode = {{"mtls", {{"mode", base::enum_name(spec.mode)}}}};
  all.push_back(object_of(security_version, "peerauthentications",
                          base::kube::peer_authentication_kind, "default", in_namespace, mode));
  all.push_back(object_of(networking_version, "destinationrules", "DestinationRule", object_name,
                          in_namespace, destination_rule(spec, in_namespace)));
  if (spec.mode != MtlsMode::DISABLE && spec.session_resumption == SessionResumption::off) {
    all.push_back(object_of(filter_version, "envoyfilters", "EnvoyFilter", object_name,
                            in_namespace, no_resumption(plan)));
  }
  return all;
}

std::vector<MeshObject> port_left_out(const EnvironmentPlan& plan,
                                      const std::string& in_namespace) {
  std::vector<MeshObject> all;
  const auto* const first = left_out_port(plan);
  if (first == nullptr) return all;
  for (const auto& [name, service] : plan.topology.services) {
    Json spec = {{"mtls", {{"mode", base::enum_name(MtlsMode::STRICT)}}}};
    spec["selector"]["matchLabels"][std::string(group_label)] = service.target;
    spec["portLevelMtls"][std::to_string(first->target_port)] = {
        {"mode", base::enum_name(MtlsMode::PERMISSIVE)}};
    all.push_back(object_of(security_version, "peerauthentications",
                            base::kube::peer_authentication_kind, fmt::format("left-out-{}", name),
                            in_namespace, std::move(spec)));
  }
  return all;
}

std::vector<base::Endpoint> control_plane_of(const Json& services, const Json& slices) {
  constexpr std::uint16_t xds_port = 15012;
  std::vector<base::Endpoint> all;
  const auto add = [&](const Json& addresses) {
    for (const auto& text : addresses.is_array() ? addresses : Json::array()) {
      if (!text.is_string()) continue;
      const auto address = base::IpAddress::parse(text.get<std::string>());
      if (address) all.push_back({*address, xds_port});
    }
  };
  for (const auto& service : items_of(services)) add(json_at(service, {"spec", "clusterIPs"}));
  for (const auto& slice : items_of(slices)) {
    const auto& endpoints = json_at(slice, {"endpoints"});
    for (const auto& one : endpoints.is_array() ? endpoints : Json::array()) {
      add(json_at(one, {"addresses"}));
    }
  }
  return all;
}

bool has_mode_of_its_own(const MeshPlan& mesh, std::string_view in_namespace) {
  return std::ranges::any_of(mesh.spec.objects, [&](const Json& object) {
    const auto there = text_at(object, {"metadata", "namespace"});
    const auto& selected = json_at(object, {"spec", "selector", "matchLabels"});
    return text_at(object, {"kind"}) == base::kube::peer_authentication_kind &&
           (there.empty() ? default_namespace : std::string_view(there)) == in_namespace &&
           (!selected.is_object() || selected.empty());
  });
}

std::optional<ProxyStatus> proxy_status(const Json& pod) {
  // As a sidecar of Kubernetes it is an init container that goes on.
  for (const auto* kind : {"initContainerStatuses", "containerStatuses"}) {
    const auto& all = json_at(pod, {"status", kind});
    if (!all.is_array()) continue;
    for (const auto& one : all) {
      if (text_at(one, {"name"}) != proxy_container) continue;
      const auto& restarts = json_at(one, {"restartCount"});
      const auto& ready = json_at(one, {"ready"});
      return ProxyStatus{.restarts = restarts.is_number_integer() ? restarts.get<int>() : 0,
                         .ready = ready.is_boolean() && ready.get<bool>(),
                         .sidecar = kind == std::string_view("initContainerStatuses")};
    }
  }
  return std::nullopt;
}

std::string envoy_version_of(std::string_view server_info) {
  const auto info = base::parse_json(without_log(server_info));
  return info ? text_at(*info, {"version"}) : std::string();
}

Result<ShownCertificate> shown_certificate(std::string_view certs) {
  ASSIGN_OR_RETURN(const auto all, base::parse_json(without_log(certs)));
  const auto& list = json_at(all, {"certificates"});
  for (const auto& one : list.is_array() ? list : Json::array()) {
    const auto& chain = json_at(one, {"cert_chain"});
    if (!chain.is_array() || chain.empty()) continue;
    const auto& leaf = chain.front();
    // Of a root that is trusted there is no identity.
    const auto& names = json_at(leaf, {"subject_alt_names"});
    if (!names.is_array() || names.empty()) continue;
    ShownCertificate shown{.serial = text_at(leaf, {"serial_number"})};
    for (auto& digit : shown.serial) {
      digit = static_cast<char>(std::toupper(static_cast<unsigned char>(digit)));
    }
    tm until{};
    const auto text = text_at(leaf, {"expiration_time"});
    if (::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &until) != nullptr) {
      shown.not_after_s = ::timegm(&until);
    }
    return shown;
  }
  return base::fail(ErrorKind::input, "Envoy shows no certificate of its own");
}

void ask_for_proxy(Json& pod, const IstioFacts& istio, const MeshPlan& mesh) {
  auto& metadata = pod["metadata"];
  metadata["labels"][std::string(inject_label)] = "true";
  if (!istio.revision.empty()) metadata["labels"][std::string(revision_label)] = istio.revision;
  Json config = {
      {"concurrency", mesh.spec.workers},
      {"proxyStatsMatcher", {{"inclusionRegexps", {"cluster\\.outbound.*", "listener\\..*"}}}}};
  if (mesh.certificates_last) {
    const auto lasts = *mesh.certificates_last;
    config["proxyMetadata"]["SECRET_TTL"] = fmt::format("{}s", lasts.count());
    if (const auto every = mesh.certificates_renewed_every) {
      // Of its life, what is left when it is renewed; and not a bit sooner or later.
      const auto left = 1 - std::chrono::duration<double>(*every) / lasts;
      config["proxyMetadata"]["SECRET_GRACE_PERIOD_RATIO"] = fmt::format("{:.3f}", left);
      config["proxyMetadata"]["SECRET_GRACE_PERIOD_RATIO_JITTER"] = "0";
    }
  }
  metadata["annotations"][std::string(proxy_config_annotation)] = base::dump_json(config);
}

bool is_own_cluster(const Objects& nodes) {
  return !nodes.empty() && std::ranges::all_of(nodes, [](const auto& node) {
    const auto labels = object_labels(node.second);
    const auto by = labels.find(std::string(managed_by_label));
    return by != labels.end() && by->second == managed_by;
  });
}

Result<ImpostorCertificates> istio_impostors(ApiClient& api, const IstioFacts& istio,
                                             const std::string& in_namespace) {
  const auto path =
      fmt::format("/api/v1/namespaces/{}/secrets/istio-ca-secret", istio.in_namespace);
  ASSIGN_OR_RETURN(const auto secret, api.get(path));
  pki::KeyPair own;
  for (const auto& [key, text] :
       {std::pair<const char*, std::string*>{"ca-cert.pem", &own.certificate},
        {"ca-key.pem", &own.key}}) {
    auto decoding = decoded(text_at(secret, {"data", key}));
    if (!decoding) return base::in_context(std::move(decoding).error(), "{}: {}", path, key);
    *text = *std::move(decoding);
  }
  ASSIGN_OR_RETURN(const auto authority, pki::Authority::of(std::move(own)));
  const auto domain =
      istio.trust_domain.empty() ? std::string(default_trust_domain) : istio.trust_domain;
  return pki::issue_impostors(authority, domain, fmt::format("ns/{}/sa/default", in_namespace),
                              domain);
}

}  // namespace cluster
