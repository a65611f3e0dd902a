// `stackbench verify default-deny`: a claim about namespaces that are there, whoever made them.
#include "stackbench/verify/verify.h"

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <iostream>
#include <set>
#include <string>
#include <system_error>

#include <poll.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/terminal.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/target.h"
#include "stackbench/verify/lab.h"

namespace stackbench {
namespace {

constexpr std::string_view default_deny = "default-deny";

struct VerifyArguments {
  std::string claim;
  std::vector<std::string> manifests;
  TargetArguments target;
  std::vector<std::string> namespaces;
  std::string direction = "both";
  bool no_probes = false;
  bool plan = false;
  bool yes = false;
  bool ephemeral = false;
  std::vector<std::string> external;
  double rate = VerifyOptions{}.rate;
  std::string save;
  std::string against;
  bool json = false;
};

base::Result<VerifyOptions> options_of(const VerifyArguments& arguments,
                                       const base::Interrupt& interrupt) {
  VerifyOptions options;
  ASSIGN_OR_RETURN(options.cluster, kubernetes_options(arguments.target, interrupt));
  const std::set<std::string> namespaces(arguments.namespaces.begin(), arguments.namespaces.end());
  options.namespaces.assign(namespaces.begin(), namespaces.end());
  options.probes = !arguments.no_probes;
  options.rate = arguments.rate;
  options.ephemeral = arguments.ephemeral;
  if (arguments.direction != "both") {
    options.directions = {*base::enum_from_name<checks::PolicyDirection>(arguments.direction)};
  }
  for (const auto& text : arguments.external) {
    const auto endpoint = base::Endpoint::parse(text);
    if (!endpoint || endpoint->port == 0) {
      return base::fail(base::ErrorKind::usage,
                        "--external: expected an address and a port such as 192.0.2.7:443, got "
                        "\"{}\"",
                        text);
    }
    options.external.push_back(*endpoint);
  }
  if (!arguments.against.empty()) {
    ASSIGN_OR_RETURN(const auto text, base::read_file(arguments.against));
    const auto json = base::parse_json(text);
    if (!json) return base::in_context(json.error(), "{}", arguments.against);
    ASSIGN_OR_RETURN(options.against, base::from_json<SavedCoverage>(*json, arguments.against));
  }
  return options;
}

bool in_lab(const VerifyArguments& arguments) { return arguments.target.target == "lab"; }

// What goes with which target.
base::Result<> check_target(const VerifyArguments& arguments) {
  if (!in_lab(arguments)) {
    if (arguments.manifests.empty()) return {};
    return base::fail_with_mend(base::ErrorKind::usage,
                                "-f names manifests, and the target is kubernetes",
                                "Say --target lab, or leave the option out.");
  }
  RETURN_IF_ERROR(refuse_cluster_arguments(arguments.target));
  if (arguments.ephemeral) {
    return base::fail(base::ErrorKind::usage,
                      "--ephemeral is about a cluster, and the target is "
                      "lab");
  }
  if (arguments.manifests.empty()) {
    return base::fail_with_mend(base::ErrorKind::usage, "what is to be brought up in the lab?",
                                "-f names manifests: files, directories, or - for standard input.");
  }
  return {};
}

// Nobody is asked who cannot answer, nor where nothing of anybody's is touched.
base::Result<> check_consent(const VerifyArguments& arguments) {
  if (in_lab(arguments) || arguments.no_probes || arguments.plan || arguments.yes) return {};
  if (::isatty(STDIN_FILENO) != 0 && ::isatty(STDERR_FILENO) != 0) return {};
  return base::fail_with_mend(
      base::ErrorKind::usage,
      "probe pods would be made in these namespaces, and nobody is there to agree",
      "--plan says which, --yes makes them, --no-probes only reads.");
}

// Somebody's line at the terminal; Ctrl-C is one, too, and reaches us by its descriptor alone.
base::Result<std::string> answer_of_terminal(const base::Interrupt& interrupt) {
  std::array<pollfd, 2> watched{{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                 {.fd = interrupt.fd(), .events = POLLIN, .revents = 0}}};
  while (::poll(watched.data(), watched.size(), -1) < 0) {
    if (errno != EINTR) return base::system_error(errno, "poll");
  }
  if (watched[1].revents != 0) return base::fail(base::ErrorKind::interrupted, "interrupted");
  std::string answer;
  std::getline(std::cin, answer);
  return answer;
}

base::Result<bool> agreed(const VerifyArguments& arguments, const std::string& plan,
                          const base::Interrupt& interrupt) {
  if (arguments.plan) {
    RETURN_IF_ERROR(print(plan));
    return false;
  }
  if (in_lab(arguments)) return true;
  fmt::print(stderr, "{}", plan);
  if (arguments.yes) return true;
  fmt::print(stderr, "Make them? [y/N] ");
  std::fflush(stderr);
  ASSIGN_OR_RETURN(const auto answer, answer_of_terminal(interrupt));
  return answer == "y" || answer == "Y" || answer == "yes";
}

base::Result<std::optional<VerifyResult>> verify(const VerifyArguments& arguments,
                                                 const VerifyOptions& options,
                                                 const base::Interrupt& interrupt) {
  const Consent consent = [&](const std::string& plan) {
    return agreed(arguments, plan, interrupt);
  };
  if (!in_lab(arguments)) return verify_default_deny(options, consent);
  // Reading needs no rights.
  if (options.probes && !arguments.plan) RETURN_IF_ERROR(check_lab_rights());
  ASSIGN_OR_RETURN(auto manifests, read_manifests(arguments.manifests));
  return verify_manifests(options, {.manifests = std::move(manifests)}, consent);
}

// What is saved over the state it was compared with, and differs, would be forgotten.
bool would_forget(const VerifyArguments& arguments, const VerifyResult& result) {
  std::error_code code;
  return result.drift && !result.drift->empty() &&
         (arguments.save == arguments.against ||
          std::filesystem::equivalent(arguments.save, arguments.against, code));
}

base::Result<> save(const VerifyArguments& arguments, const VerifyResult& result) {
  if (arguments.save.empty()) return {};
  if (would_forget(arguments, result)) {
    fmt::print(stderr, "{} is left as it is: what differs from it would be forgotten.\n",
               arguments.save);
    return {};
  }
  return base::write_file(arguments.save,
                          base::dump_json_pretty(base::to_json(result.to_save())) + "\n");
}

}  // namespace

Action declare_verify(CLI::App& app) {
  auto arguments = std::make_shared<VerifyArguments>();
  app.add_option("claim", arguments->claim, "What is to be verified: default-deny")
      ->required()
      ->check(CLI::IsMember({std::string(default_deny)}))
      ->type_name("CLAIM");
  app.add_option("-n,--namespace", arguments->namespaces, "The namespaces it is claimed of")
      ->required()
      ->type_name("NAME...");
  app.add_option("-f,--filename", arguments->manifests,
                 "With --target lab: the manifests, as files, directories, or - for standard input")
      ->type_name("FILE...");
  const auto add = [&](const char* names, std::string& value, const char* what, const char* type) {
    return app.add_option(names, value, what)->type_name(type);
  };
  add("--direction", arguments->direction, "Of which direction: ingress, egress or both (default)",
      "WHICH")
      ->check(CLI::IsMember({"ingress", "egress", "both"}));
  app.add_flag("--no-probes", arguments->no_probes,
               "Only read what policies say; make nothing, and ask nothing of packets");
  app.add_flag("--plan", arguments->plan, "Only say which probe pods would be made");
  app.add_flag("-y,--yes", arguments->yes, "Make the probe pods without asking");
  app.add_flag("--ephemeral", arguments->ephemeral,
               "Where a workload can have no probe pod, join one of its own pods by an ephemeral "
               "container");
  app.add_option(
         "--external", arguments->external,
         "Outside of the cluster, knocked at by TCP from the workloads (default: nothing is)")
      ->type_name("ADDRESS:PORT")
      ->allow_extra_args(false);
  app.add_option("--rate", arguments->rate, "How many packets a second may knock (default: 200)")
      ->check(CLI::Range(1.0, 10'000.0))
      ->type_name("NUMBER");
  add("--save", arguments->save, "Where what is allowed now is kept for another day", "FILE");
  add("--against", arguments->against,
      "What was saved on another day: whatever is other than that is a fail", "FILE");
  app.add_flag("--json", arguments->json, "Print all of it as JSON");
  auto& target = arguments->target;
  target.target = "kubernetes";
  add("--target", target.target,
      "Whose namespaces: those of a cluster (kubernetes, the default), or those that manifests "
      "would make, brought up on this machine (lab)",
      "TARGET")
      ->check(CLI::IsMember({"lab", "kubernetes"}));
  add("--kubeconfig", target.kubeconfig, "The kubeconfig (default: as kubectl's)", "FILE");
  add("--context", target.context, "The context of the kubeconfig (default: the current one)",
      "NAME");
  add("--request-timeout", target.request_timeout,
      "How long the API server may take for an answer (default: 30s)", "DURATION");
  add("--agent-image", target.agent_image,
      "The image of the probe pods (default: stackbench-agent:" STACKBENCH_VERSION ")", "IMAGE");
  return [arguments](const Context& context) -> base::Result<int> {
    RETURN_IF_ERROR(check_target(*arguments));
    RETURN_IF_ERROR(check_consent(*arguments));
    ASSIGN_OR_RETURN(const auto options, options_of(*arguments, context.interrupt));
    ASSIGN_OR_RETURN(const auto result, verify(*arguments, options, context.interrupt));
    // Who only asked for the plan has it; who did not agree has no answer.
    if (!result) {
      return exit_code_of(arguments->plan ? ClaimVerdict::pass : ClaimVerdict::inconclusive);
    }
    RETURN_IF_ERROR(print(arguments->json ? base::dump_json_pretty(result->to_json()) + "\n"
                                          : render(*result, base::detect_terminal(STDOUT_FILENO))));
    RETURN_IF_ERROR(save(*arguments, *result));
    return exit_code_of(verdict_of(*result));
  };
}

}  // namespace stackbench
