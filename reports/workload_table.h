// The table of one workload: arms in rows, metrics with their differences in columns.
#pragma once

#include <string>
#include <vector>

#include "base/terminal.h"
#include "reports/record.h"

namespace reports {

// A remark under the table; rows carry its mark behind the arm's name.
struct TableNote {
  std::string mark;  // "[g]"
  std::string text;
};

struct WorkloadTable {
  std::string text;  // empty: no arm has an estimate
  std::vector<TableNote> notes;
};

// Rows are numbered in the order of report.arms, so that a difference can say against which row it
// is: "2: +12.3 % [+10.1, +14.9]".
[[nodiscard]] WorkloadTable workload_table(const Report& report, const std::string& workload,
                                           const base::Terminal& terminal);

}  // namespace reports
