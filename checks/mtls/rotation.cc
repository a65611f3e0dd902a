#include "checks/mtls/rotation.h"

#include <algorithm>
#include <utility>

#include <fmt/ranges.h>

#include "base/units.h"

namespace checks {
namespace {

constexpr std::size_t steps_told = 3;

// ---- time --------------------------------------------------------------------------------------

struct Span {
  std::int64_t begins_ns;
  std::int64_t ends_ns;
  [[nodiscard]] bool holds(std::int64_t at) const { return at >= begins_ns && at < ends_ns; }
};

// The step a failed request is charged to; nothing where it came before all of them.
std::optional<std::size_t> charged_to(const bench::FailedRequest& failure,
                                      const std::vector<RotationTaken>& steps) {
  std::optional<std::size_t> last;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const auto sent = steps[i].rotated.sent_ns;
    if (sent > failure.ended_ns) break;
    last = i;
    if (sent >= failure.begun_ns) break;  // it was under way
  }
  return last;
}

std::uint64_t failures_of(const RotationTraffic& traffic) {
  return traffic.client.failures.size() + traffic.client.failures_lost;
}

// How many kept connections were opened in place of others.
std::uint64_t reopened_in(const RotationTraffic& traffic) {
  std::uint64_t answered = 0;
  for (const auto& [server, flows] : traffic.client.flows_of) answered += flows;
  const auto kept = static_cast<std::uint64_t>(traffic.kept.value_or(0));
  return answered - std::min(answered, kept);
}

// The time at which a slice begins.
std::int64_t slice_at(const RotationTraffic& traffic, std::size_t index) {
  return traffic.client.start_ns + traffic.slice.count() * static_cast<std::int64_t>(index);
}

std::uint64_t answered_in(const RotationTraffic& traffic, const Span& span) {
  std::uint64_t answered = 0;
  const auto& slices = traffic.client.answer_slices;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (span.holds(slice_at(traffic, i))) answered += slices[i].answered;
  }
  return answered;
}

// The longest time without an answer that ended in it, or that it ended in.
std::int64_t longest_gap_in(const RotationTraffic& traffic, const Span& span) {
  std::int64_t longest = 0;
  std::int64_t last_answer = traffic.client.start_ns;
  bool goes_on = true;  // nothing was answered soon after it
  const auto& slices = traffic.client.answer_slices;
  for (std::size_t i = 0; i < slices.size(); ++i) {
    const auto& slice = slices[i];
    if (slice.gap_ended_ns > span.begins_ns && slice.gap_ended_ns <= span.ends_ns) {
      longest = std::max(longest, slice.longest_gap_ns);
    }
    if (slice.answered == 0) continue;
    if (slice.last_ns <= span.ends_ns) {
      last_answer = slice.last_ns;
    } else if (slice_at(traffic, i) <= span.ends_ns) {
      goes_on = false;
    }
  }
  return goes_on ? std::max(longest, span.ends_ns - last_answer) : longest;
}

TrafficDuring during(const RotationObservation& seen, const RotationTraffic& traffic,
                     std::optional<std::size_t> step, const Span& span) {
  TrafficDuring found{.traffic = traffic.name,
                      .answered = answered_in(traffic, span),
                      .longest_gap_ns = longest_gap_in(traffic, span)};
  std::uint64_t failures = 0;
  for (const auto& failure : traffic.client.failures) {
    if (charged_to(failure, seen.steps) != step) continue;
    ++found.failed[std::string(base::enum_name(failure.what))];
    ++failures;
  }
  // One that was closed between two requests fails none, and nobody knows when that was.
  if (traffic.kept && step && reopened_in(traffic) <= failures_of(traffic)) {
    const auto kept = static_cast<std::uint64_t>(*traffic.kept);
    found.went_on = kept - std::min(kept, failures);
  }
  return found;
}

// ---- handshakes --------------------------------------------------------------------------------

Renewal renewal_of(const cluster::GivenCertificate& given, const bench::TlsProbeResult& seen) {
  Renewal renewal{.pod = given.pod,
                  .identity = given.identity,
                  .serial = given.serial,
                  .not_after_s = given.not_after_s};
  std::int64_t other_at = 0;  // the last handshake with another certificate, begun
  for (const auto& tried : seen.doors) {
    if (tried.name != given.pod || !tried.peer) continue;
    if (tried.peer->serial == given.serial) {
      const auto shown = tried.at_ns + tried.took_ns;
      renewal.shown_ns = std::max<std::int64_t>(0, shown - given.at_ns);
      renewal.error_ns = std::max<std::int64_t>(0, shown - std::max(other_at, given.at_ns));
      break;
    }
    other_at = tried.last_ns;
  }
  return renewal;
}

std::optional<HandshakesSoFar> between(const std::optional<HandshakesSoFar>& before,
                                       const std::optional<HandshakesSoFar>& after) {
  // A proxy that was started anew counts from nothing.
  if (!before || !after || after->handshakes < before->handshakes) return std::nullopt;
  return HandshakesSoFar{after->handshakes - before->handshakes, after->resumed - before->resumed,
                         after->failed - before->failed};
}

std::vector<ExpiredCertificate> expired_in(const RotationObservation& seen) {
  constexpr std::int64_t second = 1'000'000'000;
  std::vector<ExpiredCertificate> all;
  for (const auto& tried : seen.seen.doors) {
    if (!tried.peer) continue;
    const auto over_ns = tried.peer->not_after_s * second - seen.wall_ahead_ns;
    // What was over after the end nobody was to renew any more.
    if (tried.last_ns < over_ns || over_ns >= seen.ends_ns) continue;
    const auto known = std::ranges::find_if(all, [&](const ExpiredCertificate& one) {
      return one.pod == tried.name && one.serial == tried.peer->serial;
    });
    if (known != all.end()) {
      known->shown_until_ns = tried.last_ns;
      continue;
    }
    const auto& uris = tried.peer->uris;
    all.push_back({.pod = tried.name,
                   .identity = uris.empty() ? tried.peer->subject : uris.front(),
                   .serial = tried.peer->serial,
                   .expired_ns = over_ns,
                   .shown_until_ns = tried.last_ns});
  }
  for (auto& one : all) {
    for (const auto& traffic : seen.traffic) {
      TrafficSince since{.traffic = traffic.name,
                         .answered = answered_in(traffic, {one.expired_ns, seen.ends_ns})};
      for (const auto& failure : traffic.client.failures) {
        if (failure.ended_ns < one.expired_ns) continue;
        ++since.failed[std::string(base::enum_name(failure.what))];
      }
      one.since.push_back(std::move(since));
    }
  }
  return all;
}

// ---- words -------------------------------------------------------------------------------------

std::string time_text(std::int64_t ns) {
  return base::format_time(static_cast<double>(ns), base::Charset::ascii);
}

std::uint64_t total(const std::map<std::string, std::uint64_t>& counts) {
  std::uint64_t sum = 0;
  for (const auto& [name, count] : counts) sum += count;
  return sum;
}

// "42 failed (refused 12, reset 30)".
std::string failed_text(const std::map<std::string, std::uint64_t>& failed) {
  std::vector<std::string> classes;
  for (const auto& [name, count] : failed) classes.push_back(fmt::format("{} {}", name, count));
  return fmt::format("{} failed ({})", total(failed), fmt::join(classes, ", "));
}

const TrafficDuring* of(const std::vector<TrafficDuring>& all, const std::string& name) {
  const auto found = std::ranges::find(all, name, &TrafficDuring::traffic);
  return found == all.end() ? nullptr : &*found;
}

std::string waited(std::int64_t ns) { return fmt::format("{} without an answer", time_text(ns)); }

// The first few, and how many more there are.
std::string list(const std::vector<std::string>& all) {
  const auto shown = std::min(all.size(), steps_told);
  auto text = fmt::format(
      "{}", fmt::join(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(shown), "; "));
  if (shown < all.size()) text += fmt::format("; and so on, {} in all", all.size());
  return text;
}

Finding cannot_tell(std::string sentence) {
  return {.verdict = base::Verdict::inconclusive,
          .sentence = std::move(sentence),
          .observed = "unknown",
          .evidence = base::Json::object()};
}

// That there is something to compare with: traffic was sound before anything was rotated.
std::optional<Finding> was_unsound(const RotationOutcome& outcome, const std::string& traffic,
                                   base::Duration gap) {
  const auto* before = of(outcome.before, traffic);
  if (before == nullptr || outcome.steps.empty()) return cannot_tell("nothing was rotated");
  if (const auto failed = total(before->failed); failed > 0) {
    return cannot_tell(
        fmt::format("before anything was rotated {} already: what rotating breaks "
                    "cannot be told from that",
                    failed_text(before->failed)));
  }
  if (before->longest_gap_ns > gap.count()) {
    return cannot_tell(fmt::format(
        "{} before anything was rotated: what rotating holds up cannot be told from that",
        waited(before->longest_gap_ns)));
  }
  return std::nullopt;
}

std::string shown_text(const Renewal& renewal) {
  return fmt::format("{} after it was written", time_text(renewal.shown_ns.value_or(0)));
}

}  // namespace

std::string name_of(const StepOutcome& step) {
  return fmt::format("{} (step {})", base::enum_name(step.step), step.number);
}

RotationOutcome outcome_of(const RotationObservation& seen) {
  RotationOutcome outcome{.begins_ns = seen.begins_ns};
  const auto step_begins = [&](std::size_t i) {
    return i < seen.steps.size() ? seen.steps[i].rotated.sent_ns : seen.ends_ns;
  };
  for (const auto& traffic : seen.traffic) {
    outcome.before.push_back(
        during(seen, traffic, std::nullopt, {traffic.client.start_ns, step_begins(0)}));
    outcome.failures_lost += traffic.client.failures_lost;
  }
  for (std::size_t i = 0; i < seen.steps.size(); ++i) {
    const auto& taken = seen.steps[i];
    StepOutcome step{.step = taken.step,
                     .number = static_cast<int>(i) + 1,
                     .begins_ns = step_begins(i),
                     .ends_ns = step_begins(i + 1)};
    for (const auto& traffic : seen.traffic) {
      step.traffic.push_back(during(seen, traffic, i, {step.begins_ns, step.ends_ns}));
    }
    for (const auto& given : taken.rotated.given) {
      step.renewals.push_back(renewal_of(given, seen.seen));
    }
    for (const auto& pod : seen.watched) {
      if (!cluster::issues_leaves(taken.step)) break;
      if (std::ranges::find(step.renewals, pod, &Renewal::pod) == step.renewals.end()) {
        step.not_renewed.push_back(pod);
      }
    }
    step.handshakes =
        between(taken.before, i + 1 < seen.steps.size() ? seen.steps[i + 1].before : seen.at_end);
    outcome.steps.push_back(std::move(step));
  }
  for (const auto& pod : seen.watched) outcome.handshakes_seen[pod] = 0;
  for (const auto& tried : seen.seen.doors) {
    if (tried.peer) outcome.handshakes_seen[tried.name] += tried.tries;
  }
  outcome.expired = expired_in(seen);
  for (const auto& traffic : seen.traffic) {
    if (!traffic.kept) continue;
    const auto kept = static_cast<std::uint64_t>(*traffic.kept);
    outcome.kept_traffic = traffic.name;
    outcome.from_before =
        kept - std::min(kept, std::max(failures_of(traffic), reopened_in(traffic)));
  }
  return outcome;
}

Finding rotation_is_seamless(const RotationOutcome& outcome, const std::string& traffic,
                             base::Duration gap) {
  if (auto unsound = was_unsound(outcome, traffic, gap)) return *std::move(unsound);
  Finding finding;
  std::vector<std::string> noticed;
  bool errors = outcome.failures_lost > 0;
  std::uint64_t answered = 0;
  std::int64_t longest = 0;
  const StepOutcome* slowest = nullptr;
  const bool kept = outcome.kept_traffic == traffic && outcome.from_before.has_value();
  for (const auto& step : outcome.steps) {
    const auto* its = of(step.traffic, traffic);
    if (its == nullptr) continue;
    answered += its->answered;
    if (slowest == nullptr || its->longest_gap_ns > longest) {
      longest = its->longest_gap_ns;
      slowest = &step;
    }
    const bool failed = total(its->failed) > 0;
    const bool held_up = its->longest_gap_ns > gap.count();
    errors = errors || failed;
    if (!failed && !held_up) continue;
    std::vector<std::string> what;
    if (failed) what.push_back(failed_text(its->failed));
    if (held_up) what.push_back(waited(its->longest_gap_ns));
    noticed.push_back(fmt::format("after {}: {}", name_of(step), fmt::join(what, ", ")));
  }
  finding.evidence["answered"] = answered;
  finding.evidence["longest_gap_ns"] = longest;
  finding.evidence["failures_without_a_stamp"] = outcome.failures_lost;
  if (kept) finding.evidence["from_before"] = *outcome.from_before;
  if (answered == 0 && noticed.empty()) return cannot_tell("nothing was answered");
  if (!noticed.empty() || errors) {
    finding.verdict = base::Verdict::fail;
    finding.observed = errors ? "errors" : "gap";
    finding.sentence = list(noticed);
    if (outcome.failures_lost > 0) {
      finding.sentence +=
          fmt::format("; {} more failed of which nobody knows when", outcome.failures_lost);
    }
    return finding;
  }
  finding.verdict = base::Verdict::pass;
  finding.observed = "seamless";
  finding.sentence =
      fmt::format("{} and no request failed; {} were answered, at most {} apart (after {})",
                  base::format_count(outcome.steps.size(), "step"),
                  base::format_count(answered, "request"), time_text(longest), name_of(*slowest));
  if (kept) {
    finding.sentence += fmt::format(
        "; {} from before the first step went on to the end, on the certificates of then",
        base::format_count(*outcome.from_before, "connection"));
  }
  return finding;
}

Finding certificates_renewed(const RotationOutcome& outcome, base::Duration budget) {
  for (const auto& [pod, handshakes] : outcome.handshakes_seen) {
    if (handshakes == 0) {
      return cannot_tell(
          fmt::format("the proxy of {} showed no certificate in any handshake", pod));
    }
  }
  Finding finding;
  std::map<std::string, std::vector<std::string>> left_out;  // by pod
  std::vector<std::string> never;
  std::vector<std::string> late;
  std::size_t shown = 0;
  const Renewal* slowest = nullptr;
  std::int64_t error = 0;
  for (const auto& step : outcome.steps) {
    for (const auto& pod : step.not_renewed) left_out[pod].push_back(name_of(step));
    for (const auto& renewal : step.renewals) {
      if (!outcome.handshakes_seen.contains(renewal.pod)) continue;
      if (!renewal.shown_ns) {
        never.push_back(fmt::format("{} ({}) never showed the certificate of {}", renewal.pod,
                                    renewal.identity, name_of(step)));
        continue;
      }
      ++shown;
      error = std::max(error, renewal.error_ns);
      if (slowest == nullptr || *renewal.shown_ns > *slowest->shown_ns) slowest = &renewal;
      if (*renewal.shown_ns > budget.count()) {
        late.push_back(fmt::format("{} showed that of {} {}", renewal.pod, name_of(step),
                                   shown_text(renewal)));
      }
    }
  }
  finding.evidence["shown"] = shown;
  finding.evidence["handshakes"] = outcome.handshakes_seen;
  if (slowest != nullptr) finding.evidence["slowest_ns"] = *slowest->shown_ns;
  finding.evidence["error_ns"] = error;
  std::vector<std::string> all;
  for (const auto& [pod, steps] : left_out) {
    all.push_back(fmt::format("{} was given no new certificate by {} of {}", pod, steps.size(),
                              base::format_count(outcome.steps.size(), "step")));
  }
  all.insert(all.end(), never.begin(), never.end());
  if (!all.empty()) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "not_renewed";
    finding.sentence = list(all);
    return finding;
  }
  if (!late.empty()) {
    finding.verdict = base::Verdict::fail;
    finding.observed = "late";
    finding.sentence = list(late);
    return finding;
  }
  if (slowest == nullptr) return cannot_tell("no proxy was given a new certificate");
  finding.verdict = base::Verdict::pass;
  finding.observed = "renewed";
  finding.sentence = fmt::format(
      "each of {} was shown in a whole handshake, the slowest {} (by {}; read at most {} late)",
      base::format_count(shown, "new certificate"), shown_text(*slowest), slowest->pod,
      time_text(error));
  return finding;
}

Finding certificates_valid_throughout(const RotationOutcome& outcome) {
  std::uint64_t handshakes = 0;
  for (const auto& [pod, count] : outcome.handshakes_seen) handshakes += count;
  if (handshakes == 0) return cannot_tell("no proxy showed a certificate");
  Finding finding;
  finding.evidence["handshakes"] = outcome.handshakes_seen;
  if (outcome.expired.empty()) {
    finding.verdict = base::Verdict::pass;
    finding.observed = "valid";
    finding.sentence = fmt::format("none of {} proxies showed a certificate that was over, in {}",
                                   outcome.handshakes_seen.size(),
                                   base::format_count(handshakes, "whole handshake"));
    return finding;
  }
  std::vector<std::string> all;
  for (const auto& one : outcome.expired) {
    std::vector<std::string> since;
    for (const auto& traffic : one.since) {
      const auto failed = traffic.failed.empty() ? "none failed" : failed_text(traffic.failed);
      since.push_back(
          fmt::format("of {} {}, {} answered", traffic.traffic, failed, traffic.answered));
    }
    all.push_back(fmt::format(
        "{} (serial {}) of {} expired {} after traffic began and was shown for {} more; since then "
        "{}",
        one.identity, one.serial, one.pod, time_text(one.expired_ns - outcome.begins_ns),
        time_text(one.shown_until_ns - one.expired_ns), fmt::join(since, "; ")));
    finding.evidence["expired"].push_back({{"pod", one.pod},
                                           {"identity", one.identity},
                                           {"serial", one.serial},
                                           {"expired_ns", one.expired_ns}});
  }
  finding.verdict = base::Verdict::fail;
  finding.observed = "expired";
  finding.sentence = list(all);
  return finding;
}

}  // namespace checks
