#include "stackbench/shipped.h"

#include <algorithm>
#include <filesystem>

namespace stackbench {

base::Result<std::vector<std::string>> shipped_scenarios() {
  namespace fs = std::filesystem;
  std::error_code problem;
  std::vector<fs::path> folders{"scenarios"};
  // <tree>/build/<preset>/bin/stackbench
  if (const auto self = fs::read_symlink("/proc/self/exe", problem); !problem) {
    folders.push_back(self.parent_path().parent_path().parent_path().parent_path() / "scenarios");
  }
  for (const auto& folder : folders) {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(folder, problem)) {
      if (entry.path().extension() == ".yaml") files.push_back(entry.path().string());
    }
    if (files.empty()) continue;
    std::ranges::sort(files);
    return files;
  }
  return base::fail_with_mend(base::ErrorKind::missing, "no folder with shipped scenarios found",
                              "Call stackbench from the project's folder.");
}

}  // namespace stackbench
