#include "cluster/processes/istio.h"

#include <algorithm>

#include "base/file.h"
#include "cluster/mesh.h"
#include "istio_operator_text.h"

namespace cluster::processes {
namespace {

using base::Json;

constexpr std::string_view proxy_container = "istio-proxy";

}  // namespace

std::string_view istio_operator() { return istio_operator_text; }

base::Result<std::string> istio_version(const Tools& tools) {
  ASSIGN_OR_RETURN(auto version, base::read_file(tools.istio + "/version"));
  while (version.ends_with('\n')) version.pop_back();
  return version;
}

std::vector<std::string> istio_install_command(const Directory& directory, const Tools& tools,
                                               const std::string& version,
                                               const std::string& operator_file) {
  return {tools.istio + "/istioctl",
          "install",
          "--kubeconfig=" + directory.kubeconfig(),
          "--filename=" + operator_file,
          "--set=tag=" + version,
          "--readiness-timeout=3m",
          "--skip-confirmation"};
}

Json pod_asking_for_a_proxy() {
  const Json container = {{"name", "probe"}, {"image", "none"}};
  return {{"apiVersion", "v1"},
          {"kind", "Pod"},
          {"metadata", {{"name", "stackbench-proxy-probe"}, {"labels", {{inject_label, "true"}}}}},
          {"spec", {{"containers", Json::array({container})}}}};
}

bool has_proxy(const Json& pod) {
  if (!pod.is_object() || !pod.contains("spec")) return false;
  const auto& spec = pod["spec"];
  // As a sidecar of Kubernetes it is an init container that goes on.
  for (const auto* kind : {"initContainers", "containers"}) {
    const auto list = spec.value(kind, Json::array());
    const auto is_proxy = [](const Json& one) { return one.value("name", "") == proxy_container; };
    if (std::ranges::any_of(list, is_proxy)) return true;
  }
  return false;
}

}  // namespace cluster::processes
