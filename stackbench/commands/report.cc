// `stackbench report`: a report file as a table again.
#include <unistd.h>

#include "base/terminal.h"
#include "reports/store.h"
#include "reports/terminal.h"
#include "stackbench/commands/command.h"
#include "stackbench/commands/publish.h"

namespace stackbench {

Action declare_report(CLI::App& app) {
  struct Arguments {
    std::string file;
    PublishArguments publish;
  };
  auto arguments = std::make_shared<Arguments>();
  app.add_option("file", arguments->file, "A report that run wrote")->required()->type_name("FILE");
  declare_publish_arguments(app, arguments->publish);
  return [arguments](const Context&) -> base::Result<int> {
    RETURN_IF_ERROR(check_publish_arguments(arguments->publish));
    ASSIGN_OR_RETURN(const auto report, reports::load_report(arguments->file));
    RETURN_IF_ERROR(print(
        reports::render_terminal(report, base::detect_terminal(STDOUT_FILENO), arguments->file)));
    RETURN_IF_ERROR(publish(report, arguments->publish));
    return 0;
  };
}

}  // namespace stackbench
