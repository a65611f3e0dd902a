// `stackbench down`: a cluster of this machine's own, ended and removed.
#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"

namespace stackbench {

Action declare_down(CLI::App& app) {
  auto arguments = std::make_shared<ClusterArguments>();
  declare_cluster_name(app, *arguments);
  return [arguments](const Context& context) -> base::Result<int> {
    RETURN_IF_ERROR(cluster::processes::check_name(arguments->name));
    ASSIGN_OR_RETURN(const auto provider, cluster_provider());
    ASSIGN_OR_RETURN(const bool was_there, provider.down(arguments->name, context.interrupt));
    return print(was_there
                     ? fmt::format("Cluster {} is down; nothing of it is left.\n", arguments->name)
                     : fmt::format("There is no cluster {}.\n", arguments->name));
  };
}

}  // namespace stackbench
