#include "reports/workload_table.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string_view>

#include <fmt/ranges.h>

#include "base/units.h"
#include "reports/table.h"

namespace reports {
namespace {

using base::Paint;

// What a sample can have that the reader must know before using its figures.
struct Flag {
  std::string_view mark;
  std::function<bool(const Sample&)> set;
  std::string_view meaning;
  bool is_loss = false;  // then the kernel's drop reasons are said with it
};

const std::array<Flag, 6>& flags() {
  static const std::array<Flag, 6> all{{
      {"[c]", [](const Sample& sample) { return sample.rate_capped; },
       "the rate is that of a cap on connections, which spares local ports: no finding"},
      {"[e]", [](const Sample& sample) { return sample.failed() > 0; },
       "requests failed; the figures are of the others", true},
      {"[g]", [](const Sample& sample) { return sample.generator_limited; },
       "the generator, not the path, set these figures"},
      {"[l]", [](const Sample& sample) { return sample.littles_law_violated; },
       "latency, rate and concurrency disagree by more than 2 % (Little's law)"},
      {"[o]", [](const Sample& sample) { return sample.oversubscribed; },
       "more hot threads than cores: latency does not gate, CPU per request leads"},
      {"[r]", [](const Sample& sample) { return sample.tcp_retransmits > 0; },
       "segments were sent again: something on the path lost or delayed them", true},
  }};
  return all;
}

class Builder {
 public:
  Builder(const Report& report, const std::string& workload, const base::Terminal& terminal)
      : report_(report), workload_(workload), terminal_(terminal) {
    for (const auto& block : report.blocks) {
      if (block.state == BlockState::kept) kept_.insert(block.index);
    }
    for (const auto& arm : report.arms) {
      if (!arm.skipped) rows_.push_back(&arm);
    }
  }

  WorkloadTable build();

 private:
  [[nodiscard]] const Estimate* estimate(const std::string& arm, std::string_view metric) const;
  [[nodiscard]] std::string value(const Estimate* estimate) const;
  // "2: +12.3 % [+10.1, +14.9]".
  [[nodiscard]] std::string difference(const Estimate* estimate) const;
  [[nodiscard]] std::vector<const Sample*> kept_samples(const std::string& arm) const;
  // Of streams: the mean of the kept invocations, the offloads of any of them, and how many
  // datagrams came to that end, over all of them. Empty for others.
  [[nodiscard]] std::string bytes_per_skb(const std::string& arm) const;
  [[nodiscard]] std::string offloads(const std::string& arm) const;
  [[nodiscard]] std::string datagrams(const std::string& arm,
                                      std::uint64_t DatagramSample::* state) const;
  [[nodiscard]] std::string observed(const std::string& arm) const;
  [[nodiscard]] Cell verdict(const std::string& arm) const;
  [[nodiscard]] bool datagram_workload() const;
  // Why, where something was lost: a sentence with a blank before it, or nothing.
  [[nodiscard]] std::string dropped(const std::map<std::string, std::uint64_t>& drops) const;
  // Fills the notes; answers the marks of each row.
  std::vector<std::string> marks();
  Column column(std::string title, Align align, int importance,
                const std::function<Cell(const ArmRecord&)>& cell) const;

  const Report& report_;
  const std::string& workload_;
  const base::Terminal& terminal_;
  std::set<int> kept_;
  std::vector<const ArmRecord*> rows_;
  std::vector<TableNote> notes_;
};

const Estimate* Builder::estimate(const std::string& arm, std::string_view metric) const {
  const auto found = std::ranges::find_if(report_.estimates, [&](const Estimate& one) {
    return one.arm == arm && one.workload == workload_ && one.metric == metric;
  });
  return found == report_.estimates.end() ? nullptr : &*found;
}

std::string Builder::value(const Estimate* estimate) const {
  if (estimate == nullptr) return {};
  switch (estimate->unit) {
    case Unit::per_second:
      return base::format_rate(estimate->value);
    case Unit::bytes_per_second:
      return base::format_bytes(estimate->value) + "/s";
    case Unit::ns:
    case Unit::ns_per_gb:
      return base::format_time(estimate->value, terminal_.charset);
  }
  return {};
}

std::string Builder::difference(const Estimate* estimate) const {
  if (estimate == nullptr || !estimate->difference) return {};
  const auto& difference = *estimate->difference;
  const auto row = std::ranges::find(rows_, difference.base_arm, &ArmRecord::name);
  const std::string base = row == rows_.end()
                               ? base::printable(difference.base_arm, terminal_.charset)
                               : std::to_string(row - rows_.begin() + 1);
  const std::string percent = base::format_difference(difference.percent);
  if (!difference.interval_percent) return fmt::format("{}: {} [no interval]", base, percent);
  return fmt::format("{}: {} [{}, {}]", base, percent,
                     base::format_signed(difference.interval_percent->lower),
                     base::format_signed(difference.interval_percent->upper));
}

std::vector<const Sample*> Builder::kept_samples(const std::string& arm) const {
  std::vector<const Sample*> samples;
  for (const auto& sample : report_.samples) {
    if (sample.arm == arm && sample.workload == workload_ && kept_.contains(sample.block)) {
      samples.push_back(&sample);
    }
  }
  return samples;
}

std::string Builder::bytes_per_skb(const std::string& arm) const {
  double sum = 0;
  int count = 0;
  for (const auto* sample : kept_samples(arm)) {
    if (!sample->stream || !sample->stream->bytes_per_skb) continue;
    sum += *sample->stream->bytes_per_skb;
    ++count;
  }
  return count == 0 ? std::string() : fmt::format("{:.0f}", sum / count);
}

std::string Builder::offloads(const std::string& arm) const {
  std::set<std::string> all;
  for (const auto* sample : kept_samples(arm)) {
    if (!sample->stream) continue;
    const auto& on = sample->stream->offloads;
    all.insert(on.empty() ? std::string("none") : fmt::format("{}", fmt::join(on, " ")));
  }
  return base::printable(fmt::format("{}", fmt::join(all, ", ")), terminal_.charset);
}

std::string Builder::datagrams(const std::string& arm,
                               std::uint64_t DatagramSample::* state) const {
  std::uint64_t sent = 0;
  std::uint64_t count = 0;
  bool any = false;
  for (const auto* sample : kept_samples(arm)) {
    if (!sample->datagrams) continue;
    any = true;
    sent += sample->datagrams->sent;
    count += (*sample->datagrams).*state;
  }
  if (!any) return {};
  if (count == 0 || sent == 0) return "0";
  return fmt::format("{} ({:.3g} %)", count,
                     100 * static_cast<double>(count) / static_cast<double>(sent));
}

std::string Builder::observed(const std::string& arm) const {
  std::vector<std::string> all;
  for (const auto& check : report_.checks) {
    const bool ours = check.arm == arm && (!check.workload || *check.workload == workload_);
    if (!ours || !check.observed || check.observed->empty()) continue;
    auto word = base::printable(*check.observed, terminal_.charset);
    if (std::ranges::find(all, word) == all.end()) all.push_back(std::move(word));
  }
  return fmt::format("{}", fmt::join(all, ", "));
}

bool Builder::datagram_workload() const {
  return std::ranges::any_of(report_.samples, [&](const Sample& sample) {
    return sample.workload == workload_ && sample.datagrams;
  });
}

// The gravest verdict on this arm under this workload.
Cell Builder::verdict(const std::string& arm) const {
  constexpr std::array gravest_first{
      std::pair{Verdict::fail, Paint::red}, std::pair{Verdict::invalid, Paint::yellow},
      std::pair{Verdict::inconclusive, Paint::yellow}, std::pair{Verdict::skip, Paint::dim},
      std::pair{Verdict::pass, Paint::green}};
  std::set<Verdict> all;
  for (const auto& one : report_.expectations) {
    if (one.arm == arm && one.workload == workload_) all.insert(one.verdict);
  }
  for (const auto& check : report_.checks) {
    if (check.arm == arm && (!check.workload || *check.workload == workload_)) {
      all.insert(check.verdict);
    }
  }
  for (const auto& [one, paint] : gravest_first) {
    if (all.contains(one)) return {std::string(base::enum_name(one)), paint};
  }
  return {};
}

std::string Builder::dropped(const std::map<std::string, std::uint64_t>& drops) const {
  if (!report_.drop_watch.watched) return {};
  const auto& watch = report_.drop_watch;
  const std::string more =
      watch.lost > 0 ? fmt::format(" {} drops of the run could not be kept.", watch.lost) : "";
  const auto kernel =
      watch.seen_at
          ? fmt::format("The kernel of {}", base::printable(*watch.seen_at, terminal_.charset))
          : std::string("The kernel");
  if (drops.empty())
    return more.empty() ? fmt::format(" {} dropped nothing meanwhile.", kernel) : more;
  std::vector<std::string> reasons;
  for (const auto& [reason, count] : drops) {
    reasons.push_back(fmt::format("{} {}", base::printable(reason, terminal_.charset),
                                  count == 1 ? "once" : fmt::format("{} times", count)));
  }
  return fmt::format(" {} dropped packets meanwhile: {}.{}", kernel, fmt::join(reasons, ", "),
                     more);
}

std::vector<std::string> Builder::marks() {
  std::vector<std::string> marks(rows_.size());
  for (const auto& flag : flags()) {
    std::vector<std::string> where;
    std::map<std::string, std::uint64_t> drops;
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      std::size_t flagged = 0;
      std::size_t all = 0;
      for (const auto* sample : kept_samples(rows_[row]->name)) {
        ++all;
        if (!flag.set(*sample)) continue;
        ++flagged;
        for (const auto& [reason, count] : sample->drops) drops[reason] += count;
      }
      if (flagged == 0) continue;
      marks[row] += fmt::format(" {}", flag.mark);
      where.push_back(fmt::format("{} of {} in row {}", flagged, all, row + 1));
    }
    if (where.empty()) continue;
    auto text = fmt::format("{} (invocations: {}).", flag.meaning, fmt::join(where, ", "));
    if (flag.is_loss) text += dropped(drops);
    notes_.push_back({std::string(flag.mark), std::move(text)});
  }
  return marks;
}

Column Builder::column(std::string title, Align align, int importance,
                       const std::function<Cell(const ArmRecord&)>& cell) const {
  Column made{.title = std::move(title), .align = align, .importance = importance, .cells = {}};
  for (const auto* arm : rows_) made.cells.push_back(cell(*arm));
  return made;
}

WorkloadTable Builder::build() {
  const bool measured = std::ranges::any_of(report_.estimates, [&](const Estimate& one) {
    return one.workload == workload_ &&
           std::ranges::find(rows_, one.arm, &ArmRecord::name) != rows_.end();
  });
  if (!measured) return {};

  const auto metric = [&](std::string title, int importance, const std::string& name) {
    return column(std::move(title), Align::right, importance, [this, name](const ArmRecord& arm) {
      return Cell{value(estimate(arm.name, name))};
    });
  };
  const auto against = [&](std::string title, int importance, const std::string& name) {
    return column(std::move(title), Align::left, importance, [this, name](const ArmRecord& arm) {
      return Cell{difference(estimate(arm.name, name))};
    });
  };

  const auto row_marks = marks();
  Column arms = column("arm", Align::left, 0, [](const ArmRecord& arm) { return Cell{arm.name}; });
  const std::size_t digits = std::to_string(rows_.size()).size();
  for (std::size_t row = 0; row < rows_.size(); ++row) {
    auto& cell = arms.cells[row];
    cell.text = base::pad_left(std::to_string(row + 1), digits) + " " +
                base::printable(cell.text, terminal_.charset) + row_marks[row];
  }

  std::vector<Column> columns;
  columns.push_back(std::move(arms));
  // With proxies there are more hot threads than cores, mostly: CPU leads, and latency follows.
  const bool cpu_leads = report_.mesh.has_value();
  columns.push_back(metric("p50", cpu_leads ? 68 : 100, "latency.p50"));
  columns.push_back(against("p50 against row", cpu_leads ? 14 : 95, "latency.p50"));
  columns.push_back(metric("connect", 60, "connect.p50"));
  columns.push_back(metric("p90", 20, "latency.p90"));
  columns.push_back(metric("p99", 30, "latency.p99"));
  const auto counted = [&](std::string title, int importance,
                           std::uint64_t DatagramSample::* state) {
    return column(std::move(title), Align::right, importance,
                  [this, state](const ArmRecord& arm) { return Cell{datagrams(arm.name, state)}; });
  };
  columns.push_back(metric("CPU/GB", 100, "cpu_per_gb"));
  columns.push_back(against("CPU/GB against row", 95, "cpu_per_gb"));
  columns.push_back(metric("throughput", 85, "throughput"));
  columns.push_back(column("bytes/skb", Align::right, 60,
                           [this](const ArmRecord& arm) { return Cell{bytes_per_skb(arm.name)}; }));
  columns.push_back(column("offloads", Align::left, 40,
                           [this](const ArmRecord& arm) { return Cell{offloads(arm.name)}; }));
  columns.push_back(metric("rate", 50, "rate"));
  columns.push_back(counted("lost", 85, &DatagramSample::lost));
  columns.push_back(counted("overflowed", 25, &DatagramSample::overflowed));
  columns.push_back(counted("reordered", 45, &DatagramSample::reordered));
  columns.push_back(counted("duplicates", 15, &DatagramSample::duplicates));
  columns.push_back(metric("jitter", 80, "jitter"));
  columns.push_back(against("jitter against row", 12, "jitter"));
  columns.push_back(metric(datagram_workload() ? "CPU/datagram" : "CPU/req", cpu_leads ? 100 : 70,
                           "cpu_per_request"));
  columns.push_back(against("CPU against row", cpu_leads ? 95 : 10, "cpu_per_request"));
  columns.push_back(metric("of it proxies'", 75, "proxy_cpu_per_request"));
  // Where every word in it is of one check, its title says which.
  const bool translated = std::ranges::all_of(
      report_.checks, [](const Check& check) { return check.name == "translated_at"; });
  columns.push_back(column(translated ? "translated" : "observed", Align::left, 65,
                           [this](const ArmRecord& arm) { return Cell{observed(arm.name)}; }));
  columns.push_back(column("verdict", Align::left, 90,
                           [this](const ArmRecord& arm) { return verdict(arm.name); }));
  return {
      render_table(std::move(columns), static_cast<std::size_t>(terminal_.width), terminal_.colour),
      std::move(notes_)};
}

}  // namespace

WorkloadTable workload_table(const Report& report, const std::string& workload,
                             const base::Terminal& terminal) {
  return Builder(report, workload, terminal).build();
}

}  // namespace reports
