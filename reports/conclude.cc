#include "reports/conclude.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include <fmt/ranges.h>

#include "base/units.h"

namespace reports {
namespace {

// How many expectations, or checks, came out how.
using Tally = std::map<Verdict, std::size_t>;

template <typename Judged>
Tally tally(const std::vector<Judged>& judged) {
  Tally counts;
  for (const auto& one : judged) ++counts[one.verdict];
  return counts;
}

std::size_t count(const Tally& counts, Verdict verdict) {
  const auto found = counts.find(verdict);
  return found == counts.end() ? 0 : found->second;
}

std::string name_of(const Expectation& expectation) { return expectation.text; }
std::string name_of(const Check& check) { return fmt::format("{} of {}", check.name, check.arm); }

template <typename Judged>
void add_names(const std::vector<Judged>& judged, Verdict verdict,
               std::vector<std::string>& names) {
  for (const auto& one : judged) {
    if (one.verdict == verdict) names.push_back(name_of(one));
  }
}

// "latency.p50 of ... and translated_at of ...", at most three of them.
std::string names_with(const Report& report, Verdict verdict) {
  std::vector<std::string> names;
  add_names(report.checks, verdict, names);
  add_names(report.expectations, verdict, names);
  constexpr std::size_t most = 3;
  if (names.size() <= most) return fmt::format("{}", fmt::join(names, "; "));
  const std::size_t others = names.size() - most;
  names.resize(most);
  return fmt::format("{}; and {} more", fmt::join(names, "; "), others);
}

struct Failures {
  std::uint64_t failed = 0;
  std::uint64_t requests = 0;
  std::set<std::string> kinds;
};

// Requests that failed in blocks that count.
Failures kept_failures(const Report& report) {
  std::set<int> kept;
  for (const auto& block : report.blocks) {
    if (block.state == BlockState::kept) kept.insert(block.index);
  }
  Failures failures;
  for (const auto& sample : report.samples) {
    if (!kept.contains(sample.block)) continue;
    failures.requests += sample.requests;
    // What fails when a backend dies is the answer, not a reason to give none.
    const auto all = sample.failed();
    const auto unasked = all - std::min(all, sample.failed_by_events);
    if (unasked == 0) continue;
    failures.failed += unasked;
    for (const auto& [kind, number] : sample.errors) {
      if (number > 0) failures.kinds.insert(kind);
    }
  }
  return failures;
}

// Where the run did not get to a verdict.
std::optional<Conclusion> stopped(const Report& report) {
  if (report.signal) {
    return Conclusion{.exit_code = 128 + *report.signal,
                      .sentence = fmt::format("Stopped by signal {}.", *report.signal)};
  }
  const auto of_kind = [&](TroubleKind kind) {
    return std::ranges::find(report.errors, kind, &Trouble::kind);
  };
  // An interrupt without its signal number is the user's wish all the same: SIGINT's code.
  if (const auto error = of_kind(TroubleKind::interrupted); error != report.errors.end()) {
    return Conclusion{.exit_code = 130, .sentence = error->message};
  }
  if (const auto error = of_kind(TroubleKind::setup); error != report.errors.end()) {
    return Conclusion{.exit_code = 2, .sentence = error->message};
  }
  if (const auto error = of_kind(TroubleKind::workload); error != report.errors.end()) {
    return Conclusion{.exit_code = 5, .sentence = error->message};
  }
  if (!report.complete) {
    return Conclusion{.exit_code = 2, .sentence = "The run ended before it was complete."};
  }
  if (const auto failures = kept_failures(report); failures.failed > 0) {
    return Conclusion{
        .exit_code = 5,
        .sentence = fmt::format("{} failed ({}) beside {} completed: no verdict on such figures.",
                                base::format_count(failures.failed, "request"),
                                fmt::join(failures.kinds, ", "), failures.requests)};
  }
  return std::nullopt;
}

}  // namespace

NoiseSummary summarise_noise(const std::vector<Block>& blocks, const base::NoiseLimits& limits) {
  NoiseSummary summary{.limits = limits};
  for (const auto& block : blocks) {
    if (block.state == BlockState::warm_up) continue;
    ++(block.state == BlockState::kept ? summary.kept : summary.disturbed);
    summary.max_gap_ns = std::max(summary.max_gap_ns, block.noise.max_gap_ns);
    summary.worst_lost_share = std::max(summary.worst_lost_share, block.noise.lost_share);
  }
  const int all = summary.kept + summary.disturbed;
  if (all > 0) summary.disturbed_share = static_cast<double>(summary.disturbed) / all;
  summary.invalid = summary.disturbed_share > disturbed_share_limit;
  return summary;
}

Conclusion conclude(const Report& report) {
  if (auto early = stopped(report)) return *early;

  const Tally checks = tally(report.checks);
  const Tally expectations = tally(report.expectations);
  const auto both = [&](Verdict verdict) {
    return count(checks, verdict) + count(expectations, verdict);
  };
  const auto judged = report.checks.size() + report.expectations.size();
  const auto all_skipped = [](const auto& records) {
    return !records.empty() &&
           std::ranges::all_of(records, [](const auto& one) { return one.skipped.has_value(); });
  };
  const bool nothing_ran = all_skipped(report.arms) || all_skipped(report.environments);

  const bool figures_valid = !report.noise.invalid;
  if (count(checks, Verdict::fail) > 0 ||
      (figures_valid && count(expectations, Verdict::fail) > 0)) {
    return {Verdict::fail, 1, names_with(report, Verdict::fail) + "."};
  }
  if (!figures_valid) {
    return {
        Verdict::invalid, 4,
        fmt::format("{} of {} were disturbed, more than a quarter: repeat on a quieter machine.",
                    report.noise.disturbed,
                    base::format_count(static_cast<std::uint64_t>(report.noise.kept) +
                                           static_cast<std::uint64_t>(report.noise.disturbed),
                                       "block"))};
  }
  if (both(Verdict::invalid) > 0) {
    return {Verdict::invalid, 4, names_with(report, Verdict::invalid) + "."};
  }
  if (both(Verdict::inconclusive) > 0) {
    return {Verdict::inconclusive, 3,
            fmt::format("The data cannot tell: {}.", names_with(report, Verdict::inconclusive))};
  }
  if (nothing_ran || (judged > 0 && both(Verdict::skip) == judged)) {
    return {Verdict::skip, 3, "Everything was skipped."};
  }
  if (!report.workloads.empty() && report.noise.kept == 0) {
    return {Verdict::inconclusive, 3, "No block was kept: nothing was measured."};
  }
  if (judged == 0) {
    return {std::nullopt, 0, "Measured. The scenario claims nothing, so there is no verdict."};
  }
  std::vector<std::string> parts;
  if (!report.expectations.empty()) {
    parts.push_back(base::format_count(count(expectations, Verdict::pass), "expectation"));
  }
  if (!report.checks.empty()) {
    parts.push_back(base::format_count(count(checks, Verdict::pass), "check"));
  }
  std::string sentence = fmt::format("{} passed", fmt::join(parts, " and "));
  if (both(Verdict::skip) > 0) {
    sentence += fmt::format("; skipped: {}", names_with(report, Verdict::skip));
  }
  return {Verdict::pass, 0, sentence + "."};
}

int exit_code(const Report& report) { return conclude(report).exit_code; }

}  // namespace reports
