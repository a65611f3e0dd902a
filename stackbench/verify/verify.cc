#include "stackbench/verify/verify.h"

#include <algorithm>
#include <utility>

#include "cluster/kubernetes/api_error.h"
#include "cluster/kubernetes/cluster_facts.h"
#include "cluster/kubernetes/kubectl_proxy.h"
#include "cluster/kubernetes/nodes.h"
#include "cluster/kubernetes/rights.h"
#include "stackbench/exit_code.h"
#include "stackbench/verify/cluster_dns.h"
#include "stackbench/verify/cluster_pods.h"

namespace stackbench {
namespace {

using base::ErrorKind;
using base::Result;
using cluster::Right;
using cluster::text_at;

void add(std::vector<Right>& rights, std::string_view verb, std::string_view resource,
         std::string_view group, const std::string& in_namespace) {
  rights.push_back({.verb = std::string(verb),
                    .resource = std::string(resource),
                    .group = std::string(group),
                    .in_namespace = in_namespace});
}

// What is read, and what is made where packets are asked.
Result<> check_rights_to_verify(cluster::ApiClient& api, const VerifyOptions& options,
                                const std::string& version) {
  const auto checked = [](Result<> result) -> Result<> {
    if (result) return result;
    auto error = std::move(result).error();
    if (error.kind == ErrorKind::not_permitted) {
      error.mend =
          "--no-probes only reads: pods and networkpolicies of the namespaces, and the namespaces.";
    }
    return std::unexpected(std::move(error));
  };
  for (const auto& name : options.namespaces) {
    std::vector<Right> rights{
        {.verb = "get", .resource = "namespaces", .name = name, .in_namespace = name}};
    add(rights, "list", "pods", "", name);
    add(rights, "list", "networkpolicies", "networking.k8s.io", name);
    if (options.probes) {
      add(rights, "list", "services", "", name);
      add(rights, "list", "replicationcontrollers", "", name);
      for (const auto* resource : {"replicasets", "statefulsets", "daemonsets"}) {
        add(rights, "list", resource, "apps", name);
      }
      add(rights, "list", "jobs", "batch", name);
      if (options.ephemeral) add(rights, "patch", "pods/ephemeralcontainers", "", name);
    }
    RETURN_IF_ERROR(checked(cluster::check_rights(api.options(), rights)));
  }
  if (!options.probes) return {};
  // Of a run, those about namespaces and pods: nothing else is made.
  std::vector<Right> rights;
  for (auto& right : cluster::rights_of_run("", version)) {
    const auto& resource = right.resource;
    if (resource == "namespaces" || resource == "serviceaccounts" || resource == "pods" ||
        resource == "pods/exec") {
      rights.push_back(std::move(right));
    }
  }
  return checked(cluster::check_rights(api.options(), rights));
}

std::string engine_of(cluster::ApiClient& api) {
  const auto nodes = cluster::list_nodes(api);
  const auto facts = cluster::collect_cluster_facts(api, nodes ? *nodes : cluster::Objects());
  if (!facts) return "unknown: " + facts.error().message;
  const auto engine = cluster::policy_engine_of(facts->plugin);
  return fmt::format("{} ({})", engine.name.empty() ? "unknown" : engine.name, engine.source);
}

// The cluster's DNS (cluster_dns.h). Errors: also as ApiClient::get.
Result<std::vector<ProbeOutside>> find_dns(cluster::ApiClient& api, const VerifyOptions& options,
                                           checks::PolicyWorld& world) {
  const auto base = fmt::format("namespaces/{}", system_namespace);
  DnsObjects objects;
  ASSIGN_OR_RETURN(objects.space, api.get("/api/v1/" + base));
  ASSIGN_OR_RETURN(
      objects.pods,
      api.get(fmt::format("/api/v1/{}/pods?labelSelector={}", base,
                          cluster::url_escape(fmt::format("{}={}", dns_label, dns_app)))));
  ASSIGN_OR_RETURN(objects.policies,
                   api.get(fmt::format("/apis/networking.k8s.io/v1/{}/networkpolicies", base)));
  return dns_of(objects,
                std::ranges::find(options.namespaces, system_namespace) != options.namespaces.end(),
                world);
}

bool holds(const ProbingResult& probing, CellVerdict verdict) {
  return std::ranges::any_of(probing.cells,
                             [&](const JudgedCell& cell) { return cell.verdict == verdict; });
}

// Whether any path that policies close was seen to be closed.
bool shows_closed(const ProbingResult& probing) {
  return std::ranges::any_of(probing.cells, [](const JudgedCell& cell) {
    return cell.verdict == CellVerdict::as_policies_say &&
           cell.cell.expected == checks::Allowance::denied;
  });
}

// How many packets a sweep would be of, with addresses nobody knows yet.
std::size_t planned_packets(const ProbePlan& plan, checks::PolicyWorld world, std::size_t families,
                            const std::vector<ProbeOutside>& outside) {
  std::vector<ProbeEnd> ends;
  for (const auto* pods : {&plan.elsewhere, &plan.of_workloads}) {
    for (const auto& pod : *pods) {
      checks::PolicyPod stand_in{.name = pod.name,
                                 .in_namespace = pod.in_namespace,
                                 .labels = pod.labels,
                                 .node = pod.node};
      stand_in.addresses.push_back({.family = base::AddressFamily::ipv4, .bytes = {}});
      if (families > 1) {
        stand_in.addresses.push_back({.family = base::AddressFamily::ipv6, .bytes = {}});
      }
      ends.push_back({.name = pod.name,
                      .pod = world.pods.size(),
                      .role = pod.role,
                      .server_id = 1,
                      .ports = pod.ports});
      world.pods.push_back(std::move(stand_in));
    }
  }
  return packets_of(probe_cells(world, ends, outside));
}

std::size_t families_of(const checks::PolicyWorld& world) {
  std::size_t most = 1;
  for (const auto& pod : world.pods) most = std::max(most, pod.addresses.size());
  return most;
}

// With pods that are made and gone again.
Result<bool> probe(cluster::ApiClient& api, cluster::Agents& agents, const VerifyOptions& options,
                   const cluster::LiveObjects& live, const LiveWorld& world, const Consent& consent,
                   VerifyResult& result) {
  const auto run = cluster::new_run();
  ASSIGN_OR_RETURN(auto place, probing_place(run));
  const auto plan = plan_probes(live, world, run, place.ours.in_namespace, place.labels_of_ours,
                                options.ephemeral);
  result.unprobed = plan.unprobed;
  auto probed = world.world;
  std::vector<ProbeOutside> outside;
  if (auto dns = find_dns(api, options, probed)) {
    outside = std::move(*dns);
  } else {
    result.notes.push_back(
        fmt::format("the way to the cluster's DNS was not probed: {}", dns.error().message));
  }
  for (const auto& endpoint : options.external) {
    outside.push_back({.name = fmt::format("external {}", endpoint), .endpoint = endpoint});
  }
  const auto packets = planned_packets(plan, probed, families_of(probed), outside);
  ASSIGN_OR_RETURN(const bool agreed, consent(render(plan, packets, options)));
  if (!agreed) return false;
  if (plan.of_workloads.empty()) {
    result.probing = ProbingResult{.cells = {}, .unprobed = {}, .sweeps = 0, .settled = true};
    return true;
  }
  ClusterPods pods(api, agents, std::move(place), cluster::image_of(options.cluster));
  RETURN_IF_ERROR(probe_with(pods, plan, std::move(probed), outside,
                             {.rate = options.rate, .interrupt = options.cluster.interrupt},
                             result));
  return true;
}

}  // namespace

Result<VerifyResult> judge_policies(const VerifyOptions& options, const LiveWorld& world,
                                    std::string engine) {
  VerifyResult result{.namespaces = options.namespaces,
                      .engine = std::move(engine),
                      .coverage = cover(world, options.directions),
                      .probing = {},
                      .unprobed = {},
                      .unmade = {},
                      .notes = {},
                      .drift = {},
                      .selected_namespaces = world.selected_namespaces};
  std::ranges::sort(result.namespaces);
  for (const auto& name : result.namespaces) {
    if (std::ranges::none_of(result.coverage, [&](const WorkloadCoverage& one) {
          return one.in_namespace == name;
        })) {
      result.notes.push_back(fmt::format("there is no pod in namespace {}", name));
    }
  }
  if (!world.of_ours.empty()) {
    result.notes.push_back(fmt::format("pods of stackbench's own runs were not looked at: {}",
                                       fmt::join(world.of_ours, ", ")));
  }
  if (!world.selected_namespaces) {
    result.notes.emplace_back(
        "which namespaces the policies' selectors select was not looked at: this user may not list "
        "namespaces");
  }
  if (options.against) {
    ASSIGN_OR_RETURN(result.drift, drift(*options.against, result.to_save()));
  }
  return result;
}

Result<> probe_with(ProbePods& pods, const ProbePlan& plan, checks::PolicyWorld world,
                    const std::vector<ProbeOutside>& outside, const ProbingOptions& options,
                    VerifyResult& result) {
  Probing probing(pods, options);
  auto seen = probing.run(plan, std::move(world), outside);
  const auto gone = probing.remove();
  if (!seen) {
    auto error = std::move(seen).error();
    if (!gone) {
      error.message +=
          fmt::format("\nWhat was made for it is still there: {}. stackbench clean takes it away.",
                      gone.error().message);
    }
    return std::unexpected(std::move(error));
  }
  RETURN_IF_ERROR(gone);
  result.probing = std::move(*seen);
  return {};
}

SavedCoverage VerifyResult::to_save() const {
  auto state = saved(namespaces, coverage);
  state.selected_namespaces = selected_namespaces;
  return state;
}

ClaimVerdict verdict_of(const VerifyResult& result) {
  // Of nothing nothing is shown.
  bool unknown = result.coverage.empty() || !result.unmade.empty();
  for (const auto& workload : result.coverage) {
    for (const auto& [direction, covered] : workload.directions) {
      if (covered.coverage == Coverage::uncovered ||
          covered.coverage == Coverage::allows_everything) {
        return ClaimVerdict::fail;
      }
      unknown = unknown || covered.coverage == Coverage::unknown;
    }
  }
  if (result.drift && !result.drift->empty()) return ClaimVerdict::fail;
  if (result.probing) {
    const auto& probing = *result.probing;
    if (holds(probing, CellVerdict::open_though_denied)) return ClaimVerdict::fail;
    unknown = unknown || !probing.settled || !probing.unprobed.empty() ||
              !result.unprobed.empty() || holds(probing, CellVerdict::unknown) ||
              holds(probing, CellVerdict::not_judged) || !shows_closed(probing);
  }
  return unknown ? ClaimVerdict::inconclusive : ClaimVerdict::pass;
}

int exit_code_of(ClaimVerdict verdict) {
  switch (verdict) {
    case ClaimVerdict::pass:
      return exit_pass;
    case ClaimVerdict::fail:
      return exit_failed;
    case ClaimVerdict::inconclusive:
      break;
  }
  return exit_inconclusive;
}

Result<std::optional<VerifyResult>> verify_default_deny(const VerifyOptions& options,
                                                        const Consent& consent) {
  const auto& cluster_options = options.cluster;
  const cluster::KubectlOptions kubectl{.kubectl = cluster_options.kubectl,
                                        .kubeconfig = cluster_options.kubeconfig,
                                        .context = cluster_options.context};
  ASSIGN_OR_RETURN(auto proxy, cluster::KubectlProxy::start(kubectl, cluster_options.interrupt));
  cluster::ApiClient api(cluster::api_options_of(cluster_options, proxy.socket()));
  cluster::Agents agents(proxy.socket(), kubectl, cluster_options.interrupt);
  const auto verify = [&]() -> Result<std::optional<VerifyResult>> {
    auto hurried = api.options();
    hurried.timeout = std::min(hurried.timeout, cluster::first_answer_patience);
    cluster::ApiClient first(hurried);
    ASSIGN_OR_RETURN(const auto version, first.get("/version"));
    RETURN_IF_ERROR(check_rights_to_verify(api, options, text_at(version, {"gitVersion"})));
    ASSIGN_OR_RETURN(const auto live,
                     cluster::read_live_objects(api, options.namespaces, options.probes));
    ASSIGN_OR_RETURN(const auto world, make_live_world(live));
    ASSIGN_OR_RETURN(auto result, judge_policies(options, world, engine_of(api)));
    if (!options.probes) return result;
    ASSIGN_OR_RETURN(const bool went_on, probe(api, agents, options, live, world, consent, result));
    if (!went_on) return std::nullopt;
    return result;
  };
  auto verified = verify();
  if (!verified) return std::unexpected(proxy.explain(std::move(verified).error()));
  return verified;
}

}  // namespace stackbench
