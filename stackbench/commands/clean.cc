// `stackbench clean`: what an interrupted run left, taken away. A run that is alive is not touched.
#include "cluster/kubernetes/clean.h"

#include <vector>

#include "cluster/lab/clean.h"
#include "stackbench/bgp/scratch.h"
#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/target.h"
#include "stackbench/unfinished.h"

namespace stackbench {

namespace {

// What runs and clusters on this machine left.
base::Result<std::vector<std::string>> clean_machine(bool dry_run) {
  std::vector<std::string> found;
  const auto note = [&found](const std::vector<std::string>& more) {
    found.insert(found.end(), more.begin(), more.end());
  };
  // Where no state directory can be, no cluster is.
  if (const auto provider = cluster_provider()) {
    ASSIGN_OR_RETURN(const auto clusters, provider->clean(dry_run));
    note(clusters);
  }
  ASSIGN_OR_RETURN(const auto cgroups, cluster::clean_lab(dry_run));
  note(cgroups);
  ASSIGN_OR_RETURN(const auto scratch, bgp::clean_scratch(dry_run));
  note(scratch);
  ASSIGN_OR_RETURN(const auto parts, clean_unfinished_reports(dry_run));
  note(parts);
  return found;
}

}  // namespace

Action declare_clean(CLI::App& app) {
  struct Arguments {
    TargetArguments target;
    cluster::CleanOptions options;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_flag("--dry-run", arguments->options.dry_run, "Only say what would be removed");
  declare_target_arguments(app, arguments->target);
  app.add_flag("--other-machines", arguments->options.of_other_machines,
               "On a cluster: also of runs whose controller was on another machine, where nobody "
               "can see from here whether it lives");
  return [arguments](const Context& context) -> base::Result<int> {
    const auto& options = arguments->options;
    cluster::Cleaned cleaned;
    if (arguments->target.target == "kubernetes") {
      ASSIGN_OR_RETURN(const auto its, kubernetes_options(arguments->target, context.interrupt));
      ASSIGN_OR_RETURN(cleaned, cluster::clean_kubernetes(its, options));
    } else {
      RETURN_IF_ERROR(refuse_cluster_arguments(arguments->target));
      ASSIGN_OR_RETURN(cleaned.removed, clean_machine(options.dry_run));
    }
    std::string text;
    for (const auto& line : cleaned.removed) {
      text += fmt::format("{} {}\n", options.dry_run ? "would remove" : "removed", line);
    }
    for (const auto& line : cleaned.left_alone) text += fmt::format("left alone {}\n", line);
    if (text.empty()) text = "Nothing to clean: no interrupted run left anything.\n";
    return print(text);
  };
}

}  // namespace stackbench
