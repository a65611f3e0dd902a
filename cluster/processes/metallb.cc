#include "cluster/processes/metallb.h"

#include "cluster/processes/addresses.h"
#include "cluster/processes/readiness.h"

namespace cluster::processes {
namespace {

using base::Json;

constexpr std::string_view account = "speaker";
constexpr std::string_view object_name = "stackbench";  // of the pool and what refers to it

std::string pod_name(int node) { return fmt::format("speaker-{}", node_name(node)); }

// As Calico's parts, both are the cluster's administrator.
std::vector<std::string> environment_of(const Directory& directory) {
  return {"KUBECONFIG=" + directory.secret("metallb.conf"),
          fmt::format("METALLB_NAMESPACE={}", metallb_namespace), "METALLB_BGP_TYPE=native"};
}

std::string port_option() { return fmt::format("--port={}", addresses::metallb_metrics_port); }

std::string core_path(std::string_view resource) {
  return fmt::format("/api/v1/namespaces/{}/{}", metallb_namespace, resource);
}

Json metadata(std::string_view name) { return {{"name", name}, {"namespace", metallb_namespace}}; }

// A speaker looks for the Pod it is, to be the owner of what it reports of Services. This one
// stands for it: gated, it is never scheduled.
Json stand_in(int node) {
  const Json gate = {{"name", "stackbench/process"}};
  const Json container = {{"name", "speaker"}, {"image", "none"}};
  Json about = metadata(pod_name(node));
  about["labels"] = {{"app", "metallb"}, {"component", "speaker"}};
  about["annotations"] = {
      {"stackbench/about", fmt::format("The speaker of {} is a process.", node_name(node))}};
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", std::move(about)},
          {"spec",
           {{"serviceAccountName", account},
            {"automountServiceAccountToken", false},
            {"schedulingGates", Json::array({gate})},
            {"containers", Json::array({container})}}}};
}

ApiObject custom(std::string_view version, std::string_view resource, std::string_view kind,
                 const Json& spec) {
  return {.path = fmt::format("/apis/metallb.io/{}/namespaces/{}/{}", version, metallb_namespace,
                              resource),
          .object = {{"apiVersion", fmt::format("metallb.io/{}", version)},
                     {"kind", kind},
                     {"metadata", metadata(object_name)},
                     {"spec", spec}}};
}

}  // namespace

ComponentPlan metallb_controller_component(const Directory& directory, const Tools& tools) {
  return {.name = "metallb-controller",
          .argv = {tools.metallb + "/controller", port_option(), "--webhook-mode=disabled"},
          .environment = environment_of(directory)};
}

ComponentPlan metallb_speaker_component(const Directory& directory, const Tools& tools, int node) {
  ComponentPlan plan{.name = node_name(node) + "-metallb-speaker",
                     .node = node,
                     .argv = {tools.metallb + "/speaker", port_option()},
                     .environment = environment_of(directory)};
  plan.environment.push_back("METALLB_HOST=127.0.0.1");
  plan.environment.push_back("METALLB_NODE_NAME=" + node_name(node));
  plan.environment.push_back("METALLB_POD_NAME=" + pod_name(node));
  return plan;
}

std::vector<ApiObject> metallb_objects(const Shape& shape) {
  std::vector<ApiObject> all;
  all.push_back({.path = "/api/v1/namespaces",
                 .object = {{"apiVersion", "v1"},
                            {"kind", "Namespace"},
                            {"metadata", {{"name", metallb_namespace}}}}});
  all.push_back(
      {.path = core_path("serviceaccounts"),
       .object = {
           {"apiVersion", "v1"}, {"kind", "ServiceAccount"}, {"metadata", metadata(account)}}});
  for (int node = 1; node <= shape.nodes; ++node) {
    all.push_back({.path = core_path("pods"), .object = stand_in(node)});
  }
  const Json pool = {{"addresses", Json::array({addresses::load_balancers})}};
  const Json advertisement = {{"ipAddressPools", Json::array({object_name})}};
  const Json peer = {{"myASN", addresses::node_asn},
                     {"peerASN", addresses::router_asn},
                     {"peerAddress", addresses::router}};
  all.push_back(custom("v1beta1", "ipaddresspools", "IPAddressPool", pool));
  all.push_back(custom("v1beta1", "bgpadvertisements", "BGPAdvertisement", advertisement));
  all.push_back(custom("v1beta2", "bgppeers", "BGPPeer", peer));
  return all;
}

bool metallb_has_loaded(std::string_view metrics) {
  return every_metric_is_positive(metrics, "metallb_k8s_client_config_loaded_bool");
}

}  // namespace cluster::processes
