#include "stackbench/commands/target.h"

#include <array>
#include <utility>

#include <unistd.h>

#include "base/process.h"
#include "base/scalar.h"
#include "cluster/kubernetes/contexts_target.h"
#include "cluster/lab/lab_target.h"
#include "cluster/processes/layout.h"

namespace stackbench {
namespace {

constexpr std::string_view cluster_options = "Options of --target kubernetes";

base::Result<std::unique_ptr<cluster::Target>> make_lab(const TargetArguments& arguments,
                                                        const base::Interrupt& interrupt) {
  RETURN_IF_ERROR(refuse_cluster_arguments(arguments));
  RETURN_IF_ERROR(check_lab_rights());
  return std::make_unique<cluster::LabTarget>(cluster::LabOptions{.interrupt = &interrupt});
}

base::Result<std::unique_ptr<cluster::Target>> make_kubernetes(const TargetArguments& arguments,
                                                               const base::Interrupt& interrupt) {
  if (!arguments.ab.empty() && !arguments.context.empty()) {
    return base::fail(base::ErrorKind::usage, "--ab names the contexts: leave --context out");
  }
  ASSIGN_OR_RETURN(const auto options, kubernetes_options(arguments, interrupt));
  const auto reach =
      [options](const std::string& context) -> base::Result<std::unique_ptr<cluster::Target>> {
    auto its = options;
    if (!context.empty()) its.context = context;
    auto target = cluster::KubernetesTarget::create(std::move(its));
    if (!target) return std::unexpected(std::move(target).error());
    return std::unique_ptr<cluster::Target>(*std::move(target));
  };
  return std::make_unique<cluster::ContextsTarget>(reach);
}

// Empty where it is in PATH, or nowhere.
std::string own_kubectl() {
  if (base::find_program("kubectl")) return {};
  const auto tools = cluster::processes::find_tools(cluster::processes::Shape{});
  return tools ? tools->kubectl : std::string();
}

}  // namespace

base::Result<> check_lab_rights() {
  if (::geteuid() == 0) return {};
  return base::fail_with_mend(
      base::ErrorKind::not_permitted,
      "the lab needs root: it makes network namespaces, cgroups and eBPF programs",
      "Run the same command as root, for example with sudo.");
}

base::Result<> refuse_cluster_arguments(const TargetArguments& arguments) {
  const std::array cluster_only{std::pair{"--kubeconfig", &arguments.kubeconfig},
                                std::pair{"--context", &arguments.context},
                                std::pair{"--namespace", &arguments.in_namespace},
                                std::pair{"--request-timeout", &arguments.request_timeout},
                                std::pair{"--agent-image", &arguments.agent_image}};
  if (!arguments.ab.empty()) {
    return base::fail_with_mend(base::ErrorKind::usage,
                                "--ab compares two clusters, and the target is lab",
                                "Say --target kubernetes.");
  }
  for (const auto& [option, value] : cluster_only) {
    if (value->empty()) continue;
    return base::fail_with_mend(base::ErrorKind::usage,
                                fmt::format("{} is about a cluster, and the target is lab", option),
                                "Say --target kubernetes, or leave the option out.");
  }
  return {};
}

base::Result<cluster::KubernetesOptions> kubernetes_options(const TargetArguments& arguments,
                                                            const base::Interrupt& interrupt) {
  cluster::KubernetesOptions options{.kubectl = own_kubectl(),
                                     .kubeconfig = arguments.kubeconfig,
                                     .context = arguments.context,
                                     .in_namespace = arguments.in_namespace,
                                     .agent_image = arguments.agent_image,
                                     .interrupt = &interrupt};
  if (!arguments.request_timeout.empty()) {
    const auto timeout = base::StringScalar<base::Duration>::parse(arguments.request_timeout);
    if (!timeout || timeout->count() <= 0) {
      return base::fail(base::ErrorKind::usage,
                        "--request-timeout: expected a duration such as 30s, got \"{}\"",
                        arguments.request_timeout);
    }
    options.request_timeout = *timeout;
  }
  return options;
}

void declare_target_arguments(CLI::App& app, TargetArguments& arguments) {
  app.add_option("--target", arguments.target,
                 "Where it runs: lab (namespaces on this machine) or kubernetes")
      ->check(CLI::IsMember({"lab", "kubernetes"}))
      ->type_name("TARGET");
  const auto add = [&](const char* names, std::string& value, const char* what, const char* type) {
    app.add_option(names, value, what)->type_name(type)->group(std::string(cluster_options));
  };
  add("--kubeconfig", arguments.kubeconfig, "The kubeconfig (default: as kubectl's)", "FILE");
  add("--context", arguments.context, "The context of the kubeconfig (default: the current one)",
      "NAME");
  add("-n,--namespace", arguments.in_namespace,
      "An existing namespace to work in (default: one of its own for each environment)", "NAME");
  add("--request-timeout", arguments.request_timeout,
      "How long the API server may take for an answer (default: 30s)", "DURATION");
  add("--agent-image", arguments.agent_image,
      "The image of the agents' pods (default: stackbench-agent:" STACKBENCH_VERSION ")", "IMAGE");
}

void declare_ab(CLI::App& app, TargetArguments& arguments) {
  app.add_option("--ab", arguments.ab,
                 "Ask the same of the clusters of two contexts, block by block, and compare the "
                 "second with the first")
      ->type_name("CONTEXT_A CONTEXT_B")
      ->expected(2)
      ->group(std::string(cluster_options));
}

base::Result<std::unique_ptr<cluster::Target>> make_target(const TargetArguments& arguments,
                                                           const base::Interrupt& interrupt) {
  return arguments.target == "lab" ? make_lab(arguments, interrupt)
                                   : make_kubernetes(arguments, interrupt);
}

}  // namespace stackbench
