#include "reports/growth.h"

#include <functional>
#include <map>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;

Paint paint_of(GrowthLaw law) { return law == GrowthLaw::flat ? Paint::green : Paint::yellow; }

std::string per_thousand(const Growth& growth) {
  const auto text = fmt::format("{:+.2f} us", growth.per_thousand_ns / 1000);
  if (!growth.per_thousand_interval) return text + " [no interval]";
  return fmt::format("{} [{:+.2f}, {:+.2f}]", text, growth.per_thousand_interval->lower / 1000,
                     growth.per_thousand_interval->upper / 1000);
}

std::set<int> sizes_of(const std::vector<Growth>& growths) {
  std::set<int> sizes;
  for (const auto& growth : growths) {
    for (const auto& point : growth.points) sizes.insert(point.loaded);
  }
  return sizes;
}

// A column for every size; `text` says what stands in it.
template <typename Row>
void add_sizes(std::vector<Column>& columns, const std::set<int>& sizes,
               const std::vector<Row>& rows,
               const std::function<std::string(const Row&, int)>& text) {
  for (const int size : sizes) {
    // The ends tell most where there is no room for all.
    const bool end = size == *sizes.begin() || size == *sizes.rbegin();
    Column column{.title = std::to_string(size), .importance = end ? 70 : 50, .cells = {}};
    for (const auto& row : rows) column.cells.push_back({text(row, size)});
    columns.push_back(std::move(column));
  }
}

// Of the growths of one workload in one metric.
std::string values_table(const std::vector<Growth>& growths, const base::Terminal& terminal) {
  const auto& first = growths.front();
  // More than one metric of a workload is said where another's would look the same.
  const auto metric = first.by == GrowthBy::services
                          ? first.metric
                          : fmt::format("{} {}", first.workload, first.metric);
  Column paths{.title = fmt::format("{}, by {}", metric, things_of(first.by)),
               .align = Align::left,
               .cells = {}};
  Column slopes{.title = "per 1,000", .align = Align::left, .importance = 90, .cells = {}};
  Column laws{.title = "law", .align = Align::left, .importance = 80, .cells = {}};
  for (const auto& growth : growths) {
    paths.cells.push_back({base::printable(growth.path, terminal.charset)});
    slopes.cells.push_back({per_thousand(growth)});
    laws.cells.push_back({std::string(base::enum_name(growth.law)), paint_of(growth.law)});
  }
  std::vector<Column> columns{std::move(paths)};
  add_sizes<Growth>(columns, sizes_of(growths), growths, [&](const Growth& growth, int size) {
    for (const auto& point : growth.points) {
      if (point.loaded == size) return base::format_time(point.value_ns, terminal.charset);
    }
    return std::string();
  });
  columns.push_back(std::move(slopes));
  columns.push_back(std::move(laws));
  return render_table(std::move(columns), static_cast<std::size_t>(terminal.width),
                      terminal.colour);
}

// What loading cost: a row for each datapath's time, and for its memory.
std::string cost_table(const std::vector<Growth>& growths, const base::Terminal& terminal) {
  struct Row {
    std::string title;
    std::map<int, std::string> cells;
  };
  std::map<std::string, std::map<int, GrowthPoint>> by_datapath;
  for (const auto& growth : growths) {
    const auto datapath = growth.path.substr(0, growth.path.find(' '));
    for (const auto& point : growth.points) by_datapath[datapath].emplace(point.loaded, point);
  }
  std::vector<Row> rows;
  for (const auto& [datapath, points] : by_datapath) {
    Row time{.title = datapath + " loading took", .cells = {}};
    Row memory{.title = datapath + " kernel memory", .cells = {}};
    for (const auto& [loaded, point] : points) {
      if (point.load_ns) {
        time.cells[loaded] =
            base::format_time(static_cast<double>(*point.load_ns), terminal.charset);
      }
      if (const auto bytes = point.kernel_memory_bytes.value_or(0); bytes > 0) {
        memory.cells[loaded] = base::format_bytes(static_cast<double>(bytes));
      }
    }
    // A cluster does not say what loading Services costs, nor where it keeps policies.
    for (auto* row : {&time, &memory}) {
      if (!row->cells.empty()) rows.push_back(std::move(*row));
    }
  }
  if (rows.empty()) return {};
  Column titles{.title = fmt::format("cost, by {}", things_of(growths.front().by)),
                .align = Align::left,
                .cells = {}};
  for (const auto& row : rows) titles.cells.push_back({row.title});
  std::vector<Column> columns{std::move(titles)};
  add_sizes<Row>(columns, sizes_of(growths), rows, [](const Row& row, int size) {
    const auto found = row.cells.find(size);
    return found == row.cells.end() ? std::string() : found->second;
  });
  return render_table(std::move(columns), static_cast<std::size_t>(terminal.width),
                      terminal.colour);
}

}  // namespace

std::string_view things_of(GrowthBy by) {
  return by == GrowthBy::services ? "Services" : "policies";
}

std::string growth_tables(const std::vector<Growth>& growths, GrowthBy by,
                          const base::Terminal& terminal) {
  std::map<std::pair<std::string, std::string>, std::vector<Growth>> tables;
  std::vector<Growth> all;
  for (const auto& growth : growths) {
    if (growth.by != by) continue;
    tables[{growth.workload, growth.metric}].push_back(growth);
    all.push_back(growth);
  }
  if (all.empty()) return {};
  std::string text;
  for (const auto& [what, own] : tables) text += values_table(own, terminal) + "\n";
  return text + cost_table(all, terminal);
}

}  // namespace reports
