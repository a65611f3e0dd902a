#include "bench/agent/agent.h"

#include <cstdio>
#include <string>
#include <tuple>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <signal.h>
#include <unistd.h>

#include "base/json.h"
#include "base/pod_network.h"
#include "base/scalar.h"
#include "bench/agent/supervisor.h"

namespace bench {
namespace {

constexpr int usage_error = 2;

base::Result<> serve_controller(const SupervisorOptions& options) {
  // The whole terminal's Ctrl-C is the controller's to handle: it collects what there is, closes
  // our stdin, and that ends us. Only an agent that is typed at has nobody above it.
  if (::isatty(STDIN_FILENO) == 0) ::signal(SIGINT, SIG_IGN);
  ASSIGN_OR_RETURN(const base::UniqueFd out, take_stdout());
  return Supervisor(STDIN_FILENO, out.get(), options).run();
}

}  // namespace

int agent_main(int argc, char** argv, const Invocations& invocations) {
  CLI::App app(
      "The end of stackbench that runs in a pod: makes and answers traffic, and observes it, as "
      "the "
      "controller on its stdin and stdout says (one JSON object a line). It ends with its stdin.",
      "stackbench-agent");
  app.set_version_flag(
      "--version",
      fmt::format("stackbench-agent {} (protocol {})", STACKBENCH_VERSION, agent_protocol),
      "Print the version and leave");
  SupervisorOptions options;
  std::string idle_after = base::StringScalar<base::Duration>::format(options.idle_after);
  std::string stop_grace = base::StringScalar<base::Duration>::format(options.stop_grace);
  app.add_option("--idle-after", idle_after,
                 "Stop traffic after so long without a line from the controller")
      ->capture_default_str();
  app.add_option("--stop-grace", stop_grace,
                 "Kill a job that does not end within this of being stopped")
      ->capture_default_str();
  // Internal: a job's own process (no group, so that --help does not show it).
  const CLI::App* const worker = app.add_subcommand("worker")->group("");
  const CLI::App* const network = app.add_subcommand(
      "network", "Print the interfaces of this network namespace as JSON, and leave");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // --help and --version arrive here as well, with exit code 0.
    return app.exit(error) == 0 ? 0 : usage_error;
  }
  if (worker->parsed()) return worker_main(invocations);
  if (network->parsed()) {
    fmt::print("{}\n", base::dump_json(base::to_json(base::collect_pod_network())));
    return 0;
  }

  for (const auto& [name, text, value] :
       {std::tuple{"--idle-after", &idle_after, &options.idle_after},
        std::tuple{"--stop-grace", &stop_grace, &options.stop_grace}}) {
    const auto span = base::StringScalar<base::Duration>::parse(*text);
    if (!span) {
      fmt::print(stderr, "{}: {}\n", name, span.error().message);
      return usage_error;
    }
    *value = *span;
  }
  if (const auto served = serve_controller(options); !served) {
    fmt::print(stderr, "stackbench-agent: {}\n", describe_error(served.error()));
    return 1;
  }
  return 0;
}

}  // namespace bench
