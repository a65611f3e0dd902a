// The configuration files of a cluster's components. Those that Kubernetes reads are JSON, of which
// YAML is a superset. Pure functions.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "cluster/pki/pki.h"
#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

// A kubeconfig of one context, certificates and key inside. `server`: "https://127.0.0.1:6443".
[[nodiscard]] base::Json kubeconfig(std::string_view context, const std::string& server,
                                    const std::string& authority, const pki::KeyPair& client);

// Paths as they are in the node's mount namespace, where each node has its own /var/lib and /run.
struct NodeFiles {
  std::string directory;     // the node's own, on the machine
  std::string authority;     // the certificate of who signs clients
  std::string serving_cert;  // the kubelet's
  std::string serving_key;
  std::string proxy_kubeconfig;
  std::string cni_plugins;  // the directory of the programs that connect pods
  std::string cgroup_root;  // "/stackbench-4711-123456-0/node1"
};

[[nodiscard]] base::Json kubelet_config(const NodeFiles& files);
[[nodiscard]] base::Json kube_proxy_config(const Shape& shape, int node, const NodeFiles& files);
// The ConfigMap kube-system/kube-proxy, where kubeadm keeps what its kube-proxies are told and
// tools look for their mode.
[[nodiscard]] base::Json kube_proxy_config_map(const Shape& shape);
// The network configuration list of the CNI, for one node's pods, where a bridge connects them.
[[nodiscard]] base::Json bridge_cni_config(int node);
// TOML.
[[nodiscard]] std::string containerd_config(const Tools& tools, const NodeFiles& files);

// The Node object, made before its kubelet starts, so that its pods' addresses are ours to say.
[[nodiscard]] base::Json node_object(const Shape& shape, int node);

// The image of what holds a pod's namespaces, as images/pause makes it.
inline constexpr std::string_view pause_image =
    "docker.io/library/stackbench-pause:" STACKBENCH_VERSION;
inline constexpr std::string_view containerd_socket = "/run/containerd/containerd.sock";

}  // namespace cluster::processes
