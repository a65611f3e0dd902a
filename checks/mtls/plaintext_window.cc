#include "checks/mtls/plaintext_window.h"

#include <algorithm>
#include <functional>

#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;
using bench::Knock;
using bench::ReachOutcome;

// Whoever was there said no. A status of a proxy that has nobody to pass a request on to is no
// refusal: it took the request.
bool refused(const Knock& knock) {
  return knock.outcome == ReachOutcome::refused || knock.outcome == ReachOutcome::cut;
}
bool answered(const Knock& knock) { return knock.outcome == ReachOutcome::answered; }
// Whether it says anything of the door.
bool tells(const Knock& knock) { return refused(knock) || answered(knock); }

std::int64_t middle(const Bracket& bracket) {
  return bracket.from_ns + (bracket.to_ns - bracket.from_ns) / 2;
}

PlainWindow answered_window(const MeshWatch& watch) {
  PlainWindow window{.watched_until_ns = watch.until_ns,
                     .clock_ns = watch.clock_uncertainty.count()};
  const auto from = watch.closes ? watch.sent_ns : watch.from_ns;
  const Knock* first = nullptr;
  const Knock* last = nullptr;
  for (const auto& knock : watch.outsider) {
    if (!answered(knock) || knock.before_ns < from) continue;
    ++window.times;
    if (first == nullptr) first = &knock;
    last = &knock;
  }
  if (watch.closes) window.opened = {watch.sent_ns, watch.acked_ns};
  if (last == nullptr) {
    // That it closed is known all the same: between the write and the first that was refused.
    const auto shut = std::ranges::find_if(watch.outsider, [&](const Knock& knock) {
      return knock.before_ns >= from && refused(knock);
    });
    if (shut != watch.outsider.end()) window.closed = {from, std::max(from, shut->after_ns)};
    return window;
  }
  window.first_ns = first->before_ns;
  window.last_ns = last->before_ns;
  if (!watch.closes) {
    window.opened = {watch.from_ns, first->after_ns};
    for (const auto& knock : watch.outsider) {
      if (knock.before_ns >= first->before_ns) break;
      if (refused(knock)) window.opened.from_ns = knock.before_ns;
    }
  }
  const auto shut = std::ranges::find_if(watch.outsider, [&](const Knock& knock) {
    return knock.before_ns > last->before_ns && refused(knock);
  });
  if (shut != watch.outsider.end()) window.closed = {last->before_ns, shut->after_ns};
  return window;
}

PlainWindow readable_window(const MeshWatch& watch) {
  PlainWindow window{.watched_until_ns = watch.until_ns,
                     .clock_ns = watch.clock_uncertainty.count()};
  if (watch.readable == 0 || !watch.readable_span) return window;
  window.times = watch.readable;
  window.first_ns = watch.readable_span->first_ns;
  window.last_ns = watch.readable_span->last_ns;
  window.opened = {watch.from_ns, window.first_ns};
  for (const auto& request : watch.client) {
    // The first that was readable was begun before it was, and the one before it was not.
    if (request.after_ns >= window.first_ns) break;
    if (was_sent(request)) window.opened.from_ns = request.before_ns;
  }
  // Nobody asked before the client began.
  if (window.first_ns >= watch.client_since_ns) {
    window.opened.from_ns = std::max(window.opened.from_ns, watch.client_since_ns);
  }
  const auto sealed = std::ranges::find_if(watch.client, [&](const Knock& request) {
    return request.before_ns > window.last_ns && was_sent(request);
  });
  if (sealed != watch.client.end()) window.closed = {window.last_ns, sealed->after_ns};
  return window;
}

// The longest time between the beginnings of two of which `counts` holds, or to the end of them.
std::int64_t longest_gap(const std::vector<Knock>& knocks, std::int64_t from_ns,
                         std::int64_t until_ns, const std::function<bool(const Knock&)>& counts) {
  std::int64_t longest = 0;
  auto before = from_ns;
  for (const auto& knock : knocks) {
    if (knock.before_ns < from_ns || !counts(knock)) continue;
    longest = std::max(longest, knock.before_ns - before);
    before = knock.before_ns;
  }
  return std::max(longest, until_ns - before);
}

// Of a change that forbids: that plaintext was answered when it was written.
bool was_open(const MeshWatch& watch) {
  const Knock* last = nullptr;
  for (const auto& knock : watch.outsider) {
    if (knock.before_ns >= watch.sent_ns) break;
    if (tells(knock) && knock.after_ns < watch.sent_ns) last = &knock;
  }
  return last != nullptr && answered(*last);
}

std::string why_not_judged(const MeshWatch& watch, const ChangeSeen& seen) {
  if (std::ranges::none_of(watch.outsider, tells)) return "nobody who knocked met the pod's door";
  if (watch.closes && !was_open(watch)) {
    return "plaintext was not answered when STRICT was written, so nothing could be seen to close";
  }
  if (seen.blind_ns > widest_blindness.count() && !seen.answered.seen()) {
    return fmt::format("nobody tried the door for {}",
                       base::format_time(static_cast<double>(seen.blind_ns), base::Charset::ascii));
  }
  if (seen.readable.seen()) return {};
  if (!watch.capture_trouble.empty()) return watch.capture_trouble;
  if (seen.asked == seen.failed) return "none of the client's requests was answered";
  return {};
}

std::string time_text(std::int64_t ns) {
  return base::format_time(static_cast<double>(ns), base::Charset::ascii);
}

// All repetitions' windows of one kind.
struct Counted {
  std::uint64_t times = 0;
  int windows = 0;
  int late = 0;
  int unsure = 0;
  const PlainWindow* longest = nullptr;

  void add(const PlainWindow& window, base::Duration budget) {
    times += window.times;
    const auto kept = kept_within(window, budget);
    late += kept == Kept::no ? 1 : 0;
    unsure += kept == Kept::unsure ? 1 : 0;
    if (!window.seen()) return;
    ++windows;
    const auto weight = [](const PlainWindow& one) {
      return std::pair(!one.closed.has_value(), one.length_ns());
    };
    if (longest == nullptr || weight(window) > weight(*longest)) longest = &window;
  }

  [[nodiscard]] base::Json evidence() const {
    base::Json json = {{"times", times}, {"windows", windows}};
    if (longest == nullptr) return json;
    json["longest"] = {{"length_ns", longest->length_ns()},
                       {"error_ns", longest->error_ns()},
                       {"at_least_ns", longest->at_least_ns()},
                       {"closed", longest->closed.has_value()}};
    if (const auto most = longest->at_most_ns()) json["longest"]["at_most_ns"] = *most;
    return json;
  }
  // "for 50.3 ms (+- 0.4 ms)".
  [[nodiscard]] std::string length() const {
    if (!longest->closed) {
      return fmt::format("for {} and to the end of the watch, nothing closed it",
                         time_text(longest->length_ns()));
    }
    return fmt::format("for {} (+- {})", time_text(longest->length_ns()),
                       time_text(longest->error_ns()));
  }
};

std::string words_of(const Counted& answered, const Counted& readable) {
  std::string text = answered.longest == nullptr
                         ? "no plaintext was answered that must not be"
                         : fmt::format("plaintext was answered {}, {} in all", answered.length(),
                                       base::format_count(answered.times, "request"));
  text += readable.longest == nullptr
              ? "; nothing of the mesh's own was readable"
              : fmt::format("; requests of the client's were readable on the wire {}, {} in all",
                            readable.length(), base::format_count(readable.times, "time"));
  return text;
}

std::string in_a_word(const Counted& answered, const Counted& readable) {
  const auto word = [](const Counted& counted) {
    if (counted.longest == nullptr) return std::string("none");
    return counted.longest->closed ? time_text(counted.longest->length_ns())
                                   : std::string("never closes");
  };
  if (answered.longest == nullptr && readable.longest == nullptr) return "none";
  return fmt::format("answered: {}, readable: {}", word(answered), word(readable));
}

}  // namespace

std::int64_t PlainWindow::length_ns() const {
  if (!seen()) return 0;
  return (closed ? middle(*closed) : watched_until_ns) - middle(opened);
}

std::int64_t PlainWindow::error_ns() const {
  const auto half = [](const Bracket& bracket) {
    return (bracket.to_ns - bracket.from_ns + 1) / 2;
  };
  if (!seen()) return 0;
  return half(opened) + (closed ? half(*closed) : 0) + clock_ns;
}

std::int64_t PlainWindow::at_least_ns() const {
  if (!seen()) return 0;
  return std::max<std::int64_t>((closed ? closed->from_ns : last_ns) - opened.to_ns - clock_ns, 0);
}

std::optional<std::int64_t> PlainWindow::at_most_ns() const {
  if (!seen() && !closed) return 0;
  if (!closed) return std::nullopt;
  return closed->to_ns - opened.from_ns + clock_ns;
}

bool was_sent(const Knock& knock) {
  return answered(knock) || knock.outcome == ReachOutcome::cut ||
         knock.outcome == ReachOutcome::silent || knock.outcome == ReachOutcome::answered_by_other;
}

Kept kept_within(const PlainWindow& window, base::Duration budget) {
  if (budget.count() == 0) return window.seen() ? Kept::no : Kept::yes;
  if (!window.seen()) return Kept::yes;
  if (window.at_least_ns() > budget.count()) return Kept::no;
  const auto most = window.at_most_ns();
  // What nobody saw close, and was seen for no longer than it may be.
  if (!most) return Kept::unsure;
  return *most <= budget.count() ? Kept::yes : Kept::unsure;
}

ChangeSeen look_at(const MeshWatch& watch) {
  ChangeSeen seen{.answered = answered_window(watch), .readable = readable_window(watch)};
  for (const auto& request : watch.client) {
    if (request.before_ns < watch.sent_ns) continue;
    ++seen.asked;
    if (!answered(request)) ++seen.failed;
  }
  seen.outage_ns = longest_gap(watch.client, watch.sent_ns, watch.until_ns, answered);
  // A pod that is made anew has a door from when it has its address.
  const auto since = std::max(watch.sent_ns, watch.door_since_ns);
  const auto first = std::ranges::find_if(
      watch.outsider, [&](const Knock& knock) { return knock.before_ns >= since && tells(knock); });
  const auto there = first == watch.outsider.end() ? since : first->before_ns;
  seen.blind_ns = longest_gap(watch.outsider, there, watch.until_ns, tells);
  seen.not_judged = why_not_judged(watch, seen);
  return seen;
}

Finding no_plaintext_window(const std::vector<ChangeSeen>& repetitions, int wanted,
                            base::Duration budget) {
  Counted answered;
  Counted readable;
  int told = 0;
  std::int64_t blind_ns = 0;
  std::string why;
  for (const auto& one : repetitions) {
    answered.add(one.answered, budget);
    readable.add(one.readable, budget);
    if (one.not_judged.empty()) {
      ++told;
      blind_ns = std::max(blind_ns, one.blind_ns);
    } else if (why.empty()) {
      why = one.not_judged;
    }
  }
  Finding finding{.observed = in_a_word(answered, readable),
                  .evidence = {{"repetitions", repetitions.size()},
                               {"told", told},
                               {"budget_ns", budget.count()},
                               {"answered", answered.evidence()},
                               {"readable", readable.evidence()},
                               {"blind_ns", blind_ns}}};
  if (!why.empty()) finding.evidence["not_judged"] = why;
  const auto seen = words_of(answered, readable);
  const auto times = base::format_count(repetitions.size(), "repetition");
  if (answered.late + readable.late > 0) {
    finding.verdict = Verdict::fail;
    const auto allowed = budget.count() == 0
                             ? std::string("though none may be")
                             : fmt::format("and may be for {}", time_text(budget.count()));
    finding.sentence = fmt::format("in {}: {}, {}", times, seen, allowed);
  } else if (told < wanted) {
    finding.sentence = fmt::format("cannot tell: {} of {} say nothing ({}); in the others: {}",
                                   static_cast<int>(repetitions.size()) - told, times, why, seen);
    if (told == 0) finding.sentence = fmt::format("cannot tell: {}", why);
  } else if (answered.unsure + readable.unsure > 0) {
    finding.sentence =
        fmt::format("cannot tell whether it kept within {}: {}", time_text(budget.count()), seen);
  } else {
    finding.verdict = Verdict::pass;
    finding.sentence = fmt::format("in {}: {}; what lasts less than {} may have been missed", times,
                                   seen, time_text(blind_ns));
  }
  return finding;
}

}  // namespace checks
