#include "cluster/processes/layout.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <initializer_list>
#include <system_error>

#include <unistd.h>

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using base::Result;

// Whether one of the directories of a PATH has the program.
bool is_on_path(std::string_view path, std::string_view program) {
  while (!path.empty()) {
    const auto end = path.find(':');
    const auto candidate = fmt::format("{}/{}", path.substr(0, end), program);
    if (::access(candidate.c_str(), X_OK) == 0) return true;
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
  }
  return false;
}

std::vector<std::string> needed_programs(const Tools& tools, const Shape& shape) {
  std::vector<std::string> all{tools.hyperkube,
                               tools.kubectl,
                               tools.containerd,
                               tools.ctr,
                               tools.runc,
                               tools.cni_plugins + "/bridge",
                               tools.cni_plugins + "/portmap"};
  const auto add = [&all](const std::string& directory,
                          std::initializer_list<std::string_view> names) {
    for (const auto name : names) all.push_back(fmt::format("{}/{}", directory, name));
  };
  if (shape.cni == Cni::calico) add(tools.calico, {"calico", "calico-felix"});
  if (shape.bgp == Bgp::metallb) add(tools.metallb, {"controller", "speaker"});
  if (shape.mesh == Mesh::istio) {
    add(tools.istio, {"istioctl"});
    all.push_back(tools.coredns);
  }
  return all;
}

// Files that are read, directories included.
std::vector<std::string> needed_files(const Tools& tools, const Shape& shape) {
  std::vector<std::string> all{tools.images + "/pause.tar"};
  if (shape.cni == Cni::calico) {
    all.push_back(tools.calico + "/crds");
    all.push_back(tools.calico + "/version");
  }
  if (shape.bgp == Bgp::metallb) all.push_back(tools.metallb + "/crds");
  if (shape.mesh == Mesh::istio) {
    for (const auto* file : {"crds", "version", "images/pilot.tar", "images/proxyv2.tar"}) {
      all.push_back(fmt::format("{}/{}", tools.istio, file));
    }
  }
  return all;
}

// Sorted.
Result<std::vector<std::string>> archives_in(const std::string& directory) {
  std::error_code code;
  std::vector<std::string> found;
  for (fs::directory_iterator entry(directory, code), end; !code && entry != end;
       entry.increment(code)) {
    if (entry->path().extension() == ".tar") found.push_back(entry->path().string());
  }
  if (code) return base::system_error(code.value(), "{}", directory);
  std::ranges::sort(found);
  return found;
}

std::string mend_for(const Shape& shape) {
  return fmt::format(
      "./bootstrap up{}{}{} builds and unpacks what is missing (what is made of Go takes some "
      "minutes, once); STACKBENCH_TOOLS names another build/ directory.",
      shape.cni == Cni::calico ? " --cni calico" : "",
      shape.bgp == Bgp::metallb ? " --bgp metallb" : "",
      shape.mesh == Mesh::istio ? " --mesh istio" : "");
}

}  // namespace

Tools tools_below(const std::string& root) {
  const auto containerd = root + "/tools/containerd/usr/bin";
  const auto runc = root + "/tools/runc/usr/sbin";
  return {.root = root,
          .hyperkube = root + "/go/hyperkube",
          .kubectl = root + "/go/bin/kubectl",
          .containerd = containerd + "/containerd",
          .ctr = containerd + "/ctr",
          .runc = runc + "/runc",
          .cni_plugins = root + "/tools/containernetworking-plugins/usr/lib/cni",
          .calico = root + "/go/calico",
          .metallb = root + "/go/metallb",
          .istio = root + "/go/istio",
          .coredns = root + "/go/coredns",
          .images = root + "/images",
          .path = fmt::format("{}:{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                              containerd, runc)};
}

Result<Tools> find_tools(const std::string& root, const Shape& shape) {
  std::error_code code;
  const auto absolute = fs::weakly_canonical(root, code);
  if (code) return base::system_error(code.value(), "{}", root);
  auto tools = tools_below(absolute.string());
  std::vector<std::string> missing;
  for (const auto& program : needed_programs(tools, shape)) {
    if (::access(program.c_str(), X_OK) < 0) missing.push_back(program);
  }
  for (const auto& file : needed_files(tools, shape)) {
    if (::access(file.c_str(), R_OK) < 0) missing.push_back(file);
  }
  // Felix keeps the addresses that policies select in the kernel's ipsets.
  if (shape.cni == Cni::calico && !is_on_path(tools.path, "ipset")) missing.push_back("ipset");
  if (missing.empty()) return tools;
  return base::fail_with_mend(
      ErrorKind::missing, fmt::format("a cluster of processes lacks {}", fmt::join(missing, ", ")),
      mend_for(shape));
}

Result<Tools> find_tools(const Shape& shape) {
  // Read before any thread starts that could change it.
  const char* named = std::getenv("STACKBENCH_TOOLS");  // NOLINT(concurrency-mt-unsafe)
  if (named != nullptr && *named != '\0') return find_tools(named, shape);
  std::error_code code;
  const auto own = fs::read_symlink("/proc/self/exe", code);
  if (code) return base::system_error(code.value(), "/proc/self/exe");
  return find_tools((own.parent_path() / "../..").string(), shape);
}

Result<std::vector<std::string>> image_archives(const Tools& tools, const Shape& shape) {
  ASSIGN_OR_RETURN(auto all, archives_in(tools.images));
  if (shape.mesh == Mesh::istio) {
    ASSIGN_OR_RETURN(const auto of_mesh, archives_in(tools.istio + "/images"));
    all.insert(all.end(), of_mesh.begin(), of_mesh.end());
  }
  return all;
}

}  // namespace cluster::processes
