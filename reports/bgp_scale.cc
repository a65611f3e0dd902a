#include "reports/bgp_scale.h"

#include <functional>

#include <fmt/format.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using Points = std::vector<BgpScalePoint>;

class Table {
 public:
  Table(const Points& points, const base::Terminal& terminal)
      : points_(points), terminal_(terminal) {
    add("addresses", 100, [](const auto& point) { return std::to_string(point.services); });
    add(
        "", 100,
        [](const auto& point) { return std::string(point.announced ? "announced" : "withdrawn"); },
        Align::left);
  }

  using Text = std::function<std::string(const BgpScalePoint&)>;
  void add(std::string title, int importance, const Text& text, Align align = Align::right) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& point : points_) column.cells.push_back({text(point)});
    columns_.push_back(std::move(column));
  }
  [[nodiscard]] std::string time(const std::optional<std::int64_t>& ns) const {
    return ns ? base::format_time(static_cast<double>(*ns), terminal_.charset) : "-";
  }
  // "1.20 ms / 4.00 ms / 5.00 ms", "-" for a percentile that too few prefixes stand behind.
  [[nodiscard]] std::string times(const std::optional<LatencySummary>& its) const {
    if (!its) return "-";
    return fmt::format("{} / {} / {}", time(its->p50_ns), time(its->p99_ns), time(its->max_ns));
  }
  void add_cost(const std::string& who, int importance, CostSummary BgpScalePoint::* member) {
    add(who + " CPU", importance,
        [this, member](const auto& point) { return time((point.*member).cpu_ns); });
    add(who + " memory", importance, [member](const auto& point) {
      return base::format_bytes(static_cast<double>((point.*member).memory_bytes));
    });
  }
  [[nodiscard]] std::string render() {
    return render_table(std::move(columns_), static_cast<std::size_t>(terminal_.width),
                        terminal_.colour);
  }

 private:
  const Points& points_;
  const base::Terminal& terminal_;
  std::vector<Column> columns_ = {};
};

}  // namespace

std::string bgp_scale_tables(const Points& points, const base::Terminal& terminal) {
  if (points.empty()) return {};
  Table whole(points, terminal);
  whole.add("programmed", 60, [&](const auto& point) { return whole.time(point.programmed_ns); });
  whole.add("first UPDATE", 80,
            [&](const auto& point) { return whole.time(point.first_update_ns); });
  whole.add("last UPDATE", 90, [&](const auto& point) { return whole.time(point.all_updates_ns); });
  whole.add("to a sink", 75, [&](const auto& point) { return whole.time(point.sink_updates_ns); });
  whole.add("last told", 70, [&](const auto& point) { return whole.time(point.all_told_ns); });
  whole.add("last route", 95, [&](const auto& point) { return whole.time(point.all_routes_ns); });
  Table each(points, terminal);
  each.add("write to UPDATE", 80, [&](const auto& point) { return each.times(point.update); });
  each.add("UPDATE to told", 60, [&](const auto& point) { return each.times(point.told); });
  each.add("UPDATE to route", 70, [&](const auto& point) { return each.times(point.route); });
  each.add("write to route", 90, [&](const auto& point) { return each.times(point.reached); });
  Table cost(points, terminal);
  cost.add_cost("peer", 90, &BgpScalePoint::peer);
  cost.add_cost("speakers", 80, &BgpScalePoint::speakers);
  cost.add_cost("our", 70, &BgpScalePoint::ours);
  return fmt::format(
      "since the write, the middle of the rounds:\n{}\nof each prefix, p50 / p99 / slowest:\n{}\n"
      "cost:\n{}",
      whole.render(), each.render(), cost.render());
}

}  // namespace reports
