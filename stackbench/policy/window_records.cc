// What was seen of writes, as the report has it.
#include <algorithm>
#include <limits>
#include <map>

#include <fmt/ranges.h>

#include "base/stats/hodges_lehmann.h"
#include "base/stats/sample.h"
#include "base/units.h"
#include "stackbench/policy/windows.h"

namespace stackbench {
namespace {

using checks::PolicyChange;
using checks::WindowEdge;

constexpr double level = 0.95;
// Below so many a 99th percentile is one of the values, if not beyond all of them
// (measurement: order statistics at 95 %).
constexpr std::size_t least_for_p99 = 299;

std::string_view word_for(const std::optional<PolicyChange>& change) {
  if (!change) return "stays";
  return *change == PolicyChange::to_denied ? "closes" : "opens";
}

bool counts(const checks::FlowWindow& window) {
  return window.not_judged.empty() && window.edge == WindowEdge::known;
}

// Of windows that ended, and of those that had not when the watch did, as long as they were seen:
// the true ones are longer, no one knows by how much (right-censored).
std::optional<reports::SpanSummary> summary_of(std::vector<double> values,
                                               const std::vector<double>& unended) {
  if (values.empty() && unended.empty()) return std::nullopt;
  // However long they are: the middle stands where it stays the same with endless ones.
  auto endless = values;
  endless.resize(values.size() + unended.size(), std::numeric_limits<double>::infinity());
  values.insert(values.end(), unended.begin(), unended.end());
  std::ranges::sort(values);
  reports::SpanSummary summary{.median_ns = base::stats::median(values), .max_ns = values.back()};
  summary.median_at_least = base::stats::median(endless) != summary.median_ns;
  summary.max_at_least = !unended.empty();
  if (!unended.empty()) return summary;
  if (const auto effect = base::stats::hodges_lehmann(values, level); effect && effect->interval) {
    summary.interval = reports::Interval{effect->interval->lower, effect->interval->upper,
                                         effect->interval->level};
  }
  if (values.size() >= least_for_p99) summary.p99_ns = values[values.size() * 99 / 100];
  return summary;
}

std::optional<double> median_of(const std::vector<double>& values) {
  if (values.empty()) return std::nullopt;
  return base::stats::median(values);
}

// The flows of one direction of a series, over its repetitions.
class RecordBuilder {
 public:
  RecordBuilder(const std::string& environment, const WriteSeries& series, const PolicyGrid& grid,
                const std::optional<PolicyChange>& change)
      : series_(series), grid_(grid) {
    record_.environment = environment;
    record_.change = series.change;
    record_.what = series.what;
    record_.direction = word_for(change);
    record_.rate_per_second = watch_rate.per_second;
    for (std::size_t i = 0; i < series.flows.size(); ++i) {
      if (change_of(series, i) == change) places_.push_back(i);
    }
  }

  [[nodiscard]] bool empty() const { return places_.empty(); }

  reports::WindowRecord take() {
    for (const auto place : places_) add_flow(place);
    for (const auto& repetition : series_.repetitions) add_repetition(repetition);
    // A flow that stays has no window: what of it did not arrive is counted.
    if (record_.direction != word_for(std::nullopt)) {
      record_.window = summary_of(windows_, unended_);
    }
    record_.claimed_ns = median_of(claims_);
    record_.after_claim_ns = median_of(after_claims_);
    return std::move(record_);
  }

 private:
  void add_flow(std::size_t place) {
    const auto& flow = series_.flows[place];
    reports::WindowFlow record{.from = sender_of(flow, grid_),
                               .to = receiver_of(flow, grid_),
                               .port = grid_.ports[flow.cell.port].name};
    for (const auto& repetition : series_.repetitions) {
      const auto& window = repetition.windows[place];
      record.packets += window.packets;
      record.bytes += window.bytes;
      if (window.first_ns) {
        const auto first = *window.first_ns - repetition.stamps.sent_ns;
        record.first_ns = std::min(record.first_ns.value_or(first), first);
      }
      if (window.last_ns) {
        const auto last = *window.last_ns - repetition.stamps.sent_ns;
        record.last_ns = std::max(record.last_ns.value_or(last), last);
      }
    }
    record_.packets += record.packets;
    record_.bytes += record.bytes;
    record_.flows.push_back(std::move(record));
  }

  void add_repetition(const WatchedWrite& repetition) {
    double longest = 0;
    std::optional<double> after_claim;
    bool all = true;
    bool ended = true;
    for (const auto place : places_) {
      const auto& window = repetition.windows[place];
      ended = ended && !outlasts(window);
      all = all && counts(window);
      if (!counts(window) && !outlasts(window)) continue;
      longest = std::max(longest, static_cast<double>(window.from_sent_ns));
      record_.error_ns = std::max(record_.error_ns, window.error_ns);
      if (window.after_claim_ns) {
        const auto after = static_cast<double>(*window.after_claim_ns);
        after_claim = std::max(after_claim.value_or(after), after);
      }
    }
    // One that had not ended is the longest whatever another would have shown.
    if (!all && ended) {
      ++record_.excluded;
      return;
    }
    ++record_.repetitions;
    if (!ended) ++record_.unended;
    (ended ? windows_ : unended_).push_back(longest);
    if (after_claim) after_claims_.push_back(*after_claim);
    if (repetition.stamps.programmed_ns) {
      claims_.push_back(
          static_cast<double>(*repetition.stamps.programmed_ns - repetition.stamps.sent_ns));
    }
  }

  const WriteSeries& series_;
  const PolicyGrid& grid_;
  std::vector<std::size_t> places_;
  std::vector<double> windows_;
  std::vector<double> unended_;
  std::vector<double> claims_;
  std::vector<double> after_claims_;
  reports::WindowRecord record_;
};

std::string_view fate_of(bench::HeldEnd end) {
  switch (end) {
    case bench::HeldEnd::surviving:
      return base::enum_name(FlowFate::surviving);
    case bench::HeldEnd::stalled:
      return base::enum_name(FlowFate::stalled);
    case bench::HeldEnd::not_opened:
      return base::enum_name(end);
    default:
      return base::enum_name(FlowFate::killed);
  }
}

std::optional<FlowFate> expected_of(const std::optional<EstablishedSpec>& expected,
                                    bench::HeldKind kind) {
  if (!expected) return std::nullopt;
  switch (kind) {
    case bench::HeldKind::busy_tcp:
      return expected->busy_tcp;
    case bench::HeldKind::idle_tcp:
      return expected->idle_tcp;
    case bench::HeldKind::udp:
      return expected->udp;
  }
  return std::nullopt;
}

}  // namespace

std::vector<reports::WindowRecord> window_records(const std::string& environment,
                                                  const WriteSeries& series,
                                                  const PolicyGrid& grid) {
  std::vector<reports::WindowRecord> records;
  for (const auto& change :
       {std::optional(PolicyChange::to_denied), std::optional(PolicyChange::to_allowed),
        std::optional<PolicyChange>()}) {
    if (series.restarts && !change) continue;
    RecordBuilder builder(environment, series, grid, change);
    if (!builder.empty()) records.push_back(builder.take());
  }
  return records;
}

std::vector<reports::EstablishedRecord> established_records(
    const std::string& environment, const WriteSeries& series,
    const std::optional<EstablishedSpec>& expected) {
  struct Kind {
    reports::EstablishedRecord record;
    std::vector<double> after;
  };
  std::map<bench::HeldKind, Kind> kinds;
  for (const auto& held : series.held) {
    auto& [record, after] = kinds[held.kind];
    ++record.flows;
    ++record.ends[std::string(fate_of(held.end.end))];
    // An idle one says nothing of when.
    if (held.end.ended_ns > 0) {
      after.push_back(static_cast<double>(held.end.ended_ns - held.sent_ns));
    } else if (held.end.end == bench::HeldEnd::stalled && held.kind != bench::HeldKind::idle_tcp) {
      after.push_back(static_cast<double>(held.end.first_unanswered_ns - held.sent_ns));
    }
  }
  std::vector<reports::EstablishedRecord> records;
  for (auto& [kind, one] : kinds) {
    auto& record = one.record;
    record.environment = environment;
    record.change = series.change;
    record.what = series.what;
    record.kind = base::enum_name(kind);
    record.after_ns = median_of(one.after);
    if (const auto fate = expected_of(expected, kind)) record.expected = base::enum_name(*fate);
    records.push_back(std::move(record));
  }
  return records;
}

checks::Finding judge_established(const std::vector<reports::EstablishedRecord>& records,
                                  const EstablishedSpec& expected) {
  checks::Finding finding;
  int judged = 0;
  int as_expected = 0;
  int not_opened = 0;
  // Of each kind that something is expected of, how many were open.
  std::map<std::string, int> opened;
  for (const auto kind :
       {bench::HeldKind::busy_tcp, bench::HeldKind::idle_tcp, bench::HeldKind::udp}) {
    if (expected_of(expected, kind)) opened.emplace(base::enum_name(kind), 0);
  }
  auto others = base::Json::array();
  for (const auto& record : records) {
    if (!record.expected) continue;
    for (const auto& [end, count] : record.ends) {
      if (end == base::enum_name(bench::HeldEnd::not_opened)) {
        not_opened += count;
        continue;
      }
      judged += count;
      opened[record.kind] += count;
      if (end == *record.expected) {
        as_expected += count;
      } else {
        others.push_back({{"what", record.what},
                          {"kind", record.kind},
                          {"expected", *record.expected},
                          {"became", end},
                          {"flows", count}});
      }
    }
  }
  std::vector<std::string> never;
  for (const auto& [kind, count] : opened) {
    if (count == 0) never.push_back(kind);
  }
  finding.evidence = {{"judged", judged},
                      {"as_expected", as_expected},
                      {"not_opened", not_opened},
                      {"never_open", never},
                      {"others", others}};
  if (judged == 0) {
    finding.sentence = "no flow was open when a change forbade it";
    finding.observed = "none open";
    return finding;
  }
  finding.verdict = as_expected == judged ? base::Verdict::pass : base::Verdict::fail;
  finding.observed = fmt::format("{} of {}", as_expected, judged);
  finding.sentence =
      fmt::format("{} of {} flows that were open became what is expected", as_expected, judged);
  if (!others.empty()) {
    const auto& first = others.front();
    finding.sentence += fmt::format(
        "; of {} ({}) {} became {}, and {} is expected", first["kind"].get<std::string>(),
        first["what"].get<std::string>(), first["flows"].get<int>(),
        first["became"].get<std::string>(), first["expected"].get<std::string>());
    return finding;
  }
  // What was not seen is not as expected.
  if (not_opened > 0 || !never.empty()) finding.verdict = base::Verdict::inconclusive;
  if (not_opened > 0) {
    finding.sentence +=
        fmt::format("; {} could not be opened before it was forbidden",
                    base::format_count(static_cast<std::uint64_t>(not_opened), "other flow"));
  }
  if (!never.empty()) {
    finding.sentence +=
        fmt::format("; none of kind {} was open when a change forbade it", fmt::join(never, ", "));
  }
  return finding;
}

}  // namespace stackbench
