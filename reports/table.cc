#include "reports/table.h"

#include <algorithm>
#include <ranges>

namespace reports {
namespace {

constexpr std::size_t gap = 2;          // between two columns
constexpr std::size_t least_first = 8;  // the first column is not shortened below this

std::size_t width_of(const Column& column) {
  std::size_t width = base::display_width(column.title);
  for (const auto& cell : column.cells) width = std::max(width, base::display_width(cell.text));
  return width;
}

std::size_t width_of(const std::vector<Column>& columns) {
  std::size_t width = 0;
  for (const auto& column : columns) width += width_of(column) + gap;
  return width == 0 ? 0 : width - gap;
}

bool is_empty(const Column& column) {
  return std::ranges::all_of(column.cells, [](const Cell& cell) { return cell.text.empty(); });
}

std::string aligned(const std::string& text, std::size_t width, Align align) {
  return align == Align::left ? base::pad_right(text, width) : base::pad_left(text, width);
}

// The least important column goes, until the rest fits or only two are left.
void drop_columns(std::vector<Column>& columns, std::size_t width) {
  while (columns.size() > 2 && width_of(columns) > width) {
    columns.erase(std::ranges::min_element(columns | std::views::drop(1), {}, &Column::importance));
  }
}

void shorten_first(std::vector<Column>& columns, std::size_t width) {
  const std::size_t all = width_of(columns);
  if (all <= width) return;
  const std::size_t first = width_of(columns.front());
  const std::size_t excess = all - width;
  const std::size_t room = first > excess ? std::max(first - excess, least_first) : least_first;
  columns.front().title = base::shorten(columns.front().title, room);
  for (auto& cell : columns.front().cells) cell.text = base::shorten(cell.text, room);
}

}  // namespace

std::string render_table(std::vector<Column> columns, std::size_t width, bool colour) {
  std::erase_if(columns, is_empty);
  if (columns.empty()) return {};
  drop_columns(columns, width);
  shorten_first(columns, width);

  std::string text;
  const auto add_line = [&](const auto& cell_of) {
    std::string line;
    for (const auto& column : columns) {
      const Cell cell = cell_of(column);
      if (&column != &columns.front()) line.append(gap, ' ');
      // The last column needs no spaces behind it, and padding is not painted.
      const bool ends_line = &column == &columns.back() && column.align == Align::left;
      const std::string padded =
          ends_line ? cell.text : aligned(cell.text, width_of(column), column.align);
      const auto start = padded.find(cell.text);
      line += padded.substr(0, start) + base::painted(cell.text, cell.paint, colour) +
              padded.substr(start + cell.text.size());
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  add_line([](const Column& column) { return Cell{column.title, base::Paint::dim}; });
  for (std::size_t row = 0; row < columns.front().cells.size(); ++row) {
    add_line([row](const Column& column) { return column.cells[row]; });
  }
  return text;
}

}  // namespace reports
