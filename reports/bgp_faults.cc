#include "reports/bgp_faults.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;
using base::Verdict;

template <typename Value>
std::optional<Range> range_over(const BgpFaultRecord& fault, Value value) {
  std::vector<std::int64_t> values;
  for (const auto& one : fault.repetitions) {
    const std::optional<std::int64_t> its = value(one);
    if (its) values.push_back(*its);
  }
  return range_of(std::move(values));
}

// "5.00 s", or "2.41 to 2.98 s" as both ends are said.
std::string range_text(const std::optional<Range>& range, base::Charset charset) {
  if (!range) return {};
  const auto text = [&](std::int64_t ns) {
    return ns == 0 ? std::string("none") : base::format_time(static_cast<double>(ns), charset);
  };
  const auto least = text(range->least);
  const auto most = text(range->most);
  return least == most ? least : fmt::format("{} to {}", least, most);
}

std::string count_range_text(const std::optional<Range>& range) {
  if (!range) return {};
  if (range->least == range->most) return std::to_string(range->least);
  return fmt::format("{} to {}", range->least, range->most);
}

std::string fault_title(const BgpFaultRecord& fault, base::Charset charset) {
  return fmt::format("{} {}", base::printable(fault.kind, charset), fault.node);
}

// What ended the sessions: once where all ended alike.
std::string endings_of(const BgpFaultRecord& fault, base::Charset charset) {
  std::vector<std::string> words;
  for (const auto& one : fault.repetitions) {
    if (one.ended_by.empty()) continue;
    if (std::ranges::find(words, one.ended_by) == words.end()) words.push_back(one.ended_by);
  }
  return base::printable(fmt::format("{}", fmt::join(words, "; ")), charset);
}

Paint fault_paint(Verdict verdict) {
  if (verdict == Verdict::pass) return Paint::green;
  return verdict == Verdict::fail ? Paint::red : Paint::yellow;
}

}  // namespace

std::optional<Range> range_of(std::vector<std::int64_t> values) {
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  return Range{values.front(), values[values.size() / 2], values.back()};
}

std::optional<Range> downtime_of(const BgpFaultRecord& fault) {
  return range_over(fault, [](const auto& one) { return one.downtime_ns(); });
}

std::optional<Range> stale_of(const BgpFaultRecord& fault) {
  return range_over(fault, [](const auto& one) { return one.stale_ns; });
}

std::optional<Range> loss_of(const BgpFaultRecord& fault) {
  return range_over(fault, [](const auto& one) { return std::optional(one.loss_ns); });
}

std::optional<Range> lost_of(const BgpFaultRecord& fault) {
  return range_over(
      fault, [](const auto& one) { return std::optional(static_cast<std::int64_t>(one.lost)); });
}

std::string bgp_fault_table(const std::vector<BgpFaultRecord>& faults,
                            const base::Terminal& terminal) {
  if (faults.empty()) return {};
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<Cell(const BgpFaultRecord&)>& cell) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& fault : faults) column.cells.push_back(cell(fault));
    columns.push_back(std::move(column));
  };
  const auto charset = terminal.charset;
  add("fault, node", Align::left, 100,
      [&](const auto& fault) { return Cell{fault_title(fault, charset)}; });
  add("session down", Align::right, 80,
      [&](const auto& fault) { return Cell{range_text(downtime_of(fault), charset)}; });
  add("stale route", Align::right, 90,
      [&](const auto& fault) { return Cell{range_text(stale_of(fault), charset)}; });
  add("predicted", Align::right, 85, [&](const auto& fault) {
    const auto predicted =
        range_over(fault, [](const auto& one) { return one.stale_predicted_ns; });
    return Cell{predicted && predicted->most == 0 ? "at once" : range_text(predicted, charset)};
  });
  add("lost packets", Align::right, 70,
      [](const auto& fault) { return Cell{count_range_text(lost_of(fault))}; });
  add("for", Align::right, 75,
      [&](const auto& fault) { return Cell{range_text(loss_of(fault), charset)}; });
  add("ended by", Align::left, 40,
      [&](const auto& fault) { return Cell{endings_of(fault, charset)}; });
  add("verdict", Align::left, 95, [](const auto& fault) {
    return Cell{std::string(base::enum_name(fault.verdict)), fault_paint(fault.verdict)};
  });
  return render_table(std::move(columns), static_cast<std::size_t>(terminal.width),
                      terminal.colour);
}

}  // namespace reports
