#include "checks/mesh/routes_as_specified.h"

#include <algorithm>
#include <numeric>

#include <fmt/ranges.h>

#include "base/stats/goodness_of_fit.h"
#include "base/stats/sample.h"
#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;

constexpr int ok = 200;
constexpr int unavailable = 503;
// What Envoy's filter says (source/extensions/filters/http/fault/fault_filter.cc), and its router
// of a pool that is full (UO: source/common/http/utility.cc, resetReasonToString).
constexpr std::string_view fault_says = "fault filter abort";
constexpr std::string_view overflow_says = "overflow";
// Its timers count from a clock that is a tick of the kernel old at most (libevent, evutil_time.c:
// CLOCK_MONOTONIC_COARSE), which is 10 ms where ticks are longest, and in whole milliseconds.
constexpr base::Duration early_by_clock = std::chrono::milliseconds(11);
// What a delay may be longer than it says: half of it, or this on a busy machine.
constexpr base::Duration late_at_least = std::chrono::milliseconds(50);

std::string time_text(double ns) { return base::format_time(ns, base::Charset::ascii); }
std::string time_text(base::Duration time) { return time_text(static_cast<double>(time.count())); }

// Whether counts may be of these shares. Nothing where they are too few to tell: where one that got
// nothing at all could be called chance. The statistic of that is n s / (1 - s), and of one degree
// of freedom 24 is passed by chance once in a million times.
std::optional<double> chance_of(const std::vector<std::uint64_t>& counts,
                                const std::vector<double>& shares) {
  constexpr double told_apart = 24;
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::uint64_t{0}));
  for (const double share : shares) {
    if (total * share / (1 - share) < told_apart) return std::nullopt;
  }
  const auto test = base::stats::chi_square_test(counts, shares);
  return test ? std::optional(test->p) : std::nullopt;
}

void worsen(RoutingVerdict& all, Verdict verdict) {
  if (verdict == Verdict::fail || all.verdict == Verdict::pass) all.verdict = verdict;
}

// Which pod or word each request came to.
class Ends {
 public:
  Ends(const RoutingCell& cell, const RoutedByProxy& seen) : cell_(cell), seen_(seen) {
    counts_.assign(cell.expected.ends.size(), 0);
    for (const auto& reply : seen.replies) {
      const auto end = end_of(cell.expected, cell, reply);
      if (end) {
        ++counts_[*end];
      } else {
        strays_.push_back(reply_text(cell, reply));
      }
    }
  }

  [[nodiscard]] RoutingVerdict judge() const {
    RoutingVerdict all;
    all.evidence["counts"] = counts_;
    if (!strays_.empty()) {
      all.verdict = Verdict::fail;
      all.evidence["otherwise"] = strays_;
      all.sentence = fmt::format("{} of {} came to {}, and all should come to {}", strays_.size(),
                                 base::format_count(seen_.replies.size(), "request"),
                                 strays_.front(), expected_text());
      return all;
    }
    if (counts_.size() == 1) {
      all.sentence =
          fmt::format("{} came to {}", base::format_count(seen_.replies.size(), "request"),
                      end_text(cell_.expected.ends.front()));
      return all;
    }
    judge_shares(all);
    return all;
  }

 private:
  [[nodiscard]] std::string expected_text() const {
    std::vector<std::string> parts;
    for (const auto& end : cell_.expected.ends) parts.push_back(end_text(end));
    return fmt::format("{}", fmt::join(parts, ", or "));
  }

  void judge_shares(RoutingVerdict& all) const {
    std::vector<double> shares;
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
      shares.push_back(cell_.expected.ends[i].share);
      parts.push_back(fmt::format("{} to {} ({:.4g} %)", counts_[i],
                                  end_text(cell_.expected.ends[i]), shares.back() * 100));
    }
    all.sentence = fmt::format("of {} came {}", base::format_count(seen_.replies.size(), "request"),
                               fmt::join(parts, ", "));
    if (cell_.expected.ambiguous) {
      all.verdict = Verdict::inconclusive;
      all.sentence +=
          ": destinations share pods, so by whose weight these answered nobody can tell";
      return;
    }
    const auto p = chance_of(counts_, shares);
    if (!p) {
      all.verdict = Verdict::inconclusive;
      all.sentence += ": too few to tell";
      return;
    }
    all.evidence["p"] = *p;
    all.sentence += fmt::format(": p = {:.2g}", *p);
    if (*p < other_shares_by_chance) all.verdict = Verdict::fail;
  }

  const RoutingCell& cell_;
  const RoutedByProxy& seen_;
  std::vector<std::uint64_t> counts_;
  std::vector<std::string> strays_;
};

// Whether as many were held up as should be, and for as long.
void judge_delay(const RoutedDelay& expected, const RoutedByProxy& seen, RoutingVerdict& all) {
  if (expected.share <= 0) return;
  std::vector<double> held_up;
  for (const auto& reply : seen.replies) {
    const base::Duration took(reply.took_ns);
    if (took >= std::max(expected.delay - early_by_clock, expected.delay / 2)) {
      held_up.push_back(static_cast<double>(reply.took_ns));
    }
  }
  const auto total = seen.replies.size();
  all.evidence["held_up"] = held_up.size();
  if (const auto shortest = std::ranges::min_element(seen.replies, {}, &bench::DoorTried::took_ns);
      shortest != seen.replies.end()) {
    all.evidence["shortest_ns"] = shortest->took_ns;
  }
  all.sentence += fmt::format("; {} held up by {} ({:.4g} %)", held_up.size(),
                              time_text(expected.delay), expected.share * 100);
  if (expected.share >= 1) {
    if (held_up.size() < total) worsen(all, Verdict::fail);
  } else {
    const auto p =
        chance_of({held_up.size(), total - held_up.size()}, {expected.share, 1 - expected.share});
    if (p) all.evidence["delay_p"] = *p;
    all.sentence += p ? fmt::format(": p = {:.2g}", *p) : std::string(": too few to tell");
    if (!p || *p < other_shares_by_chance) worsen(all, p ? Verdict::fail : Verdict::inconclusive);
  }
  if (held_up.empty()) return;
  const double median = base::stats::median(held_up);
  all.evidence["held_up_median_ns"] = median;
  all.sentence += fmt::format(", median latency {}", time_text(median));
  const auto late = std::max(expected.delay / 2, late_at_least);
  if (median > static_cast<double>((expected.delay + late).count())) worsen(all, Verdict::fail);
}

base::Json evidence_of(const RoutedAs& expected) {
  auto ends = base::Json::array();
  for (const auto& end : expected.ends) {
    ends.push_back({{"share", end.share}, {"end", end_text(end)}});
  }
  base::Json all = {{"ends", std::move(ends)}};
  if (expected.delay) {
    all["delay"] = {{"share", expected.delay->share}, {"delay_ns", expected.delay->delay.count()}};
  }
  if (expected.policy) all["policy"] = base::to_json(*expected.policy);
  return all;
}

RoutingVerdict judge(const RoutingCell& cell, const RoutedByProxy& seen) {
  if (!cell.expected.said) {
    return {.verdict = Verdict::inconclusive,
            .sentence = "no VirtualService or DestinationRule is about the Service that is asked"};
  }
  if (seen.lost > 0) {
    return {.verdict = Verdict::inconclusive,
            .sentence =
                fmt::format("lost for want of room: {}", base::format_count(seen.lost, "change"))};
  }
  switch (cell.claim) {
    case RoutingClaim::requests:
      return judge_requests(cell, seen);
    case RoutingClaim::at_once:
      return judge_at_once(cell, seen);
    case RoutingClaim::fails:
      return judge_fails(cell, seen);
    case RoutingClaim::writes:
      return judge_writes(cell, seen);
  }
  return {};
}

}  // namespace

std::optional<std::size_t> end_of(const RoutedAs& expected, const RoutingCell& cell,
                                  const bench::DoorTried& reply) {
  if (!reply.http_status) return std::nullopt;
  const auto pod = reply.answered_by ? cell.pods.find(*reply.answered_by) : cell.pods.end();
  for (std::size_t i = 0; i < expected.ends.size(); ++i) {
    const auto& end = expected.ends[i];
    if (!end.status) {
      if (*reply.http_status == ok && pod != cell.pods.end() && end.pods.contains(pod->second)) {
        return i;
      }
    } else if (*reply.http_status == *end.status && !reply.answered_by &&
               reply.body.starts_with(fault_says) == end.aborted) {
      return i;
    }
  }
  return std::nullopt;
}

std::string reply_text(const RoutingCell& cell, const bench::DoorTried& reply) {
  if (!reply.http_status) return std::string(base::enum_name(reply.outcome));
  auto text = fmt::format("HTTP {}", *reply.http_status);
  if (reply.answered_by) {
    const auto pod = cell.pods.find(*reply.answered_by);
    text += pod == cell.pods.end() ? fmt::format(" of a stranger ({})", *reply.answered_by)
                                   : fmt::format(" of {}", pod->second);
  } else if (!reply.body.empty()) {
    text += fmt::format(" ({})", reply.body);
  }
  return text;
}

std::string end_text(const RoutedEnd& end) {
  if (end.aborted) return fmt::format("HTTP {} by its fault", *end.status);
  if (end.status) return fmt::format("HTTP {} by the proxy", *end.status);
  return fmt::format("{}", fmt::join(end.pods, " or "));
}

RoutingVerdict judge_requests(const RoutingCell& cell, const RoutedByProxy& seen) {
  const auto nobody = [](const RoutedEnd& end) {
    return end.status == unavailable && !end.aborted;
  };
  if (std::ranges::any_of(cell.expected.ends, nobody)) {
    return {.verdict = Verdict::inconclusive,
            .sentence =
                "it leads to no pod at all: is the subset, and are its labels, as they are "
                "meant?"};
  }
  auto all = Ends(cell, seen).judge();
  if (cell.expected.delay) judge_delay(*cell.expected.delay, seen, all);
  const auto& pool = cell.expected.policy ? cell.expected.policy->connection_pool : std::nullopt;
  const int each = pool && pool->http ? pool->http->max_requests_per_connection : 0;
  if (each == 0) return all;
  const auto answered = static_cast<std::size_t>(std::ranges::count_if(
      seen.replies, [](const bench::DoorTried& reply) { return reply.answered_by.has_value(); }));
  const auto least =
      (answered + static_cast<std::size_t>(each) - 1) / static_cast<std::size_t>(each);
  // Each pod may have one that is kept, whatever is said.
  std::size_t kept = 0;
  for (const auto& end : cell.expected.ends) kept += end.pods.size();
  if (!seen.connections || least <= kept) {
    worsen(all, Verdict::inconclusive);
    all.sentence += ", whose connections are too few, or not counted, to tell how long each lasts";
    return all;
  }
  all.evidence["connections"] = *seen.connections;
  all.sentence +=
      fmt::format(", over {} of at most {}", base::format_count(*seen.connections, "connection"),
                  base::format_count(static_cast<std::uint64_t>(each), "request"));
  if (*seen.connections < least) worsen(all, Verdict::fail);
  return all;
}

RoutingVerdict judge_at_once(const RoutingCell& cell, const RoutedByProxy& seen) {
  RoutingVerdict all{.verdict = Verdict::inconclusive};
  const auto& pool = cell.expected.policy ? cell.expected.policy->connection_pool : std::nullopt;
  const int connections = pool && pool->tcp ? pool->tcp->max_connections : 0;
  const int waiting = pool && pool->http ? pool->http->http1_max_pending_requests : 0;
  // Of several pods each may have a connection, whatever the limit (Envoy's circuit breakers).
  if (connections == 0 || waiting == 0 || cell.expected.ends.size() != 1 ||
      cell.expected.ends.front().pods.size() != 1) {
    all.sentence =
        "how many are refused can be told of a destination of one pod whose pool has "
        "both maxConnections and http1MaxPendingRequests";
    return all;
  }
  std::uint64_t answered = 0;
  std::uint64_t refused = 0;
  std::vector<std::string> strays;
  for (const auto& reply : seen.replies) {
    if (end_of(cell.expected, cell, reply)) {
      ++answered;
    } else if (reply.http_status == unavailable && reply.body.contains(overflow_says)) {
      ++refused;
    } else {
      strays.push_back(reply_text(cell, reply));
    }
  }
  // A request for which a connection is being made waits, too, until it is there
  // (ConnPoolImplBase).
  const auto asked = static_cast<std::uint64_t>(seen.replies.size());
  const auto least = std::min(static_cast<std::uint64_t>(waiting), asked);
  const auto most = std::min(least + static_cast<std::uint64_t>(connections), asked);
  all.evidence = {{"answered", answered}, {"refused", refused}, {"otherwise", strays}};
  all.sentence = fmt::format(
      "of {} at one time {} answered and {} refused (503, overflow), where {} and {} that {} leave "
      "room for {} to {}",
      base::format_count(asked, "request"), answered, refused,
      base::format_count(static_cast<std::uint64_t>(connections), "connection"), waiting,
      waiting == 1 ? "waits" : "wait", least, most);
  if (seen.overflowed) {
    all.evidence["overflowed"] = *seen.overflowed;
    all.sentence += fmt::format("; it counted {} itself", *seen.overflowed);
  }
  if (!strays.empty())
    all.sentence += fmt::format("; {} came to {}", strays.size(), strays.front());
  const bool counted = !seen.overflowed || *seen.overflowed == refused;
  const bool sound = strays.empty() && answered >= least && answered <= most && counted;
  all.verdict = sound ? Verdict::pass : Verdict::fail;
  return all;
}

Finding routes_as_specified(const RoutingCell& cell) {
  Finding finding{.verdict = Verdict::pass,
                  .evidence = {{"claim", base::enum_name(cell.claim)},
                               {"expected", evidence_of(cell.expected)},
                               {"proxies", base::Json::object()}}};
  if (cell.proxies.empty()) finding.verdict = Verdict::inconclusive;
  std::vector<std::string> sentences;
  for (const auto& seen : cell.proxies) {
    auto one = judge(cell, seen);
    one.evidence["verdict"] = base::enum_name(one.verdict);
    finding.evidence["proxies"][seen.proxy] = std::move(one.evidence);
    sentences.push_back(fmt::format("{}: {}", seen.proxy, one.sentence));
    if (one.verdict == Verdict::fail || finding.verdict == Verdict::pass) {
      finding.verdict = one.verdict;
    }
  }
  finding.sentence =
      sentences.empty() ? "nobody asked" : fmt::format("{}", fmt::join(sentences, "; "));
  finding.observed = finding.verdict == Verdict::pass   ? "as_specified"
                     : finding.verdict == Verdict::fail ? "otherwise"
                                                        : "not_proven";
  return finding;
}

}  // namespace checks
