#include "stackbench/bgp/fault_judge.h"

#include <algorithm>
#include <functional>

#include <fmt/ranges.h>

#include "base/json.h"
#include "base/units.h"

namespace stackbench::bgp {
namespace {

using base::Verdict;
using checks::Finding;
using Route = FaultPrediction::Route;

std::string text_of(std::int64_t ns) {
  return ns == 0 ? "0 ms" : base::format_time(static_cast<double>(ns), base::Charset::ascii);
}
std::string text_of(base::Duration time) { return text_of(time.count()); }

std::int64_t seconds(std::uint32_t count) {
  return std::chrono::nanoseconds(std::chrono::seconds(count)).count();
}

// "5.00 s", or "2.10 to 2.90 s".
std::string span_text(std::vector<std::int64_t> values) {
  const auto range = reports::range_of(std::move(values));
  if (!range) return "never seen";
  const auto least = text_of(range->least);
  const auto most = text_of(range->most);
  return least == most ? least : fmt::format("{} to {}", least, most);
}

// Gathers what is wrong with repetitions of one fault.
class Judging {
 public:
  explicit Judging(const FaultRun& run) : run_(run) {}

  // `wrong`: what is wrong with a repetition, empty where nothing is.
  Finding finding(const std::function<std::string(std::size_t, const FaultTimes&)>& wrong,
                  const std::string& seen, const std::string& expected) const {
    Finding result{.sentence = "it was not done once", .observed = seen};
    if (run_.times.empty()) return result;
    std::vector<std::string> faults;
    for (std::size_t i = 0; i < run_.times.size(); ++i) {
      auto why = wrong(i, run_.times[i]);
      if (!why.empty()) faults.push_back(fmt::format("repetition {}: {}", i + 1, why));
    }
    result.verdict = faults.empty() ? Verdict::pass : Verdict::fail;
    result.sentence = fmt::format("{}; {}", seen, expected);
    for (const auto& fault : faults) result.sentence += ". " + fault;
    result.evidence["repetitions"] = run_.times.size();
    result.evidence["faults"] = faults;
    return result;
  }

 private:
  const FaultRun& run_;
};

template <typename Value>
std::vector<std::int64_t> values_of(const FaultRun& run, Value value) {
  std::vector<std::int64_t> values;
  for (const auto& one : run.times) {
    const std::optional<std::int64_t> its = value(one);
    if (its) values.push_back(*its);
  }
  return values;
}

std::string budget_words(const std::optional<base::Duration>& budget) {
  return budget ? fmt::format(", {} granted", text_of(*budget)) : "";
}

Finding stale_in_time(const FaultRun& run) {
  const auto wrong = [&](std::size_t, const FaultTimes& times) -> std::string {
    if (!times.gone_ns) {
      return fmt::format("the route never left in {}", text_of(times.ended_ns));
    }
    const auto predicted = predict_stale(run.spec.kind, run.timers, times);
    if (!predicted)
      return "the session's end was not seen on the wire, so that nothing is predicted";
    const auto off = *times.gone_ns - predicted->at_ns;
    if (std::abs(off) > predicted->slack_ns) {
      return fmt::format("gone after {}, {} {} than predicted", text_of(*times.gone_ns),
                         text_of(std::abs(off)), off > 0 ? "later" : "sooner");
    }
    if (run.spec.budget.stale && *times.gone_ns > run.spec.budget.stale->count()) {
      return fmt::format("gone after {}, beyond the budget", text_of(*times.gone_ns));
    }
    return {};
  };
  const auto gone = values_of(run, [](const auto& one) { return one.gone_ns; });
  const auto predicted = values_of(run, [&](const auto& one) {
    const auto its = predict_stale(run.spec.kind, run.timers, one);
    return its ? std::optional(its->at_ns) : std::nullopt;
  });
  return Judging(run).finding(
      wrong,
      gone.empty() ? "the stale route never left"
                   : fmt::format("a stale route for {}", span_text(gone)),
      fmt::format("predicted {} ({}){}",
                  predicted.empty() ? std::string("nothing") : span_text(predicted),
                  predict(run.spec.kind, run.timers).because, budget_words(run.spec.budget.stale)));
}

bool has_forwarding(const bgp_peer::Open& open, base::AddressFamily family) {
  const auto its = family == base::AddressFamily::ipv4 ? bgp_peer::Family::ipv4_unicast
                                                       : bgp_peer::Family::ipv6_unicast;
  const auto& told = open.graceful_restart;
  return told && std::ranges::find(told->forwarding, its) != told->forwarding.end();
}

Finding restart_keeps_route(const FaultRun& run) {
  const auto wrong = [&](std::size_t, const FaultTimes& times) {
    std::vector<std::string> all;
    if (!times.open) {
      all.emplace_back("no OPEN of the node was seen");
    } else {
      if (!times.open->graceful_restart || !times.open->graceful_restart->restarting) {
        all.emplace_back("its OPEN has no R bit");
      }
      if (!has_forwarding(*times.open, run.family)) {
        all.emplace_back(
            "its OPEN has no F bit, after which its stale routes must go (RFC 4724, 4.2)");
      }
      if (!times.end_of_rib) all.emplace_back("no End-of-RIB marker followed");
    }
    if (times.gone_ns)
      all.push_back(fmt::format("the route left after {}", text_of(*times.gone_ns)));
    return fmt::format("{}", fmt::join(all, ", "));
  };
  return Judging(run).finding(
      wrong,
      fmt::format("back after {}",
                  span_text(values_of(run, [](const auto& one) { return one.up_ns; }))),
      fmt::format("{}", predict(run.spec.kind, run.timers).because));
}

Finding session_recovers(const FaultRun& run) {
  const auto prediction = predict(run.spec.kind, run.timers);
  const auto& budget = run.spec.budget.downtime;
  const auto wrong = [&](std::size_t, const FaultTimes& times) -> std::string {
    if (!times.down_ns) return "the session never came down: the fault was none";
    if (!times.up_ns) {
      return fmt::format("not established again in {}", text_of(times.ended_ns - *times.down_ns));
    }
    const auto downtime = *times.up_ns - *times.down_ns;
    if (budget && downtime > budget->count()) {
      return fmt::format("down for {}, beyond the budget", text_of(downtime));
    }
    const auto mended = *times.up_ns - std::max(times.healed_ns, *times.down_ns);
    if (mended > prediction.back_within.count()) {
      return fmt::format("established {} after nothing was in its way", text_of(mended));
    }
    return {};
  };
  const auto downtimes = values_of(run, [](const auto& one) {
    return one.up_ns && one.down_ns ? std::optional(*one.up_ns - *one.down_ns) : std::nullopt;
  });
  return Judging(run).finding(
      wrong,
      downtimes.empty() ? "the session did not come back"
                        : fmt::format("session down for {}", span_text(downtimes)),
      fmt::format("predicted to come back within {} of when nothing is in its way{}",
                  text_of(prediction.back_within), budget_words(budget)));
}

Finding session_holds(const FaultRun& run) {
  const auto wrong = [](std::size_t, const FaultTimes& times) {
    return times.down_ns ? fmt::format("it went down after {}", text_of(*times.down_ns))
                         : std::string();
  };
  const auto ended = values_of(run, [](const auto& one) { return one.down_ns; });
  return Judging(run).finding(
      wrong, ended.empty() ? "the session held" : fmt::format("it ended {} times", ended.size()),
      "nothing is to end it");
}

// The NOTIFICATION that must refuse a session, or end it.
std::optional<bgp_peer::Notification> refusal_of(FaultKind kind) {
  if (kind == FaultKind::wrong_asn) return bgp_peer::Notification{.code = 2, .subcode = 2};
  if (kind == FaultKind::max_prefix_exceeded) {
    return bgp_peer::Notification{.code = 6, .subcode = 1};
  }
  return std::nullopt;
}

std::string not_refused(FaultKind kind, const FaultTimes& times) {
  const auto wanted = refusal_of(kind);
  if (!times.refusal) {
    return fmt::format("the router sent no NOTIFICATION, expected {}", wanted->to_string());
  }
  if (*times.refusal != *wanted) {
    return fmt::format("the router's NOTIFICATION was {}, expected {}", times.refusal->to_string(),
                       wanted->to_string());
  }
  return {};
}

std::string not_unsigned(const FaultTimes& times, std::uint64_t bad_signatures) {
  if (times.syn_acks > 0) return "the router answered a connection signed with another password";
  if (times.syns == 0) return "the node did not try to connect";
  if (bad_signatures == 0) return "the router's kernel dropped no segment for its signature";
  return {};
}

Finding session_refused(const FaultRun& run) {
  const auto kind = run.spec.kind;
  const auto wrong = [&](std::size_t i, const FaultTimes& times) -> std::string {
    // up_ns counts from a session's end: of one that came to be between, and before mending.
    if (times.up_ns && *times.up_ns < times.healed_ns) {
      return fmt::format("it was established after {}", text_of(*times.up_ns));
    }
    if (kind != FaultKind::wrong_password) return not_refused(kind, times);
    return not_unsigned(times, i < run.bad_signatures.size() ? run.bad_signatures[i] : 0);
  };
  const auto wanted = refusal_of(kind);
  const auto expected =
      wanted ? fmt::format("expected of the router: NOTIFICATION {}", wanted->to_string())
             : "expected of the router's kernel: connections of another TCP MD5 signature dropped "
               "without an answer (RFC 2385, 2)";
  std::string seen = "no segment was dropped for its signature";
  if (!run.times.empty() && wanted) {
    const auto& refusal = run.times.front().refusal;
    seen = refusal ? "the router said " + refusal->to_string() : "the router said nothing";
  } else if (!run.bad_signatures.empty() && run.bad_signatures.front() > 0) {
    seen = fmt::format("{} dropped for a wrong TCP MD5 signature",
                       base::format_count(run.bad_signatures.front(), "segment"));
  }
  return Judging(run).finding(wrong, seen, expected);
}

// How long at most packets may be lost: while the datapath is whole, not at all.
std::int64_t predicted_loss_ns(FaultKind kind, const FaultTimes& times) {
  if (kind == FaultKind::node_silent) return times.gone_ns.value_or(times.ended_ns);
  if (kind == FaultKind::peer_restarted) return times.back_ns.value_or(times.ended_ns);
  return 0;
}

Finding loss_within_budget(const FaultRun& run) {
  const auto& budget = run.spec.budget.loss;
  const auto wrong = [&](std::size_t, const FaultTimes& times) -> std::string {
    if (times.probes == 0) return "no packet was sent meanwhile";
    if (budget && times.loss_ns > budget->count()) {
      return fmt::format("{} lost for {}, beyond the budget", times.lost, text_of(times.loss_ns));
    }
    const auto predicted = predicted_loss_ns(run.spec.kind, times);
    if (times.loss_ns > predicted + at_once.count()) {
      return fmt::format("{} lost for {}, and no more than {} is predicted", times.lost,
                         text_of(times.loss_ns), text_of(predicted));
    }
    return {};
  };
  const auto lost = reports::range_of(values_of(
      run, [](const auto& one) { return std::optional(static_cast<std::int64_t>(one.lost)); }));
  const auto packets = !lost ? std::string("no packets")
                       : lost->least == lost->most
                           ? fmt::format("{} packets", lost->most)
                           : fmt::format("{} to {} packets", lost->least, lost->most);
  const auto predicted = values_of(
      run, [&](const auto& one) { return std::optional(predicted_loss_ns(run.spec.kind, one)); });
  return Judging(run).finding(
      wrong,
      fmt::format(
          "{} lost, for {}", packets,
          span_text(values_of(run, [](const auto& one) { return std::optional(one.loss_ns); }))),
      fmt::format("predicted at most {}, with {} of slack{}", span_text(predicted),
                  text_of(at_once), budget_words(budget)));
}

Finding others_unaffected(const FaultRun& run) {
  const auto wrong = [](std::size_t, const FaultTimes& times) {
    return times.others_gone_ns ? fmt::format("another node's route was not used after {}",
                                              text_of(*times.others_gone_ns))
                                : std::string();
  };
  const auto gone = values_of(run, [](const auto& one) { return one.others_gone_ns; });
  return Judging(run).finding(wrong,
                              gone.empty()
                                  ? "the other nodes' routes stayed in use"
                                  : fmt::format("another node's route went {} times", gone.size()),
                              "they must all the time");
}

std::string hold_words(const FaultTimers& timers) {
  return fmt::format("the hold time of {} s since the node's last message (RFC 4271, 6.5)",
                     timers.hold_time_s);
}

}  // namespace

FaultPrediction predict(FaultKind kind, const FaultTimers& timers) {
  FaultPrediction prediction{.back_within = back_after_end};
  switch (kind) {
    case FaultKind::speaker_killed:
    case FaultKind::tcp_reset:
      prediction.because = "at once, as the connection closes (RFC 4271, 8.2.2)";
      break;
    case FaultKind::speaker_shutdown:
    case FaultKind::session_flap:
      prediction.because = "at once, by its NOTIFICATION (RFC 4271, 6.7; RFC 4486)";
      break;
    case FaultKind::speaker_lost:
      prediction.because =
          fmt::format("the restart time of {} s since the connection closed (RFC 4724, 4.2)",
                      timers.restart_time_s.value_or(0));
      break;
    case FaultKind::speaker_restarted:
      prediction.route = Route::stays;
      prediction.because = fmt::format(
          "the route stays, as R and F bits and the route itself come within {} s (RFC 4724, 4)",
          timers.restart_time_s.value_or(0));
      break;
    case FaultKind::speaker_silent:
    case FaultKind::node_silent:
      prediction.because = hold_words(timers);
      break;
    case FaultKind::link_down:
      prediction.because = "at once, as the kernel uses no next hop whose link is down";
      break;
    case FaultKind::peer_restarted:
      prediction.because = "at once, as nobody knows any more which routes are right";
      break;
    case FaultKind::node_drained:
      prediction.session_ends = false;
      prediction.because = "at once, by its UPDATE (RFC 4271, 9)";
      break;
    case FaultKind::readiness_flap:
    case FaultKind::rollout:
      prediction.session_ends = false;
      prediction.route = Route::returns;
      break;
    case FaultKind::wrong_asn:
    case FaultKind::wrong_password:
    case FaultKind::max_prefix_exceeded:
      prediction.session_recovers = false;
      prediction.route = Route::returns;
      break;
  }
  const bool is_started = kind == FaultKind::speaker_killed || kind == FaultKind::speaker_lost ||
                          kind == FaultKind::speaker_restarted ||
                          kind == FaultKind::speaker_shutdown;
  if (is_started) prediction.back_within = back_after_start;
  return prediction;
}

std::optional<StalePrediction> predict_stale(FaultKind kind, const FaultTimers& timers,
                                             const FaultTimes& times) {
  if (predict(kind, timers).route != Route::leaves) return std::nullopt;
  if (kind == FaultKind::speaker_silent || kind == FaultKind::node_silent) {
    if (!times.last_message_ns) return std::nullopt;
    return StalePrediction{*times.last_message_ns + seconds(timers.hold_time_s), at_once.count()};
  }
  if (kind == FaultKind::speaker_lost) {
    if (!times.wire_end_ns) return std::nullopt;
    const auto restart = seconds(timers.restart_time_s.value_or(0));
    return StalePrediction{*times.wire_end_ns + restart,
                           std::max(restart_slack.count(), restart / 100)};
  }
  const bool by_wire = kind == FaultKind::speaker_killed || kind == FaultKind::speaker_shutdown ||
                       kind == FaultKind::tcp_reset || kind == FaultKind::session_flap;
  if (!by_wire) return StalePrediction{0, at_once.count()};
  if (!times.wire_end_ns) return std::nullopt;
  return StalePrediction{*times.wire_end_ns, at_once.count()};
}

std::string ended_by(const FaultTimes& times) {
  if (!times.wire_end_ns) return {};
  if (times.notification) {
    return fmt::format("NOTIFICATION {} of the {}", times.notification->to_string(),
                       times.notified_by_router ? "router" : "node");
  }
  return times.reset ? "RST" : "FIN";
}

std::map<std::string, Finding> judge_fault(const FaultRun& run) {
  const auto prediction = predict(run.spec.kind, run.timers);
  std::map<std::string, Finding> findings;
  if (prediction.route == Route::leaves) findings["bgp_stale_route_in_time"] = stale_in_time(run);
  if (prediction.route == Route::stays) {
    findings["bgp_restart_keeps_route"] = restart_keeps_route(run);
  }
  if (is_refused(run.spec.kind)) {
    findings["bgp_session_refused"] = session_refused(run);
  } else if (prediction.session_ends) {
    findings["bgp_session_recovers"] = session_recovers(run);
  } else {
    findings["bgp_session_holds"] = session_holds(run);
  }
  findings["bgp_fault_loss_within_budget"] = loss_within_budget(run);
  if (run.spec.kind != FaultKind::peer_restarted && !is_of_pods(run.spec.kind)) {
    findings["bgp_other_routes_unaffected"] = others_unaffected(run);
  }
  return findings;
}

reports::BgpFaultRecord record_of(const FaultRun& run,
                                  const std::map<std::string, Finding>& findings) {
  const auto ns = [](const std::optional<base::Duration>& time) {
    return time ? std::optional<std::int64_t>(time->count()) : std::nullopt;
  };
  const auto prediction = predict(run.spec.kind, run.timers);
  reports::BgpFaultRecord record{.kind = std::string(base::enum_name(run.spec.kind)),
                                 .node = run.spec.node,
                                 .restart_time_s = run.timers.restart_time_s,
                                 .predicted = prediction.because,
                                 .downtime_budget_ns = ns(run.spec.budget.downtime),
                                 .stale_budget_ns = ns(run.spec.budget.stale),
                                 .loss_budget_ns = ns(run.spec.budget.loss)};
  for (const auto& times : run.times) {
    const auto predicted = predict_stale(run.spec.kind, run.timers, times);
    reports::BgpFaultRepetition one{.wire_end_ns = times.wire_end_ns,
                                    .ended_by = ended_by(times),
                                    .last_message_ns = times.last_message_ns,
                                    .down_ns = times.down_ns,
                                    .up_ns = times.up_ns,
                                    .stale_ns = times.gone_ns,
                                    .back_ns = times.back_ns,
                                    .healed_ns = times.healed_ns,
                                    .probes = times.probes,
                                    .lost = times.lost,
                                    .loss_ns = times.loss_ns,
                                    .others_gone_ns = times.others_gone_ns};
    if (predicted) one.stale_predicted_ns = predicted->at_ns;
    if (times.open) {
      one.restarting = times.open->graceful_restart && times.open->graceful_restart->restarting;
      one.forwarding = has_forwarding(*times.open, run.family);
    }
    record.repetitions.push_back(std::move(one));
  }
  const auto has = [&](Verdict verdict) {
    return std::ranges::any_of(findings,
                               [&](const auto& one) { return one.second.verdict == verdict; });
  };
  record.verdict = has(Verdict::fail)           ? Verdict::fail
                   : has(Verdict::inconclusive) ? Verdict::inconclusive
                                                : Verdict::pass;
  return record;
}

}  // namespace stackbench::bgp
