#include "cluster/processes/doctor.h"

#include "base/file.h"
#include "cluster/processes/wiring.h"

namespace cluster::processes {

Feature processes_feature(const base::Result<Tools>& tools, std::string_view filesystems,
                          bool filters_bridges, const std::vector<std::string>& options) {
  Feature feature{.name = "processes",
                  .available = Available::no,
                  .required = false,
                  .detail = "",
                  .needed_by = "stackbench up, a Kubernetes on this machine",
                  .mend = ""};
  if (!tools) {
    feature.detail = tools.error().message;
    feature.mend = tools.error().mend;
  } else if (filesystems.find("\toverlay\n") == std::string_view::npos) {
    feature.detail = "the kernel has no overlay file system";
    feature.mend = "modprobe overlay";
  } else if (!filters_bridges) {
    feature.detail = "the kernel does not filter bridged packets (no br_netfilter)";
    feature.mend = "modprobe br_netfilter";
  } else {
    feature.available = Available::yes;
    feature.detail = fmt::format("hyperkube, containerd, runc and CNI plugins below {}{}{}",
                                 tools->root, options.empty() ? "" : ", with what is needed for ",
                                 fmt::join(options, " and "));
  }
  return feature;
}

Feature probe_processes() {
  std::vector<std::string> options;
  if (find_tools({.cni = Cni::calico})) options.emplace_back("--cni calico");
  if (find_tools({.bgp = Bgp::metallb})) options.emplace_back("--bgp metallb");
  if (find_tools({.mesh = Mesh::istio})) options.emplace_back("--mesh istio");
  return processes_feature(find_tools({}), base::read_file("/proc/filesystems").value_or(""),
                           filters_bridged_packets(), options);
}

}  // namespace cluster::processes
