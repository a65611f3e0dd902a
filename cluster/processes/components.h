// The processes of a cluster: what each is called with. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "cluster/processes/layout.h"
#include "cluster/processes/shape.h"

namespace cluster::processes {

struct ComponentPlan {
  std::string name = {};  // "etcd", "node1-kubelet": unique; its log is called so
  int node = 0;           // 0: the control plane
  std::vector<std::string> argv = {};
  std::vector<std::string> environment = {};  // "NAME=value", beside component_environment()
};

// What runs before the API server answers, and what is started then.
[[nodiscard]] std::vector<ComponentPlan> api_server_components(const Directory& directory,
                                                               const Tools& tools);
[[nodiscard]] std::vector<ComponentPlan> controller_components(const Directory& directory,
                                                               const Tools& tools);
// Of one node: its containerd, which needs no API server, and what does, the parts of its addons
// included.
[[nodiscard]] ComponentPlan containerd_component(const Directory& directory, const Tools& tools,
                                                 int node);
[[nodiscard]] std::vector<ComponentPlan> node_components(const Directory& directory,
                                                         const Tools& tools, const Shape& shape,
                                                         int node);

// Takes an archive into a node's containerd, for its kubelet; to be run on the node.
[[nodiscard]] std::vector<std::string> import_command(const Tools& tools,
                                                      const std::string& archive);

// "NAME=value" for all of them: nothing of the caller's, whose proxies and settings are not theirs.
[[nodiscard]] std::vector<std::string> component_environment(const Tools& tools);

}  // namespace cluster::processes
