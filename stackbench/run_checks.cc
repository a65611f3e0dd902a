#include "stackbench/run_checks.h"

#include <algorithm>
#include <optional>

#include "checks/backend_identity.h"
#include "checks/connection_table.h"
#include "checks/distribution.h"
#include "checks/source_ip_preserved.h"
#include "checks/translated_at.h"

namespace stackbench {
namespace {

// Where a Service address must be translated, by what the environment promises.
checks::TranslatedAt expected_place(const Plan& plan, const PlannedArm& arm) {
  if (arm.dial.kind == DialTarget::Kind::pod) return checks::TranslatedAt::none;
  switch (plan.environments[arm.environment].datapath) {
    case cluster::DatapathKind::iptables:
    case cluster::DatapathKind::nftables:
    case cluster::DatapathKind::ebpf_tc:
      return checks::TranslatedAt::packet;
    case cluster::DatapathKind::ebpf_socket:
      // Nobody's sockets outside are hooked: there the node translates what comes in.
      return arm.from == cluster::external_client ? checks::TranslatedAt::packet
                                                  : checks::TranslatedAt::socket;
    case cluster::DatapathKind::direct:
    case cluster::DatapathKind::installed:  // never of an arm that is up: the handle says which
      return checks::TranslatedAt::none;
  }
  return checks::TranslatedAt::none;
}

// Whether Kubernetes promises the pods of this arm the client's own address.
bool promises_source(const Plan& plan, const PlannedArm& arm) {
  if (arm.dial.kind == DialTarget::Kind::pod || arm.dial.kind == DialTarget::Kind::service) {
    return true;
  }
  return plan.scenario.topology.services.at(arm.dial.name).external_traffic_policy ==
         base::kube::TrafficPolicy::Local;
}

// How the connections of this arm must spread. Nothing where nobody promises: with affinity, a
// client outside keeps a pod per node that its load balancer sends it to, as kube-proxy on every
// node remembers for itself.
std::optional<checks::Spread> promised_spread(const Plan& plan, const PlannedArm& arm) {
  if (arm.dial.kind == DialTarget::Kind::pod) return checks::Spread::even;
  const auto& service = plan.scenario.topology.services.at(arm.dial.name);
  if (service.session_affinity == base::kube::SessionAffinity::None) return checks::Spread::even;
  const bool through_any_node =
      arm.from == cluster::external_client && arm.dial.kind == DialTarget::Kind::load_balancer;
  return through_any_node ? std::nullopt : std::optional(checks::Spread::one);
}

// What the probe at the clients' interfaces cost.
class ProbeCost {
 public:
  void add(const probes::TranslationCounts& counts) {
    known_ = known_ || counts.run_count.has_value();
    events_ += counts.run_count.value_or(0);
    time_ns_ += counts.run_time_ns.value_or(0);
    lost_ += counts.lost;
  }
  // Nothing where the kernel was not allowed to count it.
  void report_to(ReportBuilder& report) const {
    if (!known_) return;
    const double per_event =
        events_ > 0 ? static_cast<double>(time_ns_) / static_cast<double>(events_) : 0;
    report.add_probe(
        {.name = "translation", .events = events_, .ns_per_event = per_event, .lost = lost_});
  }

 private:
  bool known_ = false;
  std::uint64_t events_ = 0;
  std::uint64_t time_ns_ = 0;
  std::uint64_t lost_ = 0;
};

checks::Finding skipped(std::string why) {
  return {.verdict = base::Verdict::skip, .sentence = std::move(why), .observed = "skipped"};
}

checks::Finding judge_translation(const Plan& plan, const PlannedArm& arm,
                                  const TranslationObservation& seen) {
  if (!seen.counts) {
    return skipped("no probe at the client's interface: " + seen.counts.error().message);
  }
  const bool unknown =
      plan.environments[arm.environment].datapath == cluster::DatapathKind::installed;
  if (unknown && arm.dial.kind != DialTarget::Kind::pod) {
    auto finding = checks::translated_at(checks::TranslatedAt::packet, *seen.counts, seen.client);
    finding.verdict = base::Verdict::skip;
    finding.sentence = fmt::format(
        "the cluster does not say who translates Services, so nothing is promised; seen: {}",
        finding.observed);
    return finding;
  }
  return checks::translated_at(expected_place(plan, arm), *seen.counts, seen.client);
}

// The checks that rest on a few requests with a probe at the client's interface.
base::Result<> check_requests(const Plan& plan, Session& session, ReportBuilder& report,
                              ProbeCost& cost, std::size_t index, std::size_t workload) {
  const auto& arm = plan.arms[index];
  ASSIGN_OR_RETURN(const auto seen, session.observe_translation(index, workload));
  ASSIGN_OR_RETURN(const auto client, session.client_address(arm));
  ASSIGN_OR_RETURN(const auto identities, session.identities(arm));
  if (seen.counts) cost.add(*seen.counts);
  const auto add = [&](CheckKind kind, checks::Finding finding) {
    report.add_check(std::string(base::enum_name(kind)), arm.name, plan.workloads[workload].name,
                     std::move(finding));
  };
  for (const auto kind : plan.scenario.checks) {
    switch (kind) {
      case CheckKind::translated_at:
        add(kind, judge_translation(plan, arm, seen));
        break;
      case CheckKind::source_ip_preserved:
        add(kind, checks::source_ip_preserved(promises_source(plan, arm), client, seen.servers));
        break;
      case CheckKind::backend_identity: {
        std::vector<checks::Answerer> servers;
        for (std::size_t i = 0; i < arm.servers.size(); ++i) {
          servers.push_back({arm.servers[i], identities[i], seen.servers[i]});
        }
        add(kind, checks::backend_identity(seen.client, servers));
        break;
      }
      case CheckKind::distribution:
      case CheckKind::connection_table:
      case CheckKind::stale_backend:
      case CheckKind::flows_stay:
      case CheckKind::policy_matrix:
      case CheckKind::default_deny_holds:
      case CheckKind::leak_window:
      case CheckKind::established_connections:
      case CheckKind::new_pod_protected:
        break;
    }
  }
  return {};
}

// The check that rests on many connections, for workloads that make them.
base::Result<> check_connections(const Plan& plan, Session& session, ReportBuilder& report,
                                 std::size_t index, std::size_t workload) {
  const auto& arm = plan.arms[index];
  const auto promised = promised_spread(plan, arm);
  if (!promised || bench::keeps_connections(plan.workloads[workload].spec)) return {};
  ASSIGN_OR_RETURN(const auto sample, session.observe_connections(index, workload));
  ASSIGN_OR_RETURN(const auto identities, session.identities(arm));
  report.add_check(std::string(base::enum_name(CheckKind::distribution)), arm.name,
                   plan.workloads[workload].name,
                   checks::distribution(*promised, identities, sample.client));
  return {};
}

}  // namespace

base::Result<> run_checks(const Plan& plan, Session& session, ReportBuilder& report,
                          base::Progress& progress, const base::Interrupt& interrupt) {
  const auto [requests, connections] = observed_by(plan.scenario);
  ProbeCost cost;
  for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
    for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
      if (interrupt.requested()) return base::fail(base::ErrorKind::interrupted, "interrupted");
      progress.update(0, 1, fmt::format("checking {}", plan.arms[arm].name));
      if (requests) RETURN_IF_ERROR(check_requests(plan, session, report, cost, arm, workload));
      if (connections) RETURN_IF_ERROR(check_connections(plan, session, report, arm, workload));
    }
  }
  if (requests) cost.report_to(report);
  return {};
}

bool watches_connection_tables(const Plan& plan) {
  return std::ranges::find(plan.scenario.checks, CheckKind::connection_table) !=
         plan.scenario.checks.end();
}

void check_connection_tables(const Plan& plan, const base::Json& before, const base::Json& after,
                             ReportBuilder& report) {
  for (const auto& arm : plan.arms) {
    const auto& environment = plan.environments[arm.environment];
    if (!uses_connection_table(environment.datapath, arm.dial, arm.from)) continue;
    const auto counts = [&](const base::Json& facts) {
      return checks::connection_table_of(facts.at("environments").at(environment.name));
    };
    report.add_check(std::string(base::enum_name(CheckKind::connection_table)), arm.name,
                     std::nullopt, checks::connection_table(counts(before), counts(after)));
  }
}

}  // namespace stackbench
