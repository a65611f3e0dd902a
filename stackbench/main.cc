// The command: argv to the subcommand table, and nothing else.
#include <cstdio>

#include "base/interrupt.h"
#include "stackbench/commands/command.h"
#include "stackbench/exit_code.h"

int main(int argc, char** argv) {
  const auto interrupt = base::Interrupt::install();
  if (!interrupt) {
    fmt::print(stderr, "stackbench: {}\n", base::describe_error(interrupt.error()));
    return stackbench::exit_usage;
  }
  return stackbench::run_command_line(argc, argv, *interrupt);
}
