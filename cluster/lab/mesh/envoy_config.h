// The configuration of a lab's proxy, as files an Envoy reads and a person can: what istiod sends a
// sidecar, in the same words where stock Envoy has them. Pure functions of a specification.
//
// What differs from Istio: a Service's port is a filter chain of one outbound listener where istiod
// makes a listener of each; HTTP is routed by where it was sent, not by its Host; routes are a part
// of the listener, so that a connection that was open when they changed goes on by the older ones
// until it is drained; and Istio's own filters (metadata exchange, ALPN override, statistics) are
// in no stock Envoy.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/address.h"
#include "base/json.h"
#include "cluster/lab/mesh/authorization.h"
#include "cluster/lab/mesh/routing.h"
#include "cluster/mesh.h"

namespace cluster {

// "spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT".
[[nodiscard]] std::string spiffe_id(std::string_view in_namespace, std::string_view account);
inline constexpr std::string_view trust_domain = "cluster.local";

enum class ProxiedProtocol { tcp, http, http2 };
// What a port of this name carries, as Istio takes it: HTTP/1.1 ("http", "http-web"), HTTP/2
// ("http2", "http2-web"), else TCP: protocols are not detected here. Proxies take either version of
// HTTP from a client, and pass on what the port is named by.
[[nodiscard]] ProxiedProtocol proxied_protocol(std::string_view port_name);

// A pod behind a Service.
struct ProxiedEndpoint {
  base::Endpoint endpoint;
  bool mutual_tls = false;  // it has a proxy and takes mutual TLS at that port
  std::map<std::string, std::string> labels = {};  // of the pod

  bool operator==(const ProxiedEndpoint&) const = default;
};

// A port of a Service, for proxies of clients.
struct ProxiedService {
  std::string host;        // "web.default.svc.cluster.local"
  base::Endpoint address;  // its ClusterIP and port
  ProxiedProtocol protocol = ProxiedProtocol::tcp;
  std::vector<ProxiedEndpoint> endpoints = {};
  std::vector<std::string> identities = {};  // SPIFFE: who its pods may be

  bool operator==(const ProxiedService&) const = default;
};

// A port of the proxy's own pod.
struct ProxiedPort {
  std::uint16_t port = 0;
  ProxiedProtocol protocol = ProxiedProtocol::tcp;
  base::kube::MtlsMode mode = base::kube::MtlsMode::PERMISSIVE;

  bool operator==(const ProxiedPort&) const = default;
};

struct ProxySpec {
  std::string pod;
  std::string in_namespace;
  std::string account;    // its service account: the group of pods
  std::string address;    // the pod's
  std::string directory;  // of its files, as the proxy sees it
  SessionResumption session_resumption = SessionResumption::on;
  std::vector<ProxiedService> services = {};
  std::vector<ProxiedPort> ports = {};
  base::kube::MtlsMode other_ports = base::kube::MtlsMode::PERMISSIVE;
  ProxyAuthorization authorization = {};  // of what comes in
  ProxyRouting routing = {};              // of what goes out
  bool trusts_any_ca = false;  // a fault: takes clients' certificates of whatever authority
  int plaintext_one_in = 0;    // a fault: of so many requests one leaves in the clear, 0: none does
  // Counted up to have it close what it keeps open: to Envoy a cluster whose metadata is another
  // is another cluster, and it drains the connections of the one before.
  std::uint64_t connections_of = 0;

  bool operator==(const ProxySpec&) const = default;
};

// Its files by name, but for keys and certificates: bootstrap.json, listeners.json, clusters.json,
// sds-default.json and sds-ROOTCA.json. `version` is what the proxy says it has once it has them.
[[nodiscard]] std::map<std::string, base::Json> proxy_files(const ProxySpec& spec,
                                                            std::uint64_t version);
// Those of them that change while a proxy runs, in the order they are to be replaced in: whom to
// dial before who is led there.
inline constexpr std::string_view clusters_file = "clusters.json";
inline constexpr std::string_view listeners_file = "listeners.json";
inline constexpr std::string_view bootstrap_file = "bootstrap.json";

// Where its administration listens, and where its key and certificates are, below its directory.
inline constexpr std::string_view admin_socket = "admin.sock";
inline constexpr std::string_view certificates_directory = "certs";

}  // namespace cluster
