#include "cluster/processes/layout.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <unistd.h>

namespace cluster::processes {
namespace {

namespace fs = std::filesystem;
using base::ErrorKind;
using base::Result;

constexpr std::string_view mend =
    "./bootstrap up builds and unpacks what is missing (hyperkube takes some minutes, once); "
    "STACKBENCH_TOOLS names another build/ directory.";

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
          .images = root + "/images",
          .path = fmt::format("{}:{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                              containerd, runc)};
}

Result<Tools> find_tools(const std::string& root) {
  std::error_code code;
  const auto absolute = fs::weakly_canonical(root, code);
  if (code) return base::system_error(code.value(), "{}", root);
  auto tools = tools_below(absolute.string());
  std::vector<std::string> missing;
  for (const auto& program :
       {tools.hyperkube, tools.kubectl, tools.containerd, tools.ctr, tools.runc,
        tools.cni_plugins + "/bridge", tools.cni_plugins + "/portmap"}) {
    if (::access(program.c_str(), X_OK) < 0) missing.push_back(program);
  }
  if (!fs::exists(tools.images + "/pause.tar", code))
    missing.push_back(tools.images + "/pause.tar");
  if (missing.empty()) return tools;
  return base::fail_with_mend(
      ErrorKind::missing, fmt::format("a cluster of processes lacks {}", fmt::join(missing, ", ")),
      std::string(mend));
}

Result<Tools> find_tools() {
  // Read before any thread starts that could change it.
  const char* named = std::getenv("STACKBENCH_TOOLS");  // NOLINT(concurrency-mt-unsafe)
  if (named != nullptr && *named != '\0') return find_tools(named);
  std::error_code code;
  const auto own = fs::read_symlink("/proc/self/exe", code);
  if (code) return base::system_error(code.value(), "/proc/self/exe");
  return find_tools((own.parent_path() / "../..").string());
}

Result<std::vector<std::string>> image_archives(const Tools& tools) {
  std::error_code code;
  std::vector<std::string> found;
  for (fs::directory_iterator entry(tools.images, code), end; !code && entry != end;
       entry.increment(code)) {
    if (entry->path().extension() == ".tar") found.push_back(entry->path().string());
  }
  if (code) return base::system_error(code.value(), "{}", tools.images);
  std::ranges::sort(found);
  return found;
}

}  // namespace cluster::processes
