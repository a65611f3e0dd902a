#include "reports/rotation.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;
using Step = RotationStepRecord;

std::string time_text(std::int64_t ns, base::Charset charset) {
  return base::format_time(static_cast<double>(ns), charset);
}

const RotationTrafficRecord* traffic_of(const Step& step, std::string_view name) {
  const auto found = std::ranges::find(step.traffic, name, &RotationTrafficRecord::name);
  return found == step.traffic.end() ? nullptr : &*found;
}

// "none", or "12 refused, 30 reset".
std::string failed_text(const std::map<std::string, std::uint64_t>& failed) {
  std::vector<std::string> words;
  for (const auto& [name, count] : failed) words.push_back(fmt::format("{} {}", count, name));
  return words.empty() ? "none" : fmt::format("{}", fmt::join(words, ", "));
}

// The slowest of them, or who never did.
Cell shown_cell(const Step& step, base::Charset charset) {
  std::vector<std::string> missing = step.not_renewed;
  std::optional<std::int64_t> slowest;
  for (const auto& renewal : step.renewals) {
    if (!renewal.shown_ns) {
      missing.push_back(renewal.pod);
    } else {
      slowest = std::max(slowest.value_or(0), *renewal.shown_ns);
    }
  }
  if (!missing.empty()) {
    return {base::printable(fmt::format("not by {}", fmt::join(missing, ", ")), charset),
            Paint::red};
  }
  return {slowest ? time_text(*slowest, charset) : std::string()};
}

std::string resumed_text(const Step& step) {
  if (!step.handshakes) return {};
  return fmt::format("{} ({} resumed)", *step.handshakes, step.resumed.value_or(0));
}

std::string expired_text(const ExpiredRecord& one, base::Charset charset) {
  auto text = fmt::format("{}: {} of {} (serial {}) expired {} after traffic began; since then ",
                          one.environment, one.identity, one.pod, one.serial,
                          time_text(one.expired_at_ns, charset));
  std::vector<std::string> words;
  for (const auto& traffic : one.since) {
    words.push_back(fmt::format("of {} {} answered, failed: {}", traffic.name, traffic.answered,
                                failed_text(traffic.failed)));
  }
  return base::printable(text + fmt::format("{}", fmt::join(words, "; ")), charset);
}

}  // namespace

std::string rotation_text(const RotationRecord& rotation, const base::Terminal& terminal) {
  if (rotation.steps.empty()) return {};
  const auto charset = terminal.charset;
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<Cell(const Step&)>& cell) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& step : rotation.steps) column.cells.push_back(cell(step));
    columns.push_back(std::move(column));
  };
  add("in", Align::left, 60,
      [&](const Step& step) { return Cell{base::printable(step.environment, charset)}; });
  add("step", Align::left, 100, [&](const Step& step) {
    return Cell{step.number == 0 ? "before" : fmt::format("{} {}", step.number, step.step)};
  });
  add("at", Align::right, 20,
      [&](const Step& step) { return Cell{time_text(step.at_ns, charset)}; });
  add("shown after", Align::right, 95, [&](const Step& step) { return shown_cell(step, charset); });
  for (const auto& [name, words] :
       {std::pair("new_connections", "new"), std::pair("kept_connections", "kept")}) {
    const std::string traffic = name;
    add(fmt::format("{}: failed", words), Align::left, 90, [traffic](const Step& step) {
      const auto* its = traffic_of(step, traffic);
      if (its == nullptr) return Cell{};
      return Cell{failed_text(its->failed), its->failed.empty() ? Paint::plain : Paint::red};
    });
    add("longest gap", Align::right, 80, [traffic, charset](const Step& step) {
      const auto* its = traffic_of(step, traffic);
      return Cell{its == nullptr ? std::string() : time_text(its->longest_gap_ns, charset)};
    });
  }
  add("on older ones", Align::right, 70, [](const Step& step) {
    const auto* its = traffic_of(step, "kept_connections");
    return Cell{its != nullptr && its->went_on ? std::to_string(*its->went_on) : std::string()};
  });
  add("handshakes", Align::right, 40, [](const Step& step) { return Cell{resumed_text(step)}; });
  auto text =
      render_table(std::move(columns), static_cast<std::size_t>(terminal.width), terminal.colour);
  for (const auto& one : rotation.expired) {
    text +=
        base::wrapped(expired_text(one, charset), static_cast<std::size_t>(terminal.width), "  ");
  }
  return text;
}

}  // namespace reports
