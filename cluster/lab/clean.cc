#include "cluster/lab/clean.h"

#include "cluster/fabric/cgroup.h"

namespace cluster {

base::Result<std::vector<std::string>> clean_lab(bool dry_run) {
  ASSIGN_OR_RETURN(const auto hierarchies, find_hierarchies());
  std::vector<std::string> found;
  base::Result<> outcome;
  for (const auto& hierarchy : hierarchies) {
    ASSIGN_OR_RETURN(const auto trees, abandoned_trees(hierarchy.path));
    for (const auto& tree : trees) {
      found.push_back(fmt::format("cgroups of an ended run: {}", tree));
      if (dry_run) continue;
      auto removed = remove_cgroup_tree(tree);
      if (!removed && outcome) outcome = std::move(removed);
    }
  }
  if (!outcome) return std::unexpected(std::move(outcome).error());
  return found;
}

}  // namespace cluster
