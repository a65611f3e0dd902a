#include "cluster/processes/configs.h"

#include <openssl/evp.h>

#include "cluster/network_plugin.h"
#include "cluster/processes/addresses.h"

namespace cluster::processes {
namespace {

using base::Json;

std::string base64(const std::string& text) {
  std::string coded(4 * ((text.size() + 2) / 3) + 1, '\0');
  const int length = ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(coded.data()),
                                       reinterpret_cast<const unsigned char*>(text.data()),
                                       static_cast<int>(text.size()));
  coded.resize(static_cast<std::size_t>(length));
  return coded;
}

}  // namespace

Json kubeconfig(std::string_view context, const std::string& server, const std::string& authority,
                const pki::KeyPair& client) {
  const std::string name(context);
  const Json cluster = {{"server", server}, {"certificate-authority-data", base64(authority)}};
  const Json user = {{"client-certificate-data", base64(client.certificate)},
                     {"client-key-data", base64(client.key)}};
  const Json in_context = {{"cluster", name}, {"user", name}};
  return {{"apiVersion", "v1"},
          {"kind", "Config"},
          {"clusters", Json::array({Json{{"name", name}, {"cluster", cluster}}})},
          {"users", Json::array({Json{{"name", name}, {"user", user}}})},
          {"contexts", Json::array({Json{{"name", name}, {"context", in_context}}})},
          {"current-context", name}};
}

Json kubelet_config(const NodeFiles& files) {
  return {
      {"apiVersion", "kubelet.config.k8s.io/v1beta1"},
      {"kind", "KubeletConfiguration"},
      {"authentication",
       {{"anonymous", {{"enabled", false}}},
        {"webhook", {{"enabled", true}}},
        {"x509", {{"clientCAFile", files.authority}}}}},
      {"authorization", {{"mode", "Webhook"}}},
      {"tlsCertFile", files.serving_cert},
      {"tlsPrivateKeyFile", files.serving_key},
      {"clusterDNS", Json::array({addresses::cluster_dns})},
      {"clusterDomain", "cluster.local"},
      {"resolvConf", files.directory + "/resolv.conf"},
      {"containerRuntimeEndpoint", fmt::format("unix://{}", containerd_socket)},
      {"volumePluginDir", files.directory + "/volume-plugins"},
      // A cgroup of each node's own: kubelets must not clear each other's pods away.
      {"cgroupDriver", "cgroupfs"},
      {"cgroupRoot", files.cgroup_root},
      {"cgroupsPerQOS", true},
      {"enforceNodeAllocatable", Json::array({"pods"})},
      // What the machine has is taken as it is, and nothing of it is changed.
      {"failCgroupV1", false},
      {"failSwapOn", false},
      {"oomScoreAdj", 0},
      {"featureGates", {{"KubeletInUserNamespace", true}}},
      // The disk is the machine's, too, and its images cannot be had again.
      {"imageGCHighThresholdPercent", 100},
      {"evictionHard",
       {{"memory.available", "50Mi"},
        {"nodefs.available", "1%"},
        {"nodefs.inodesFree", "1%"},
        {"imagefs.available", "1%"},
        {"imagefs.inodesFree", "1%"}}},
      {"maxPods", 200},
      {"nodeStatusUpdateFrequency", "4s"},
      {"healthzBindAddress", "127.0.0.1"},
  };
}

Json kube_proxy_config(const Shape& shape, int node, const NodeFiles& files) {
  return {
      {"apiVersion", "kubeproxy.config.k8s.io/v1alpha1"},
      {"kind", "KubeProxyConfiguration"},
      {"mode", std::string(base::enum_name(shape.proxy))},
      {"clientConnection", {{"kubeconfig", files.proxy_kubeconfig}}},
      {"clusterCIDR", addresses::pod_cidr},
      {"hostnameOverride", node_name(node)},
      {"metricsBindAddress", fmt::format("127.0.0.1:{}", addresses::proxy_metrics_port)},
      {"healthzBindAddress", "127.0.0.1:10256"},
      {"oomScoreAdj", 0},
      // The sizes of the connection table are the machine's, not a namespace's.
      {"conntrack",
       {{"maxPerCore", 0},
        {"min", 0},
        {"tcpEstablishedTimeout", "0s"},
        {"tcpCloseWaitTimeout", "0s"}}},
  };
}

Json kube_proxy_config_map(const Shape& shape) {
  const Json config = {{"apiVersion", "kubeproxy.config.k8s.io/v1alpha1"},
                       {"kind", "KubeProxyConfiguration"},
                       {"mode", std::string(base::enum_name(shape.proxy))},
                       {"clusterCIDR", addresses::pod_cidr}};
  return {{"apiVersion", "v1"},
          {"kind", "ConfigMap"},
          {"metadata", {{"name", "kube-proxy"}, {"namespace", "kube-system"}}},
          {"data", {{"config.conf", base::dump_json(config)}}}};
}

Json bridge_cni_config(int node) {
  const Json range = {{"subnet", addresses::pod_cidr_of(node)}};
  const Json everywhere = {{"dst", "0.0.0.0/0"}};
  const Json address_management = {{"type", "host-local"},
                                   {"ranges", Json::array({Json::array({range})})},
                                   {"routes", Json::array({everywhere})}};
  const Json bridge = {{"type", "bridge"},          {"bridge", "cni0"},    {"isGateway", true},
                       {"ipMasq", false},           {"hairpinMode", true}, {"mtu", 1500},
                       {"ipam", address_management}};
  const Json port_map = {{"type", "portmap"}, {"capabilities", {{"portMappings", true}}}};
  return {{"cniVersion", "0.4.0"},
          {"name", "stackbench"},
          {"plugins", Json::array({bridge, port_map})}};
}

std::string containerd_config(const Tools& tools, const NodeFiles& files) {
  constexpr std::string_view text = R"(version = 2
oom_score = 0
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{pause}"
  # Lowering a score takes CAP_SYS_RESOURCE, which containers of CI have not.
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{cni_plugins}"
    conf_dir = "{directory}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
)";
  return fmt::format(fmt::runtime(text), fmt::arg("socket", containerd_socket),
                     fmt::arg("pause", pause_image), fmt::arg("cni_plugins", files.cni_plugins),
                     fmt::arg("directory", files.directory), fmt::arg("runc", tools.runc));
}

Json node_object(const Shape& shape, int node) {
  const auto cidr = addresses::pod_cidr_of(node);
  return {{"apiVersion", "v1"},
          {"kind", "Node"},
          {"metadata",
           {{"name", node_name(node)},
            {"labels", {{"app.kubernetes.io/managed-by", "stackbench"}}},
            {"annotations", {{network_plugin_annotation, base::enum_name(shape.cni)}}}}},
          {"spec", {{"podCIDR", cidr}, {"podCIDRs", Json::array({cidr})}}}};
}

}  // namespace cluster::processes
