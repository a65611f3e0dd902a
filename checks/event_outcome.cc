#include "checks/event_outcome.h"

#include <algorithm>
#include <limits>
#include <set>

namespace checks {
namespace {

using cluster::EventKind;

constexpr std::int64_t never = std::numeric_limits<std::int64_t>::max();

// After as many of its mean gaps without an arrival, a pod is reached no longer: of a Poisson
// process, one gap in 400 is longer.
constexpr std::int64_t gaps_of_one_that_left = 6;

// When the pod of event `index` is written ready again, or never.
std::int64_t back_at(const std::vector<Happened>& happened, std::size_t index) {
  for (std::size_t i = index + 1; i < happened.size(); ++i) {
    const auto& later = happened[i];
    const bool itself = later.pod == happened[index].pod && !cluster::makes_leave(later.kind);
    if (itself || later.by == happened[index].pod) return later.sent_ns;
  }
  return never;
}

// Since when it was ready before event `index`, or the beginning of time.
std::int64_t ready_since(const std::vector<Happened>& happened, std::size_t index) {
  std::int64_t since = 0;
  for (std::size_t i = 0; i < index; ++i) {
    const auto& earlier = happened[i];
    const bool itself = earlier.pod == happened[index].pod && !cluster::makes_leave(earlier.kind);
    if (itself || earlier.by == happened[index].pod) since = earlier.sent_ns;
  }
  return since;
}

// What stamps say of how long a backend was reached, from `sent` on and before `until`, when others
// reach it again. What is so close to that that the clocks cannot tell is no more than perhaps of
// this departure.
class LastReached {
 public:
  LastReached(std::int64_t sent, std::int64_t until, base::Duration clock_uncertainty)
      : sent_(sent), until_(until), unsure_from_(until - clock_uncertainty.count()) {}

  void add(std::int64_t at) {
    if (at < sent_ || at >= until_) return;
    auto& last = at < unsure_from_ ? surely_ : perhaps_;
    last = std::max(last, at - sent_);
  }
  // `gap`: between two stamps while it was there.
  [[nodiscard]] Stale stale(JudgedBy by, std::int64_t gap) const {
    return {.judged_by = by,
            .ns = surely_,
            .error_ns = gap + std::max(perhaps_ - surely_, std::int64_t{0})};
  }

 private:
  std::int64_t sent_;
  std::int64_t until_;
  std::int64_t unsure_from_;
  std::int64_t surely_ = 0;
  std::int64_t perhaps_ = 0;
};

std::optional<Stale> by_receiver(const std::vector<Happened>& happened, std::size_t index,
                                 const std::vector<std::int64_t>& arrivals,
                                 base::Duration clock_uncertainty) {
  const auto& event = happened[index];
  const auto since = ready_since(happened, index);
  LastReached reached(event.sent_ns, back_at(happened, index), clock_uncertainty);
  std::int64_t before = 0;
  std::int64_t first = event.sent_ns;
  for (const auto at : arrivals) {
    if (at >= since && at < event.sent_ns) {
      ++before;
      first = std::min(first, at);
    }
    reached.add(at);
  }
  // Where nothing came while it was ready, that nothing came afterwards says nothing.
  if (before == 0) return std::nullopt;
  return reached.stale(JudgedBy::receiver, (event.sent_ns - first) / before);
}

std::optional<Stale> by_sender(const Happened& event, std::int64_t until,
                               const std::vector<bench::FailedRequest>& failures,
                               base::Duration clock_uncertainty) {
  LastReached reached(event.sent_ns, until, clock_uncertainty);
  std::int64_t before = 0;
  for (const auto& failure : failures) {
    if (failure.begun_ns >= event.happened_ns && failure.begun_ns < event.sent_ns) ++before;
    reached.add(failure.begun_ns);
  }
  if (before == 0) return std::nullopt;
  return reached.stale(JudgedBy::sender, (event.sent_ns - event.happened_ns) / before);
}

// The pod that joins by an event, if any.
std::optional<std::string> joins_by(const Happened& event) {
  if (event.kind == EventKind::replace) return event.by;
  if (cluster::makes_leave(event.kind)) return std::nullopt;
  return event.pod;
}

// `left`: when it left before that, or the beginning of time.
std::optional<Reached> reached_after(const Happened& event, const std::string& pod,
                                     std::int64_t left, std::int64_t until,
                                     const std::map<std::string, bench::ServerResult>& servers,
                                     base::Duration clock_uncertainty) {
  const auto server = servers.find(pod);
  if (server == servers.end() || server->second.arrivals_lost > 0) return std::nullopt;
  std::int64_t last_before = 0;
  std::vector<std::int64_t> since;
  for (const auto at : server->second.arrivals_ns) {
    if (at >= event.sent_ns && at < until) since.push_back(at);
    if (at >= left && at < event.sent_ns) last_before = std::max(last_before, at);
  }
  if (since.size() < 2) return std::nullopt;
  const auto [first, last] = std::ranges::minmax(since);
  const auto gap = (last - first) / static_cast<std::int64_t>(since.size() - 1);
  // It was reached until then: the datapath had not yet made it leave, and had nothing to do.
  if (last_before > 0 && event.sent_ns - last_before <= gaps_of_one_that_left * gap) {
    return std::nullopt;
  }
  return Reached{.ns = first - event.sent_ns,
                 .error_ns = event.acked_ns - event.sent_ns + clock_uncertainty.count() + gap};
}

// By which event the pod that joins by event `index` had left before, or none.
const Happened* left_by(const std::vector<Happened>& happened, std::size_t index,
                        const std::string& pod) {
  const Happened* left = nullptr;
  for (std::size_t i = 0; i < index; ++i) {
    if (happened[i].pod == pod && cluster::makes_leave(happened[i].kind)) left = &happened[i];
  }
  return left;
}

// Whether clients still failed for want of a killed backend when it was to join again: it tells
// nobody itself that it was still sent to.
bool fails_until(const Happened& kill, std::int64_t joins,
                 const std::vector<bench::FailedRequest>& failures) {
  std::int64_t count = 0;
  std::int64_t last = kill.happened_ns;
  for (const auto& failure : failures) {
    if (failure.begun_ns < kill.happened_ns || failure.begun_ns >= joins) continue;
    ++count;
    last = std::max(last, failure.begun_ns);
  }
  return count > 0 && joins - last <= gaps_of_one_that_left * (last - kill.happened_ns) / count;
}

// When a pod that joined leaves again after event `index`, or never.
std::int64_t leaves_at(const std::vector<Happened>& happened, std::size_t index,
                       const std::string& pod) {
  for (std::size_t i = index + 1; i < happened.size(); ++i) {
    if (happened[i].pod == pod && cluster::makes_leave(happened[i].kind)) {
      return happened[i].happened_ns;
    }
  }
  return never;
}

// What a backend that is gone may make of a request.
bool by_absence(bench::FailureClass what) {
  using enum bench::FailureClass;
  return what == refused || what == reset || what == timed_out || what == closed_early ||
         what == unreachable || what == goaway;
}

bool is_excused(const bench::FailedRequest& failure, const Happened& event, bool kept_datagrams,
                base::Duration budget) {
  if (!cluster::makes_leave(event.kind) || !by_absence(failure.what)) return false;
  if (kept_datagrams && event.kind != EventKind::unready) return true;
  return failure.due_ns <= event.programmed_ns.value_or(event.acked_ns) + budget.count();
}

}  // namespace

Outcomes outcomes_of(const std::vector<Happened>& happened, const bench::WorkloadSpec& workload,
                     base::Duration budget, const bench::ClientResult& client,
                     const std::map<std::string, bench::ServerResult>& servers,
                     base::Duration clock_uncertainty) {
  const bool datagrams = bench::protocol_of(workload.kind) == base::Protocol::UDP;
  const bool keeps = bench::keeps_connections(workload);
  Outcomes outcomes{.failures_lost = client.failures_lost, .moves_lost = client.moves_lost};
  for (const auto& [pod, server] : servers) outcomes.arrivals_lost += server.arrivals_lost;
  for (const auto& event : happened) outcomes.events.push_back({.what = event});
  // The event a stamp belongs to: the last that had happened by then.
  const auto event_at = [&](std::int64_t at) -> EventOutcome* {
    const auto next = std::ranges::upper_bound(
        outcomes.events, at, {}, [](const EventOutcome& one) { return one.what.happened_ns; });
    return next == outcomes.events.begin() ? nullptr : &*std::prev(next);
  };

  for (const auto& failure : client.failures) {
    auto* event = event_at(failure.due_ns);
    auto* const by_then = event_at(failure.ended_ns);
    // Under way when a backend left: that broke it. What timed out says when by its due time alone.
    const bool broken = by_then != nullptr && cluster::makes_leave(by_then->what.kind) &&
                        failure.what != bench::FailureClass::timed_out;
    if (broken || event == nullptr) event = by_then;
    if (event == nullptr) continue;  // before the first of them: not their doing
    ++event->failed[std::string(base::enum_name(failure.what))];
    if (is_excused(failure, event->what, datagrams && keeps, budget)) ++outcomes.excused;
  }

  // The last departure of the backend a flow moved off, or nothing: it had not left.
  const auto departure_of = [&](const bench::FlowMove& move) -> EventOutcome* {
    EventOutcome* last = nullptr;
    for (auto& event : outcomes.events) {
      if (event.what.happened_ns > move.at_ns) break;
      if (event.what.identity == move.from && cluster::makes_leave(event.what.kind)) last = &event;
    }
    return last;
  };
  for (const auto& move : client.moves) {
    if (!datagrams) break;
    if (auto* const departure = departure_of(move)) {
      ++departure->flows_moved;
    } else if (auto* const event = event_at(move.at_ns)) {
      ++event->others_moved;
    }
  }

  for (std::size_t i = 0; i < happened.size(); ++i) {
    const auto& event = happened[i];
    auto& outcome = outcomes.events[i];
    if (const auto pod = joins_by(event); pod && !keeps) {
      const auto* left = left_by(happened, i, *pod);
      const bool never_left = left != nullptr && left->kind == EventKind::kill &&
                              fails_until(*left, event.sent_ns, client.failures);
      if (!never_left) {
        outcome.reached = reached_after(event, *pod, left == nullptr ? 0 : left->happened_ns,
                                        leaves_at(happened, i, *pod), servers, clock_uncertainty);
      }
    }
    if (!cluster::makes_leave(event.kind)) continue;
    const auto next = i + 1 < happened.size() ? happened[i + 1].happened_ns : never;
    const bool killed_later = std::any_of(
        happened.begin() + static_cast<std::ptrdiff_t>(i), happened.end(),
        [&](const Happened& one) { return one.kind == EventKind::kill && one.pod == event.pod; });
    if (keeps && !datagrams) continue;
    if (event.kind == EventKind::kill) {
      if (client.failures_lost == 0) {
        outcome.stale = by_sender(event, next, client.failures, clock_uncertainty);
      }
    } else if (const auto server = servers.find(event.pod);
               server != servers.end() && server->second.arrivals_lost == 0 && !killed_later) {
      outcome.stale = by_receiver(happened, i, server->second.arrivals_ns, clock_uncertainty);
    }
    if (outcome.stale) {
      const auto unknown = event.acked_ns - event.sent_ns + clock_uncertainty.count();
      outcome.stale->error_ns += unknown;
      outcome.stale->less_ns = std::min(unknown, outcome.stale->ns);
    }
    if (!keeps) continue;
    const auto held = client.flows_of.find(std::to_string(event.identity));
    auto flows =
        held == client.flows_of.end() ? std::int64_t{0} : static_cast<std::int64_t>(held->second);
    for (const auto& move : client.moves) {
      if (move.at_ns >= event.happened_ns) continue;
      flows += move.to == event.identity ? 1 : 0;
      flows -= move.from == event.identity ? 1 : 0;
    }
    outcome.flows_held = static_cast<std::uint64_t>(std::max(flows, std::int64_t{0}));
  }
  return outcomes;
}

}  // namespace checks
