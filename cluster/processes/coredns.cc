#include "cluster/processes/coredns.h"

#include "cluster/processes/addresses.h"

namespace cluster::processes {
namespace {

using base::Json;

constexpr std::string_view service_name = "kube-dns";
constexpr int dns_port = 53;

Json ports(bool with_target) {
  Json all = Json::array();
  for (const auto& [name, protocol] : {std::pair{"dns", "UDP"}, {"dns-tcp", "TCP"}}) {
    Json port = {{"name", name}, {"protocol", protocol}, {"port", dns_port}};
    if (with_target) port["targetPort"] = dns_port;
    all.push_back(std::move(port));
  }
  return all;
}

}  // namespace

std::string corefile_path(const Directory& directory) { return directory.path() + "/Corefile"; }

std::string corefile(const Directory& directory) {
  return fmt::format(R"(.:{} {{
  errors
  ready 127.0.0.1:{}
  kubernetes cluster.local in-addr.arpa ip6.arpa {{
    kubeconfig {}
    ttl 5
  }}
  cache 5
}}
)",
                     dns_port, addresses::dns_ready_port, directory.secret("coredns.conf"));
}

ComponentPlan coredns_component(const Directory& directory, const Tools& tools) {
  return {.name = "coredns", .argv = {tools.coredns, "-conf", corefile_path(directory)}};
}

std::vector<ApiObject> coredns_objects() {
  const std::string in_namespace = "namespaces/kube-system/";
  const Json address = {{"addresses", Json::array({addresses::control_plane})},
                        {"conditions", {{"ready", true}}}};
  return {{.path = "/api/v1/" + in_namespace + "services",
           .object = {{"apiVersion", "v1"},
                      {"kind", "Service"},
                      {"metadata",
                       {{"name", service_name},
                        {"namespace", "kube-system"},
                        {"labels", {{"k8s-app", "kube-dns"}}}}},
                      {"spec", {{"clusterIP", addresses::cluster_dns}, {"ports", ports(true)}}}}},
          {.path = "/apis/discovery.k8s.io/v1/" + in_namespace + "endpointslices",
           .object = {{"apiVersion", "discovery.k8s.io/v1"},
                      {"kind", "EndpointSlice"},
                      {"metadata",
                       {{"name", service_name},
                        {"namespace", "kube-system"},
                        {"labels", {{"kubernetes.io/service-name", service_name}}}}},
                      {"addressType", "IPv4"},
                      {"endpoints", Json::array({address})},
                      {"ports", ports(false)}}}};
}

}  // namespace cluster::processes
