#include "cluster/processes/components.h"

#include "cluster/processes/addresses.h"
#include "cluster/processes/calico.h"
#include "cluster/processes/configs.h"
#include "cluster/processes/metallb.h"

namespace cluster::processes {
namespace {

std::string etcd_url() { return fmt::format("http://127.0.0.1:{}", addresses::etcd_port); }

ComponentPlan etcd(const Directory& directory, const Tools& tools) {
  const auto peer = fmt::format("http://127.0.0.1:{}", addresses::etcd_peer_port);
  return {.name = "etcd",
          .argv = {tools.hyperkube, "etcd", "--data-dir=" + directory.etcd(),
                   // A cluster does not outlive its supervisor: nothing to keep safe on disk.
                   "--unsafe-no-fsync", "--log-level=warn", "--listen-client-urls=" + etcd_url(),
                   "--advertise-client-urls=" + etcd_url(), "--listen-peer-urls=" + peer,
                   "--initial-advertise-peer-urls=" + peer, "--initial-cluster=default=" + peer}};
}

ComponentPlan api_server(const Directory& directory, const Tools& tools) {
  return {.name = "kube-apiserver",
          .argv = {tools.hyperkube, "kube-apiserver", "--etcd-servers=" + etcd_url(),
                   "--bind-address=0.0.0.0",
                   fmt::format("--advertise-address={}", addresses::control_plane),
                   fmt::format("--secure-port={}", addresses::api_server_port),
                   "--tls-cert-file=" + directory.secret("apiserver.crt"),
                   "--tls-private-key-file=" + directory.secret("apiserver.key"),
                   "--client-ca-file=" + directory.secret("ca.crt"),
                   "--kubelet-client-certificate=" + directory.secret("kubelet-client.crt"),
                   "--kubelet-client-key=" + directory.secret("kubelet-client.key"),
                   "--kubelet-certificate-authority=" + directory.secret("ca.crt"),
                   "--kubelet-preferred-address-types=InternalIP",
                   "--service-account-issuer=https://kubernetes.default.svc",
                   "--service-account-key-file=" + directory.secret("sa.pub"),
                   "--service-account-signing-key-file=" + directory.secret("sa.key"),
                   fmt::format("--service-cluster-ip-range={}", addresses::service_cidr),
                   "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
                   "--allow-privileged=true",
                   // Webhooks are reached at their pods: no kube-proxy runs beside the API server.
                   "--enable-aggregator-routing=true", "--profiling=false"}};
}

}  // namespace

std::vector<ComponentPlan> api_server_components(const Directory& directory, const Tools& tools) {
  return {etcd(directory, tools), api_server(directory, tools)};
}

std::vector<ComponentPlan> controller_components(const Directory& directory, const Tools& tools) {
  return {{.name = "kube-controller-manager",
           .argv = {tools.hyperkube, "kube-controller-manager",
                    "--kubeconfig=" + directory.secret("controller-manager.conf"),
                    "--service-account-private-key-file=" + directory.secret("sa.key"),
                    "--root-ca-file=" + directory.secret("ca.crt"),
                    "--cluster-signing-cert-file=" + directory.secret("ca.crt"),
                    "--cluster-signing-key-file=" + directory.secret("ca.key"),
                    "--use-service-account-credentials=true", "--leader-elect=false",
                    "--flex-volume-plugin-dir=" + directory.path() + "/volume-plugins",
                    // Which node has which addresses is said by us, with the routes between them.
                    "--allocate-node-cidrs=false", "--bind-address=127.0.0.1",
                    "--node-monitor-period=2s", "--node-monitor-grace-period=16s",
                    "--profiling=false"}},
          {.name = "kube-scheduler",
           .argv = {tools.hyperkube, "kube-scheduler",
                    "--kubeconfig=" + directory.secret("scheduler.conf"), "--leader-elect=false",
                    "--bind-address=127.0.0.1", "--profiling=false"}}};
}

ComponentPlan containerd_component(const Directory& directory, const Tools& tools, int node) {
  return {.name = node_name(node) + "-containerd",
          .node = node,
          .argv = {tools.containerd, "--config", directory.node(node, "containerd.toml")}};
}

std::vector<ComponentPlan> node_components(const Directory& directory, const Tools& tools,
                                           const Shape& shape, int node) {
  const auto name = node_name(node);
  std::vector<ComponentPlan> all{
      {.name = name + "-kubelet",
       .node = node,
       .argv = {tools.hyperkube, "kubelet", "--config=" + directory.node(node, "kubelet.json"),
                "--kubeconfig=" + directory.secret(name + ".conf"), "--hostname-override=" + name,
                "--node-ip=" + addresses::node(node), "--root-dir=/var/lib/kubelet"}},
      {.name = name + "-kube-proxy",
       .node = node,
       .argv = {tools.hyperkube, "kube-proxy",
                "--config=" + directory.node(node, "kube-proxy.json")}}};
  if (shape.cni == Cni::calico) all.push_back(felix_component(directory, tools, node));
  if (shape.bgp == Bgp::metallb) all.push_back(metallb_speaker_component(directory, tools, node));
  return all;
}

std::vector<std::string> import_command(const Tools& tools, const std::string& archive) {
  return {tools.ctr, "-a",   std::string(containerd_socket), "-n", "k8s.io", "images",
          "import",  archive};
}

std::vector<std::string> component_environment(const Tools& tools) {
  return {"PATH=" + tools.path, "HOME=/root", "LANG=C.UTF-8"};
}

}  // namespace cluster::processes
