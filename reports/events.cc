#include "reports/events.h"

#include <functional>

#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;

// "kill web-1 at 1.30 s".
std::string title_of(const EventRecord& event, base::Charset charset) {
  return fmt::format("{} {} at {}", base::printable(event.kind, charset),
                     base::printable(event.pod, charset),
                     base::format_time(static_cast<double>(event.at_ns), charset));
}

// "33.5 refused, 0.2 reset" of one invocation.
std::string failed_of(const EventRecord& event, base::Charset charset) {
  std::vector<std::string> classes;
  for (const auto& [name, count] : event.failed) {
    if (count == 0 || event.invocations == 0) continue;
    classes.push_back(fmt::format("{:.1f} {}", static_cast<double>(count) / event.invocations,
                                  base::printable(name, charset)));
  }
  return classes.empty() ? "none" : fmt::format("{}", fmt::join(classes, ", "));
}

std::string moved_of(const EventRecord& event) {
  if (event.flows_held == 0 && event.flows_moved == 0) return {};
  if (event.flows_held == 0) return std::to_string(event.flows_moved);
  return fmt::format("{} of {}", event.flows_moved, event.flows_held);
}

}  // namespace

std::string event_table(const std::vector<EventRecord>& events, const std::string& workload,
                        const base::Terminal& terminal) {
  std::vector<const EventRecord*> rows;
  for (const auto& event : events) {
    if (event.workload == workload) rows.push_back(&event);
  }
  if (rows.empty()) return {};
  const auto time = [&](const std::optional<std::int64_t>& ns) {
    if (ns == 0) return std::string("none");
    return ns ? base::format_time(static_cast<double>(*ns), terminal.charset) : std::string();
  };
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<std::string(const EventRecord&)>& text) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto* row : rows) column.cells.push_back({text(*row)});
    columns.push_back(std::move(column));
  };
  std::string last_arm;
  add("arm", Align::left, 100, [&](const EventRecord& event) {
    if (event.arm == last_arm) return std::string();
    last_arm = event.arm;
    return base::printable(event.arm, terminal.charset);
  });
  add("event", Align::left, 95,
      [&](const EventRecord& event) { return title_of(event, terminal.charset); });
  add("failed, an invocation", Align::left, 90,
      [&](const EventRecord& event) { return failed_of(event, terminal.charset); });
  add("stale", Align::right, 80,
      [&](const EventRecord& event) { return time(event.stale_median_ns); });
  add("worst", Align::right, 70,
      [&](const EventRecord& event) { return time(event.stale_max_ns); });
  add("unseen", Align::right, 40, [&](const EventRecord& event) {
    return time(event.stale_error_ns ? event.stale_error_ns : event.reached_error_ns);
  });
  add("judged by", Align::left, 30,
      [](const EventRecord& event) { return event.judged_by.value_or(""); });
  add("published", Align::right, 62,
      [&](const EventRecord& event) { return time(event.published_median_ns); });
  add("followed", Align::right, 63,
      [&](const EventRecord& event) { return time(event.followed_median_ns); });
  add("programmed", Align::right, 60,
      [&](const EventRecord& event) { return time(event.programmed_median_ns); });
  add("reached", Align::right, 65,
      [&](const EventRecord& event) { return time(event.reached_median_ns); });
  add("flows moved", Align::right, 75, moved_of);
  add("others'", Align::right, 74, [](const EventRecord& event) {
    return event.others_moved == 0 ? std::string() : std::to_string(event.others_moved);
  });
  return render_table(std::move(columns), static_cast<std::size_t>(terminal.width),
                      terminal.colour);
}

}  // namespace reports
