// The subcommand table: one entry a command, one file a command.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "base/interrupt.h"
#include "base/result.h"

namespace stackbench {

// What every command may use.
struct Context {
  const base::Interrupt& interrupt;       // Ctrl-C
  std::vector<std::string> command_line;  // as the user typed it, for the report
};

// What a chosen command does: its exit code, or the error that stopped it (exit 2 unless the error
// is of kind workload: 5, or interrupted: 128 + signal).
using Action = std::function<base::Result<int>(const Context&)>;

struct Command {
  std::string_view name;
  std::string_view summary;  // one line, for the overview
  // Declares the command's options on `app` and returns what it does once they are parsed. The
  // action owns the variables the options write to.
  Action (*declare)(CLI::App& app);
  bool hidden = false;  // ours to call: not in --help, nor in completions
};

// Every command, in the order of the overview.
[[nodiscard]] const std::vector<Command>& commands();

Action declare_run(CLI::App& app);
Action declare_plan(CLI::App& app);
Action declare_list(CLI::App& app);
Action declare_validate(CLI::App& app);
Action declare_schema(CLI::App& app);
Action declare_report(CLI::App& app);
Action declare_doctor(CLI::App& app);
Action declare_clean(CLI::App& app);
Action declare_bgp(CLI::App& app);
Action declare_completion(CLI::App& app);
Action declare_verify(CLI::App& app);
Action declare_up(CLI::App& app);
Action declare_down(CLI::App& app);
Action declare_status(CLI::App& app);
Action declare_supervise(CLI::App& app);

// Makes the root command with every subcommand declared; `actions[i]` belongs to `commands()[i]`.
[[nodiscard]] std::unique_ptr<CLI::App> make_app(std::vector<Action>& actions);

// The scenario file argument and --set, which several commands share.
struct ScenarioArguments {
  std::string file;
  std::vector<std::string> overrides;
};
void declare_scenario_arguments(CLI::App& app, ScenarioArguments& arguments);

// Prints to stdout; a reader that went away (a closed pipe, a full disk) is an error, not silence.
[[nodiscard]] base::Result<int> print(std::string_view text);

// Runs the command line; the process' exit code. Messages go to stderr.
[[nodiscard]] int run_command_line(int argc, const char* const* argv,
                                   const base::Interrupt& interrupt);

}  // namespace stackbench
