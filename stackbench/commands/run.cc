// `stackbench run`: a scenario's question, answered.
#include "stackbench/run.h"

#include <ctime>
#include <filesystem>
#include <optional>

#include <fmt/chrono.h>
#include <unistd.h>

#include "base/address.h"
#include "base/process.h"
#include "base/terminal.h"
#include "cluster/processes/state.h"
#include "reports/serve.h"
#include "reports/store.h"
#include "reports/terminal.h"
#include "stackbench/bgp/run.h"
#include "stackbench/commands/cluster_arguments.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/publish.h"
#include "stackbench/commands/target.h"
#include "stackbench/exit_code.h"
#include "stackbench/scenario/contexts.h"
#include "stackbench/scenario/reader.h"

namespace stackbench {
namespace {

constexpr int strict_blocks = 20;

// results/kpr-20250301-120000.json: beside each other, in the order they ran.
std::string default_report_file(const std::string& scenario_file) {
  return fmt::format("results/{}-{:%Y%m%d-%H%M%S}.json",
                     std::filesystem::path(scenario_file).stem().string(),
                     fmt::gmtime(std::time(nullptr)));
}

// A server of metrics at ADDRESS:PORT, or none where none is asked for.
base::Result<std::optional<reports::MetricsServer>> serve_at(const std::string& address) {
  if (address.empty()) return std::nullopt;
  const auto endpoint = base::Endpoint::parse(address);
  if (!endpoint || endpoint->port == 0) {
    return base::fail(base::ErrorKind::input,
                      "--serve-metrics: expected an address and a port such as 127.0.0.1:9464, got "
                      "\"{}\"",
                      address);
  }
  auto server = reports::MetricsServer::start(*endpoint);
  if (!server) return base::in_context(std::move(server).error(), "--serve-metrics");
  return std::optional(*std::move(server));
}

struct RunArguments {
  ScenarioArguments scenario;
  TargetArguments target;
  std::string out;
  bool strict = false;
  PublishArguments publish;
  std::string serve;
};

// The cluster of this machine's own that the kubeconfig's context names, if it is one's and up.
std::optional<bgp::OwnCluster> own_cluster(const cluster::KubernetesOptions& options) {
  auto context = options.context;
  if (context.empty()) {
    std::vector<std::string> words{options.kubectl.empty() ? "kubectl" : options.kubectl, "config",
                                   "current-context"};
    if (!options.kubeconfig.empty()) words.push_back("--kubeconfig=" + options.kubeconfig);
    const auto current = base::run_for_output(words);
    if (current) context = current->substr(0, current->find('\n'));
  }
  constexpr std::string_view prefix = "stackbench-";
  if (!context.starts_with(prefix)) return std::nullopt;
  const auto name = context.substr(prefix.size());
  const auto provider = cluster_provider();
  if (!provider) return std::nullopt;
  const auto state = provider->find(name);
  if (!state || !*state || !cluster::processes::supervisor_lives(**state)) return std::nullopt;
  return bgp::OwnCluster{.name = name, .root = static_cast<pid_t>((*state)->root)};
}

base::Result<reports::Report> measure_bgp(const Scenario& scenario, const bgp::Request& request,
                                          const TargetArguments& target,
                                          const base::Interrupt& interrupt) {
  if (target.target == "lab") {
    RETURN_IF_ERROR(refuse_cluster_arguments(target));
    return bgp::run(scenario, request, interrupt);
  }
  if (!target.ab.empty()) {
    return base::fail(base::ErrorKind::usage, "--ab compares arms in two clusters, and {} has none",
                      request.scenario_file);
  }
  ASSIGN_OR_RETURN(const auto options, kubernetes_options(target, interrupt));
  // First, as it says what is missing of kubectl and of the cluster.
  ASSIGN_OR_RETURN(const auto cluster, cluster::KubernetesTarget::create(options));
  ASSIGN_OR_RETURN(auto place, bgp::open_router_place(*scenario.bgp, own_cluster(options)));
  const auto say = [](std::string_view text) {
    fmt::print(stderr, "  {}\n", text);
    std::fflush(stderr);
  };
  auto report = bgp::run_on_cluster(*cluster, scenario, std::move(place), request, interrupt, say);
  if (report) return report;
  // What was made goes, whatever came of it; where it does not, whoever asked has to know.
  auto error = std::move(report).error();
  if (const auto down = cluster->teardown(); !down) {
    error.message += fmt::format(
        "\nWhat was made for it is still there: {}. stackbench clean --target kubernetes tries "
        "again.",
        down.error().message);
  }
  return std::unexpected(std::move(error));
}

// A scenario with `bgp:`, which has neither blocks nor arms.
base::Result<int> run_bgp_command(const Context& context, const Scenario& scenario,
                                  const RunArguments& arguments) {
  const auto& file = arguments.scenario.file;
  if (arguments.strict) {
    return base::fail(base::ErrorKind::usage,
                      "--strict asks for blocks, and {} has none: --set bgp.rounds=20", file);
  }
  if (!arguments.serve.empty()) {
    return base::fail(base::ErrorKind::usage,
                      "--serve-metrics serves figures of arms, and {} has none", file);
  }
  const auto report_file = arguments.out.empty() ? default_report_file(file) : arguments.out;
  base::Progress progress(base::detect_terminal(STDERR_FILENO), [](std::string_view text) {
    std::fwrite(text.data(), 1, text.size(), stderr);
    std::fflush(stderr);
  });
  const auto tell = [&](std::size_t done, std::size_t total, const std::string& doing) {
    progress.update(done, total, doing);
    progress.step_done(fmt::format("{} of {}: {}", done + 1, total, doing));
  };
  ASSIGN_OR_RETURN(const auto report, measure_bgp(scenario,
                                                  {.scenario_file = file,
                                                   .overrides = arguments.scenario.overrides,
                                                   .command_line = context.command_line,
                                                   .report_file = report_file,
                                                   .progress = tell},
                                                  arguments.target, context.interrupt));
  progress.finish();
  const auto saved = reports::save_report(report, report_file);
  RETURN_IF_ERROR(print(reports::render_terminal(report, base::detect_terminal(STDOUT_FILENO),
                                                 saved ? report_file : "")));
  const auto published = publish(report, arguments.publish);
  RETURN_IF_ERROR(saved);
  RETURN_IF_ERROR(published);
  return report.conclusion.exit_code;
}

}  // namespace

Action declare_run(CLI::App& app) {
  auto arguments = std::make_shared<RunArguments>();
  declare_scenario_arguments(app, arguments->scenario);
  declare_target_arguments(app, arguments->target);
  declare_ab(app, arguments->target);
  app.add_option("--out", arguments->out, "Where the JSON report goes (default: results/)")
      ->type_name("FILE");
  app.add_flag("--strict", arguments->strict,
               "At least 20 blocks: narrower intervals, fewer inconclusive");
  declare_publish_arguments(app, arguments->publish);
  app.add_option("--serve-metrics", arguments->serve,
                 "Serve the figures so far to Prometheus while it runs, such as at 127.0.0.1:9464")
      ->type_name("ADDRESS:PORT");
  return [arguments](const Context& context) -> base::Result<int> {
    RETURN_IF_ERROR(check_publish_arguments(arguments->publish));
    ASSIGN_OR_RETURN(auto server, serve_at(arguments->serve));
    auto overrides = arguments->scenario.overrides;
    ASSIGN_OR_RETURN(auto scenario, load_scenario(arguments->scenario.file, overrides));
    if (scenario.bgp) return run_bgp_command(context, scenario, *arguments);
    if (arguments->strict && !has_arms(scenario)) {
      const auto* const more = scenario.policy             ? "policy.repetitions=20"
                               : scenario.plaintext_window ? "plaintext_window.repetitions=20"
                                                           : "rotation.rotations=20";
      return base::fail_with_mend(
          base::ErrorKind::usage,
          "--strict asks for more blocks, and a scenario without arms has none",
          fmt::format("Say --set {}.", more));
    }
    if (arguments->strict && scenario.blocks < strict_blocks) {
      overrides.push_back(fmt::format("blocks={}", strict_blocks));
      ASSIGN_OR_RETURN(scenario, load_scenario(arguments->scenario.file, overrides));
    }
    const auto& ab = arguments->target.ab;
    if (!ab.empty()) scenario = in_two_contexts(std::move(scenario), ab[0], ab[1]);
    ASSIGN_OR_RETURN(const auto cores, usable_cores());
    ASSIGN_OR_RETURN(auto plan, make_plan(scenario, cores));
    const RunRequest request{.scenario_file = arguments->scenario.file,
                             .overrides = overrides,
                             .command_line = context.command_line,
                             .report_file = arguments->out.empty()
                                                ? default_report_file(arguments->scenario.file)
                                                : arguments->out};

    base::Progress progress(base::detect_terminal(STDERR_FILENO), [](std::string_view text) {
      std::fwrite(text.data(), 1, text.size(), stderr);
      std::fflush(stderr);
    });
    const auto show = [&](const reports::Report& report) { server->show(report); };
    ASSIGN_OR_RETURN(const auto target, make_target(arguments->target, context.interrupt));
    // Proxies that somebody else injects are on whichever cores there are.
    if (target->name() == "kubernetes") plan.unpin_proxies();
    const auto run = run_scenario(*target, plan, request, progress, context.interrupt,
                                  server ? ReportWatcher(show) : ReportWatcher());
    progress.finish();
    if (!run) {
      // What was made goes, whatever came of it; where it does not, whoever asked has to know.
      auto error = run.error();
      if (const auto down = target->teardown(); !down) {
        error.message += fmt::format(
            "\nWhat was made for it is still there: {}. stackbench clean "
            "--target {} tries again.",
            down.error().message, target->name());
      }
      return std::unexpected(std::move(error));
    }
    // First what was measured, saved or not.
    RETURN_IF_ERROR(print(reports::render_terminal(
        run->report, base::detect_terminal(STDOUT_FILENO), run->saved ? request.report_file : "")));
    if (server) server->show(run->report);
    const auto published = publish(run->report, arguments->publish);
    RETURN_IF_ERROR(run->saved);
    RETURN_IF_ERROR(published);
    return run->report.conclusion.exit_code;
  };
}

}  // namespace stackbench
