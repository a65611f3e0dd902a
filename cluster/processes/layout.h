// Where a cluster of processes keeps its things: its directory, and the tools it runs.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/result.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

// "node1": a node's name in Kubernetes, its host name, its network namespace's name.
inline std::string node_name(int number) { return fmt::format("node{}", number); }

// The files of one cluster, all below one directory.
class Directory {
 public:
  explicit Directory(std::string path) : path_(std::move(path)) {}

  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string state() const { return path_ + "/state.json"; }
  // Locked (flock(2)) by the supervisor while it lives.
  [[nodiscard]] std::string lock() const { return path_ + "/lock"; }
  [[nodiscard]] std::string kubeconfig() const { return path_ + "/kubeconfig"; }
  [[nodiscard]] std::string logs() const { return path_ + "/logs"; }
  [[nodiscard]] std::string log(std::string_view component) const {
    return fmt::format("{}/logs/{}.log", path_, component);
  }
  [[nodiscard]] std::string etcd() const { return path_ + "/etcd"; }
  // Certificates, keys and the components' kubeconfigs; mode 0700.
  [[nodiscard]] std::string secret(std::string_view file) const {
    return fmt::format("{}/pki/{}", path_, file);
  }
  // A node's own files: its /var/lib and /var/log among them.
  [[nodiscard]] std::string node(int number) const {
    return fmt::format("{}/{}", path_, node_name(number));
  }
  [[nodiscard]] std::string node(int number, std::string_view file) const {
    return fmt::format("{}/{}/{}", path_, node_name(number), file);
  }

 private:
  std::string path_;
};

// The programs and images a cluster is made of, as ./bootstrap leaves them below build/.
struct Tools {
  std::string root;  // absolute; the others are below it
  std::string hyperkube;
  std::string kubectl;  // a link to it: hyperkube answers to this name
  std::string containerd;
  std::string ctr;
  std::string runc;
  std::string cni_plugins;  // a directory
  std::string calico;       // a directory: calico-felix, calico (the CNI plugin), crds/, version
  std::string metallb;      // a directory: controller, speaker, crds/
  std::string istio;        // a directory: istioctl, images/, crds/ (the Gateway API's), version
  std::string coredns;
  std::string images;  // a directory; every *.tar in it is for every node
  std::string path;    // PATH for those that look others up
};

// The layout below `root`, without a look at the disk.
[[nodiscard]] Tools tools_below(const std::string& root);

// $STACKBENCH_TOOLS, or what is two directories above our own executable's (build/dev/bin): with
// everything that a cluster of this shape needs. Errors: missing, naming all that is not there,
// with the mend.
[[nodiscard]] base::Result<Tools> find_tools(const Shape& shape);
[[nodiscard]] base::Result<Tools> find_tools(const std::string& root, const Shape& shape);

// The archives in tools.images, in the order of their names, and after them those that a shape's
// addons bring. Errors: missing (no such directory), system.
[[nodiscard]] base::Result<std::vector<std::string>> image_archives(const Tools& tools,
                                                                    const Shape& shape);

}  // namespace cluster::processes
