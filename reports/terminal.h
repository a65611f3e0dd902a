// The report as a person reads it at a glance: question, machine, one table per workload, verdicts.
#pragma once

#include <string>

#include "base/terminal.h"
#include "reports/record.h"

namespace reports {

// The whole text, ending in a line feed. `written_to` is the file the report went to; empty leaves
// that line out. Text from the record is made safe for the terminal. Any thread.
[[nodiscard]] std::string render_terminal(const Report& report, const base::Terminal& terminal,
                                          const std::string& written_to = "");

}  // namespace reports
