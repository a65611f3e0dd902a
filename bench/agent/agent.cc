#include "bench/agent/agent.h"

#include <cstdio>
#include <iostream>
#include <iterator>
#include <sstream>
#include <string>
#include <tuple>
#include <vector>

#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/json.h"
#include "base/pod_network.h"
#include "base/pod_usage.h"
#include "base/scalar.h"
#include "bench/agent/bridge.h"
#include "bench/agent/listener.h"
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

// SIGCHLD as a descriptor. A worker's end shows at its pidfd; this is about children we never had.
base::Result<base::UniqueFd> watch_children() {
  sigset_t set;
  ::sigemptyset(&set);
  ::sigaddset(&set, SIGCHLD);
  if (const int code = ::pthread_sigmask(SIG_BLOCK, &set, nullptr); code != 0) {
    return base::system_error(code, "pthread_sigmask");
  }
  base::UniqueFd fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  if (!fd) return base::system_error(errno, "signalfd");
  return fd;
}

// Until stdin ends.
void tell_usage(uid_t user) {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    const std::vector<std::string> uids{std::istream_iterator<std::string>(words), {}};
    fmt::print("{}\n", base::dump_json(base::to_json(base::usage_of_pods(uids, user))));
    std::fflush(stdout);
  }
}

base::Result<> listen_at(const std::string& socket, const SupervisorOptions& options) {
  // The kernel drops what process 1 of a pid namespace has no handler for, unless it is blocked: so
  // SIGTERM reaches us here, and a pod's end does not wait for its grace period.
  ASSIGN_OR_RETURN(const auto interrupt, base::Interrupt::install());
  ASSIGN_OR_RETURN(const base::UniqueFd children, watch_children());
  ASSIGN_OR_RETURN(Listener listener, Listener::open(socket));
  fmt::print(stderr, "stackbench-agent {} listens at {}\n", STACKBENCH_VERSION, socket);
  return Supervisor(
             {.listener = listener, .stop_fd = interrupt.fd(), .children_fd = children.get()},
             options)
      .run();
}

base::Result<> attach_to(const std::string& socket, base::Duration wait) {
  ASSIGN_OR_RETURN(base::UniqueFd connection,
                   connect_to_agent(socket, base::monotonic_now() + wait));
  ASSIGN_OR_RETURN(const bool we_ended, bridge(STDIN_FILENO, STDOUT_FILENO, std::move(connection)));
  if (we_ended) return {};
  return base::fail(base::ErrorKind::peer_lost,
                    "the agent closed the stream: it has ended, or another controller attached");
}

struct Options {
  SupervisorOptions supervisor;
  std::string socket = default_agent_socket;
  base::Duration wait = std::chrono::seconds(10);
};

int report(std::string_view who, const base::Result<>& outcome) {
  if (outcome) return 0;
  fmt::print(stderr, "{}: {}\n", who, describe_error(outcome.error()));
  return 1;
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
  Options options;
  const auto spelt = base::StringScalar<base::Duration>::format;
  std::string idle_after = spelt(options.supervisor.idle_after);
  std::string stop_grace = spelt(options.supervisor.stop_grace);
  std::string wait = spelt(options.wait);
  app.add_option("--idle-after", idle_after,
                 "Stop traffic after so long without a line from the controller")
      ->capture_default_str();
  app.add_option("--stop-grace", stop_grace,
                 "Kill a job that does not end within this of being stopped")
      ->capture_default_str();
  CLI::App* const listen = app.add_subcommand(
      "listen",
      "In a container: serve one controller after another, each by way of `attach`, until SIGTERM");
  CLI::App* const attach = app.add_subcommand(
      "attach",
      "Run in the container by exec: tie stdin and stdout to the agent that listens there");
  for (CLI::App* const mode : {listen, attach}) {
    mode->fallthrough();
    mode->add_option("--socket", options.socket, "The agent's socket; its directory must exist")
        ->capture_default_str();
  }
  std::string plan;
  listen->add_option("--plan", plan,
                     "What to do from the first instant, before a controller comes, as JSON: "
                     "{\"session\": NAME, \"commands\": [JOBS]}");
  std::string leave_after;
  listen->add_option("--leave-after", leave_after,
                     "End when no controller has said anything for so long");
  attach->add_option("--wait", wait, "How long to wait for an agent to listen")
      ->capture_default_str();
  // Internal: a job's own process (no group, so that --help does not show it).
  const CLI::App* const worker = app.add_subcommand("worker")->group("");
  const CLI::App* const network = app.add_subcommand(
      "network", "Print the interfaces of this network namespace as JSON, and leave");
  uid_t user = 0;
  CLI::App* const usage = app.add_subcommand(
      "usage",
      "For each line of UIDs of pods on stdin, print what a user's processes in them have used");
  usage->add_option("--user", user, "Whose processes, by number")->required();
  app.require_subcommand(0, 1);
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
  if (usage->parsed()) {
    tell_usage(user);
    return 0;
  }

  for (const auto& [name, text, value] :
       {std::tuple{"--idle-after", &idle_after, &options.supervisor.idle_after},
        std::tuple{"--stop-grace", &stop_grace, &options.supervisor.stop_grace},
        std::tuple{"--wait", &wait, &options.wait}}) {
    const auto span = base::StringScalar<base::Duration>::parse(*text);
    if (!span) {
      fmt::print(stderr, "{}: {}\n", name, span.error().message);
      return usage_error;
    }
    *value = *span;
  }
  if (!leave_after.empty()) {
    const auto span = base::StringScalar<base::Duration>::parse(leave_after);
    if (!span || span->count() <= 0) {
      fmt::print(stderr, "--leave-after: expected a duration such as 10s, got \"{}\"\n",
                 leave_after);
      return usage_error;
    }
    options.supervisor.leave_after = *span;
  }
  if (!plan.empty()) {
    auto read = parse_plan(plan);
    if (!read) {
      fmt::print(stderr, "--plan: {}\n", read.error().message);
      return usage_error;
    }
    options.supervisor.plan = *std::move(read);
  }
  if (listen->parsed()) {
    return report("stackbench-agent listen", listen_at(options.socket, options.supervisor));
  }
  if (attach->parsed()) {
    return report("stackbench-agent attach", attach_to(options.socket, options.wait));
  }
  return report("stackbench-agent", serve_controller(options.supervisor));
}

}  // namespace bench
