#include "stackbench/bgp/burst.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "base/histogram.h"
#include "base/units.h"

namespace stackbench::bgp {
namespace {

using base::MonotonicTime;
using base::Verdict;
using bgp_peer::Prefix;
using reports::BgpScalePoint;

struct PrefixTimes {
  std::uint32_t speakers = 0;                // who has said so, a bit each
  std::optional<MonotonicTime> update = {};  // the last of them
  std::optional<MonotonicTime> told = {};
  std::optional<MonotonicTime> route = {};
};

class Analysis {
 public:
  explicit Analysis(const Burst& burst) : burst_(burst) {
    for (const auto& prefix : burst.prefixes) times_[prefix];
  }

  void take(const bgp_peer::CapturedUpdate& one) {
    const auto speaker = std::ranges::find(burst_.speakers, one.from);
    if (one.passed < burst_.sent || speaker == burst_.speakers.end()) return;
    const auto bit = std::uint32_t{1} << (speaker - burst_.speakers.begin());
    for (const auto& prefix : burst_.announced ? one.update.announced : one.update.withdrawn) {
      const auto its = times_.find(prefix);
      if (its == times_.end() || (its->second.speakers & bit) != 0) continue;
      its->second.speakers |= bit;
      // Each session's capture has a thread of its own: they come in no order.
      its->second.update = std::max(its->second.update.value_or(one.passed), one.passed);
      first_ = std::min(first_.value_or(one.passed), one.passed);
    }
  }

  void take(const bgp_peer::Event& event) {
    if (event.kind != bgp_peer::Event::Kind::paths || event.received < burst_.sent) return;
    for (const auto& [prefix, hops] : bgp_peer::next_hops_of(event.paths)) {
      const auto its = times_.find(prefix);
      if (its == times_.end() || hops != burst_.next_hops) continue;
      if (!its->second.told) its->second.told = event.received;
    }
  }

  void take(const bgp_peer::RouteMonitor::Change& change) {
    if (change.received < burst_.sent || change.removed == burst_.announced) return;
    if (burst_.announced && change.route.next_hops != burst_.next_hops) return;
    const auto its = times_.find(change.route.prefix);
    if (its != times_.end() && !its->second.route) its->second.route = change.received;
  }

  [[nodiscard]] BurstTimes result() const {
    BurstTimes result;
    const auto since = [this](MonotonicTime time) { return (time - burst_.sent).count(); };
    if (burst_.programmed) result.programmed_ns = since(*burst_.programmed);
    if (first_) result.first_update_ns = since(*first_);
    std::vector<std::int64_t> told;
    const auto everybody = (std::uint32_t{1} << burst_.speakers.size()) - 1;
    for (const auto& [prefix, its] : times_) {
      if (its.told) told.push_back(since(*its.told));
      if (its.route) result.reached_ns.push_back(since(*its.route));
      if (its.speakers != everybody) continue;
      result.update_ns.push_back(since(*its.update));
      if (its.told) result.told_ns.push_back((*its.told - *its.update).count());
      if (its.route) result.route_ns.push_back((*its.route - *its.update).count());
    }
    const auto last_of = [this](const std::vector<std::int64_t>& all) {
      return all.empty() || all.size() != times_.size()
                 ? std::nullopt
                 : std::optional(*std::ranges::max_element(all));
    };
    result.all_updates_ns = last_of(result.update_ns);
    result.all_told_ns = last_of(told);
    result.all_routes_ns = last_of(result.reached_ns);
    return result;
  }

 private:
  const Burst& burst_;
  std::map<Prefix, PrefixTimes> times_;
  std::optional<MonotonicTime> first_;
};

using MeasuredRounds = std::vector<MeasuredBurst>;

// The middle of a time that every round must have.
template <typename Time>
std::optional<std::int64_t> middle(const MeasuredRounds& rounds, Time time) {
  std::vector<std::int64_t> all;
  for (const auto& round : rounds) {
    const std::optional<std::int64_t> its = time(round.times);
    if (!its) return std::nullopt;
    all.push_back(*its);
  }
  return all.empty() ? std::nullopt : std::optional(middle_of(std::move(all)));
}

// A prefix may be told, or routed, before the capture's thread has stamped its UPDATE on a busy
// machine by a hair; a negative time counts as none.
std::optional<reports::LatencySummary> latency(const MeasuredRounds& rounds,
                                               std::vector<std::int64_t> BurstTimes::* times) {
  std::vector<std::int64_t> medians;
  std::vector<std::int64_t> tails;
  reports::LatencySummary summary;
  for (const auto& round : rounds) {
    base::Histogram histogram;
    for (const auto ns : round.times.*times) {
      histogram.record(static_cast<std::uint64_t>(std::max<std::int64_t>(ns, 0)));
    }
    if ((round.times.*times).empty()) return std::nullopt;
    medians.push_back(static_cast<std::int64_t>(histogram.quantile(0.5)));
    if (const auto tail = histogram.honest_quantile(0.99)) {
      tails.push_back(static_cast<std::int64_t>(*tail));
    }
    summary.max_ns = std::max(summary.max_ns, static_cast<std::int64_t>(histogram.max()));
  }
  if (medians.empty()) return std::nullopt;
  if (tails.size() == medians.size()) summary.p99_ns = middle_of(std::move(tails));
  summary.p50_ns = middle_of(std::move(medians));
  return summary;
}

reports::CostSummary cost(const MeasuredRounds& rounds, reports::CostSummary BurstCost::* whose) {
  std::vector<std::int64_t> cpu;
  reports::CostSummary summary;
  for (const auto& round : rounds) {
    const auto& its = round.cost.*whose;
    cpu.push_back(its.cpu_ns);
    summary.memory_bytes = std::max(summary.memory_bytes, its.memory_bytes);
  }
  if (!cpu.empty()) summary.cpu_ns = middle_of(std::move(cpu));
  return summary;
}

std::string text(std::int64_t ns) {
  return base::format_time(static_cast<double>(ns), base::Charset::ascii);
}

// Whether what was left after one stage is more than a stage that keeps up leaves.
bool lags(std::int64_t begin, std::int64_t before, std::int64_t after) {
  const auto left = after - before;
  const auto whole = static_cast<double>(after - begin);
  return left > std::chrono::nanoseconds(left_in_any_case).count() &&
         static_cast<double>(left) > left_to_do * whole;
}

// Why a point's figures are not the speakers', a sentence each.
std::vector<std::string> limits_of(const reports::BgpScalePoint& point) {
  std::vector<std::string> limits;
  if (!point.first_update_ns || !point.all_updates_ns || !point.all_told_ns ||
      !point.all_routes_ns) {
    return {};  // not all was seen: others judge that
  }
  const auto begin = *point.first_update_ns;
  const auto updates = *point.all_updates_ns;
  const auto told = *point.all_told_ns;
  if (static_cast<double>(point.receiver_limited_ns) >
      waits_for_reader * static_cast<double>(updates)) {
    limits.push_back(fmt::format("a speaker waited {} for the peer to read, of {}",
                                 text(point.receiver_limited_ns), text(updates)));
  }
  if (lags(begin, updates, told)) {
    limits.push_back(
        fmt::format("after the last UPDATE the peer took {} more to tell the last "
                    "prefix, of {} since the first",
                    text(told - updates), text(told - begin)));
  }
  if (lags(begin, told, *point.all_routes_ns)) {
    limits.push_back(fmt::format("after the last prefix was told our installer took {} more, of {}",
                                 text(*point.all_routes_ns - told),
                                 text(*point.all_routes_ns - begin)));
  }
  if (point.sink_updates_ns) {
    const auto sink = *point.sink_updates_ns;
    const auto behind = updates - sink;
    if (behind > std::chrono::nanoseconds(left_in_any_case).count() &&
        static_cast<double>(behind) > behind_sink * static_cast<double>(sink)) {
      limits.push_back(
          fmt::format("a sink that only reads had the last UPDATE after {}, the peer "
                      "after {}",
                      text(sink), text(updates)));
    }
  }
  for (auto& limit : limits) {
    limit = fmt::format("{} {}: {}", point.services, point.announced ? "announced" : "withdrawn",
                        limit);
  }
  return limits;
}

}  // namespace

std::int64_t middle_of(std::vector<std::int64_t> values) {
  const auto at = values.begin() + static_cast<std::ptrdiff_t>((values.size() - 1) / 2);
  std::ranges::nth_element(values, at);
  return *at;
}

BurstTimes analyse(const Burst& burst, const Seen& seen) {
  Analysis analysis(burst);
  for (const auto& update : seen.updates) analysis.take(update);
  for (const auto& event : seen.events) analysis.take(event);
  for (const auto& change : seen.routes) analysis.take(change);
  return analysis.result();
}

reports::BgpScalePoint summarise(int services, bool announced, const MeasuredRounds& rounds) {
  reports::BgpScalePoint point{
      .services = services, .announced = announced, .rounds = static_cast<int>(rounds.size())};
  using Times = const BurstTimes&;
  point.programmed_ns = middle(rounds, [](Times its) { return its.programmed_ns; });
  point.first_update_ns = middle(rounds, [](Times its) { return its.first_update_ns; });
  point.all_updates_ns = middle(rounds, [](Times its) { return its.all_updates_ns; });
  point.all_told_ns = middle(rounds, [](Times its) { return its.all_told_ns; });
  point.all_routes_ns = middle(rounds, [](Times its) { return its.all_routes_ns; });
  point.update = latency(rounds, &BurstTimes::update_ns);
  point.told = latency(rounds, &BurstTimes::told_ns);
  point.route = latency(rounds, &BurstTimes::route_ns);
  point.reached = latency(rounds, &BurstTimes::reached_ns);
  for (const auto& round : rounds) {
    const auto all = static_cast<std::uint64_t>(services);
    point.missing_updates += all - round.times.update_ns.size();
    point.missing_routes += all - round.times.reached_ns.size();
    point.receiver_limited_ns = std::max(point.receiver_limited_ns, round.cost.receiver_limited_ns);
  }
  point.peer = cost(rounds, &BurstCost::peer);
  point.speakers = cost(rounds, &BurstCost::speakers);
  point.ours = cost(rounds, &BurstCost::ours);
  return point;
}

checks::Finding bgp_peer_keeps_up(const std::vector<reports::BgpScalePoint>& points,
                                  std::uint64_t lost_by_captures) {
  checks::Finding finding{.sentence = "nothing was announced", .observed = "nothing"};
  finding.evidence["lost_by_captures"] = lost_by_captures;
  std::vector<std::string> limits;
  std::size_t judged = 0;
  std::int64_t most_left = 0;
  const BgpScalePoint* most = nullptr;  // of the most addresses, announced
  for (const auto& point : points) {
    std::ranges::move(limits_of(point), std::back_inserter(limits));
    if (!point.all_updates_ns || !point.all_routes_ns) continue;
    ++judged;
    most_left = std::max(most_left, *point.all_routes_ns - *point.all_updates_ns);
    if (point.announced && (most == nullptr || most->services < point.services)) most = &point;
  }
  if (lost_by_captures > 0) {
    limits.push_back(fmt::format("captures lost {}: UPDATEs may be missing",
                                 base::format_count(lost_by_captures, "packet")));
  }
  finding.evidence["limits"] = limits;
  if (!limits.empty()) {
    finding.verdict = Verdict::invalid;
    finding.observed = "the limit is ours";
    finding.sentence = fmt::format("figures are the peer's or ours, not the speakers': {}",
                                   fmt::join(limits, "; "));
  } else if (judged > 0) {
    finding.verdict = Verdict::pass;
    finding.observed = "keeps up";
    finding.sentence = fmt::format(
        "the peer read as fast as the speakers sent, and at most {} after the last "
        "UPDATE the last route was in the kernel; captures lost nothing",
        text(most_left));
    if (most != nullptr && most->sink_updates_ns) {
      finding.sentence += fmt::format(
          "; a sink that only reads had the last UPDATE of {} announced after {}, the peer after "
          "{}",
          most->services, text(*most->sink_updates_ns), text(*most->all_updates_ns));
    }
  }
  return finding;
}

std::int64_t receiver_limited(std::string_view ss_output) {
  constexpr std::string_view word = "rwnd_limited:";
  std::int64_t most = 0;
  for (auto at = ss_output.find(word); at != std::string_view::npos;
       at = ss_output.find(word, at + 1)) {
    std::int64_t milliseconds = 0;
    const auto* begin = ss_output.data() + at + word.size();
    std::from_chars(begin, ss_output.data() + ss_output.size(), milliseconds);
    most = std::max(most, milliseconds * 1'000'000);
  }
  return most;
}

}  // namespace stackbench::bgp
