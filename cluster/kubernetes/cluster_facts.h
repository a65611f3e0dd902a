// What a cluster is: versions, network plugin, who implements Services, families, mesh. From its
// objects; what cannot be seen is said to be unknown, with the reason.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "cluster/kubernetes/api_client.h"
#include "cluster/kubernetes/istio.h"
#include "cluster/kubernetes/watch.h"
#include "cluster/topology.h"

namespace cluster {

// Who translates Services.
struct ServiceProxy {
  // "iptables", "nftables", "ipvs": kube-proxy's mode; "cilium": its replacement; empty: unknown.
  std::string mode = {};
  bool socket_lb = false;  // of cilium: whether connect(2) is where it translates
  std::string source;      // where this is from, or why nothing is known
};

struct NetworkPlugin {
  std::string name = {};     // "calico"; empty: unknown
  std::string version = {};  // empty: unknown
  std::string source;
  std::string in_namespace = {};  // of its DaemonSet; empty: unknown
};

// Who would enforce NetworkPolicies: an API server takes them whether anybody does or not.
struct PolicyEngine {
  std::string name = {};  // "Calico Felix"; "none" where a plugin is known to have none; empty:
                          // unknown
  std::string source;     // what this follows from, or why nothing is known
};

struct ClusterFacts {
  std::string version;  // "v1.33.6"
  ServiceProxy proxy;
  NetworkPlugin plugin;
  std::vector<std::string> families;  // of its pods: "ipv4", "ipv6"
  std::vector<std::string> meshes;    // "istio", "linkerd"
  std::optional<IstioFacts> istio = {};
};

// Reads them. Errors: what a cluster that cannot be used says to the first request (its version);
// nothing else is one.
[[nodiscard]] base::Result<ClusterFacts> collect_cluster_facts(ApiClient& api,
                                                               const Objects& nodes);

// The tag of an image's name: "v3.28.0" of "docker.io/calico/node:v3.28.0@sha256:..."; empty where
// it has none.
[[nodiscard]] std::string image_tag(std::string_view image);

// The mode in a kube-proxy's config.conf (KubeProxyConfiguration, YAML); "iptables" where it leaves
// that to the default; nothing where the text is no such configuration.
[[nodiscard]] std::optional<std::string> kube_proxy_mode(std::string_view config);

// The value of a key of the first level of YAML in block style; empty where it has none.
[[nodiscard]] std::string first_level_value(std::string_view yaml, std::string_view key);

// The datapath that is there: of Cilium the one that translates as it does; `installed` itself
// where nothing is known, or nothing a lab has (ipvs).
[[nodiscard]] DatapathKind installed_datapath(const ServiceProxy& proxy);

// What is known of such a plugin.
[[nodiscard]] PolicyEngine policy_engine_of(const NetworkPlugin& plugin);

// A plugin known by the images of a cluster's DaemonSets.
[[nodiscard]] std::optional<NetworkPlugin> plugin_of(const base::Json& daemon_sets);

// The first plugin that a node says by its annotation.
[[nodiscard]] std::optional<NetworkPlugin> plugin_said_by(const Objects& nodes);

// As Target::unavailable.
[[nodiscard]] std::optional<std::string> why_unavailable(const ClusterFacts& facts,
                                                         const EnvironmentPlan& plan);

[[nodiscard]] base::Json facts_json(const ClusterFacts& facts);

}  // namespace cluster
