// A table that fits the reader's terminal: columns are as wide as their content, and where all of
// them are too wide the least important go first.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/terminal.h"

namespace reports {

struct Cell {
  std::string text = {};  // UTF-8 without escape sequences
  base::Paint paint = base::Paint::plain;
};

enum class Align { left, right };

struct Column {
  std::string title = {};
  Align align = Align::right;
  int importance = 0;  // the higher, the longer it stays; the first column always stays
  std::vector<Cell> cells = {};
};

// The table, its title row included, each line at most `width` columns wide and ended by a line
// feed. Columns without any text are left out; where the first two alone are too wide, the first
// is shortened. All columns have the same number of cells.
[[nodiscard]] std::string render_table(std::vector<Column> columns, std::size_t width, bool colour);

}  // namespace reports
