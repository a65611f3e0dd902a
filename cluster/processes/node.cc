#include "cluster/processes/node.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include <sys/mount.h>

#include "cluster/processes/addresses.h"
#include "cluster/processes/calico.h"
#include "cluster/processes/configs.h"
#include "cluster/processes/files.h"

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::Result;

// What of the machine a node has its own of: the name in its directory, and the place.
constexpr std::pair<std::string_view, std::string_view> own_directories[] = {
    {"var-lib", "/var/lib"}, {"var-log", "/var/log"}};

// Where the node's own programs look for name servers, and what they find there.
constexpr std::string_view machine_resolv_conf = "/etc/resolv.conf";
constexpr std::string_view own_resolv_conf = "node-resolv.conf";

std::string fake_path(const Directory& directory, int node, std::string_view sysctl) {
  return directory.node(node, fmt::format("sysctl/{}", sysctl));
}

// "/var/lib/x" below "/var/lib" is "x"; nothing for a path elsewhere.
std::string below(const std::string& path, std::string_view top) {
  const auto relative = fs::path(path).lexically_relative(top).string();
  return relative.starts_with("..") || relative == "." ? std::string() : relative;
}

// Those of `directories` that one of the node's own covers.
std::vector<std::string> covered(const std::vector<std::string>& directories) {
  std::vector<std::string> found;
  for (const auto& directory : directories) {
    for (const auto& [name, place] : own_directories) {
      if (!below(directory, place).empty()) found.push_back(directory);
    }
  }
  return found;
}

Result<> write_json(const std::string& path, const base::Json& json) {
  return write_plain_file(path, base::dump_json_pretty(json) + "\n");
}

// containerd looks for plugins in one directory: Calico's joins those it works with.
Result<> link_calico_plugins(const std::string& directory, const Tools& tools) {
  RETURN_IF_ERROR(make_directory(directory));
  for (const auto& program : {tools.calico + "/calico", tools.cni_plugins + "/host-local",
                              tools.cni_plugins + "/loopback", tools.cni_plugins + "/portmap"}) {
    std::error_code code;
    fs::create_symlink(program, fs::path(directory) / fs::path(program).filename(), code);
    if (code) return base::system_error(code.value(), "link {} in {}", program, directory);
  }
  return {};
}

NodeFiles files_of(const Directory& directory, const Tools& tools, const Shape& shape, int node,
                   const std::string& cgroup_root) {
  const auto name = node_name(node);
  return {.directory = directory.node(node),
          .authority = directory.secret("ca.crt"),
          .serving_cert = directory.secret(name + "-serving.crt"),
          .serving_key = directory.secret(name + "-serving.key"),
          .proxy_kubeconfig = directory.secret("kube-proxy.conf"),
          .cni_plugins =
              shape.cni == Cni::calico ? directory.node(node, "cni-plugins") : tools.cni_plugins,
          .cgroup_root = cgroup_root};
}

}  // namespace

const std::vector<FakedSysctl>& faked_sysctls() {
  static const std::vector<FakedSysctl> all{{"vm.overcommit_memory", "1"},
                                            {"vm.panic_on_oom", "0"},
                                            {"kernel.panic", "10"},
                                            {"kernel.panic_on_oops", "1"},
                                            {"kernel.keys.root_maxkeys", "1000000"},
                                            {"kernel.keys.root_maxbytes", "25000000"}};
  return all;
}

InitPlan node_init(const Directory& directory, const Tools& tools, const Shape& shape, int node) {
  InitPlan plan{.hostname = node_name(node)};
  const auto ahead = shape.clocks_ahead.find(plan.hostname);
  if (ahead != shape.clocks_ahead.end()) plan.clock_ahead = ahead->second;
  for (const auto& [name, value] : faked_sysctls()) {
    std::string place(name);
    std::ranges::replace(place, '.', '/');
    plan.mounts.push_back({.source = fake_path(directory, node, name),
                           .target = "/proc/sys/" + place,
                           .flags = MS_BIND});
  }
  for (const auto& [name, place] : own_directories) {
    plan.mounts.push_back(
        {.source = directory.node(node, name), .target = std::string(place), .flags = MS_BIND});
  }
  // There is no way out of the node, so the machine's name servers would never answer: an image
  // that is not there is to be found missing at once.
  if (fs::exists(machine_resolv_conf)) {
    plan.mounts.push_back({.source = directory.node(node, own_resolv_conf),
                           .target = std::string(machine_resolv_conf),
                           .flags = MS_BIND});
  }
  plan.kept = covered({directory.path(), tools.root});
  // Volumes of pods are to appear where kubelet and containerd look.
  plan.mounts.push_back({.source = "none", .target = "/", .flags = MS_REC | MS_SHARED});
  return plan;
}

Result<> write_node_files(const Directory& directory, const Tools& tools, const Shape& shape,
                          int node, const std::string& cgroup_root) {
  for (const auto* name : {"sysctl", "cni", "volume-plugins", "var-lib/kubelet", "var-lib/cni",
                           "var-lib/containerd", "var-log"}) {
    RETURN_IF_ERROR(make_directory(directory.node(node, name)));
  }
  for (const auto& kept : covered({directory.path(), tools.root})) {
    for (const auto& [name, place] : own_directories) {
      if (const auto relative = below(kept, place); !relative.empty()) {
        RETURN_IF_ERROR(make_directory(directory.node(node, std::string(name) + "/" + relative)));
      }
    }
  }
  for (const auto& [name, value] : faked_sysctls()) {
    RETURN_IF_ERROR(write_plain_file(fake_path(directory, node, name), std::string(value) + "\n"));
  }
  const auto files = files_of(directory, tools, shape, node, cgroup_root);
  RETURN_IF_ERROR(write_plain_file(directory.node(node, own_resolv_conf),
                                   "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"));
  RETURN_IF_ERROR(write_plain_file(directory.node(node, "resolv.conf"),
                                   fmt::format("nameserver {}\n", addresses::cluster_dns)));
  RETURN_IF_ERROR(
      write_plain_file(directory.node(node, "containerd.toml"), containerd_config(tools, files)));
  RETURN_IF_ERROR(write_json(directory.node(node, "kubelet.json"), kubelet_config(files)));
  RETURN_IF_ERROR(
      write_json(directory.node(node, "kube-proxy.json"), kube_proxy_config(shape, node, files)));
  const auto cni_config = directory.node(node, "cni/10-stackbench.conflist");
  switch (shape.cni) {
    case Cni::bridge:
      return write_json(cni_config, bridge_cni_config(node));
    case Cni::calico:
      RETURN_IF_ERROR(link_calico_plugins(files.cni_plugins, tools));
      return write_json(cni_config, calico_cni_config(directory, node));
  }
  return {};
}

}  // namespace cluster::processes
