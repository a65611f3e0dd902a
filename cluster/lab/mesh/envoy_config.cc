#include "cluster/lab/mesh/envoy_config.h"

#include <algorithm>

#include <fmt/format.h>

#include "cluster/lab/mesh/envoy_json.h"
#include "cluster/lab/mesh/interception.h"

namespace cluster {
namespace {

using base::Json;
using base::kube::MtlsMode;
using envoy::extension;
using envoy::list;

constexpr std::string_view passthrough = "PassthroughCluster";
constexpr std::string_view inbound_passthrough = "InboundPassthroughCluster";
constexpr std::string_view black_hole = "BlackHoleCluster";
// What only a proxy of the mesh offers: by it an inbound listener tells mutual TLS from an
// application's own.
const Json mesh_protocols = {"istio", "istio-peer-exchange", "istio-http/1.0", "istio-http/1.1",
                             "istio-h2"};

// ---- TLS ----------------------------------------------------------------------------------------

Json secret(const ProxySpec& spec, std::string_view name) {
  return {
      {"name", name},
      {"sds_config",
       {{"resource_api_version", "V3"},
        {"path_config_source", {{"path", fmt::format("{}/sds-{}.json", spec.directory, name)}}}}}};
}

Json common_tls(const ProxySpec& spec, Json protocols, Json names) {
  return {{"alpn_protocols", std::move(protocols)},
          {"tls_params",
           {{"tls_minimum_protocol_version", "TLSv1_2"},
            {"tls_maximum_protocol_version", "TLSv1_3"},
            {"cipher_suites",
             {"ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-RSA-AES256-GCM-SHA384",
              "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"}}}},
          {"tls_certificate_sds_secret_configs", list({secret(spec, "default")})},
          {"combined_validation_context",
           {{"default_validation_context", {{"match_typed_subject_alt_names", std::move(names)}}},
            {"validation_context_sds_secret_config", secret(spec, "ROOTCA")}}}};
}

Json uri_name(Json matcher) { return {{"san_type", "URI"}, {"matcher", std::move(matcher)}}; }

Json server_tls(const ProxySpec& spec, bool http) {
  auto protocols = http ? Json{"h2", "http/1.1"} : Json{"istio-peer-exchange", "h2", "http/1.1"};
  Json config = {
      {"common_tls_context",
       common_tls(spec, std::move(protocols),
                  list({uri_name({{"prefix", fmt::format("spiffe://{}/", trust_domain)}})}))},
      {"require_client_certificate", true}};
  if (spec.trusts_any_ca) {
    config["common_tls_context"]["combined_validation_context"]["default_validation_context"]
          ["trust_chain_verification"] = "ACCEPT_UNTRUSTED";
  }
  if (spec.session_resumption == SessionResumption::off) {
    config["disable_stateless_session_resumption"] = true;
    config["disable_stateful_session_resumption"] = true;
  }
  return extension("envoy.transport_sockets.tls", "transport_sockets.tls.v3.DownstreamTlsContext",
                   std::move(config));
}

// What istiod's ALPN override has a client's proxy offer (pilot/pkg/networking/util).
Json offered_protocols(ProxiedProtocol protocol) {
  switch (protocol) {
    case ProxiedProtocol::http:
      return {"istio-http/1.1", "istio", "http/1.1"};
    case ProxiedProtocol::http2:
      return {"istio-h2", "istio", "h2"};
    case ProxiedProtocol::tcp:
      break;
  }
  return {"istio-peer-exchange", "istio"};
}

Json client_tls(const ProxySpec& spec, const ProxiedService& service, std::string_view subset) {
  auto names = Json::array();
  for (const auto& identity : service.identities) names.push_back(uri_name({{"exact", identity}}));
  Json config = {
      {"common_tls_context",
       common_tls(spec, offered_protocols(service.protocol), std::move(names))},
      {"sni", fmt::format("outbound_.{}_.{}_.{}", service.address.port, subset, service.host)}};
  if (spec.session_resumption == SessionResumption::off) config["max_session_keys"] = 0;
  return extension("envoy.transport_sockets.tls", "transport_sockets.tls.v3.UpstreamTlsContext",
                   std::move(config));
}

Json plaintext_socket() {
  return extension("envoy.transport_sockets.raw_buffer",
                   "transport_sockets.raw_buffer.v3.RawBuffer");
}

// ---- what is done with a connection -------------------------------------------------------------

// Where something goes: to a cluster, or of so many times once to another, at random.
struct Towards {
  std::string cluster;
  std::string other = {};
  int other_one_in = 0;  // 0: never

  // As the member of a route, or of a proxy of connections.
  [[nodiscard]] Json json() const {
    if (other_one_in == 0) return {{"cluster", cluster}};
    auto clusters = list({{{"name", other}, {"weight", 1}}});
    if (other_one_in > 1) {
      clusters.push_back({{"name", cluster}, {"weight", other_one_in - 1}});
    }
    return {{"weighted_clusters", {{"clusters", std::move(clusters)}}}};
  }
};

Json tcp_proxy(const Towards& towards) {
  auto config = towards.json();
  config["stat_prefix"] = towards.cluster;
  return extension("envoy.filters.network.tcp_proxy", "filters.network.tcp_proxy.v3.TcpProxy",
                   std::move(config));
}
Json tcp_proxy(std::string_view cluster) { return tcp_proxy(Towards{std::string(cluster)}); }

// Whatever is asked for.
Json only_route(const Towards& towards) {
  auto route = towards.json();
  route["timeout"] = "0s";
  return list({{{"match", {{"prefix", "/"}}}, {"route", std::move(route)}}});
}

// `before`: the filters that requests meet first.
Json http_manager(std::string_view name, std::string_view prefix, bool inbound, Json routes,
                  Json before) {
  before.push_back(extension("envoy.filters.http.router", "filters.http.router.v3.Router"));
  Json config = {
      {"stat_prefix", prefix},
      {"stream_idle_timeout", "0s"},
      {"normalize_path", true},
      {"http_filters", std::move(before)},
      {"route_config",
       {{"name", name},
        {"validate_clusters", false},
        {"virtual_hosts",
         list({{{"name", "all"}, {"domains", list({"*"})}, {"routes", std::move(routes)}}})}}}};
  if (inbound) {
    config["server_name"] = "istio-envoy";
    config["forward_client_cert_details"] = "APPEND_FORWARD";
    config["set_current_client_cert_details"] = {{"subject", true}, {"dns", true}, {"uri", true}};
  } else {
    config["forward_client_cert_details"] = "SANITIZE";
  }
  return extension("envoy.filters.network.http_connection_manager",
                   "filters.network.http_connection_manager.v3.HttpConnectionManager",
                   std::move(config));
}

std::string outbound_cluster(const ProxiedService& service) {
  return outbound_name(service.address.port, "", service.host);
}

// Whose pods are dialled without TLS, whatever they take.
std::string plaintext_cluster(const ProxiedService& service) {
  return outbound_cluster(service) + "|plaintext";
}

std::string inbound_cluster(std::uint16_t port) { return fmt::format("inbound|{}||", port); }

Json listens_at(std::uint16_t port) {
  return {{"socket_address", {{"address", "0.0.0.0"}, {"port_value", port}}}};
}

Json original_destination() {
  return extension("envoy.filters.listener.original_dst",
                   "filters.listener.original_dst.v3.OriginalDst");
}

// ---- outbound -----------------------------------------------------------------------------------

// The fault stands in place of what is said.
Json outbound_routes(const ProxySpec& spec, const ProxiedService& service, const Towards& towards) {
  return spec.plaintext_one_in > 0 ? only_route(towards)
                                   : http_routes(spec.routing, service.host, service.address.port);
}

Json outbound_listener(const ProxySpec& spec) {
  auto chains = Json::array();
  for (const auto& service : spec.services) {
    const Towards towards{outbound_cluster(service), plaintext_cluster(service),
                          spec.plaintext_one_in};
    auto filter =
        service.protocol != ProxiedProtocol::tcp
            ? http_manager(towards.cluster, fmt::format("outbound_{}", service.address.port), false,
                           outbound_routes(spec, service, towards),
                           http_fault_filters(spec.routing, service.host))
            : tcp_proxy(towards);
    chains.push_back(
        {{"name", towards.cluster},
         {"filter_chain_match",
          {{"prefix_ranges", list({{{"address_prefix", service.address.address.to_string()},
                                    {"prefix_len", service.address.address.host_prefix()}}})},
           {"destination_port", service.address.port}}},
         {"filters", list({std::move(filter)})}});
  }
  return {{"@type", "type.googleapis.com/envoy.config.listener.v3.Listener"},
          {"name", "virtualOutbound"},
          {"stat_prefix", "outbound"},
          {"address", listens_at(outbound_port)},
          {"traffic_direction", "OUTBOUND"},
          {"listener_filters", list({original_destination()})},
          {"filter_chains", std::move(chains)},
          // What no Service stands for goes on as it came, and in the clear.
          {"default_filter_chain",
           {{"name", passthrough}, {"filters", list({tcp_proxy(passthrough)})}}}};
}

Json no_limits() {
  constexpr std::uint32_t all = 4'294'967'295;
  return {{"thresholds", list({{{"max_connections", all},
                                {"max_pending_requests", all},
                                {"max_requests", all},
                                {"max_retries", all}}})}};
}

Json cluster_type() { return "type.googleapis.com/envoy.config.cluster.v3.Cluster"; }

// Whoever is dialled speaks HTTP/2, in the clear by prior knowledge: a cluster whose protocol is
// not said speaks HTTP/1.1.
void speak_http2(Json& cluster) {
  // As many streams of a connection as istiod allows.
  constexpr std::uint32_t streams = 1'073'741'824;
  envoy::http_options_of(cluster)["explicit_http_config"] = {
      {"http2_protocol_options", {{"max_concurrent_streams", streams}}}};
}

// Sockets to pods with a proxy are of one kind, to others of the other, as istiod has it.
Json service_cluster(const ProxySpec& spec, const std::string& name, const ProxiedService& service,
                     const RoutedSubset& subset) {
  auto endpoints = Json::array();
  bool any_tls = false;
  for (const auto& one : service.endpoints) {
    if (!subset.has(one.labels)) continue;
    Json endpoint = {{"endpoint",
                      {{"address",
                        {{"socket_address",
                          {{"address", one.endpoint.address.to_string()},
                           {"port_value", one.endpoint.port}}}}}}}};
    if (one.mutual_tls) {
      endpoint["metadata"]["filter_metadata"]["envoy.transport_socket_match"]["tlsMode"] = "istio";
      any_tls = true;
    }
    endpoints.push_back(std::move(endpoint));
  }
  Json cluster = {
      {"@type", cluster_type()},
      {"name", name},
      {"type", "STATIC"},
      {"connect_timeout", "10s"},
      {"lb_policy", "LEAST_REQUEST"},
      {"circuit_breakers", no_limits()},
      {"load_assignment",
       {{"cluster_name", name}, {"endpoints", list({{{"lb_endpoints", std::move(endpoints)}}})}}}};
  if (service.protocol == ProxiedProtocol::http2) speak_http2(cluster);
  if (spec.connections_of > 0) {
    cluster["metadata"]["filter_metadata"]["stackbench"]["connections_of"] = spec.connections_of;
  }
  if (any_tls) {
    cluster["transport_socket_matches"] =
        list({{{"name", "tlsMode-istio"},
               {"match", {{"tlsMode", "istio"}}},
               {"transport_socket", client_tls(spec, service, subset.name)}},
              {{"name", "tlsMode-disabled"},
               {"match", Json::object()},
               {"transport_socket", plaintext_socket()}}});
  }
  put_policy(cluster, subset.policy);
  return cluster;
}

// Where a connection was going to.
Json original_cluster(std::string_view name, bool to_the_application) {
  Json cluster = {{"@type", cluster_type()},         {"name", name},
                  {"type", "ORIGINAL_DST"},          {"connect_timeout", "10s"},
                  {"lb_policy", "CLUSTER_PROVIDED"}, {"circuit_breakers", no_limits()}};
  if (to_the_application) {
    // By this address the pod's rules know what comes from its proxy.
    cluster["upstream_bind_config"]["source_address"] = {{"address", "127.0.0.6"},
                                                         {"port_value", 0}};
  }
  return cluster;
}

Json all_clusters(const ProxySpec& spec) {
  auto clusters = Json::array();
  for (const auto& service : spec.services) {
    const auto subsets = subsets_of(spec.routing, service.host);
    for (const auto& subset : subsets) {
      clusters.push_back(service_cluster(
          spec, outbound_name(service.address.port, subset.name, service.host), service, subset));
    }
    if (spec.plaintext_one_in == 0) continue;
    auto bare = service;
    for (auto& one : bare.endpoints) one.mutual_tls = false;
    clusters.push_back(service_cluster(spec, plaintext_cluster(service), bare, subsets.front()));
  }
  for (const auto& port : spec.ports) {
    clusters.push_back(original_cluster(inbound_cluster(port.port), true));
    if (port.protocol == ProxiedProtocol::http2) speak_http2(clusters.back());
  }
  clusters.push_back(original_cluster(passthrough, false));
  clusters.push_back(original_cluster(inbound_passthrough, true));
  clusters.push_back({{"@type", cluster_type()},
                      {"name", black_hole},
                      {"type", "STATIC"},
                      {"connect_timeout", "10s"}});
  return clusters;
}

// ---- inbound ------------------------------------------------------------------------------------

struct InboundChain {
  std::string name;
  Json match = Json::object();
  Json filters;
  Json socket = {};
};

void add_chain(Json& chains, InboundChain chain) {
  Json one = {{"name", std::move(chain.name)},
              {"filter_chain_match", std::move(chain.match)},
              {"filters", std::move(chain.filters)}};
  if (!chain.socket.is_null()) one["transport_socket"] = std::move(chain.socket);
  chains.push_back(std::move(one));
}

// The chains of one port, or of every other one: which there are is what the mode says. A
// connection that none of them takes is closed with what it sent unread, and so reset.
void add_chains(Json& chains, const ProxySpec& spec, MtlsMode mode, bool http,
                const std::string& name, const std::string& cluster, const Json& port) {
  const auto passed_on = [&] {
    auto filters = network_authorization(spec.authorization);
    filters.push_back(tcp_proxy(cluster));
    return filters;
  };
  const auto filters = [&] {
    if (!http) return passed_on();
    return list({http_manager(cluster, fmt::format("inbound_{}", name), true, only_route({cluster}),
                              http_authorization(spec.authorization))});
  };
  const auto match = [&](Json more) {
    auto all = port;
    all.update(more);
    return all;
  };
  if (mode == MtlsMode::DISABLE) {
    add_chain(chains, {.name = name, .match = port, .filters = filters()});
    return;
  }
  add_chain(
      chains,
      {.name = name + " mutual TLS",
       .match = match({{"transport_protocol", "tls"}, {"application_protocols", mesh_protocols}}),
       .filters = filters(),
       .socket = server_tls(spec, http)});
  if (mode == MtlsMode::STRICT) return;
  add_chain(chains, {.name = name + " plaintext",
                     .match = match({{"transport_protocol", "raw_buffer"}}),
                     .filters = filters()});
  add_chain(chains, {.name = name + " the application's own TLS",
                     .match = match({{"transport_protocol", "tls"}}),
                     .filters = passed_on()});
}

// A connection to where TLS is never looked for need not send anything first.
Json tls_inspector(const ProxySpec& spec) {
  auto inspector = extension("envoy.filters.listener.tls_inspector",
                             "filters.listener.tls_inspector.v3.TlsInspector");
  auto disabled = Json::array();
  for (const auto& port : spec.ports) {
    if (port.mode != MtlsMode::DISABLE) continue;
    disabled.push_back(
        {{"destination_port_range", {{"start", port.port}, {"end", port.port + 1}}}});
  }
  if (disabled.size() == 1) {
    inspector["filter_disabled"] = disabled.front();
  } else if (!disabled.empty()) {
    inspector["filter_disabled"]["or_match"]["rules"] = std::move(disabled);
  }
  return inspector;
}

Json inbound_listener(const ProxySpec& spec) {
  auto chains = Json::array();
  // Dialled by itself it would go round in a circle.
  add_chain(chains, {.name = "virtualInbound-blackhole",
                     .match = {{"destination_port", inbound_port}},
                     .filters = list({tcp_proxy(black_hole)})});
  for (const auto& port : spec.ports) {
    const auto cluster = inbound_cluster(port.port);
    add_chains(chains, spec, port.mode, port.protocol != ProxiedProtocol::tcp, cluster, cluster,
               {{"destination_port", port.port}});
  }
  add_chains(chains, spec, spec.other_ports, false, "virtualInbound",
             std::string(inbound_passthrough), Json::object());
  return {{"@type", "type.googleapis.com/envoy.config.listener.v3.Listener"},
          {"name", "virtualInbound"},
          {"stat_prefix", "inbound"},
          {"address", listens_at(inbound_port)},
          {"traffic_direction", "INBOUND"},
          {"listener_filters_timeout", "0s"},
          {"continue_on_listener_filters_timeout", true},
          {"listener_filters", list({original_destination(), tls_inspector(spec)})},
          {"filter_chains", std::move(chains)}};
}

// ---- files --------------------------------------------------------------------------------------

Json discovered_from(const ProxySpec& spec, std::string_view file) {
  return {{"resource_api_version", "V3"},
          {"path_config_source", {{"path", fmt::format("{}/{}", spec.directory, file)}}}};
}

Json bootstrap(const ProxySpec& spec) {
  return {{"node",
           {{"id", fmt::format("sidecar~{}~{}.{}~{}.svc.{}", spec.address, spec.pod,
                               spec.in_namespace, spec.in_namespace, trust_domain)},
            {"cluster", fmt::format("{}.{}", spec.account, spec.in_namespace)}}},
          {"admin",
           {{"address",
             {{"pipe",
               {{"path", fmt::format("{}/{}", spec.directory, admin_socket)}, {"mode", 0600}}}}}}},
          {"dynamic_resources",
           {{"cds_config", discovered_from(spec, clusters_file)},
            {"lds_config", discovered_from(spec, listeners_file)}}}};
}

// The files of a certificate are followed through the link that is swapped when they are renewed.
Json watched(const ProxySpec& spec) {
  return {{"path", fmt::format("{}/{}", spec.directory, certificates_directory)}};
}

Json file_of(const ProxySpec& spec, std::string_view name) {
  return {{"filename", fmt::format("{}/{}/{}", spec.directory, certificates_directory, name)}};
}

Json secret_file(std::string_view name, std::string_view kind, Json content) {
  return {{"resources",
           list({{{"@type", fmt::format("{}transport_sockets.tls.v3.Secret", envoy::extensions)},
                  {"name", name},
                  {std::string(kind), std::move(content)}}})}};
}

}  // namespace

std::string spiffe_id(std::string_view in_namespace, std::string_view account) {
  return fmt::format("spiffe://{}/ns/{}/sa/{}", trust_domain, in_namespace, account);
}

ProxiedProtocol proxied_protocol(std::string_view port_name) {
  const auto protocol = port_name.substr(0, port_name.find('-'));
  if (protocol == "http") return ProxiedProtocol::http;
  return protocol == "http2" ? ProxiedProtocol::http2 : ProxiedProtocol::tcp;
}

std::map<std::string, Json> proxy_files(const ProxySpec& spec, std::uint64_t version) {
  std::map<std::string, Json> files;
  const auto number = std::to_string(version);
  files[std::string(bootstrap_file)] = bootstrap(spec);
  files[std::string(clusters_file)] = {{"version_info", number}, {"resources", all_clusters(spec)}};
  files[std::string(listeners_file)] = {
      {"version_info", number},
      {"resources", list({outbound_listener(spec), inbound_listener(spec)})}};
  files["sds-default.json"] = secret_file("default", "tls_certificate",
                                          {{"certificate_chain", file_of(spec, "cert.pem")},
                                           {"private_key", file_of(spec, "key.pem")},
                                           {"watched_directory", watched(spec)}});
  files["sds-ROOTCA.json"] = secret_file(
      "ROOTCA", "validation_context",
      {{"trusted_ca", file_of(spec, "root.pem")}, {"watched_directory", watched(spec)}});
  return files;
}

}  // namespace cluster
