#include "stackbench/bgp/faults.h"

#include <algorithm>

#include "cluster/lab/layout.h"
#include "stackbench/bgp/fault_inject.h"

namespace stackbench::bgp {
namespace {

using base::ErrorKind;
using base::Result;

// Until all is as before, at most: longer than GoBGP ever waits.
constexpr auto sound_within = std::chrono::seconds(40);
// Of the client's stream before a fault, answered without one.
constexpr std::size_t answered_before = 100;
constexpr auto answered_within = std::chrono::seconds(5);
// After the last probe that counts, so that its answer has come or never will.
constexpr auto answers_come_within = std::chrono::milliseconds(450);
// How far back a node's last message is looked for.
constexpr auto long_before = std::chrono::seconds(30);

class FaultLoop {
 public:
  FaultLoop(Site& site, Injector& injector, const Spec& spec, int client, base::Endpoint endpoint,
            const base::Interrupt& interrupt)
      : site_(site),
        injector_(injector),
        spec_(spec),
        client_(client),
        endpoint_(endpoint),
        interrupt_(interrupt) {}

  Result<> once(FaultRun& run) {
    RETURN_IF_ERROR(injector_.prepare(run.spec));
    RETURN_IF_ERROR(injector_.await_sound(sound_within));
    ASSIGN_OR_RETURN(const auto probes, ProbeStream::start(client_, endpoint_));
    RETURN_IF_ERROR(await_answers(probes));
    ASSIGN_OR_RETURN(const auto before, injector_.bad_signatures());
    auto window = injector_.window_of(run.spec);
    RETURN_IF_ERROR(injector_.inject(run.spec, window));
    ASSIGN_OR_RETURN(const auto after, injector_.bad_signatures());
    RETURN_IF_ERROR(injector_.heal(run.spec, window));
    RETURN_IF_ERROR(injector_.await_sound(sound_within));
    if (window.ended == base::MonotonicTime()) window.ended = base::monotonic_now();
    RETURN_IF_ERROR(interrupt_.wait_until(base::monotonic_now() + answers_come_within));
    ASSIGN_OR_RETURN(auto seen, site_.seen_since(window.begun - long_before));
    seen.probes = probes.probes();
    run.times.push_back(analyse_fault(window, seen));
    run.bad_signatures.push_back(after - before);
    return {};
  }

 private:
  Result<> await_answers(const ProbeStream& probes) const {
    ASSIGN_OR_RETURN(const bool answered,
                     injector_.holds_within(answered_within, [&]() -> Result<bool> {
                       const auto all = probes.probes();
                       return std::ranges::count_if(all, [](const auto& probe) {
                                return probe.answered.has_value();
                              }) >= static_cast<std::ptrdiff_t>(answered_before);
                     }));
    if (answered) return {};
    return base::fail(ErrorKind::timed_out,
                      "the client's packets to {} of Service {} are not answered, before anything "
                      "was broken",
                      endpoint_, spec_.service);
  }

  Site& site_;
  Injector& injector_;
  const Spec& spec_;
  int client_;  // its network namespace
  base::Endpoint endpoint_;
  const base::Interrupt& interrupt_;
};

FaultTimers timers_of(const Spec& spec, const FaultSpec& fault) {
  FaultTimers timers{.hold_time_s = spec.hold_time_s};
  if (is_graceful(fault.kind)) {
    timers.restart_time_s = fault.restart_time_s ? fault.restart_time_s : spec.restart_time_s;
  }
  return timers;
}

}  // namespace

SpeakersSpec speakers_for_faults(const Spec& spec) {
  SpeakersSpec speakers{.router_asn = {spec.router_asn},
                        .node_asn = {spec.node_asn},
                        .communities = spec.communities,
                        .hold_time_s = spec.hold_time_s,
                        .restart_time_s = spec.restart_time_s,
                        .graceful_nodes = false,
                        .password = spec.password,
                        .max_prefixes = spec.max_prefixes};
  // The router must take part in it for any: whose time it is says the node.
  for (const auto& fault : spec.faults) {
    if (!speakers.restart_time_s) speakers.restart_time_s = fault.restart_time_s;
  }
  return speakers;
}

Result<FaultsOutcome> run_faults(Site& site, cluster::LabTarget& target, const Spec& spec,
                                 base::AddressFamily family, const base::Interrupt& interrupt,
                                 const FaultWatcher& watcher) {
  ASSIGN_OR_RETURN(const auto endpoint, site.endpoint_of(spec.service, family));
  Injector injector(site, target, spec, family, bgp_peer::Prefix::host(endpoint.address),
                    interrupt);
  const int client = target.environment(site.environment().name)->netns(cluster::external_client);
  FaultLoop loop(site, injector, spec, client, endpoint, interrupt);
  FaultsOutcome outcome;
  const auto total = spec.faults.size() * static_cast<std::size_t>(spec.repetitions);
  std::size_t done = 0;
  for (const auto& fault : spec.faults) {
    outcome.runs.push_back({.spec = fault, .timers = timers_of(spec, fault), .family = family});
    for (int repetition = 0; repetition < spec.repetitions; ++repetition) {
      watcher(done, total,
              fmt::format("{} of node {}, repetition {}", base::enum_name(fault.kind), fault.node,
                          repetition + 1));
      auto ended = loop.once(outcome.runs.back());
      if (ended) ended = site.captures_are_whole();
      if (ended) {
        ++done;
        continue;
      }
      auto error = base::in_context(std::move(ended).error(), "{} of node {}, repetition {}",
                                    base::enum_name(fault.kind), fault.node, repetition + 1)
                       .error();
      // A Ctrl-C reaches the daemons, too, so that it may show as any error.
      outcome.interrupted = interrupt.requested();
      if (outcome.runs.back().times.empty()) outcome.runs.pop_back();
      if (outcome.runs.empty()) return std::unexpected(std::move(error));
      if (!outcome.interrupted) outcome.trouble = std::move(error);
      return outcome;
    }
  }
  return outcome;
}

void add_faults(const FaultsOutcome& outcome, reports::Report& report) {
  for (const auto& run : outcome.runs) {
    const auto findings = judge_fault(run);
    for (const auto& [name, finding] : findings) {
      report.checks.push_back(
          {.name = name,
           .arm = fmt::format("{}/node{}", base::enum_name(run.spec.kind), run.spec.node),
           .verdict = finding.verdict,
           .sentence = finding.sentence,
           .observed = finding.observed,
           .evidence = finding.evidence});
    }
    report.bgp_faults.push_back(record_of(run, findings));
  }
  if (outcome.trouble) report.errors.push_back(reports::trouble_from(*outcome.trouble));
}

base::Duration time_for_faults(const Spec& spec) {
  // GoBGP waits 7 s before it connects, as a mean, and 5 s more where a session ends.
  constexpr auto after_start = std::chrono::seconds(8);
  constexpr auto after_end = std::chrono::seconds(13);
  std::optional<std::uint32_t> told;
  base::Duration all = std::chrono::seconds(10);
  for (const auto& fault : spec.faults) {
    const auto timers = timers_of(spec, fault);
    if (timers.restart_time_s != told) all += after_start;
    told = timers.restart_time_s;
    const auto prediction = predict(fault.kind, timers);
    base::Duration one = std::chrono::seconds(1);
    const bool is_started = prediction.back_within == back_after_start;
    if (fault.kind == FaultKind::wrong_asn || fault.kind == FaultKind::wrong_password) {
      one += 2 * after_start;
    } else if (prediction.session_ends) {
      one += is_started ? after_start : after_end;
    }
    const bool silent = fault.kind == FaultKind::speaker_silent ||
                        fault.kind == FaultKind::node_silent || fault.kind == FaultKind::link_down;
    if (silent) one += std::chrono::seconds(spec.hold_time_s);
    if (fault.kind == FaultKind::speaker_lost) {
      one += std::chrono::seconds(timers.restart_time_s.value_or(0));
    }
    all += one * spec.repetitions;
  }
  return all;
}

}  // namespace stackbench::bgp
