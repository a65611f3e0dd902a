#include "stackbench/commands/cluster_arguments.h"

#include "stackbench/plan.h"

namespace stackbench {
namespace {

namespace processes = cluster::processes;

template <base::IsNamedEnum E>
base::Result<E> named(std::string_view option, const std::string& word) {
  if (const auto value = base::enum_from_name<E>(word)) return *value;
  return base::fail(base::ErrorKind::usage, "{}: expected one of {}, got \"{}\"", option,
                    fmt::join(base::enum_names<E>(), ", "), word);
}

}  // namespace

void declare_cluster_name(CLI::App& app, ClusterArguments& arguments) {
  app.add_option("--name", arguments.name,
                 fmt::format("Which cluster (default: {})", processes::default_name))
      ->type_name("NAME");
}

void declare_cluster_shape(CLI::App& app, ClusterArguments& arguments) {
  app.add_option("--nodes", arguments.nodes, "How many nodes (default: 3)")->type_name("N");
  app.add_option("--proxy", arguments.proxy,
                 "The mode of kube-proxy: iptables (default) or nftables")
      ->type_name("MODE");
  app.add_option("--cni", arguments.cni,
                 "Who connects pods: bridge (default), or calico, which enforces NetworkPolicies")
      ->type_name("CNI");
  app.add_option("--bgp", arguments.bgp,
                 "Who announces load balancers' addresses: none (default) or metallb")
      ->type_name("BGP");
  app.add_option("--mesh", arguments.mesh,
                 "Who puts proxies beside pods: none (default) or istio, which a namespace's label "
                 "asks for")
      ->type_name("MESH");
  app.add_option("--clock-ahead", arguments.clocks_ahead,
                 "A fault: the clock of a node is ahead of the machine's, such as node2=50ms")
      ->type_name("NODE=DURATION")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
}

base::Result<processes::Shape> shape_of(const ClusterArguments& arguments) {
  RETURN_IF_ERROR(processes::check_name(arguments.name));
  if (arguments.nodes < 1 || arguments.nodes > processes::most_nodes) {
    return base::fail(base::ErrorKind::usage, "--nodes: expected 1 to {}, got {}",
                      processes::most_nodes, arguments.nodes);
  }
  processes::Shape shape{.name = arguments.name, .nodes = arguments.nodes};
  ASSIGN_OR_RETURN(shape.proxy, named<processes::ProxyMode>("--proxy", arguments.proxy));
  ASSIGN_OR_RETURN(shape.cni, named<processes::Cni>("--cni", arguments.cni));
  ASSIGN_OR_RETURN(shape.bgp, named<processes::Bgp>("--bgp", arguments.bgp));
  ASSIGN_OR_RETURN(shape.mesh, named<processes::Mesh>("--mesh", arguments.mesh));
  for (const auto& word : arguments.clocks_ahead) {
    RETURN_IF_ERROR(processes::add_clock_ahead(shape, word));
  }
  return shape;
}

base::Result<processes::Provider> cluster_provider() {
  ASSIGN_OR_RETURN(const auto state, state_directory());
  return processes::Provider(state + "/clusters");
}

}  // namespace stackbench
