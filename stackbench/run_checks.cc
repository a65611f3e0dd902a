#include "stackbench/run_checks.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include "bench/canaries.h"
#include "checks/backend_identity.h"
#include "checks/certificates_valid.h"
#include "checks/connection_table.h"
#include "checks/distribution.h"
#include "checks/mesh/routes_as_specified.h"
#include "checks/mtls/authorization_enforced.h"
#include "checks/mtls/impostors_refused.h"
#include "checks/mtls/wire_is_encrypted.h"
#include "checks/plaintext_refused.h"
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
      case CheckKind::handshake_per_connection:
      case CheckKind::plaintext_refused:
      case CheckKind::certificates_valid:
      case CheckKind::wire_is_encrypted:
      case CheckKind::impostors_refused:
      case CheckKind::no_plaintext_window:
      case CheckKind::rotation_is_seamless:
      case CheckKind::certificates_renewed:
      case CheckKind::authorization_enforced:
      case CheckKind::routes_as_specified:
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

bool wants(const Plan& plan, CheckKind kind) {
  return std::ranges::find(plan.scenario.checks, kind) != plan.scenario.checks.end();
}

// The check that rests on a client that speaks in the clear, where that must be refused.
base::Result<> check_plaintext(const Plan& plan, Session& session, ReportBuilder& report,
                               std::size_t index, std::size_t workload) {
  const auto& arm = plan.arms[index];
  if (!promises_refusal(plan, arm)) return {};
  if (!bench::replies_by_tcp(plan.workloads[workload].spec.kind)) return {};
  ASSIGN_OR_RETURN(const auto pods, session.observe_plaintext(index, workload));
  report.add_check(std::string(base::enum_name(CheckKind::plaintext_refused)), arm.name,
                   plan.workloads[workload].name, checks::plaintext_refused(pods));
  return {};
}

// What the proxies behind an arm show to a handshake, where somebody may make one.
base::Result<> add_shown(const Plan& plan, Session& session, const PlannedArm& arm,
                         std::vector<checks::ProxyCertificate>& all) {
  const auto workload = std::ranges::find_if(plan.workloads, [](const PlannedWorkload& one) {
    return bench::protocol_of(one.spec.kind) == base::Protocol::TCP;
  });
  if (workload == plan.workloads.end() || !session.has_observers()) return {};
  const auto shown = session.read_identities(arm, workload->spec.kind);
  if (!shown) {
    const auto kind = shown.error().kind;
    if (kind == base::ErrorKind::missing || kind == base::ErrorKind::not_permitted) return {};
    return std::unexpected(shown.error());
  }
  for (const auto& door : shown->doors) {
    auto its = std::ranges::find(all, door.name, &checks::ProxyCertificate::pod);
    if (its == all.end()) its = all.insert(all.end(), checks::ProxyCertificate{.pod = door.name});
    its->was_asked = true;
    if (!door.peer) continue;
    its->shown_from_s = door.peer->not_before_s;
    its->shown_until_s = door.peer->not_after_s;
  }
  return {};
}

// The check on what an arm's proxies show, where they show anything.
base::Result<> check_certificates(const Plan& plan, Session& session, ReportBuilder& report,
                                  const PlannedArm& arm) {
  const auto& mesh = plan.environments[arm.environment].mesh;
  if (!mesh || mesh->spec.mode == base::kube::MtlsMode::DISABLE) return {};
  ASSIGN_OR_RETURN(const auto counters, session.proxy_counters(arm.environment));
  std::vector<checks::ProxyCertificate> proxies;
  for (const auto& proxy : counters) {
    proxies.push_back({.pod = proxy.pod, .expires_s = proxy.certificate_expires_s});
  }
  RETURN_IF_ERROR(add_shown(plan, session, arm, proxies));
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  report.add_check(std::string(base::enum_name(CheckKind::certificates_valid)), arm.name,
                   std::nullopt,
                   checks::certificates_valid(proxies, now.time_since_epoch().count()));
  return {};
}

// What a capture cost, over all of a run's.
class CaptureCost {
 public:
  void add(const checks::WireObservation& seen) {
    for (const auto& point : seen.points) {
      if (!point.report) continue;
      packets_ += point.report->packets;
      time_ns_ += point.report->cpu_ns;
      lost_ += point.report->lost;
    }
  }
  // Of the capturing threads alone: that packets are copied for them is part of the traffic's own.
  void report_to(ReportBuilder& report) const {
    if (packets_ == 0) return;
    const double per_packet = static_cast<double>(time_ns_) / static_cast<double>(packets_);
    report.add_probe(
        {.name = "capture", .events = packets_, .ns_per_event = per_packet, .lost = lost_});
  }

 private:
  std::uint64_t packets_ = 0;
  std::int64_t time_ns_ = 0;
  std::uint64_t lost_ = 0;
};

// Whether anything readable crosses the wire, by requests and replies that carry canaries.
base::Result<> check_wire(const Plan& plan, Session& session, ReportBuilder& report,
                          CaptureCost& cost, std::size_t index, std::size_t workload) {
  if (!is_to_be_encrypted(plan, plan.arms[index])) return {};
  if (!bench::can_carry_canaries(plan.workloads[workload].spec.kind)) return {};
  ASSIGN_OR_RETURN(const auto seen, session.observe_wire(index, workload));
  cost.add(seen);
  report.add_check(std::string(base::enum_name(CheckKind::wire_is_encrypted)),
                   plan.arms[index].name, plan.workloads[workload].name,
                   checks::wire_is_encrypted(seen));
  return {};
}

// Whether whoever is not of the mesh is refused.
base::Result<> check_doors(const Plan& plan, Session& session, ReportBuilder& report,
                           std::size_t index, std::size_t workload) {
  if (!is_to_refuse_impostors(plan, plan.arms[index])) return {};
  if (!bench::can_carry_canaries(plan.workloads[workload].spec.kind)) return {};
  ASSIGN_OR_RETURN(const auto tried, session.try_doors(index, workload));
  report.add_check(
      std::string(base::enum_name(CheckKind::impostors_refused)), plan.arms[index].name,
      plan.workloads[workload].name,
      tried ? checks::impostors_refused(*tried)
            : skipped("there is no mesh here whose authority signs certificates for this"));
  return {};
}

// Whether requests come to what the mesh's policies say, where it has any.
base::Result<> check_authorization(const Plan& plan, Session& session, ReportBuilder& report,
                                   std::size_t index) {
  const auto& mesh = plan.environments[plan.arms[index].environment].mesh;
  if (!mesh || std::ranges::none_of(mesh->spec.objects, decides_access)) return {};
  ASSIGN_OR_RETURN(const auto seen, session.try_authorization(index));
  report.add_check(std::string(base::enum_name(CheckKind::authorization_enforced)),
                   plan.arms[index].name, std::nullopt, checks::authorization_enforced(seen));
  return {};
}

// Whether requests go where the mesh's objects say, where it has any.
base::Result<> check_routes(const Plan& plan, Session& session, ReportBuilder& report,
                            std::size_t index) {
  const auto& arm = plan.arms[index];
  const auto& mesh = plan.environments[arm.environment].mesh;
  if (!mesh || arm.dial.kind != DialTarget::Kind::service ||
      std::ranges::none_of(mesh->spec.objects, decides_routes)) {
    return {};
  }
  const std::string check(base::enum_name(CheckKind::routes_as_specified));
  if (auto why = session.why_no_routing()) {
    report.add_check(check, arm.name, std::nullopt, skipped(*std::move(why)));
    return {};
  }
  ASSIGN_OR_RETURN(const auto cells, session.try_routing(index));
  for (const auto& cell : cells) {
    report.add_check(check, arm.name, cell.name, checks::routes_as_specified(cell));
  }
  return {};
}

}  // namespace

base::Result<> run_checks(const Plan& plan, Session& session, ReportBuilder& report,
                          base::Progress& progress, const base::Interrupt& interrupt) {
  const auto [requests, connections, wire, doors] = observed_by(plan.scenario);
  ProbeCost cost;
  CaptureCost capture_cost;
  for (std::size_t arm = 0; arm < plan.arms.size(); ++arm) {
    if (wants(plan, CheckKind::certificates_valid)) {
      RETURN_IF_ERROR(check_certificates(plan, session, report, plan.arms[arm]));
    }
    for (std::size_t workload = 0; workload < plan.workloads.size(); ++workload) {
      if (interrupt.requested()) return base::fail(base::ErrorKind::interrupted, "interrupted");
      progress.update(0, 1, fmt::format("checking {}", plan.arms[arm].name));
      // First, while who pools connections and cannot be told to close them has few whose beginning
      // was not seen: on a cluster those of whoever waited until Services work.
      if (wire) RETURN_IF_ERROR(check_wire(plan, session, report, capture_cost, arm, workload));
      if (requests) RETURN_IF_ERROR(check_requests(plan, session, report, cost, arm, workload));
      if (doors) RETURN_IF_ERROR(check_doors(plan, session, report, arm, workload));
      if (connections) RETURN_IF_ERROR(check_connections(plan, session, report, arm, workload));
      if (wants(plan, CheckKind::plaintext_refused)) {
        RETURN_IF_ERROR(check_plaintext(plan, session, report, arm, workload));
      }
    }
    if (wants(plan, CheckKind::authorization_enforced)) {
      RETURN_IF_ERROR(check_authorization(plan, session, report, arm));
    }
    if (wants(plan, CheckKind::routes_as_specified)) {
      RETURN_IF_ERROR(check_routes(plan, session, report, arm));
    }
  }
  if (requests) cost.report_to(report);
  if (wire) capture_cost.report_to(report);
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
