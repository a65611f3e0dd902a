// `stackbench report`: a report file as a table again.
#include <unistd.h>

#include "base/terminal.h"
#include "reports/store.h"
#include "reports/terminal.h"
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"

namespace stackbench {

Action declare_report(CLI::App& app) {
  auto file = std::make_shared<std::string>();
  app.add_option("file", *file, "A report that run wrote")->required()->type_name("FILE");
  return [file](const Context&) -> base::Result<int> {
    ASSIGN_OR_RETURN(const auto report, reports::load_report(*file));
    return print(reports::render_terminal(report, base::detect_terminal(STDOUT_FILENO), *file));
  };
}

}  // namespace stackbench
