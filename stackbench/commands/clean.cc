// `stackbench clean`: what an interrupted run left, taken away. A run that is alive is not touched.
#include "cluster/lab/clean.h"

#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"
#include "stackbench/unfinished.h"

namespace stackbench {

Action declare_clean(CLI::App& app) {
  auto dry_run = std::make_shared<bool>(false);
  app.add_flag("--dry-run", *dry_run, "Only say what would be removed");
  return [dry_run](const Context&) -> base::Result<int> {
    std::vector<std::string> found;
    const auto note = [&found](const std::vector<std::string>& more) {
      found.insert(found.end(), more.begin(), more.end());
    };
    // Where no state directory can be, no cluster is.
    if (const auto provider = cluster_provider()) {
      ASSIGN_OR_RETURN(const auto clusters, provider->clean(*dry_run));
      note(clusters);
    }
    ASSIGN_OR_RETURN(const auto cgroups, cluster::clean_lab(*dry_run));
    note(cgroups);
    ASSIGN_OR_RETURN(const auto parts, clean_unfinished_reports(*dry_run));
    note(parts);
    if (found.empty()) return print("Nothing to clean: no interrupted run left anything.\n");
    std::string text;
    for (const auto& line : found) {
      text += fmt::format("{} {}\n", *dry_run ? "would remove" : "removed", line);
    }
    return print(text);
  };
}

}  // namespace stackbench
