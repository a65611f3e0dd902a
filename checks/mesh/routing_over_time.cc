// The claims of `routes_as_specified` that are about when: a pod that fails is left alone for a
// while, and what is written is obeyed. Both rest on a stream of requests, of which the changes of
// what came of them are kept: each reply here stands for `tries` in a row, begun from `at_ns` to
// `last_ns`.
#include <algorithm>

#include "base/stats/sample.h"
#include "base/units.h"
#include "checks/mesh/routes_as_specified.h"

namespace checks {
namespace {

using base::Verdict;

constexpr int least_server_error = 500;
// Istio's and Envoy's, where nothing is said.
constexpr int errors_by_default = 5;
constexpr int percent_by_default = 10;
constexpr std::size_t all_percent = 100;
constexpr base::Duration interval_by_default = std::chrono::seconds(10);
constexpr base::Duration ejection_by_default = std::chrono::seconds(30);
// An ejection is decided by one thread of a proxy and done by another.
constexpr base::Duration told_within = std::chrono::milliseconds(50);
// What a busy machine may take beyond the next look at who may be back.
constexpr base::Duration late_at_most = std::chrono::milliseconds(500);

std::string time_text(double ns) { return base::format_time(ns, base::Charset::ascii); }
std::string time_text(base::Duration time) { return time_text(static_cast<double>(time.count())); }

// Of a pod: what the client's proxy says of itself is none.
bool is_server_error(const bench::DoorTried& reply) {
  if (!reply.http_status || *reply.http_status < least_server_error) return false;
  for (const std::string_view own : {"no healthy upstream", "overflow", "fault filter abort"}) {
    if (reply.body.contains(own)) return false;
  }
  return true;
}

bool is_of(const RoutingCell& cell, const bench::DoorTried& reply, const std::string& pod) {
  if (!reply.answered_by) return false;
  const auto found = cell.pods.find(*reply.answered_by);
  return found != cell.pods.end() && found->second == pod;
}

// When the n-th of those in a row was begun, taken as evenly spread.
std::int64_t begun_at(const bench::DoorTried& run, std::uint64_t n) {
  if (run.tries < 2) return run.at_ns;
  return run.at_ns + (run.last_ns - run.at_ns) * static_cast<std::int64_t>(n - 1) /
                         static_cast<std::int64_t>(run.tries - 1);
}

// What became of the pod that failed.
struct Ejection {
  std::uint64_t errors = 0;       // until it was left alone
  std::uint64_t errors_late = 0;  // and when it should have been
  std::optional<std::int64_t> ejected_ns = {};
  std::optional<std::int64_t> back_ns = {};  // it answered again
};

Ejection follow(const RoutingCell& cell, const RoutedByProxy& seen, std::uint64_t needed) {
  Ejection all;
  for (const auto& reply : seen.replies) {
    if (reply.last_ns < cell.failed_ns) continue;
    if (is_server_error(reply)) {
      if (all.ejected_ns) {
        const auto late = *all.ejected_ns + told_within.count();
        for (std::uint64_t i = 1; i <= reply.tries; ++i) {
          if (begun_at(reply, i) > late) ++all.errors_late;
        }
        all.errors += reply.tries;
        continue;
      }
      if (all.errors + reply.tries >= needed) {
        const auto last = needed - all.errors;
        all.ejected_ns = begun_at(reply, last);
        for (auto i = last + 1; i <= reply.tries; ++i) {
          if (begun_at(reply, i) > *all.ejected_ns + told_within.count()) ++all.errors_late;
        }
      }
      all.errors += reply.tries;
    } else if (all.ejected_ns && !all.back_ns && reply.at_ns > *all.ejected_ns &&
               is_of(cell, reply, cell.failing)) {
      all.back_ns = reply.at_ns;
    }
  }
  return all;
}

// Of the requests that were begun in the window of a write.
struct Obeyed {
  std::optional<std::int64_t> first_ns = {};
  std::optional<std::int64_t> last_other_ns = {};
  bool either = false;     // a reply that both would give
  std::string stray = {};  // one that neither would
};

Obeyed obeyed(const RoutingCell& cell, const RoutedByProxy& seen, const RoutingWrite& write,
              std::int64_t from_ns) {
  const auto& now = write.restores ? cell.before : cell.expected;
  const auto& then = write.restores ? cell.expected : cell.before;
  Obeyed all;
  for (const auto& reply : seen.replies) {
    if (reply.last_ns < from_ns || reply.at_ns >= write.until_ns) continue;
    const bool as_now = end_of(now, cell, reply).has_value();
    const bool as_then = end_of(then, cell, reply).has_value();
    all.either = all.either || (as_now && as_then);
    if (!as_now && !as_then) all.stray = reply_text(cell, reply);
    if (as_then) {
      all.last_other_ns = reply.last_ns;
      all.first_ns.reset();
    } else if (as_now && !all.first_ns) {
      all.first_ns = reply.at_ns;
    }
  }
  return all;
}

}  // namespace

RoutingVerdict judge_fails(const RoutingCell& cell, const RoutedByProxy& seen) {
  RoutingVerdict all{.verdict = Verdict::inconclusive};
  const auto& outlier =
      cell.expected.policy ? cell.expected.policy->outlier_detection : std::nullopt;
  if (!outlier) {
    all.sentence = "no DestinationRule says when a pod is left alone";
    return all;
  }
  // Of several counters the first that is reached; 0 is none.
  std::uint64_t needed = 0;
  for (const int count : {outlier->consecutive_5xx_errors.value_or(errors_by_default),
                          outlier->consecutive_gateway_errors.value_or(0)}) {
    const auto its = static_cast<std::uint64_t>(std::max(count, 0));
    if (its > 0 && (needed == 0 || its < needed)) needed = its;
  }
  std::size_t pods = 0;
  for (const auto& end : cell.expected.ends) pods += end.pods.size();
  const auto percent =
      static_cast<std::size_t>(outlier->max_ejection_percent.value_or(percent_by_default));
  if (needed == 0 || pods * percent < all_percent) {
    all.sentence = needed == 0
                       ? "by what is said no reply has a pod left alone"
                       : fmt::format("of {} no one may be left alone by maxEjectionPercent {}",
                                     base::format_count(pods, "pod"), percent);
    return all;
  }
  const auto least = outlier->base_ejection_time.value_or(ejection_by_default);
  const auto most = least + outlier->interval.value_or(interval_by_default);
  const auto became = follow(cell, seen, needed);
  all.evidence = {{"errors", became.errors}, {"errors_late", became.errors_late}};
  all.sentence = fmt::format(
      "{} came to HTTP 5xx after {} failed, and it is to be left alone "
      "after {}",
      base::format_count(became.errors, "request"), cell.failing, needed);
  if (!became.ejected_ns) {
    all.sentence += ": too few requests came to it";
    return all;
  }
  if (became.errors_late > 0) {
    // A few may be of a machine that stalled between deciding and doing.
    if (became.errors_late > needed) all.verdict = Verdict::fail;
    all.sentence += fmt::format(": {} of them came later than that", became.errors_late);
    return all;
  }
  if (!became.back_ns) {
    all.verdict = Verdict::fail;
    all.sentence += fmt::format(
        "; it was not back {} later, and should be by {}",
        time_text(static_cast<double>(seen.replies.back().last_ns - *became.ejected_ns)),
        time_text(most));
    return all;
  }
  const base::Duration away(*became.back_ns - *became.ejected_ns);
  all.evidence["away_ns"] = away.count();
  all.sentence += fmt::format(
      "; it was back after {}, and should be after {} to {}, or {} later "
      "on a busy machine",
      time_text(away), time_text(least), time_text(most), time_text(late_at_most));
  // What a stream cannot tell is when, between two requests, it was left alone.
  const bool early = away < least - told_within;
  const bool late = away > most + late_at_most;
  all.verdict = early ? Verdict::fail : late ? Verdict::inconclusive : Verdict::pass;
  return all;
}

RoutingVerdict judge_writes(const RoutingCell& cell, const RoutedByProxy& seen) {
  RoutingVerdict all;
  std::vector<double> after;
  std::vector<double> errors;
  std::int64_t from_ns = 0;
  auto writes = base::Json::array();
  for (const auto& write : cell.writes) {
    const auto one = obeyed(cell, seen, write, from_ns);
    from_ns = write.until_ns;
    if (one.either || !one.last_other_ns) {
      all.verdict = Verdict::inconclusive;
      all.sentence = "some replies would be the same before and after";
      if (!one.either) all.sentence = "no request was made before a write was obeyed";
      return all;
    }
    if (!one.stray.empty() || !one.first_ns) {
      all.verdict = Verdict::fail;
      all.sentence =
          one.stray.empty()
              ? fmt::format("a write was not obeyed {} after it was acknowledged",
                            time_text(static_cast<double>(write.until_ns - write.acked_ns)))
              : fmt::format("a request came to {}, which it is to neither before nor after a write",
                            one.stray);
      return all;
    }
    const auto latency = *one.first_ns - write.acked_ns;
    const auto error = *one.first_ns - *one.last_other_ns;
    after.push_back(static_cast<double>(latency));
    errors.push_back(static_cast<double>(error));
    writes.push_back({{"after_ns", latency}, {"error_ns", error}, {"restores", write.restores}});
  }
  if (after.empty()) {
    all.verdict = Verdict::inconclusive;
    all.sentence = "nothing was written";
    return all;
  }
  const double widest = *std::ranges::max_element(errors);
  all.evidence = {{"writes", std::move(writes)}, {"error_ns", widest}};
  const double median = base::stats::median(after);
  all.evidence["median_ns"] = median;
  all.sentence = fmt::format(
      "of {} the first request that obeyed was begun {} after the acknowledgement (median; {} at "
      "most), and the last that did not {} before it (median; {} at most)",
      base::format_count(after.size(), "write"), time_text(median),
      time_text(*std::ranges::max_element(after)), time_text(base::stats::median(errors)),
      time_text(widest));
  return all;
}

}  // namespace checks
