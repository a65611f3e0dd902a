#include "stackbench/commands/command.h"

#include <cstdio>
#include <memory>

#include "base/scalar.h"
#include "cluster/processes/provider.h"
#include "stackbench/exit_code.h"

namespace stackbench {
namespace {

constexpr std::string_view exit_codes =
    "Exit codes: 0 pass, 1 fail, 2 our own trouble (usage, input, a missing tool or "
    "right, a full disk),\n"
    "3 inconclusive or all skipped, 4 machine too disturbed, 5 workload errors, 128+n signal n.";

void complain(std::string_view text) {
  fmt::print(stderr, "stackbench: {}\n", text);
  std::fflush(stderr);
}

int exit_code_of(const base::Error& error, const base::Interrupt& interrupt) {
  if (error.kind == base::ErrorKind::interrupted) {
    const int signal = interrupt.signal();
    return exit_signal + (signal > 0 ? signal : 2);
  }
  return error.kind == base::ErrorKind::workload ? exit_workload_error : exit_usage;
}

// "unknown command "rum", did you mean run?"
std::string unknown_word(std::string_view what, std::string_view word,
                         const std::vector<std::string_view>& known) {
  // Of words that belong together (`bgp wach`) the last is the unknown one.
  const auto nearest = base::nearest_name(word.substr(word.rfind(' ') + 1), known);
  return fmt::format("unknown {} \"{}\"{}", what, word,
                     nearest ? fmt::format(", did you mean {}?", *nearest) : "");
}

// What CLI11 found wrong, in our words.
std::string usage_error(const CLI::App& app, const CLI::ParseError& error,
                        const std::vector<std::string>& words) {
  if (error.get_exit_code() != static_cast<int>(CLI::ExitCodes::ExtrasError)) return error.what();
  std::vector<std::string> names;
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  }
  const std::vector<std::string_view> known(names.begin(), names.end());
  for (const auto& word : words) {
    const auto name = word.substr(0, word.find('='));
    if (!name.starts_with('-') || std::ranges::find(known, name) != known.end()) continue;
    return unknown_word("option", name, known);
  }
  const auto rest = app.remaining(true);
  return rest.empty() ? std::string(error.what())
                      : fmt::format("unexpected argument \"{}\"", rest.front());
}

// The names of a command's own commands (`bgp watch`), hidden ones left out.
std::vector<std::string> names_below(const CLI::App& app) {
  std::vector<std::string> names;
  for (const auto* sub :
       app.get_subcommands([](const CLI::App* one) { return !one->get_group().empty(); })) {
    names.push_back(sub->get_name());
  }
  return names;
}

}  // namespace

const std::vector<Command>& commands() {
  static const std::vector<Command> table = {
      {"run", "Run a scenario and answer its question", declare_run},
      {"plan", "Say what a run would do, and how long it takes", declare_plan},
      {"list", "List the shipped scenarios and every word a scenario may use", declare_list},
      {"validate", "Check scenario files without running them", declare_validate},
      {"schema", "Print the JSON Schema of a scenario or a report", declare_schema},
      {"report", "Print a report file as a table again", declare_report},
      {"verify", "Verify a claim about a cluster's own namespaces: default-deny", declare_verify},
      {"up", "Bring up a Kubernetes on this machine, without Docker", declare_up},
      {"down", "End that Kubernetes, and remove all of it", declare_down},
      {"status", "Say how it is", declare_status},
      {"bgp", "Watch a BGP peer's sessions and routes, or configure one", declare_bgp},
      {"doctor", "Say what this machine can do, and what to install", declare_doctor},
      {"clean", "Remove what interrupted runs left behind", declare_clean},
      {"completion", "Print a completion script for bash, zsh or fish", declare_completion},
      {cluster::processes::supervise_command, "Keep a cluster that `up` started", declare_supervise,
       true},
  };
  return table;
}

std::unique_ptr<CLI::App> make_app(std::vector<Action>& actions) {
  auto app = std::make_unique<CLI::App>(
      "Does the network do what it claims, and what does it cost?", "stackbench");
  app->set_version_flag("--version", "stackbench " STACKBENCH_VERSION);
  app->footer(std::string(exit_codes));
  app->require_subcommand(1);
  app->get_formatter()->column_width(26);
  for (const auto& command : commands()) {
    auto* sub = app->add_subcommand(std::string(command.name), std::string(command.summary));
    actions.push_back(command.declare(*sub));
    if (command.hidden) sub->group("");
  }
  return app;
}

void declare_scenario_arguments(CLI::App& app, ScenarioArguments& arguments) {
  app.add_option("file", arguments.file, "The scenario")->required()->type_name("FILE");
  app.add_option("--set", arguments.overrides,
                 "Change a value of the scenario: blocks=20, workloads.0.rate=5000/s")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
}

base::Result<int> print(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    return base::system_error(errno, "write to standard output");
  }
  return exit_pass;
}

int run_command_line(int argc, const char* const* argv, const base::Interrupt& interrupt) {
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (!words.empty() && !words.front().starts_with('-')) {
    std::vector<std::string_view> known;
    bool is_known = false;
    for (const auto& command : commands()) {
      is_known = is_known || command.name == words.front();
      if (!command.hidden) known.push_back(command.name);
    }
    if (!is_known) {
      complain(unknown_word("command", words.front(), known));
      fmt::print(stderr, "  The commands are: {}\n", fmt::join(known, ", "));
      return exit_usage;
    }
  }
  std::vector<Action> actions;
  const auto app = make_app(actions);
  const CLI::App* chosen = app.get();
  try {
    app->parse(argc, argv);
  } catch (const CLI::Success& help_or_version) {
    const auto* named = app->get_subcommands().empty() ? app.get() : app->get_subcommands().front();
    const auto text = help_or_version.get_name() == "CallForVersion"
                          ? std::string(help_or_version.what()) + "\n"
                          : named->help(named == app.get() ? "" : "stackbench");
    const auto printed = print(text);
    return printed ? *printed : exit_usage;
  } catch (const CLI::ParseError& error) {
    std::string chain;
    while (!chosen->get_subcommands().empty()) {
      chosen = chosen->get_subcommands().front();
      chain += chosen->get_name() + " ";
    }
    // CLI11 misses a command below another one before it looks at the word that stands there.
    const auto below = names_below(*chosen);
    const auto depth = static_cast<std::size_t>(std::ranges::count(chain, ' '));
    if (!chain.empty() && !below.empty() && words.size() > depth &&
        !words[depth].starts_with('-')) {
      complain(unknown_word("command", chain + words[depth], {below.begin(), below.end()}));
    } else {
      complain(usage_error(*chosen, error, words));
    }
    fmt::print(stderr, "  See stackbench {}--help\n", chain);
    return exit_usage;
  }
  const auto& name = app->get_subcommands().front()->get_name();
  for (std::size_t i = 0; i < commands().size(); ++i) {
    if (commands()[i].name != name) continue;
    const auto outcome = actions[i]({interrupt, {argv, argv + argc}});
    if (outcome) return *outcome;
    complain(base::describe_error(outcome.error()));
    return exit_code_of(outcome.error(), interrupt);
  }
  return exit_usage;
}

}  // namespace stackbench
