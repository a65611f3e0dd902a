#include "stackbench/event_report.h"

#include <algorithm>

#include "base/units.h"
#include "checks/stale_backend.h"

namespace stackbench {
namespace {

constexpr std::string_view no_socket_destroyed =
    "this datapath lacks what would end or move the connected UDP sockets of a backend that left "
    "(Cilium destroys them, by bpf_sock_destroy)";
constexpr std::string_view unknown_datapath =
    "what this cluster's datapath is, and so what it promises of kept flows, could not be found "
    "out";

// The outcomes of one arm under one workload that count.
std::vector<checks::Outcomes> kept_outcomes(const Measurements& measured, std::size_t arm,
                                            std::size_t workload) {
  const auto kept = measured.kept_blocks();
  std::vector<checks::Outcomes> all;
  for (const auto& sample : measured.samples) {
    if (sample.arm != arm || sample.workload != workload) continue;
    if (std::ranges::find(kept, sample.block) != kept.end()) all.push_back(sample.outcomes);
  }
  return all;
}

// The middle value; of an even number the lower of the two, so that it is one that was seen.
std::optional<std::int64_t> median(std::vector<std::int64_t> values) {
  if (values.empty()) return std::nullopt;
  std::ranges::sort(values);
  return values[(values.size() - 1) / 2];
}

std::optional<std::int64_t> greatest(const std::vector<std::int64_t>& values) {
  if (values.empty()) return std::nullopt;
  return *std::ranges::max_element(values);
}

reports::EventRecord record_of(const EventSpec& event, std::size_t index,
                               const std::vector<checks::Outcomes>& invocations) {
  reports::EventRecord record{.kind = std::string(base::enum_name(event.kind)),
                              .pod = event.pod,
                              .at_ns = event.at.count()};
  std::vector<std::int64_t> stale;
  std::vector<std::int64_t> errors;
  std::vector<std::int64_t> programmed;
  std::vector<std::int64_t> published;
  std::vector<std::int64_t> followed;
  std::vector<std::int64_t> reached;
  std::vector<std::int64_t> reached_errors;
  for (const auto& invocation : invocations) {
    const auto found = std::ranges::find_if(
        invocation.events, [&](const auto& one) { return one.what.event == index; });
    if (found == invocation.events.end()) continue;
    const checks::EventOutcome& outcome = *found;
    ++record.invocations;
    record.failures_lost += invocation.failures_lost;
    for (const auto& [name, count] : outcome.failed) record.failed[name] += count;
    record.flows_held += outcome.flows_held;
    record.flows_moved += outcome.flows_moved;
    record.others_moved += outcome.others_moved;
    if (const auto at_ns = outcome.what.programmed_ns) {
      programmed.push_back(*at_ns - outcome.what.sent_ns);
    }
    if (const auto at_ns = outcome.what.published_ns) {
      const auto after = *at_ns - outcome.what.sent_ns;
      published.push_back(after);
      if (outcome.stale) followed.push_back(outcome.stale->ns - after);
      if (outcome.reached && !outcome.stale) followed.push_back(outcome.reached->ns - after);
    }
    if (const auto& joined = outcome.reached) {
      reached.push_back(joined->ns);
      reached_errors.push_back(joined->error_ns);
    }
    const auto left = outcome.stale;
    if (!left) continue;
    record.judged_by = std::string(base::enum_name(left->judged_by));
    stale.push_back(left->ns);
    errors.push_back(left->error_ns);
  }
  record.stale_median_ns = median(stale);
  record.stale_max_ns = greatest(stale);
  record.stale_error_ns = greatest(errors);
  record.reached_median_ns = median(reached);
  record.reached_max_ns = greatest(reached);
  record.reached_error_ns = greatest(reached_errors);
  record.published_median_ns = median(published);
  record.followed_median_ns = median(followed);
  record.followed_max_ns = greatest(followed);
  record.programmed_median_ns = median(programmed);
  record.programmed_max_ns = greatest(programmed);
  return record;
}

// What an arm's datapath promises of the kept flows of datagrams of a backend that leaves; nothing
// where nobody could find out what it is.
std::optional<checks::FlowPromise> promise_of(const Plan& plan, const PlannedArm& arm) {
  const auto datapath = plan.environments[arm.environment].datapath;
  if (datapath == cluster::DatapathKind::installed) return std::nullopt;
  // Whoever translates packet by packet, whether it tracks them in netfilter's table or its own.
  const bool per_packet = datapath == cluster::DatapathKind::iptables ||
                          datapath == cluster::DatapathKind::nftables ||
                          uses_connection_table(datapath, arm.dial, arm.from);
  return per_packet ? checks::FlowPromise::move : checks::FlowPromise::stay;
}

checks::Finding judge_flows(std::optional<checks::FlowPromise> promise,
                            const std::vector<checks::Outcomes>& invocations) {
  if (promise) return checks::flows_stay(*promise, invocations);
  return {.verdict = base::Verdict::skip, .sentence = std::string(unknown_datapath)};
}

}  // namespace

std::vector<reports::EventRecord> event_records(const Plan& plan, const Measurements& measured) {
  std::vector<reports::EventRecord> records;
  const auto& events = plan.scenario.events;
  for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
    for (std::size_t arm = 0; arm < plan.arms.size() && !events.empty(); ++arm) {
      const auto invocations = kept_outcomes(measured, arm, workload);
      for (std::size_t i = 0; i < events.size() && !invocations.empty(); ++i) {
        auto record = record_of(events[i], i, invocations);
        record.arm = plan.arms[arm].name;
        record.workload = plan.workloads[workload].name;
        records.push_back(std::move(record));
      }
    }
  }
  return records;
}

std::vector<RunCheck> judge_events(const Plan& plan, const Measurements& measured) {
  std::vector<RunCheck> judged;
  for (const auto check : plan.scenario.checks) {
    if (check != CheckKind::stale_backend && check != CheckKind::flows_stay) continue;
    for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
      // Who dials the pods themselves was promised nothing.
      if (plan.arms[arm].dial.kind == DialTarget::Kind::pod) continue;
      for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
        const auto kind = plan.workloads[workload].spec.kind;
        const bool keeps = bench::keeps_connections(plan.workloads[workload].spec);
        const bool datagrams = bench::protocol_of(kind) == base::Protocol::UDP;
        const auto promise = promise_of(plan, plan.arms[arm]);
        const auto invocations = kept_outcomes(measured, arm, workload);
        if (check == CheckKind::flows_stay && keeps && datagrams) {
          judged.push_back({check, arm, workload, judge_flows(promise, invocations)});
        } else if (check == CheckKind::stale_backend && (datagrams || !keeps)) {
          auto finding = checks::stale_backend(plan.scenario.stale_budget, invocations);
          if (datagrams && promise != checks::FlowPromise::move &&
              finding.verdict == base::Verdict::fail) {
            finding.verdict = base::Verdict::skip;
            finding.sentence = fmt::format(
                "{}; {}", promise ? no_socket_destroyed : unknown_datapath, finding.sentence);
          }
          judged.push_back({check, arm, workload, std::move(finding)});
        }
      }
    }
  }
  return judged;
}

}  // namespace stackbench
