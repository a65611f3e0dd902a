#include "reports/policy.h"

#include <algorithm>
#include <functional>

#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;

// From wrong to right: what a pair shows where there is room for one mark.
constexpr std::string_view marks_by_weight = "!xw~?";

class PolicyRenderer {
 public:
  PolicyRenderer(const PolicyRecord& record, const base::Terminal& terminal)
      : record_(record), terminal_(terminal), width_(static_cast<std::size_t>(terminal.width)) {}

  std::string render() {
    for (const auto& matrix : record_.matrices) add_matrix(matrix);
    for (const auto& cases : record_.cases) add_cases(cases);
    add_windows();
    add_established();
    add_new_pods();
    return std::move(text_);
  }

 private:
  [[nodiscard]] std::string safe(std::string_view text) const {
    return base::printable(text, terminal_.charset);
  }
  [[nodiscard]] std::string time(double ns) const {
    return base::format_time(ns, terminal_.charset);
  }
  void paragraph(std::string_view text, std::string_view lead) {
    text_ += base::wrapped(safe(text), width_, lead);
  }
  void heading(std::string_view text) {
    text_ += "\n" +
             base::painted(base::shorten(safe(text), width_), Paint::bold, terminal_.colour) + "\n";
  }

  void add_grid(const MatrixRecord& matrix);
  void add_differences(const std::vector<PolicyCell>& cells, std::uint64_t all);
  void add_matrix(const MatrixRecord& matrix);
  void add_cases(const CasesRecord& cases);
  void add_windows();
  void add_established();
  void add_new_pods();
  // Adds a column to a table of `rows`.
  template <typename Row>
  static void add_column(std::vector<Column>& columns, const std::vector<Row>& rows,
                         std::string title, Align align, int importance,
                         const std::function<std::string(const Row&)>& text) {
    Column column{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
    for (const auto& row : rows) column.cells.push_back({text(row)});
    columns.push_back(std::move(column));
  }

  const PolicyRecord& record_;
  const base::Terminal& terminal_;
  std::size_t width_;
  std::string text_;
};

// "5 ports" marks become one: what is wrong with any of them, else whether all or some pass.
std::string one_mark(const std::string& marks) {
  for (const char mark : marks_by_weight) {
    if (marks.contains(mark)) return std::string(1, mark);
  }
  if (!marks.contains('.')) return "+";
  return marks.contains('+') ? "some" : ".";
}

Paint paint_of(const std::string& marks) {
  if (marks.find_first_of("!xw") != std::string::npos) return Paint::red;
  if (marks.find_first_of("~?") != std::string::npos) return Paint::yellow;
  return marks.contains('+') ? Paint::plain : Paint::dim;
}

void PolicyRenderer::add_grid(const MatrixRecord& matrix) {
  const auto columns_of = [&](bool whole) {
    Column from{.title = "from / to", .align = Align::left, .cells = {}};
    for (const auto& row : matrix.rows) from.cells.push_back({safe(row.from)});
    std::vector<Column> columns{std::move(from)};
    for (std::size_t to = 0; to < matrix.pods.size(); ++to) {
      Column column{.title = safe(matrix.pods[to]), .align = Align::left, .cells = {}};
      for (const auto& row : matrix.rows) {
        const auto marks = to < row.cells.size() ? safe(row.cells[to]) : std::string();
        column.cells.push_back({whole ? marks : one_mark(marks), paint_of(marks)});
      }
      columns.push_back(std::move(column));
    }
    return columns;
  };
  const auto width_of = [](const std::vector<Column>& columns) {
    constexpr std::size_t gap = 2;
    std::size_t width = 0;
    for (const auto& column : columns) {
      std::size_t widest = base::display_width(column.title);
      for (const auto& cell : column.cells) {
        widest = std::max(widest, base::display_width(cell.text));
      }
      width += widest + gap;
    }
    return width;
  };
  auto columns = columns_of(true);
  const bool whole = width_of(columns) <= width_;
  if (!whole) columns = columns_of(false);
  if (width_of(columns) > width_) {
    paragraph(fmt::format("The grid of {} pods is wider than this terminal; the report file has "
                          "it.",
                          matrix.pods.size()),
              "  ");
    return;
  }
  text_ += render_table(std::move(columns), width_, terminal_.colour);
  if (whole) {
    paragraph(fmt::format("A mark for each port: {}. + allowed and answered, . denied and not "
                          "answered, ! answered though denied, x not answered though allowed, w "
                          "answered by another, ? not specified, ~ no telling.",
                          fmt::join(matrix.ports, ", ")),
              "  ");
  } else {
    paragraph(
        "Of all ports together: + allowed and answered, . denied and not answered, some: "
        "some are and some not, ! answered though denied, x not answered though allowed, w "
        "answered by another, ? not specified, ~ no telling. A wider terminal has a mark for each "
        "port.",
        "  ");
  }
}

void PolicyRenderer::add_differences(const std::vector<PolicyCell>& cells, std::uint64_t all) {
  for (const auto& cell : cells) {
    const auto title = fmt::format("{} to {} at {} ({}): {}, and it should be {}", cell.from,
                                   cell.to, cell.port, cell.protocol, cell.observed, cell.expected);
    std::string lines = base::wrapped(safe(title), width_, "  ");
    text_ += base::painted(lines.substr(0, lines.size() - 1), Paint::red, terminal_.colour) + "\n";
    if (!cell.explanation.empty()) paragraph(cell.explanation, "    ");
    for (const auto& [reason, count] : cell.drops) {
      paragraph(
          fmt::format("the kernel dropped {}: {}", base::format_count(count, "packet"), reason),
          "    ");
    }
    if (cell.verdict_event) paragraph("the enforcement: " + *cell.verdict_event, "    ");
    // A command is copied: it stays on one line.
    if (!cell.repeat.empty()) text_ += "    " + safe(cell.repeat) + "\n";
  }
  if (all > cells.size()) {
    paragraph(fmt::format("and {} more; the grid above has all", all - cells.size()), "  ");
  }
}

void PolicyRenderer::add_matrix(const MatrixRecord& matrix) {
  heading(fmt::format(
      "Policy matrix in {}: {}, {} allowed and {} denied, {} different", matrix.environment,
      base::format_count(matrix.cells, "cell"), matrix.allowed, matrix.denied,
      matrix.different == 0 ? std::string("none") : std::to_string(matrix.different)));
  add_grid(matrix);
  const auto settled = time(static_cast<double>(matrix.settled_ns));
  paragraph(
      fmt::format("{} after the last write, by {} of {} each ({} results/s).",
                  matrix.settled ? fmt::format("Two sweeps in a row agreed, from {}", settled)
                                 : fmt::format("No two sweeps in a row agreed, until {}", settled),
                  base::format_count(static_cast<std::uint64_t>(matrix.sweeps), "sweep"),
                  time(static_cast<double>(matrix.sweep_ns)),
                  static_cast<std::uint64_t>(matrix.results_per_second)),
      "  ");
  if (matrix.different > 0 && matrix.watched_ns > 0) {
    paragraph(fmt::format("What differs was looked at until {} after it.",
                          time(static_cast<double>(matrix.watched_ns))),
              "  ");
  }
  if (matrix.unknown > 0) {
    paragraph(fmt::format("{} not specified: neither right nor wrong.",
                          base::format_count(matrix.unknown, "cell")),
              "  ");
  }
  if (matrix.no_telling > 0) {
    paragraph(
        fmt::format("{} cannot be told: no probe was made, no server answered its own pod, or an "
                    "end was not seen to have a network.",
                    base::format_count(matrix.no_telling, "cell")),
        "  ");
  }
  add_differences(matrix.differences, matrix.different);
  for (const auto& why : matrix.unexplained) paragraph(why, "  ");
}

void PolicyRenderer::add_cases(const CasesRecord& cases) {
  const int run = cases.systematic + cases.random;
  heading(
      fmt::format("Generated policies in {}: {} of {} sets tried, {} cells compared, {} sets "
                  "not as specified",
                  cases.environment, run, cases.wanted, cases.cells,
                  cases.failed == 0 ? std::string("no") : std::to_string(cases.failed)));
  paragraph(
      fmt::format("{} for features of the API, {} at random from seed {}, in {}.", cases.systematic,
                  cases.random, cases.seed, base::format_wait(cases.took_ns)),
      "  ");
  if (cases.nobody_enforces) {
    paragraph(
        "Nothing that they close was closed: nobody enforces them, and the rest was not tried.",
        "  ");
  }
  if (cases.left_out > 0) {
    paragraph(fmt::format("{} left out: {}", cases.left_out, cases.left_out_because), "  ");
  }
  if (cases.no_telling > 0) {
    paragraph(fmt::format("In {} of their states some cells cannot be told.", cases.no_telling),
              "  ");
  }
  if (cases.unsettled > 0) {
    paragraph(fmt::format("In {} of their states no two sweeps in a row agreed.", cases.unsettled),
              "  ");
  }
  if (cases.unreached > 0) {
    paragraph(fmt::format("With no policy in force {} not reached.",
                          cases.unreached == 1 ? std::string("1 cell was")
                                               : fmt::format("{} cells were", cases.unreached)),
              "  ");
  }
  if (cases.same_as_before > 0) {
    paragraph(fmt::format("{} of them allow and deny just what the one before did: nothing tells "
                          "whether they took force.",
                          cases.same_as_before),
              "  ");
  }
  for (const auto& failure : cases.failures) {
    paragraph(fmt::format("{}, by {}:", failure.name,
                          base::format_count(failure.policies.size(), "policy object")),
              "  ");
    for (const auto& policy : failure.policies) {
      text_ += "    " + safe(base::dump_json(policy)) + "\n";
    }
    add_differences(failure.differences, failure.differences.size());
    if (!failure.repeat.empty()) text_ += "    " + safe(failure.repeat) + "\n";
  }
}

void PolicyRenderer::add_windows() {
  if (record_.windows.empty()) return;
  heading("Packets that contradict what was written");
  // Pairs that a write left alone are worth a line where it did not.
  std::vector<WindowRecord> rows;
  for (const auto& row : record_.windows) {
    if (row.direction != "stays" || row.packets > 0) rows.push_back(row);
  }
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<std::string(const WindowRecord&)>& text) {
    add_column(columns, rows, std::move(title), align, importance, text);
  };
  const auto span = [&](const WindowRecord& row, double SpanSummary::* member,
                        bool SpanSummary::* at_least) {
    if (!row.window) return std::string(row.direction == "stays" ? "" : "no telling");
    if (row.packets == 0) return std::string("none");
    // What was not over when the watch ended.
    return ((*row.window).*at_least ? "> " : "") + time((*row.window).*member);
  };
  const bool several = std::ranges::any_of(record_.windows, [&](const WindowRecord& row) {
    return row.environment != record_.windows.front().environment;
  });
  add("write", Align::left, 100, [&](const WindowRecord& row) {
    return safe(several ? fmt::format("{}: {}", row.environment, row.what) : row.what);
  });
  add("pairs", Align::left, 95, [&](const WindowRecord& row) {
    return fmt::format("{} {}", safe(row.direction), row.flows.size());
  });
  add("until", Align::right, 90, [&](const WindowRecord& row) {
    return span(row, &SpanSummary::median_ns, &SpanSummary::median_at_least);
  });
  add("interval", Align::left, 70, [&](const WindowRecord& row) {
    if (!row.window || !row.window->interval || row.packets == 0) return std::string();
    return fmt::format("[{}, {}]", time(row.window->interval->lower),
                       time(row.window->interval->upper));
  });
  add("p99", Align::right, 60, [&](const WindowRecord& row) {
    return row.window && row.window->p99_ns ? time(*row.window->p99_ns) : std::string();
  });
  add("worst", Align::right, 85, [&](const WindowRecord& row) {
    return span(row, &SpanSummary::max_ns, &SpanSummary::max_at_least);
  });
  add("packets", Align::right, 80,
      [&](const WindowRecord& row) { return std::to_string(row.packets); });
  add("bytes", Align::right, 40,
      [&](const WindowRecord& row) { return std::to_string(row.bytes); });
  add("error", Align::right, 75, [&](const WindowRecord& row) {
    // Of what never ended there is no end to be off.
    return row.window && row.repetitions > row.unended ? time(static_cast<double>(row.error_ns))
                                                       : std::string();
  });
  add("claimed", Align::right, 65, [&](const WindowRecord& row) {
    return row.claimed_ns ? time(*row.claimed_ns) : std::string();
  });
  add("after claim", Align::right, 66, [&](const WindowRecord& row) {
    if (!row.after_claim_ns) return std::string();
    return (row.window && row.window->median_at_least ? "> " : "") + time(*row.after_claim_ns);
  });
  add("times", Align::right, 50, [&](const WindowRecord& row) {
    return row.excluded == 0
               ? std::to_string(row.repetitions)
               : fmt::format("{} of {}", row.repetitions, row.repetitions + row.excluded);
  });
  text_ += render_table(std::move(columns), width_, terminal_.colour);
  paragraph(
      "Until: from the write to the last packet that contradicts it, of the pair that was "
      "longest at it; middle of the repetitions, and worst. Closes: pairs allowed before and "
      "denied after, whose packets still arrived. Opens: the other way round, whose packets "
      "did not arrive yet. Stays: pairs that the write should not touch, where packets of theirs "
      "were lost. A packet is a SYN or a datagram on a 5-tuple of its own, sent once, "
      "judged by the receiver's stamp. Error: the most by which an end may be off. Times: "
      "repetitions that count.",
      "  ");
  if (std::ranges::any_of(rows, [](const WindowRecord& row) { return row.unended > 0; })) {
    paragraph(
        "> : it was not over when the watch ended, and nothing shows when it was: longer than "
        "that. A longer policy.window may show its end.",
        "  ");
  }
}

void PolicyRenderer::add_established() {
  if (record_.established.empty()) return;
  heading("Flows that were open when they were forbidden");
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<std::string(const EstablishedRecord&)>& text) {
    add_column(columns, record_.established, std::move(title), align, importance, text);
  };
  add("write", Align::left, 100, [&](const EstablishedRecord& row) { return safe(row.what); });
  add("flow", Align::left, 95, [&](const EstablishedRecord& row) { return safe(row.kind); });
  add("became", Align::left, 90, [&](const EstablishedRecord& row) {
    std::vector<std::string> ends;
    for (const auto& [end, count] : row.ends) ends.push_back(fmt::format("{} {}", count, end));
    return safe(fmt::format("{}", fmt::join(ends, ", ")));
  });
  add("after", Align::right, 80, [&](const EstablishedRecord& row) {
    return row.after_ns ? time(*row.after_ns) : std::string();
  });
  add("expected", Align::left, 85,
      [&](const EstablishedRecord& row) { return safe(row.expected.value_or("")); });
  text_ += render_table(std::move(columns), width_, terminal_.colour);
  paragraph(
      "Killed: an end was told. Stalled: nothing got through any more, and nobody was told. "
      "The specification leaves it open, so it is judged only where the scenario says what "
      "is expected.",
      "  ");
}

void PolicyRenderer::add_new_pods() {
  if (record_.new_pods.empty()) return;
  heading("Pods made anew");
  std::vector<Column> columns;
  const auto add = [&](std::string title, Align align, int importance,
                       const std::function<std::string(const NewPodRecord&)>& text) {
    add_column(columns, record_.new_pods, std::move(title), align, importance, text);
  };
  const auto when = [&](const std::optional<std::int64_t>& ns) {
    return ns ? time(static_cast<double>(*ns)) : std::string();
  };
  const bool several = std::ranges::any_of(record_.new_pods, [&](const NewPodRecord& row) {
    return row.environment != record_.new_pods.front().environment;
  });
  add("pod", Align::left, 100, [&](const NewPodRecord& row) {
    return safe(several ? fmt::format("{}: {}", row.environment, row.pod) : row.pod);
  });
  add("times", Align::right, 80,
      [](const NewPodRecord& row) { return std::to_string(row.repetitions); });
  add("pairs", Align::right, 70,
      [](const NewPodRecord& row) { return std::to_string(row.flows.size()); });
  add("forbidden packets", Align::right, 95, [](const NewPodRecord& row) {
    if (row.packets > 0) return std::to_string(row.packets);
    return std::string(row.unseen < row.repetitions ? "none" : "no telling");
  });
  add("unseen", Align::right, 92,
      [](const NewPodRecord& row) { return std::to_string(row.unseen); });
  add("elsewhere", Align::right, 91,
      [](const NewPodRecord& row) { return std::to_string(row.elsewhere); });
  add("first", Align::right, 60, [&](const NewPodRecord& row) { return when(row.first_ns); });
  add("last", Align::right, 90, [&](const NewPodRecord& row) { return when(row.last_ns); });
  add("reached", Align::right, 85, [&](const NewPodRecord& row) {
    return row.reached_ns ? time(*row.reached_ns) : std::string();
  });
  const bool paused = std::ranges::any_of(
      record_.new_pods, [](const NewPodRecord& row) { return row.pause_ns.has_value(); });
  if (paused) {
    add("pause", Align::right, 83, [&](const NewPodRecord& row) { return when(row.pause_ns); });
  }
  const bool told = std::ranges::any_of(
      record_.new_pods, [](const NewPodRecord& row) { return row.told_after_ns.has_value(); });
  if (told) {
    add("told after", Align::right, 84, [&](const NewPodRecord& row) {
      return row.told_after_ns ? time(*row.told_after_ns) : std::string();
    });
  }
  text_ += render_table(std::move(columns), width_, terminal_.colour);
  paragraph(
      fmt::format(
          "Times from the write that makes the pod. Forbidden packets are those that arrived from "
          "or at it though policies deny them, sent a thousand times a second and more {}. ",
          told ? "by itself from its first instant, and by others from when the API server had "
                 "told its address, so long after that (told after)"
               : "from before it had its address") +
          "Unseen: times when nothing shows that one would have been "
          "seen; elsewhere: times when the pod had another address than was knocked at. Reached: "
          "the "
          "first to it that is allowed." +
          (paused ? " Pause: the longest that a pair's sender or receiver paused; a shorter leak "
                    "may have been missed."
                  : ""),
      "  ");
}

}  // namespace

std::string policy_text(const PolicyRecord& record, const base::Terminal& terminal) {
  return PolicyRenderer(record, terminal).render();
}

}  // namespace reports
