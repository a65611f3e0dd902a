// `stackbench up`: a cluster of this machine's own, and `supervise`, the process that keeps it.
#include <cstdio>

#include "cluster/processes/layout.h"
#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

namespace processes = cluster::processes;

void say(const std::string& text) {
  fmt::print(stderr, "  {}\n", text);
  std::fflush(stderr);
}

std::string ready_text(const processes::ClusterState& state, const processes::Directory& directory,
                       const std::string& kubectl) {
  const auto ended =
      state.shape.name == processes::default_name ? "" : " --name " + state.shape.name;
  return fmt::format(
      "Cluster {} is ready ({}; its start took {:.1f} s).\n"
      "  export KUBECONFIG={}\n"
      "  {} get nodes\n"
      "It stays until: stackbench down{}\n",
      state.shape.name, processes::to_string(state.shape),
      static_cast<double>(state.timings.total_ns) / 1e9, directory.kubeconfig(), kubectl, ended);
}

}  // namespace

Action declare_up(CLI::App& app) {
  struct Arguments {
    std::string provider = "processes";
    ClusterArguments cluster;
    bool foreground = false;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_option("--provider", arguments->provider,
                 "Who brings it up: processes, on this machine, without Docker (default)")
      ->check(CLI::IsMember({"processes"}))
      ->type_name("PROVIDER");
  declare_cluster_name(app, arguments->cluster);
  declare_cluster_shape(app, arguments->cluster);
  app.add_flag("--foreground", arguments->foreground,
               "Keep it only as long as this command runs (until Ctrl-C)");
  return [arguments](const Context& context) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto shape, shape_of(arguments->cluster));
    ASSIGN_OR_RETURN(const auto provider, cluster_provider());
    const auto directory = provider.directory_of(shape.name);
    const auto show = [&](const processes::ClusterState& state) -> base::Result<> {
      ASSIGN_OR_RETURN(const auto tools, processes::find_tools(shape));
      RETURN_IF_ERROR(print(ready_text(state, directory, tools.kubectl)));
      return {};
    };
    if (arguments->foreground) {
      RETURN_IF_ERROR(provider.up_in_foreground(shape, context.interrupt, say, show));
      return exit_pass;
    }
    ASSIGN_OR_RETURN(const auto state, provider.up(shape, context.interrupt, say));
    RETURN_IF_ERROR(show(state));
    return exit_pass;
  };
}

Action declare_supervise(CLI::App& app) {
  struct Arguments {
    ClusterArguments cluster;
    std::string directory;
    std::string tools;
  };
  auto arguments = std::make_shared<Arguments>();
  declare_cluster_name(app, arguments->cluster);
  declare_cluster_shape(app, arguments->cluster);
  app.add_option("--directory", arguments->directory, "Where its files go")->required();
  app.add_option("--tools", arguments->tools, "Where its programs are")->required();
  return [arguments](const Context& context) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto shape, shape_of(arguments->cluster));
    RETURN_IF_ERROR(processes::supervise(shape, processes::Directory(arguments->directory),
                                         arguments->tools, context.interrupt));
    return exit_pass;
  };
}

}  // namespace stackbench
