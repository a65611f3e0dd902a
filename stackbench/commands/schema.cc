// `stackbench schema`: the JSON Schemas, made from the structs themselves.
#include "stackbench/scenario/schema.h"

#include "reports/record.h"
#include "stackbench/commands/command.h"

namespace stackbench {

Action declare_schema(CLI::App& app) {
  auto which = std::make_shared<std::string>();
  app.add_option("which", *which, "scenario or report")
      ->required()
      ->check(CLI::IsMember({"scenario", "report"}))
      ->type_name("WHICH");
  return [which](const Context&) {
    const auto schema = *which == "scenario" ? scenario_schema() : reports::report_schema();
    return print(base::dump_json_pretty(schema) + "\n");
  };
}

}  // namespace stackbench
