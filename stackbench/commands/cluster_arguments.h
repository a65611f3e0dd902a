// What the commands about a cluster of this machine's own share.
#pragma once

#include <string>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/result.h"
#include "cluster/processes/provider.h"
#include "cluster/processes/shape.h"

namespace stackbench {

struct ClusterArguments {
  std::string name = std::string(cluster::processes::default_name);
  int nodes = cluster::processes::Shape{}.nodes;
  std::string proxy = "iptables";
  std::string cni = "bridge";
  std::string bgp = "none";
  std::string mesh = "none";
  std::vector<std::string> clocks_ahead = {};
};

void declare_cluster_name(CLI::App& app, ClusterArguments& arguments);
// --nodes, --proxy, --cni, --bgp, --mesh and --clock-ahead.
void declare_cluster_shape(CLI::App& app, ClusterArguments& arguments);

// Errors: usage, naming the option.
[[nodiscard]] base::Result<cluster::processes::Shape> shape_of(const ClusterArguments& arguments);

// The clusters of this user. Errors: missing (no state directory).
[[nodiscard]] base::Result<cluster::processes::Provider> cluster_provider();

}  // namespace stackbench
