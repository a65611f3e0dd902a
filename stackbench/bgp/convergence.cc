#include "stackbench/bgp/convergence.h"

#include <algorithm>
#include <functional>
#include <map>
#include <span>
#include <utility>

#include "base/json.h"
#include "base/stats/hodges_lehmann.h"
#include "base/units.h"

namespace stackbench::bgp {
namespace {

using base::MonotonicTime;
using base::Verdict;
using checks::Finding;

std::int64_t between(MonotonicTime from, MonotonicTime to) { return (to - from).count(); }

bool names(const std::vector<bgp_peer::Prefix>& prefixes, const bgp_peer::Prefix& prefix) {
  return std::ranges::find(prefixes, prefix) != prefixes.end();
}

// When each speaker first said so.
std::map<base::IpAddress, MonotonicTime> updates_of(const Transition& transition,
                                                    const Seen& seen) {
  std::map<base::IpAddress, MonotonicTime> first;
  for (const auto& one : seen.updates) {
    const auto& its = transition.announced ? one.update.announced : one.update.withdrawn;
    if (one.passed < transition.sent || !names(its, transition.prefix)) continue;
    if (std::ranges::find(transition.speakers, one.from) == transition.speakers.end()) continue;
    first.emplace(one.from, one.passed);
  }
  return first;
}

// When the kernel came to have exactly the next hops wanted, and when it first had any.
struct RouteTimes {
  std::optional<MonotonicTime> whole = {};
  std::optional<MonotonicTime> any = {};
};
RouteTimes route_times(const Transition& transition, const Seen& seen) {
  RouteTimes times;
  for (const auto& change : seen.routes) {
    if (change.received < transition.sent || change.route.prefix != transition.prefix) continue;
    if (!change.removed && !times.any) times.any = change.received;
    const bool is_whole = transition.next_hops.empty()
                              ? change.removed
                              : !change.removed && change.route.next_hops == transition.next_hops;
    if (is_whole && !times.whole) times.whole = change.received;
  }
  return times;
}

std::optional<MonotonicTime> told_at(const Transition& transition, const Seen& seen) {
  for (const auto& event : seen.events) {
    if (event.kind != bgp_peer::Event::Kind::paths || event.received < transition.sent) continue;
    const auto all = bgp_peer::next_hops_of(event.paths);
    const auto its = all.find(transition.prefix);
    if (its != all.end() && its->second == transition.next_hops) return event.received;
  }
  return std::nullopt;
}

void take_first_answer(const Transition& transition, const Seen& seen,
                       std::optional<MonotonicTime> route, Convergence& result) {
  std::optional<MonotonicTime> before;
  std::optional<MonotonicTime> first_lost;
  for (std::size_t i = 0; i < seen.probes.size(); ++i) {
    const auto& probe = seen.probes[i];
    if (probe.sent < transition.sent) {
      before = probe.sent;
      continue;
    }
    if (probe.answered) {
      result.answer_ns = between(transition.sent, probe.sent);
      if (before) result.answer_error_ns = between(*before, probe.sent);
      if (first_lost) result.lost_ns = between(*first_lost, probe.sent);
      // A next hop that answers says nothing of one that came after it.
      const auto later = losses_of(std::span(seen.probes).subspan(i));
      result.lost += static_cast<std::int64_t>(later.lost);
      result.lost_ns += later.ns;
      return;
    }
    before = probe.sent;
    if (!route || probe.sent < *route) continue;
    ++result.lost;
    if (!first_lost) first_lost = probe.sent;
    result.lost_ns = between(*first_lost, probe.sent);
  }
}

void take_last_answer(const Transition& transition, const Seen& seen,
                      std::optional<MonotonicTime> gone, Convergence& result) {
  std::optional<MonotonicTime> first_lost;
  for (std::size_t i = 0; i < seen.probes.size(); ++i) {
    const auto& probe = seen.probes[i];
    if (probe.sent < transition.sent) continue;
    if (probe.answered) {
      result.answer_ns = between(transition.sent, probe.sent);
      result.answer_error_ns =
          i + 1 < seen.probes.size() ? between(probe.sent, seen.probes[i + 1].sent) : 0;
      continue;
    }
    if (gone && probe.sent > *gone) break;
    ++result.lost;
    if (!first_lost) first_lost = probe.sent;
    result.lost_ns = between(*first_lost, gone.value_or(probe.sent));
  }
}

std::string milliseconds(std::int64_t ns) {
  return base::format_time(static_cast<double>(ns), base::Charset::ascii);
}

// Judges one time of every transition of a kind.
Finding judge(const std::vector<Convergence>& all, bool announced, std::string_view what,
              std::int64_t most,
              const std::function<std::optional<std::int64_t>(const Convergence&)>& time) {
  Finding finding{.sentence = fmt::format("nothing was {}", announced ? "announced" : "withdrawn")};
  std::size_t judged = 0;
  std::size_t missing = 0;
  std::size_t late = 0;
  std::int64_t worst = 0;
  finding.evidence["times_ns"] = base::Json::array();
  for (const auto& one : all) {
    if (one.announced != announced) continue;
    ++judged;
    const auto its = time(one);
    finding.evidence["times_ns"].push_back(its ? base::Json(*its) : base::Json());
    if (!its) {
      ++missing;
      continue;
    }
    worst = std::max(worst, *its);
    if (*its > most) ++late;
  }
  if (judged == 0) return finding;
  finding.evidence["budget_ns"] = most;
  finding.verdict = missing + late == 0 ? Verdict::pass : Verdict::fail;
  finding.observed = missing == judged ? "never" : milliseconds(worst);
  finding.sentence =
      fmt::format("{}: {} in {}, of {} granted{}{}", what,
                  missing == judged ? std::string("never seen") : "at most " + finding.observed,
                  base::format_count(judged, announced ? "announcement" : "withdrawal"),
                  milliseconds(most), late == 0 ? "" : fmt::format(", {} too late", late),
                  missing == 0 || missing == judged ? "" : fmt::format(", {} never seen", missing));
  return finding;
}

// Answered after a route came: without one it was reached some other way.
std::optional<std::int64_t> when_announced(const Convergence& one, std::int64_t time) {
  return one.answer_ns && one.first_route_ns ? std::optional(time) : std::nullopt;
}

}  // namespace

Seen stands_for(const bgp_peer::Event& event, Announcers& announcers) {
  Seen seen;
  for (const auto& [prefix, next_hops] : bgp_peer::next_hops_of(event.paths)) {
    std::set<base::IpAddress> now;
    for (const auto& path : event.paths) {
      if (path.prefix == prefix && !path.withdrawn && path.neighbor) now.insert(*path.neighbor);
    }
    auto& before = announcers[prefix];
    const auto said = [&](const base::IpAddress& by, bool announced) {
      bgp_peer::Update update;
      (announced ? update.announced : update.withdrawn).push_back(prefix);
      seen.updates.push_back({.update = std::move(update), .from = by, .passed = event.received});
    };
    for (const auto& one : now) {
      if (!before.contains(one)) said(one, true);
    }
    for (const auto& one : before) {
      if (!now.contains(one)) said(one, false);
    }
    before = std::move(now);
    seen.routes.push_back({.route = {.prefix = prefix, .next_hops = next_hops},
                           .protocol = bgp_peer::route_protocol,
                           .removed = next_hops.empty(),
                           .received = event.received});
  }
  return seen;
}

Seen between_writes(const Seen& seen, MonotonicTime sent, std::optional<MonotonicTime> next_sent) {
  const auto is_its = [&](MonotonicTime time) {
    return time >= sent && (!next_sent || time < *next_sent);
  };
  Seen its;
  std::ranges::copy_if(seen.updates, std::back_inserter(its.updates), is_its,
                       &bgp_peer::CapturedUpdate::passed);
  std::ranges::copy_if(seen.segments, std::back_inserter(its.segments), is_its,
                       &bgp_peer::CapturedSegment::passed);
  std::ranges::copy_if(seen.routes, std::back_inserter(its.routes), is_its,
                       &bgp_peer::RouteMonitor::Change::received);
  std::ranges::copy_if(seen.events, std::back_inserter(its.events), is_its,
                       &bgp_peer::Event::received);
  auto first = std::ranges::lower_bound(seen.probes, sent, {}, &Probe::sent);
  const auto last = next_sent ? std::ranges::lower_bound(seen.probes, *next_sent, {}, &Probe::sent)
                              : seen.probes.end();
  if (first != seen.probes.begin()) --first;
  its.probes.assign(first, last);
  return its;
}

Convergence analyse(const Transition& transition, const Seen& seen) {
  Convergence result{.announced = transition.announced,
                     .acked_ns = between(transition.sent, transition.acked)};
  if (transition.programmed) {
    result.programmed_ns = between(transition.sent, *transition.programmed);
  }
  const auto updates = updates_of(transition, seen);
  std::optional<MonotonicTime> last;
  for (const auto& [speaker, passed] : updates) {
    const auto after = between(transition.sent, passed);
    result.first_update_ns = std::min(result.first_update_ns.value_or(after), after);
    last = std::max(last.value_or(passed), passed);
  }
  const bool everybody = updates.size() == transition.speakers.size();
  if (last && everybody) result.update_ns = between(transition.sent, *last);
  const auto route = route_times(transition, seen);
  if (last && everybody) {
    if (route.whole) result.route_ns = between(*last, *route.whole);
    if (const auto told = told_at(transition, seen)) result.told_ns = between(*last, *told);
  }
  if (result.announced) {
    if (route.any) result.first_route_ns = between(transition.sent, *route.any);
    take_first_answer(transition, seen, route.any, result);
  } else {
    take_last_answer(transition, seen, route.whole, result);
    // Who is told by a watch may be done before the writer knows of it.
    if (route.whole) {
      result.stale_ns = std::max<std::int64_t>(between(transition.acked, *route.whole), 0);
    }
  }
  return result;
}

std::string described(const std::vector<Convergence>& all, bool announced, SeenAt seen_at) {
  using Time = std::function<std::optional<std::int64_t>(const Convergence&)>;
  const auto is_of_kind = [&](const Convergence& one) { return one.announced == announced; };
  const auto count = std::ranges::count_if(all, is_of_kind);
  if (count == 0) return "";
  const auto centre = [&](std::string_view what, const Time& time) {
    std::vector<double> times;
    for (const auto& one : all) {
      const auto its = one.announced == announced ? time(one) : std::nullopt;
      if (its) times.push_back(static_cast<double>(*its));
    }
    const auto text = [](double ns) { return base::format_time(ns, base::Charset::ascii); };
    const auto effect = base::stats::hodges_lehmann(times, 0.95);
    if (!effect) return fmt::format("{}: never seen", what);
    auto sentence = fmt::format("{} {}", what, text(effect->estimate));
    if (effect->interval) {
      sentence +=
          fmt::format(" ({} to {})", text(effect->interval->lower), text(effect->interval->upper));
    }
    if (std::cmp_less(times.size(), count)) {
      sentence += fmt::format(", seen in {} of {}", times.size(), count);
    }
    return sentence;
  };
  std::vector<std::string> parts;
  // A cluster tells nobody when its nodes' datapath has a Service.
  if (std::ranges::any_of(all, [](const auto& one) { return one.programmed_ns.has_value(); })) {
    parts.push_back(centre("datapath programmed after",
                           [](const Convergence& one) { return one.programmed_ns; }));
  }
  const auto update = [](const Convergence& one) { return one.update_ns; };
  if (seen_at == SeenAt::router) {
    parts.push_back(centre("UPDATE on the wire after", update));
    parts.push_back(centre("told by GoBGP's watch another",
                           [](const Convergence& one) { return one.told_ns; }));
    parts.push_back(centre("route in the kernel (our installer) after the UPDATE",
                           [](const Convergence& one) { return one.route_ns; }));
  } else {
    parts.push_back(centre("in the peer's table, as its watch told, after", update));
  }
  parts.push_back(centre(announced ? "first answered packet after" : "last answered packet after",
                         [](const Convergence& one) { return one.answer_ns; }));
  parts.push_back(centre("which is known to", [](const Convergence& one) {
    return one.answer_ns ? std::optional(one.answer_error_ns) : std::nullopt;
  }));
  parts.push_back(centre("packets lost for",
                         [](const Convergence& one) { return std::optional(one.lost_ns); }));
  if (!announced) {
    parts.push_back(centre("stale route for", [](const Convergence& one) { return one.stale_ns; }));
  }
  return fmt::format("{}: {}",
                     base::format_count(static_cast<std::uint64_t>(count),
                                        announced ? "announcement" : "withdrawal"),
                     fmt::join(parts, ", "));
}

Finding announced_in_time(const std::vector<Convergence>& all, const Budget& budget) {
  return judge(
      all, true, "from the write to the first answered packet", budget.announce.count(),
      [](const Convergence& one) { return when_announced(one, one.answer_ns.value_or(0)); });
}

Finding withdrawn_in_time(const std::vector<Convergence>& all, const Budget& budget) {
  return judge(all, false, "a stale route attracted traffic after the write",
               budget.withdraw.count(), [](const Convergence& one) { return one.stale_ns; });
}

Finding not_announced_early(const std::vector<Convergence>& all, const Budget& budget) {
  const auto granted = budget.early.count();
  // Where the client stood still meanwhile, nobody asked whether anybody was ready.
  const auto unprobed = [&](const Convergence& one) {
    return one.announced && one.answer_ns && one.first_route_ns && one.lost_ns <= granted &&
           one.answer_error_ns > granted && *one.answer_ns - *one.first_route_ns > granted;
  };
  auto probed = all;
  const auto count = std::erase_if(probed, unprobed);
  auto finding = judge(probed, true, "packets lost since the route was there", granted,
                       [](const Convergence& one) { return when_announced(one, one.lost_ns); });
  if (count == 0) return finding;
  finding.evidence["not_probed"] = count;
  finding.sentence += fmt::format("; {} left out, as the client did not probe while it lasted",
                                  base::format_count(count, "announcement"));
  return finding;
}

}  // namespace stackbench::bgp
