#include "checks/policy/leak_window.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <unordered_map>

#include "base/stats/quantile.h"
#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;

constexpr std::int64_t one_ms = 1'000'000;
// How many probes before the write say how the flow was until then.
constexpr std::size_t probes_before = 10;
// A 99th percentile needs so many (measurement.md's rule of every tail percentile here).
constexpr std::size_t enough_for_p99 = 299;

// A probe that left, and when it arrived first; or one that a rule did not let leave.
struct Followed {
  std::int64_t before_ns = 0;
  std::int64_t after_ns = 0;
  bool refused = false;
  std::optional<std::int64_t> received_ns = {};
};

// The probes of a flow in the order they were sent, each with its arrival.
class Trace {
 public:
  explicit Trace(const FlowStamps& stamps) {
    std::unordered_map<std::uint32_t, std::int64_t> first;
    first.reserve(stamps.received.size());
    for (const auto& arrival : stamps.received) {
      arrivals_.push_back(arrival.received_ns);
      const auto [known, is_new] = first.emplace(arrival.number, arrival.received_ns);
      if (!is_new) known->second = std::min(known->second, arrival.received_ns);
    }
    std::ranges::sort(arrivals_);
    for (const auto& probe : stamps.sent) {
      if (probe.error_code != 0 && probe.error_code != EPERM) continue;
      const auto found = first.find(probe.number);
      probes_.push_back(
          {.before_ns = probe.before_ns,
           .after_ns = probe.after_ns,
           .refused = probe.error_code == EPERM,
           .received_ns = found == first.end() ? std::nullopt : std::optional(found->second)});
    }
    std::ranges::sort(probes_, {}, &Followed::before_ns);
  }

  [[nodiscard]] const std::vector<Followed>& probes() const { return probes_; }
  // Of every packet, those sent twice by the network among them, in order.
  [[nodiscard]] const std::vector<std::int64_t>& arrivals() const { return arrivals_; }

  // The first probe sent at or after an instant.
  [[nodiscard]] std::size_t first_from(std::int64_t ns) const {
    return static_cast<std::size_t>(
        std::ranges::lower_bound(probes_, ns, {}, &Followed::before_ns) - probes_.begin());
  }

  // Whether the path was seen to work around an instant: the probes on either side of it arrived.
  [[nodiscard]] bool works_at(std::int64_t ns) const {
    const auto next = first_from(ns);
    if (next == 0 || next == probes_.size()) return false;
    const auto& left = probes_[next - 1];
    const auto& right = probes_[next];
    return left.received_ns && right.received_ns &&
           right.before_ns - left.before_ns <= widest_control_gap.count();
  }

 private:
  std::vector<Followed> probes_;
  std::vector<std::int64_t> arrivals_;
};

// What silence of a watched flow is worth.
class Silence {
 public:
  explicit Silence(const WatchedFlow& watched)
      : counts_(watched.flow.all_received && watched.control && watched.control->all_received),
        from_ns_(watched.from_ns),
        until_ns_(watched.until_ns - arrival_grace.count()) {
    if (counts_) control_.emplace(*watched.control);
  }
  // Whether the probe could have arrived and been seen.
  [[nodiscard]] bool was_watched(const Followed& probe) const {
    return probe.before_ns >= from_ns_ && probe.after_ns <= until_ns_;
  }
  // Whether that it did not arrive shows that it was held back.
  [[nodiscard]] bool counts(const Followed& probe) const {
    if (probe.refused) return true;
    return counts_ && was_watched(probe) && control_->works_at(probe.before_ns);
  }

 private:
  bool counts_;
  std::int64_t from_ns_;
  std::int64_t until_ns_;
  std::optional<Trace> control_;
};

// The two instants between which the policy began to hold, and how that is known.
struct Bracket {
  WindowEdge edge = WindowEdge::unseen;
  std::int64_t lower_ns = 0;
  std::optional<std::int64_t> upper_ns = {};
};

// How the flow was until the write; empty where it was as it should have been.
std::string wrong_before(const PolicyWrite& write, PolicyChange change, const Trace& trace,
                         const Silence& silence) {
  const auto end = trace.first_from(write.sent_ns);
  const auto begin = end > probes_before ? end - probes_before : 0;
  std::size_t arrived = 0;
  std::size_t held_back = 0;
  for (auto i = begin; i < end; ++i) {
    const auto& probe = trace.probes()[i];
    if (probe.received_ns && *probe.received_ns < write.sent_ns) ++arrived;
    if (!probe.received_ns && silence.counts(probe)) ++held_back;
  }
  if (change == PolicyChange::to_denied) {
    return arrived > 0 ? std::string() : "nothing of it arrived before the write";
  }
  if (arrived > 0) return "it arrived before the write already";
  return held_back > 0 ? std::string() : "nothing shows that it was held back before the write";
}

Bracket until_denied(const PolicyWrite& write, const Trace& trace, const Silence& silence,
                     FlowWindow& window) {
  for (const auto at : trace.arrivals()) {
    if (at < write.sent_ns) continue;
    ++window.packets;
    if (at >= write.acked_ns) ++window.packets_after_ack;
    if (!window.first_ns) window.first_ns = at;
    window.last_ns = at;
  }
  // The last probe that passed: it did so between its send and its arrival.
  const Followed* last = nullptr;
  for (const auto& probe : trace.probes()) {
    if (!probe.received_ns || *probe.received_ns < write.sent_ns) continue;
    if (last == nullptr || *probe.received_ns > *last->received_ns) last = &probe;
  }
  Bracket bracket{.lower_ns = write.sent_ns};
  std::int64_t transit = 0;
  if (last != nullptr) {
    bracket.lower_ns = std::max(last->before_ns, write.sent_ns);
    transit = std::max<std::int64_t>(*last->received_ns - last->after_ns, 0);
  } else if (window.last_ns) {
    bracket.lower_ns = *window.last_ns;  // its sender no longer knows of it
  }
  // The first after it that was held back, and no later than its way to the receiver is long.
  bool any_silent = false;
  const auto from = last != nullptr ? last->before_ns + 1 : bracket.lower_ns;
  for (auto i = trace.first_from(from); i < trace.probes().size(); ++i) {
    const auto& probe = trace.probes()[i];
    if (probe.received_ns || !silence.was_watched(probe)) continue;
    any_silent = true;
    if (!silence.counts(probe)) {
      ++window.unproven;
    } else if (!bracket.upper_ns) {
      bracket.upper_ns = std::max(probe.after_ns + transit, bracket.lower_ns);
      bracket.edge = WindowEdge::known;
    }
  }
  if (!bracket.upper_ns) {
    bracket.edge = any_silent ? WindowEdge::unproven : WindowEdge::unseen;
  } else if (window.last_ns) {
    // A packet that came late or twice was let through no one knows when.
    bracket.upper_ns = std::max(*bracket.upper_ns, *window.last_ns);
  }
  return bracket;
}

Bracket until_allowed(const PolicyWrite& write, const Trace& trace, const Silence& silence,
                      FlowWindow& window) {
  const auto& probes = trace.probes();
  const auto from = trace.first_from(write.sent_ns);
  Bracket bracket{.lower_ns = write.sent_ns};
  std::size_t after_last = from;
  for (auto i = from; i < probes.size(); ++i) {
    const auto& probe = probes[i];
    if (probe.received_ns || !silence.was_watched(probe)) continue;
    if (!silence.counts(probe)) {
      ++window.unproven;
      continue;
    }
    ++window.packets;
    if (probe.before_ns >= write.acked_ns) ++window.packets_after_ack;
    if (!window.first_ns) window.first_ns = probe.before_ns;
    window.last_ns = probe.before_ns;
    bracket.lower_ns = probe.before_ns;
    after_last = i + 1;
  }
  // The first after it that arrived. What did not, and proves nothing, may have been held back.
  bool doubted = false;
  for (auto i = after_last; i < probes.size(); ++i) {
    if (probes[i].received_ns) {
      bracket.upper_ns = std::max(*probes[i].received_ns, bracket.lower_ns);
      bracket.edge = doubted ? WindowEdge::unproven : WindowEdge::known;
      return bracket;
    }
    doubted = doubted || silence.was_watched(probes[i]);
  }
  if (doubted) bracket.edge = WindowEdge::unproven;
  return bracket;
}

std::string time_text(double ns) { return base::format_time(ns, base::Charset::ascii); }
std::string time_text(std::int64_t ns) { return time_text(static_cast<double>(ns)); }

// A quantile as evidence holds it; nothing of no values.
base::Json quantile_json(const std::vector<double>& values, double share) {
  const auto effect = base::stats::quantile(values, share, 0.95);
  if (!effect) return {};
  base::Json json = {{"ns", static_cast<std::int64_t>(effect->estimate)}};
  if (effect->interval) {
    json["lower_ns"] = static_cast<std::int64_t>(effect->interval->lower);
    json["upper_ns"] = static_cast<std::int64_t>(effect->interval->upper);
  }
  return json;
}

// All windows of one direction of change, counted.
struct Counted {
  std::uint64_t judged = 0;
  std::uint64_t late = 0;
  std::uint64_t unsure = 0;
  std::uint64_t not_judged = 0;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  std::uint64_t within_1ms = 0;
  std::int64_t resolution_ns = 0;
  std::map<std::string_view, std::uint64_t> excluded = {};
  std::vector<double> windows = {};  // from t_ack, of known edges
  std::vector<double> unended = {};  // from t_ack, of what was still so when the watch ended
  std::vector<double> after_claim = {};
  const FlowWindow* worst = nullptr;
  const FlowWindow* undecided = nullptr;  // one for which it cannot be told
  const FlowWindow* silent = nullptr;     // one that was not judged
};

Counted count(base::Duration budget, const std::vector<FlowWindow>& windows) {
  Counted counted;
  // One that is surely late before any other, and then by what the packets saw.
  const auto weight = [&](const FlowWindow& one) {
    return std::pair(one.at_least_ns > budget.count(), one.from_sent_ns);
  };
  for (const auto& one : windows) {
    if (!one.not_judged.empty()) {
      ++counted.not_judged;
      counted.silent = &one;
      continue;
    }
    ++counted.judged;
    counted.packets += one.packets;
    counted.bytes += one.bytes;
    if (one.at_least_ns > budget.count()) {
      ++counted.late;
    } else if (!one.at_most_ns || *one.at_most_ns > budget.count()) {
      ++counted.unsure;
      counted.undecided = &one;
    }
    if (one.edge == WindowEdge::known) {
      counted.windows.push_back(static_cast<double>(one.from_ack_ns));
      counted.resolution_ns = std::max(counted.resolution_ns, one.error_ns);
      if (one.error_ns <= one_ms) ++counted.within_1ms;
    } else {
      ++counted.excluded[base::enum_name(one.edge)];
      if (one.edge == WindowEdge::unseen && one.packets > 0) {
        counted.unended.push_back(static_cast<double>(one.from_ack_ns));
      }
    }
    if (one.after_claim_ns) counted.after_claim.push_back(static_cast<double>(*one.after_claim_ns));
    if (counted.worst == nullptr || weight(one) > weight(*counted.worst)) counted.worst = &one;
  }
  return counted;
}

base::Json evidence_of(PolicyChange change, base::Duration budget, const Counted& counted) {
  base::Json evidence = {{"change", base::enum_name(change)}, {"budget_ns", budget.count()},
                         {"judged", counted.judged},          {"late", counted.late},
                         {"unsure", counted.unsure},          {"not_judged", counted.not_judged},
                         {"packets", counted.packets},        {"bytes", counted.bytes}};
  evidence["excluded"] = base::Json::object();
  for (const auto& [edge, times] : counted.excluded)
    evidence["excluded"][std::string(edge)] = times;
  if (!counted.windows.empty()) {
    evidence["window"] = {
        {"p50", quantile_json(counted.windows, 0.5)},
        {"max", {{"ns", static_cast<std::int64_t>(std::ranges::max(counted.windows))}}}};
    if (counted.windows.size() >= enough_for_p99) {
      evidence["window"]["p99"] = quantile_json(counted.windows, 0.99);
    }
    evidence["resolution_ns"] = counted.resolution_ns;
    evidence["within_1ms"] = counted.within_1ms;
  }
  if (!counted.unended.empty()) {
    auto longest = std::ranges::max(counted.unended);
    if (!counted.windows.empty()) longest = std::max(longest, std::ranges::max(counted.windows));
    evidence["window"]["max"] = {{"ns", static_cast<std::int64_t>(longest)}, {"at_least", true}};
  }
  if (!counted.after_claim.empty()) {
    evidence["after_claim"] = {
        {"p50", quantile_json(counted.after_claim, 0.5)},
        {"max", {{"ns", static_cast<std::int64_t>(std::ranges::max(counted.after_claim))}}}};
  }
  if (counted.worst != nullptr) {
    const auto& worst = *counted.worst;
    evidence["worst"] = {{"flow", worst.flow},
                         {"edge", base::enum_name(worst.edge)},
                         {"from_ack_ns", worst.from_ack_ns},
                         {"from_sent_ns", worst.from_sent_ns},
                         {"at_least_ns", worst.at_least_ns},
                         {"packets", worst.packets},
                         {"packets_after_ack", worst.packets_after_ack},
                         {"bytes", worst.bytes},
                         {"error_ns", worst.error_ns}};
    if (worst.at_most_ns) evidence["worst"]["at_most_ns"] = *worst.at_most_ns;
    if (worst.first_ns) evidence["worst"]["first_ns"] = *worst.first_ns;
    if (worst.last_ns) evidence["worst"]["last_ns"] = *worst.last_ns;
  }
  return evidence;
}

// The worst flow, as packets saw it.
std::string seen(PolicyChange change, const FlowWindow& worst) {
  const auto* const what = change == PolicyChange::to_denied ? "passed" : "were held back";
  if (worst.packets == 0) {
    return fmt::format("of {} no packet {} once it was written", worst.flow,
                       change == PolicyChange::to_denied ? "passed" : "was held back");
  }
  auto text = fmt::format("of {} {} ({}) {} until {} after the acknowledgement", worst.flow,
                          base::format_count(worst.packets, "packet"),
                          base::format_bytes(static_cast<double>(worst.bytes)), what,
                          time_text(worst.from_ack_ns));
  if (worst.edge == WindowEdge::known) {
    text += fmt::format(" (+- {})", time_text(worst.error_ns));
  } else if (worst.at_most_ns) {
    text += fmt::format(", and may have until {} after the write", time_text(*worst.at_most_ns));
  } else {
    text += ", and nothing shows when that ended";
  }
  return text;
}

// Puts what packets saw and the bracket around its end into figures.
void measure(const PolicyWrite& write, const WatchedFlow& watched, const Bracket& bracket,
             base::Duration widest, FlowWindow& window) {
  const auto clock = watched.clock_uncertainty.count();
  const auto last = window.last_ns.value_or(write.sent_ns);
  window.edge = bracket.edge;
  window.bytes = window.packets * watched.flow.packet_bytes;
  window.from_sent_ns = last - write.sent_ns;
  window.from_ack_ns = last - write.acked_ns;
  window.at_least_ns = bracket.lower_ns - write.acked_ns - clock;
  if (bracket.upper_ns && bracket.edge != WindowEdge::unproven) {
    window.bracket_ns = *bracket.upper_ns - bracket.lower_ns;
    window.error_ns = window.bracket_ns + clock + write.acked_ns - write.sent_ns;
    window.at_most_ns = *bracket.upper_ns - write.sent_ns + clock;
    if (window.bracket_ns > widest.count()) window.edge = WindowEdge::wide;
  } else if (bracket.upper_ns) {
    // It was allowed by then at the latest, whatever was held back before.
    window.bracket_ns = *bracket.upper_ns - bracket.lower_ns;
    window.at_most_ns = *bracket.upper_ns - write.sent_ns + clock;
  }
  if (write.programmed_ns && window.last_ns) {
    window.after_claim_ns = *window.last_ns - *write.programmed_ns;
  }
}

}  // namespace

FlowWindow window_of(const PolicyWrite& write, PolicyChange change, const WatchedFlow& watched,
                     base::Duration widest) {
  FlowWindow window{.flow = watched.name};
  const Trace trace(watched.flow);
  const Silence silence(watched);
  if ((watched.was_there && write.sent_ns < watched.from_ns) || write.acked_ns > watched.until_ns) {
    window.not_judged = "it was not watched from before the write until after it";
  } else if (watched.was_there) {
    window.not_judged = wrong_before(write, change, trace, silence);
  } else if (trace.first_from(write.sent_ns) == trace.probes().size()) {
    window.not_judged = "nothing was sent since its pod came";
  }
  if (!window.not_judged.empty()) return window;

  const auto bracket = change == PolicyChange::to_denied
                           ? until_denied(write, trace, silence, window)
                           : until_allowed(write, trace, silence, window);
  measure(write, watched, bracket, widest, window);
  return window;
}

FlowWindow losses_of(const PolicyWrite& write, const WatchedFlow& watched, base::Duration widest) {
  FlowWindow window{.flow = watched.name};
  const Trace trace(watched.flow);
  if (write.sent_ns < watched.from_ns || write.acked_ns > watched.until_ns) {
    window.not_judged = "it was not watched from before the write until after it";
  } else if (!watched.flow.all_received) {
    window.not_judged = "its receiver had no room for all that came";
  } else {
    window.not_judged = wrong_before(write, PolicyChange::to_denied, trace, Silence(watched));
  }
  if (!window.not_judged.empty()) return window;

  const auto& probes = trace.probes();
  Bracket bracket{.lower_ns = write.sent_ns};
  for (auto i = trace.first_from(write.sent_ns); i < probes.size(); ++i) {
    const auto& probe = probes[i];
    if (probe.received_ns) {
      // The first that arrived after one that did not, or after the write.
      if (!bracket.upper_ns) bracket.upper_ns = std::max(*probe.received_ns, bracket.lower_ns);
      continue;
    }
    if (!probe.refused && probe.after_ns > watched.until_ns - arrival_grace.count()) continue;
    ++window.packets;
    if (probe.before_ns >= write.acked_ns) ++window.packets_after_ack;
    if (!window.first_ns) window.first_ns = probe.before_ns;
    window.last_ns = probe.before_ns;
    bracket = {.lower_ns = probe.before_ns};
  }
  if (bracket.upper_ns) bracket.edge = WindowEdge::known;
  measure(write, watched, bracket, widest, window);
  return window;
}

Finding leak_window(PolicyChange change, base::Duration budget,
                    const std::vector<FlowWindow>& windows, std::uint64_t replaced) {
  const auto counted = count(budget, windows);
  Finding finding{.evidence = evidence_of(change, budget, counted)};
  finding.evidence["replaced"] = replaced;
  if (counted.worst == nullptr) {
    finding.sentence = counted.silent == nullptr
                           ? "cannot tell: no flow was watched"
                           : fmt::format("cannot tell: of {}: {}", counted.silent->flow,
                                         counted.silent->not_judged);
    return finding;
  }
  const auto& worst = *counted.worst;
  finding.observed = fmt::format("{} {}", change == PolicyChange::to_denied ? "leaks" : "blocked",
                                 time_text(worst.from_ack_ns));
  if (worst.packets == 0) finding.observed = "at once";
  const auto changes = base::format_count(counted.judged, "watched change");
  const auto said = seen(change, worst);
  if (counted.late > 0) {
    finding.verdict = Verdict::fail;
    finding.sentence = fmt::format("{} of {} took longer than {}: {}", counted.late, changes,
                                   time_text(budget.count()), said);
  } else if (counted.not_judged > 0) {
    finding.sentence = fmt::format(
        "cannot tell: {} of {} watched changes say nothing (of {}: {}); of the others, {}",
        counted.not_judged, windows.size(), counted.silent->flow, counted.silent->not_judged, said);
  } else if (counted.undecided != nullptr) {
    finding.sentence =
        fmt::format("cannot tell whether {} of {} kept within {}: {}", counted.unsure, changes,
                    time_text(budget.count()), seen(change, *counted.undecided));
  } else {
    finding.verdict = Verdict::pass;
    finding.sentence = fmt::format("in {}, {}", changes, said);
  }
  if (replaced > 0) {
    finding.sentence += fmt::format("; {} more stalled and {} replaced by others", replaced,
                                    replaced == 1 ? "was" : "were");
  }
  return finding;
}

}  // namespace checks
