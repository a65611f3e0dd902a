#include "checks/stale_backend.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/units.h"

namespace checks {
namespace {

using base::Verdict;

std::string time_of(std::int64_t ns) {
  return base::format_time(static_cast<double>(ns), base::Charset::ascii);
}

// How long it may have been, with what went unseen.
std::int64_t at_most(const Stale& stale) { return stale.ns + stale.error_ns; }
std::int64_t at_least(const Stale& stale) { return stale.ns - stale.less_ns; }

struct Worst {
  const Happened* what;
  Stale stale;
  std::pair<bool, std::int64_t> weight;  // by which it is the worst
};

}  // namespace

Finding stale_backend(base::Duration budget, const std::vector<Outcomes>& invocations) {
  std::optional<Worst> worst;
  std::uint64_t judged = 0;
  std::uint64_t late = 0;
  std::uint64_t unsure = 0;
  std::uint64_t unjudged = 0;
  std::uint64_t lost = 0;
  for (const auto& invocation : invocations) {
    lost += invocation.arrivals_lost + invocation.failures_lost;
    for (const auto& event : invocation.events) {
      if (!cluster::makes_leave(event.what.kind)) continue;
      if (!event.stale) {
        ++unjudged;
        continue;
      }
      const Stale stale = *event.stale;
      const bool is_late = at_least(stale) > budget.count();
      ++judged;
      if (is_late) {
        ++late;
      } else if (at_most(stale) > budget.count()) {
        ++unsure;
      }
      // One that is surely late before one of which little is known.
      const auto weight = std::pair(is_late, at_most(stale));
      if (!worst || weight > worst->weight) worst = Worst{&event.what, stale, weight};
    }
  }
  Finding finding{.evidence = {{"budget_ns", budget.count()},
                               {"judged", judged},
                               {"late", late},
                               {"unsure", unsure},
                               {"not_judged", unjudged},
                               {"lost", lost}}};
  if (!worst && lost > 0) {
    finding.sentence =
        fmt::format("cannot tell: {} found no room to be noted", base::format_count(lost, "stamp"));
    return finding;
  }
  if (!worst) {
    finding.sentence = "cannot tell: no backend that left was sent anything before it did";
    return finding;
  }
  const auto* const what = worst->what;
  const auto& stale = worst->stale;
  finding.evidence["worst"] = {{"event", base::enum_name(what->kind)},
                               {"pod", what->pod},
                               {"stale_ns", stale.ns},
                               {"error_ns", stale.error_ns},
                               {"less_ns", stale.less_ns},
                               {"judged_by", base::enum_name(stale.judged_by)}};
  finding.observed = stale.ns > 0 ? "stale " + time_of(stale.ns) : "none stale";
  const auto departures = base::format_count(judged, "departure");
  const auto found =
      fmt::format("at most {} after it was written (+ {} unseen; {} of {}, by the {}'s stamp)",
                  time_of(stale.ns), time_of(stale.error_ns), base::enum_name(what->kind),
                  what->pod, base::enum_name(stale.judged_by));
  if (late > 0) {
    finding.verdict = Verdict::fail;
    finding.sentence = fmt::format("{} of {} were felt beyond {}: a backend was reached {}", late,
                                   departures, time_of(budget.count()), found);
  } else if (lost > 0) {
    finding.sentence = fmt::format(
        "cannot tell: {} found no room to be noted; of the others, a backend was reached {}",
        base::format_count(lost, "stamp"), found);
  } else if (unjudged > 0) {
    finding.sentence = fmt::format(
        "cannot tell: nothing says of {} when a backend was last reached; of the others, one was "
        "{}",
        base::format_count(unjudged, "departure"), found);
  } else if (unsure > 0) {
    finding.sentence = fmt::format(
        "cannot tell: of {} of {}, what may have gone unseen, or how long its write took, reaches "
        "beyond {}; a backend was reached {}",
        unsure, departures, time_of(budget.count()), found);
  } else {
    finding.verdict = Verdict::pass;
    finding.sentence = fmt::format("in {}, a backend was reached {}", departures, found);
  }
  return finding;
}

}  // namespace checks
