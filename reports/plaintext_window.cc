#include "reports/plaintext_window.h"

#include <algorithm>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using Records = std::vector<PlaintextWindowRecord>;

class Table {
 public:
  Table(const Records& records, const base::Terminal& terminal)
      : records_(records), terminal_(terminal) {}

  using Text = std::function<std::string(const PlaintextWindowRecord&)>;
  void add(std::string title, int importance, const Text& text, Align align = Align::right) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& record : records_) column.cells.push_back({text(record)});
    columns_.push_back(std::move(column));
  }
  void add_span(const std::string& title, int importance,
                PlaintextSpan PlaintextRepetition::* which) {
    add(title, importance, [which](const auto& record) {
      std::uint64_t times = 0;
      for (const auto& one : record.repetitions) times += (one.*which).times;
      return times == 0 ? std::string("none") : std::to_string(times);
    });
    add("for", importance - 1, [this, which](const auto& record) {
      const auto span = longest_of(record, which);
      if (span.times == 0) return std::string();
      return fmt::format("{} +- {}{}", time(span.length_ns), time(span.error_ns),
                         span.closed ? "" : ", not closed");
    });
    add("from", importance - 20, [this, which](const auto& record) {
      const auto span = longest_of(record, which);
      return span.first_ns ? time(*span.first_ns) : std::string();
    });
    add("to", importance - 20, [this, which](const auto& record) {
      const auto span = longest_of(record, which);
      return span.last_ns ? time(*span.last_ns) : std::string();
    });
  }
  [[nodiscard]] std::string time(std::int64_t ns) const {
    return base::format_time(static_cast<double>(ns), terminal_.charset);
  }
  [[nodiscard]] std::string render() {
    return render_table(std::move(columns_), static_cast<std::size_t>(terminal_.width),
                        terminal_.colour);
  }

 private:
  const Records& records_;
  const base::Terminal& terminal_;
  std::vector<Column> columns_ = {};
};

template <typename Value>
Value sum(const PlaintextWindowRecord& record, Value PlaintextRepetition::* which) {
  Value all{};
  for (const auto& one : record.repetitions) all += one.*which;
  return all;
}

template <typename Value>
Value most(const PlaintextWindowRecord& record, Value PlaintextRepetition::* which) {
  Value all{};
  for (const auto& one : record.repetitions) all = std::max(all, one.*which);
  return all;
}

}  // namespace

PlaintextSpan longest_of(const PlaintextWindowRecord& record,
                         PlaintextSpan PlaintextRepetition::* which) {
  PlaintextSpan longest;
  const auto weight = [](const PlaintextSpan& span) {
    return std::pair(span.times > 0 && !span.closed, span.length_ns);
  };
  for (const auto& one : record.repetitions) {
    const auto& span = one.*which;
    if (span.times > 0 && (longest.times == 0 || weight(span) > weight(longest))) longest = span;
  }
  return longest;
}

std::string plaintext_window_table(const Records& records, const base::Terminal& terminal) {
  Table table(records, terminal);
  const auto safe = [&](const std::string& text) {
    return base::printable(text, terminal.charset);
  };
  table.add(
      "environment", 97, [&](const auto& record) { return safe(record.environment); }, Align::left);
  table.add(
      "change", 100,
      [&](const auto& record) {
        return safe(record.pod.empty() ? record.change : record.change + " of " + record.pod);
      },
      Align::left);
  table.add("times", 40,
            [](const auto& record) { return std::to_string(record.repetitions.size()); });
  table.add_span("answered", 95, &PlaintextRepetition::answered);
  table.add_span("readable", 93, &PlaintextRepetition::readable);
  table.add("outsider's own readable", 30, [](const auto& record) {
    return fmt::format("{} of {}", sum(record, &PlaintextRepetition::knocks_readable),
                       sum(record, &PlaintextRepetition::knocks));
  });
  table.add("mesh requests failed", 70, [](const auto& record) {
    return fmt::format("{} of {}", sum(record, &PlaintextRepetition::failed),
                       sum(record, &PlaintextRepetition::asked));
  });
  table.add("outage", 65, [&](const auto& record) {
    return table.time(most(record, &PlaintextRepetition::outage_ns));
  });
  table.add("may have missed", 50, [&](const auto& record) {
    return table.time(most(record, &PlaintextRepetition::blind_ns));
  });
  return table.render();
}

}  // namespace reports
