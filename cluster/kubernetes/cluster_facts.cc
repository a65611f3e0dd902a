#include "cluster/kubernetes/cluster_facts.h"

#include <algorithm>
#include <array>
#include <set>

#include "base/address.h"
#include "cluster/kubernetes/api_error.h"
#include "cluster/network_plugin.h"

namespace cluster {
namespace {

using base::Json;
using base::Result;

struct KnownImage {
  std::string_view part;  // of an image's repository
  std::string_view plugin;
};
constexpr std::array known_images{
    KnownImage{"calico/node", "calico"},          KnownImage{"cilium/cilium", "cilium"},
    KnownImage{"flannel/flannel", "flannel"},     KnownImage{"flannelcni/flannel", "flannel"},
    KnownImage{"kindest/kindnetd", "kindnet"},    KnownImage{"antrea/antrea", "antrea"},
    KnownImage{"weaveworks/weave-kube", "weave"}, KnownImage{"kube-router", "kube-router"},
    KnownImage{"amazon-k8s-cni", "aws-vpc"},      KnownImage{"ovn-kube", "ovn-kubernetes"}};

struct KnownEngine {
  std::string_view plugin;
  std::string_view engine;  // empty: it depends
};
constexpr std::array known_engines{KnownEngine{"calico", "Calico Felix"},
                                   KnownEngine{"cilium", "Cilium"},
                                   KnownEngine{"antrea", "Antrea"},
                                   KnownEngine{"weave", "weave-npc"},
                                   KnownEngine{"kube-router", "kube-router"},
                                   KnownEngine{"ovn-kubernetes", "OVN-Kubernetes"},
                                   KnownEngine{"flannel", "none"},
                                   KnownEngine{"bridge", "none"},
                                   KnownEngine{"kindnet", ""},
                                   KnownEngine{"aws-vpc", ""}};

std::string_view trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\"'";
  while (!text.empty() && blanks.find(text.front()) != std::string_view::npos) {
    text.remove_prefix(1);
  }
  while (!text.empty() && blanks.find(text.back()) != std::string_view::npos) {
    text.remove_suffix(1);
  }
  return text;
}

// An object, or null with the reason in `why`.
Json look(ApiClient& api, const std::string& path, std::string& why) {
  auto found = api.find(path);
  if (found && *found) return std::move(**found);
  why = found ? fmt::format("{} is not there", path) : found.error().message;
  return {};
}

// What kube-proxy itself says, where its port can be reached from the API server.
std::optional<std::string> mode_at(const ApiOptions& options, const std::string& node) {
  auto hurried = options;
  hurried.timeout = std::chrono::seconds(3);
  ApiClient api(hurried);
  const auto answer =
      api.request_once({.target = fmt::format("/api/v1/nodes/{}:10249/proxy/proxyMode", node)});
  if (!answer || answer->status != 200 || !answer->body.is_string()) return std::nullopt;
  auto mode = answer->body.get<std::string>();
  if (mode != "iptables" && mode != "nftables" && mode != "ipvs") return std::nullopt;
  return mode;
}

ServiceProxy find_proxy(ApiClient& api, const Objects& nodes) {
  std::string why;
  const auto cilium = look(api, "/api/v1/namespaces/kube-system/configmaps/cilium-config", why);
  const auto replacement = text_at(cilium, {"data", "kube-proxy-replacement"});
  if (replacement == "true" || replacement == "strict") {
    // Absent, it follows the replacement.
    return {.mode = "cilium",
            .socket_lb = text_at(cilium, {"data", "bpf-lb-sock"}) != "false",
            .source = "ConfigMap kube-system/cilium-config"};
  }
  for (const auto& [name, node] : nodes) {
    if (const auto mode = mode_at(api.options(), name)) {
      return {.mode = *mode, .source = fmt::format("kube-proxy on node {}", name)};
    }
    break;  // one stands for all: each that is not reached costs its time
  }
  const auto config = look(api, "/api/v1/namespaces/kube-system/configmaps/kube-proxy", why);
  if (const auto mode = kube_proxy_mode(text_at(config, {"data", "config.conf"}))) {
    return {.mode = *mode, .source = "ConfigMap kube-system/kube-proxy"};
  }
  if (why.empty()) why = "ConfigMap kube-system/kube-proxy holds no config.conf";
  return {.source = why};
}

std::set<std::string> api_groups(ApiClient& api) {
  std::set<std::string> names;
  const auto found = api.find("/apis");
  if (!found || !*found) return names;
  const auto& groups = json_at(**found, {"groups"});
  if (!groups.is_array()) return names;
  for (const auto& group : groups) names.insert(text_at(group, {"name"}));
  return names;
}

// Calico without a DaemonSet of its image: it tells its version itself, to those it lets read it.
NetworkPlugin find_calico(ApiClient& api) {
  std::string why;
  const auto information =
      look(api, "/apis/crd.projectcalico.org/v1/clusterinformations/default", why);
  auto version = text_at(information, {"spec", "calicoVersion"});
  if (version.empty()) return {.name = "calico", .source = "API group crd.projectcalico.org"};
  return {.name = "calico", .version = std::move(version), .source = "ClusterInformation default"};
}

NetworkPlugin find_plugin(ApiClient& api, const std::set<std::string>& groups,
                          const Objects& nodes) {
  std::string why;
  const auto daemon_sets = look(api, "/apis/apps/v1/daemonsets", why);
  if (auto plugin = plugin_of(daemon_sets)) return *plugin;
  if (groups.contains("crd.projectcalico.org")) return find_calico(api);
  if (groups.contains("cilium.io")) return {.name = "cilium", .source = "API group cilium.io"};
  if (!why.empty()) return {.source = why};
  return plugin_said_by(nodes).value_or(
      NetworkPlugin{.source = "no DaemonSet of a network plugin we know"});
}

std::vector<std::string> families_of(const Objects& nodes) {
  std::set<std::string> families;
  for (const auto& [name, node] : nodes) {
    const auto& ranges = json_at(node, {"spec", "podCIDRs"});
    if (!ranges.is_array()) continue;
    for (const auto& range : ranges) {
      if (!range.is_string()) continue;
      families.insert(range.get<std::string>().find(':') == std::string::npos ? "ipv4" : "ipv6");
    }
  }
  return {families.begin(), families.end()};
}

std::optional<std::string> why_not_datapath(const ServiceProxy& proxy, DatapathKind datapath) {
  const auto wanted = base::enum_name(datapath);
  switch (datapath) {
    case DatapathKind::installed:
      return std::nullopt;
    case DatapathKind::direct:
      return "a cluster always has something that translates Services; direct is the lab's";
    case DatapathKind::iptables:
    case DatapathKind::nftables:
      if (proxy.mode == wanted) return std::nullopt;
      if (proxy.mode == "cilium") return "the cluster's kube-proxy is replaced by Cilium";
      break;
    case DatapathKind::ebpf_socket:
    case DatapathKind::ebpf_tc: {
      if (proxy.mode != "cilium") break;
      const bool fits = proxy.socket_lb == (datapath == DatapathKind::ebpf_socket);
      if (fits) return std::nullopt;
      return fmt::format("Cilium's socket load balancing is {} on this cluster",
                         proxy.socket_lb ? "on" : "off");
    }
  }
  if (proxy.mode.empty()) {
    return fmt::format("who implements the cluster's Services could not be found out: {}",
                       proxy.source);
  }
  return fmt::format("the cluster's kube-proxy runs in {} mode ({})", proxy.mode, proxy.source);
}

}  // namespace

std::string image_tag(std::string_view image) {
  image = image.substr(0, image.find('@'));
  const auto slash = image.rfind('/');
  const auto colon = image.rfind(':');
  if (colon == std::string_view::npos || (slash != std::string_view::npos && colon < slash)) {
    return {};
  }
  return std::string(image.substr(colon + 1));
}

std::string first_level_value(std::string_view yaml, std::string_view key) {
  std::string value;
  while (!yaml.empty()) {
    const auto end = std::min(yaml.find('\n'), yaml.size());
    const auto line = yaml.substr(0, end);
    yaml.remove_prefix(std::min(end + 1, yaml.size()));
    // Only a key of the first level begins its line.
    if (!line.starts_with(key) || line.substr(key.size(), 1) != ":") continue;
    value = std::string(trim(line.substr(key.size() + 1)));
  }
  return value;
}

std::optional<std::string> kube_proxy_mode(std::string_view config) {
  if (config.find("KubeProxyConfiguration") == std::string_view::npos) return std::nullopt;
  if (const auto json = base::parse_json(config)) {  // which is YAML, too
    const auto mode = text_at(*json, {"mode"});
    return mode.empty() ? "iptables" : mode;
  }
  const auto mode = first_level_value(config, "mode");
  return mode.empty() ? "iptables" : mode;
}

DatapathKind installed_datapath(const ServiceProxy& proxy) {
  if (proxy.mode == "iptables") return DatapathKind::iptables;
  if (proxy.mode == "nftables") return DatapathKind::nftables;
  if (proxy.mode == "cilium") {
    return proxy.socket_lb ? DatapathKind::ebpf_socket : DatapathKind::ebpf_tc;
  }
  return DatapathKind::installed;
}

PolicyEngine policy_engine_of(const NetworkPlugin& plugin) {
  if (plugin.name.empty()) {
    return {.source = fmt::format("the network plugin is unknown: {}", plugin.source)};
  }
  const auto known = std::ranges::find(known_engines, plugin.name, &KnownEngine::plugin);
  if (known == known_engines.end()) {
    return {.source = fmt::format("of the network plugin {} nothing is known", plugin.name)};
  }
  if (known->engine.empty()) {
    return {.source = fmt::format("the network plugin {} enforces policies in some versions and "
                                  "settings only",
                                  plugin.name)};
  }
  return {.name = std::string(known->engine),
          .source = fmt::format("network plugin {} ({})", plugin.name, plugin.source)};
}

std::optional<NetworkPlugin> plugin_of(const Json& daemon_sets) {
  const auto& items = json_at(daemon_sets, {"items"});
  if (!items.is_array()) return std::nullopt;
  for (const auto& item : items) {
    const auto& containers = json_at(item, {"spec", "template", "spec", "containers"});
    if (!containers.is_array()) continue;
    for (const auto& container : containers) {
      const auto image = text_at(container, {"image"});
      const auto known = std::ranges::find_if(known_images, [&](const KnownImage& one) {
        return image.find(one.part) != std::string::npos;
      });
      if (known == known_images.end()) continue;
      return NetworkPlugin{.name = std::string(known->plugin),
                           .version = image_tag(image),
                           .source = fmt::format("DaemonSet {}", object_key(item)),
                           .in_namespace = text_at(item, {"metadata", "namespace"})};
    }
  }
  return std::nullopt;
}

std::optional<NetworkPlugin> plugin_said_by(const Objects& nodes) {
  for (const auto& [name, node] : nodes) {
    auto plugin = text_at(node, {"metadata", "annotations", network_plugin_annotation});
    if (plugin.empty()) continue;
    return NetworkPlugin{
        .name = std::move(plugin),
        .version = {},
        .source = fmt::format("annotation {} of node {}", network_plugin_annotation, name)};
  }
  return std::nullopt;
}

Result<ClusterFacts> collect_cluster_facts(ApiClient& api, const Objects& nodes) {
  ClusterFacts facts;
  ASSIGN_OR_RETURN(const auto version, api.get("/version"));
  facts.version = text_at(version, {"gitVersion"});
  const auto groups = api_groups(api);
  facts.proxy = find_proxy(api, nodes);
  facts.plugin = find_plugin(api, groups, nodes);
  facts.families = families_of(nodes);
  if (groups.contains("security.istio.io")) {
    facts.meshes.emplace_back("istio");
    facts.istio = find_istio(api);
  }
  if (groups.contains("policy.linkerd.io")) facts.meshes.emplace_back("linkerd");
  return facts;
}

std::optional<std::string> why_unavailable(const ClusterFacts& facts, const EnvironmentPlan& plan) {
  // Where pods are all there is, nothing is to be translated.
  const bool translates = plan.datapath != DatapathKind::direct || !plan.has_policies ||
                          !plan.topology.services.empty();
  if (const auto reason = why_not_datapath(facts.proxy, plan.datapath); reason && translates) {
    return reason;
  }
  if (plan.mesh) {
    if (auto reason = why_no_sidecars(facts.istio)) return reason;
    if (auto reason = why_not_told(*plan.mesh)) return reason;
  }
  for (const auto fault : plan.faults) {
    // Whoever starts the servers plants it, wherever they run.
    if (fault == FaultKind::impostor) continue;
    // A mesh takes it as it takes any object of a namespace.
    if (fault == FaultKind::port_left_out_of_strict && plan.mesh) continue;
    return fmt::format("the fault {} can be planted in a lab only", base::enum_name(fault));
  }
  const auto family = plan.filler.family == base::AddressFamily::ipv4 ? "ipv4" : "ipv6";
  if (plan.filler.services > 0 && !facts.families.empty() &&
      std::ranges::find(facts.families, family) == facts.families.end()) {
    return fmt::format("the cluster's pods have no {} addresses", family);
  }
  return std::nullopt;
}

Json facts_json(const ClusterFacts& facts) {
  const auto or_unknown = [](const std::string& text) {
    return text.empty() ? std::string("unknown") : text;
  };
  const auto engine = policy_engine_of(facts.plugin);
  Json proxy = {{"mode", or_unknown(facts.proxy.mode)}, {"source", facts.proxy.source}};
  if (facts.proxy.mode == "cilium") proxy["socket_lb"] = facts.proxy.socket_lb;
  Json all = {{"kubernetes", facts.version},
              {"service_proxy", std::move(proxy)},
              {"cni",
               {{"name", or_unknown(facts.plugin.name)},
                {"version", or_unknown(facts.plugin.version)},
                {"source", facts.plugin.source}}},
              {"policy_engine", {{"name", or_unknown(engine.name)}, {"source", engine.source}}},
              // Where plugins give pods their addresses themselves, nodes do not say.
              {"families", facts.families.empty() ? Json("unknown") : Json(facts.families)},
              {"meshes", facts.meshes}};
  if (facts.istio) all["mesh"] = istio_json(*facts.istio);
  return all;
}

}  // namespace cluster
