#include "reports/mesh.h"

#include <functional>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

// "+146.2 us [+140.1, +151.9]", or of a value without its sign.
std::string microseconds(double ns, const std::optional<Interval>& interval, bool is_difference) {
  const auto text = [&](double value) {
    return is_difference ? fmt::format("{:+.1f}", value / 1000)
                         : fmt::format("{:.1f}", value / 1000);
  };
  const auto value = text(ns) + " us";
  if (!interval) return value + " [no interval]";
  return fmt::format("{} [{}, {}]", value, text(interval->lower), text(interval->upper));
}

template <typename Row>
class Table {
 public:
  explicit Table(const std::vector<Row>& rows) : rows_(rows) {}

  void add(std::string title, Align align, int importance,
           const std::function<std::string(const Row&)>& text) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& row : rows_) column.cells.push_back({text(row)});
    columns_.push_back(std::move(column));
  }
  std::string render(const base::Terminal& terminal) {
    return render_table(std::move(columns_), static_cast<std::size_t>(terminal.width),
                        terminal.colour);
  }

 private:
  const std::vector<Row>& rows_;
  std::vector<Column> columns_;
};

std::string words(MeshCostOf of) {
  std::string text(base::enum_name(of));
  for (auto& letter : text) {
    if (letter == '_') letter = ' ';
  }
  return text;
}

}  // namespace

std::string mesh_text(const MeshRecord& mesh, const base::Terminal& terminal) {
  const auto safe = [&](const std::string& text) {
    return base::printable(text, terminal.charset);
  };
  Table costs(mesh.costs);
  costs.add("workload", Align::left, 0, [&](const MeshCost& row) { return safe(row.workload); });
  costs.add("cost of", Align::left, 100, [](const MeshCost& row) { return words(row.of); });
  costs.add("CPU of a request", Align::left, 95, [](const MeshCost& row) {
    return microseconds(row.cpu_per_request_ns, row.interval, true);
  });
  costs.add("arm", Align::left, 60, [&](const MeshCost& row) { return safe(row.arm); });
  costs.add("against", Align::left, 50, [&](const MeshCost& row) { return safe(row.base_arm); });

  Table proxies(mesh.proxies);
  proxies.add("workload", Align::left, 0, [&](const ProxyCost& row) { return safe(row.workload); });
  proxies.add("arm", Align::left, 100, [&](const ProxyCost& row) { return safe(row.arm); });
  proxies.add("proxy of", Align::left, 95, [&](const ProxyCost& row) { return safe(row.pod); });
  proxies.add("on CPU", Align::right, 20, [](const ProxyCost& row) {
    return row.cpu ? std::to_string(*row.cpu) : std::string("any");
  });
  proxies.add("CPU of a request", Align::left, 80, [](const ProxyCost& row) {
    return microseconds(row.cpu_per_request_ns, row.interval, false);
  });
  proxies.add("vCPU per 1,000/s", Align::right, 90,
              [](const ProxyCost& row) { return fmt::format("{:.3f}", row.vcpu_per_1000_rps); });
  proxies.add("memory", Align::right, 85, [](const ProxyCost& row) {
    return base::format_bytes(static_cast<double>(row.memory_bytes));
  });
  proxies.add("handshakes", Align::right, 70, [](const ProxyCost& row) {
    return fmt::format("{:.2f}", row.handshakes_per_connection);
  });
  proxies.add("resumed", Align::right, 40, [](const ProxyCost& row) {
    return row.handshakes_per_connection > 0 ? fmt::format("{:.0f} %", 100 * row.resumed_share)
                                             : std::string();
  });
  std::string text;
  if (!mesh.costs.empty()) text += costs.render(terminal) + "\n";
  return text + proxies.render(terminal);
}

}  // namespace reports
