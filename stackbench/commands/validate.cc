// `stackbench validate`: every fault of every file, at once, without running anything.
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"
#include "stackbench/scenario/reader.h"

namespace stackbench {

Action declare_validate(CLI::App& app) {
  struct Arguments {
    std::vector<std::string> files;
    std::vector<std::string> overrides;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_option("files", arguments->files, "Scenario files")->required()->type_name("FILE...");
  app.add_option("--set", arguments->overrides, "Change a value first, as run does")
      ->type_name("PATH=VALUE")
      ->allow_extra_args(false);
  return [arguments](const Context&) -> base::Result<int> {
    int exit = exit_pass;
    for (const auto& file : arguments->files) {
      const auto scenario = load_scenario(file, arguments->overrides);
      if (scenario) {
        RETURN_IF_ERROR(print(fmt::format("{}: valid: {}\n", file, scenario->question)));
        continue;
      }
      fmt::print(stderr, "{}\n", base::describe_error(scenario.error()));
      exit = exit_usage;
    }
    return exit;
  };
}

}  // namespace stackbench
