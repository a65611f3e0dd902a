// Arms and what is broken on purpose: the parts of a scenario that point at its topology and
// environments.
#include <algorithm>
#include <set>
#include <utility>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

bool is_outside(const ArmSpec& arm) { return arm.from == cluster::external_client; }

// What a Service must be for this arm to reach it; the Service is there.
void check_service(const Scenario& scenario, const ArmSpec& arm, const std::string& path,
                   ReadLog& log) {
  const auto& service = scenario.topology.services.at(arm.dial.name);
  const auto type = base::enum_name(service.type);
  const bool node_port = arm.dial.kind == DialTarget::Kind::node_port;
  if (node_port && service.type == cluster::ServiceType::ClusterIP) {
    refuse(
        log, path + ".dial",
        fmt::format("Service \"{}\" is of type {} and has no port at nodes: give it type NodePort "
                    "or LoadBalancer",
                    arm.dial.name, type));
    return;
  }
  if (arm.dial.kind == DialTarget::Kind::load_balancer &&
      service.type != cluster::ServiceType::LoadBalancer) {
    refuse(log, path + ".dial",
           fmt::format("Service \"{}\" is of type {} and has no load balancer's address: give it "
                       "type LoadBalancer",
                       arm.dial.name, type));
    return;
  }
  if (arm.dial.kind == DialTarget::Kind::service && is_outside(arm)) {
    refuse(log, path + ".dial",
           "a ClusterIP is not routed outside the cluster: dial node_port or load_balancer");
    return;
  }
  if (!node_port) return;
  if (arm.dial.node > scenario.topology.nodes) {
    refuse(log, path + ".dial",
           fmt::format("there is no node {}, topology.nodes is {}", arm.dial.node,
                       scenario.topology.nodes));
    return;
  }
  // From another node a pod's packets are translated at the node dialled, and its pods' replies do
  // not come back that way.
  const auto pods = scenario.topology.pods.find(service.target);
  const auto client = scenario.topology.pods.find(arm.from);
  const bool from_there = !is_outside(arm) && client != scenario.topology.pods.end() &&
                          client->second.node == arm.dial.node;
  if (service.external_traffic_policy == base::kube::TrafficPolicy::Local && !from_there &&
      pods != scenario.topology.pods.end() && pods->second.node != arm.dial.node) {
    refuse(log, path + ".dial",
           fmt::format("nothing would answer: external_traffic_policy of \"{}\" is Local and its "
                       "pods are on node {}",
                       arm.dial.name, pods->second.node));
  }
}

void check_environment(const Scenario& scenario, const ArmSpec& arm, const std::string& path,
                       ReadLog& log) {
  if (log.faulty(path + ".in") || log.faulty_itself("environments")) return;
  const bool service = arm.dial.kind != DialTarget::Kind::pod && !log.faulty(path + ".dial");
  if (!arm.in) {
    if (service) {
      refuse(log, path + ".dial",
             "a Service needs an environment whose datapath implements it: say `in:`, or dial a "
             "pod");
    }
    return;
  }
  const auto environment = scenario.environments.find(*arm.in);
  if (environment == scenario.environments.end()) {
    refuse(log, path + ".in",
           unknown_name("environment", *arm.in, names_of(scenario.environments)));
  } else if (service && environment->second.datapath == cluster::DatapathKind::direct &&
             !log.faulty(join_path("environments", *arm.in))) {
    refuse(log, path + ".dial",
           fmt::format("the datapath of environment \"{}\" is direct, which implements no Services",
                       *arm.in));
  }
}

void check_ends(const Scenario& scenario, const ArmSpec& arm, const std::string& path,
                ReadLog& log) {
  const auto& topology = scenario.topology;
  const bool pods_known = !log.faulty_itself("topology.pods");
  if (!log.faulty(path + ".dial")) {
    const bool pod = arm.dial.kind == DialTarget::Kind::pod;
    if (pod && pods_known && !topology.pods.contains(arm.dial.name)) {
      refuse(log, path + ".dial",
             unknown_name("group of pods", arm.dial.name, names_of(topology.pods)));
    }
    if (!pod && !log.faulty_itself("topology.services")) {
      if (!topology.services.contains(arm.dial.name)) {
        refuse(log, path + ".dial",
               unknown_name("Service", arm.dial.name, names_of(topology.services)));
      } else if (!log.faulty(join_path("topology.services", arm.dial.name))) {
        check_service(scenario, arm, path, log);
      }
    }
  }
  if (log.faulty(path + ".from") || !pods_known || is_outside(arm)) return;
  if (!topology.pods.contains(arm.from)) {
    refuse(log, path + ".from", unknown_name("group of pods", arm.from, names_of(topology.pods)));
  } else if (!log.faulty(path + ".dial") && servers_of(scenario, arm) == arm.from) {
    refuse(
        log, path + ".dial",
        fmt::format("the pods \"{}\" would dial themselves; measure between two groups", arm.from));
  }
}

// The arm another is compared with where it does not say: a Service arm with its companion, which
// dials the pod under the same rules, and the companion with the arm that has no datapath at all.
std::optional<std::string> companion_of(const Scenario& scenario, const ArmSpec& arm) {
  const bool service = arm.dial.kind != DialTarget::Kind::pod;
  if (!service && !arm.in) return std::nullopt;
  const DialTarget pod{.kind = DialTarget::Kind::pod, .name = servers_of(scenario, arm)};
  const auto in = service ? arm.in : std::nullopt;
  for (const auto& other : scenario.arms) {
    if (other.dial == pod && other.in == in && other.from == arm.from &&
        other.family == arm.family) {
      return other.name;
    }
  }
  return std::nullopt;
}

void resolve_base(Scenario& scenario, std::size_t index, bool names_known, ReadLog& log) {
  auto& arm = scenario.arms[index];
  const auto path = index_path("arms", index);
  if (!names_known || log.faulty(path + ".relative_to")) return;
  if (!arm.relative_to) {
    if (!log.faulty(path)) arm.relative_to = companion_of(scenario, arm);
    return;
  }
  if (*arm.relative_to == arm.name) {
    refuse(log, path + ".relative_to", "an arm cannot be compared with itself");
    return;
  }
  std::vector<std::string_view> others;
  for (const auto& other : scenario.arms) {
    if (other.name != arm.name) others.push_back(other.name);
  }
  if (std::ranges::find(others, *arm.relative_to) == others.end()) {
    refuse(log, path + ".relative_to", unknown_name("arm", *arm.relative_to, others));
  }
}

// Why a fault of this kind does not go with its environment's datapath.
std::string cannot_break(const FaultSpec& fault, cluster::DatapathKind datapath) {
  const auto kind = base::enum_name(fault.kind);
  const auto its =
      fmt::format("the datapath of \"{}\" is {}", fault.environment, base::enum_name(datapath));
  switch (fault.kind) {
    case cluster::FaultKind::hook_left_out:
      return fmt::format("{} leaves out the hooks of ebpf_socket, and {}", kind, its);
    case cluster::FaultKind::connection_table_too_small:
      return fmt::format("{} is about the table of ebpf_tc, and {}", kind, its);
    case cluster::FaultKind::flows_flushed:
      return fmt::format("{} is done by rules of iptables or nftables, and {}", kind, its);
    default:
      return fmt::format("{} needs a datapath that translates, and {}", kind, its);
  }
}

// Why nobody would see it happen late.
std::optional<std::string> nothing_late(const Scenario& scenario, const FaultSpec& fault) {
  const auto kind = fault.kind == cluster::FaultKind::interception_late ? MeshChange::pod_start
                                                                        : MeshChange::policy_flip;
  const auto seen_there = [&](const MeshChangeSpec& change) {
    return change.kind == kind && change.in.value_or(fault.environment) == fault.environment;
  };
  if (scenario.plaintext_window &&
      std::ranges::any_of(scenario.plaintext_window->changes, seen_there)) {
    return std::nullopt;
  }
  return fmt::format("{} makes a {} late, and plaintext_window has none in \"{}\"",
                     base::enum_name(fault.kind), base::enum_name(kind), fault.environment);
}

// The same of a fault in a mesh.
std::optional<std::string> no_mesh_to_break(const Scenario& scenario, const FaultSpec& fault) {
  using base::kube::MtlsMode;
  const auto& mesh = scenario.environments.at(fault.environment).mesh;
  if (!mesh) {
    return fmt::format("{} breaks a mesh, and \"{}\" has none", base::enum_name(fault.kind),
                       fault.environment);
  }
  if (fault.kind == cluster::FaultKind::port_left_out_of_strict && mesh->mode != MtlsMode::STRICT) {
    return fmt::format("the mesh of \"{}\" is {}, so there is no STRICT to leave a port out of",
                       fault.environment, base::enum_name(mesh->mode));
  }
  // That of a scenario with arms would be all there is to measure.
  if (fault.kind == cluster::FaultKind::interception_hole && mesh->mode == MtlsMode::STRICT &&
      !scenario.plaintext_window) {
    return fmt::format("the mesh of \"{}\" is STRICT, which refuses what leaves by the hole",
                       fault.environment);
  }
  if (fault.kind == cluster::FaultKind::forwarded_in_plaintext &&
      mesh->mode != MtlsMode::PERMISSIVE) {
    return fmt::format(
        "the mesh of \"{}\" is {}: only where both are taken, PERMISSIVE, is it "
        "encryption that one in so many requests goes without",
        fault.environment, base::enum_name(mesh->mode));
  }
  if (cluster::is_late_in_mesh(fault.kind)) return nothing_late(scenario, fault);
  if (cluster::breaks_rotation(fault.kind) && !scenario.rotation) {
    return fmt::format("{} breaks how certificates are rotated, and the scenario has no rotation",
                       base::enum_name(fault.kind));
  }
  if (fault.kind == cluster::FaultKind::new_root_untrusted && !scenario.rotation->rotate_root) {
    return "new_root_untrusted leaves out a step of rotating the root: say rotation.rotate_root";
  }
  if (fault.kind == cluster::FaultKind::authorization_left_out &&
      std::ranges::none_of(mesh->objects, decides_access)) {
    return fmt::format("the mesh of \"{}\" has no objects about authorization to leave out",
                       fault.environment);
  }
  if (cluster::breaks_routing(fault.kind) && std::ranges::none_of(mesh->objects, decides_routes)) {
    return fmt::format("the mesh of \"{}\" has no VirtualService or DestinationRule to break",
                       fault.environment);
  }
  const bool of_certificates = fault.kind == cluster::FaultKind::certificate_not_renewed ||
                               fault.kind == cluster::FaultKind::any_ca_trusted;
  if (of_certificates && mesh->mode == MtlsMode::DISABLE) {
    return fmt::format("the mesh of \"{}\" is DISABLE, so nobody looks at certificates",
                       fault.environment);
  }
  return std::nullopt;
}

// Why a fault would change nothing in this scenario, if so.
std::optional<std::string> nothing_to_break(const Scenario& scenario, const FaultSpec& fault,
                                            bool arms_known) {
  using base::kube::SessionAffinity;
  const auto kind = fault.kind;
  const auto& pods = scenario.topology.pods;
  const auto& services = scenario.topology.services;
  if (cluster::breaks_policies(kind) != scenario.policy.has_value()) {
    return scenario.policy ? fmt::format(
                                 "{} breaks no policies, and a scenario with a policy looks "
                                 "at nothing else",
                                 base::enum_name(kind))
                           : fmt::format(
                                 "{} breaks how NetworkPolicies are enforced, and the "
                                 "scenario has no policy",
                                 base::enum_name(kind));
  }
  if (scenario.rotation && !cluster::breaks_rotation(kind) &&
      kind != cluster::FaultKind::certificate_not_renewed) {
    return fmt::format("{} shows in nothing that a scenario with a rotation looks at",
                       base::enum_name(kind));
  }
  if (cluster::breaks_mesh(kind)) return no_mesh_to_break(scenario, fault);
  if (kind == cluster::FaultKind::affinity_ignored &&
      std::ranges::none_of(services, [](const auto& service) {
        return service.second.session_affinity == SessionAffinity::ClientIP;
      })) {
    return "no Service has session_affinity ClientIP, so there is nothing to ignore";
  }
  if (kind == cluster::FaultKind::impostor &&
      std::ranges::none_of(pods, [](const auto& group) { return group.second.replicas > 1; })) {
    return "no group of pods has two replicas, so none can answer as another";
  }
  if (kind == cluster::FaultKind::connection_table_too_small && arms_known &&
      std::ranges::none_of(scenario.arms, [&](const ArmSpec& arm) {
        return arm.in == fault.environment &&
               uses_connection_table(scenario.environments.at(fault.environment).datapath, arm.dial,
                                     arm.from);
      })) {
    return fmt::format("no arm dials a Service through the connection table of \"{}\"",
                       fault.environment);
  }
  return std::nullopt;
}

}  // namespace

std::string servers_of(const Scenario& scenario, const ArmSpec& arm) {
  if (arm.dial.kind == DialTarget::Kind::pod) return arm.dial.name;
  const auto service = scenario.topology.services.find(arm.dial.name);
  return service == scenario.topology.services.end() ? std::string() : service->second.target;
}

void resolve_arms(Scenario& scenario, ReadLog& log) {
  if (scenario.arms.empty() && !log.faulty_itself("arms")) {
    refuse(log, "arms", "expected at least one arm, got none");
  }
  std::set<std::string_view> names;
  bool names_known = true;
  for (std::size_t i = 0; i < scenario.arms.size(); ++i) {
    const auto& arm = scenario.arms[i];
    const auto path = index_path("arms", i);
    check_word(arm.name, path + ".name", log.place_of(path + ".name"), log);
    if (log.faulty(path + ".name")) {
      names_known = false;
    } else if (!names.insert(arm.name).second) {
      refuse(log, path + ".name", fmt::format("another arm above is called \"{}\"", arm.name));
    }
    check_ends(scenario, arm, path, log);
    check_environment(scenario, arm, path, log);
  }
  for (std::size_t i = 0; i < scenario.arms.size(); ++i) {
    resolve_base(scenario, i, names_known, log);
  }
}

void resolve_faults(const Scenario& scenario, ReadLog& log) {
  std::set<std::pair<cluster::FaultKind, std::string>> seen;
  for (std::size_t i = 0; i < scenario.faults.size(); ++i) {
    const auto& fault = scenario.faults[i];
    const auto path = index_path("faults", i);
    const auto where = path + ".environment";
    if (log.faulty(path) || log.faulty_itself("environments")) continue;
    const auto environment = scenario.environments.find(fault.environment);
    if (environment == scenario.environments.end()) {
      refuse(log, where,
             unknown_name("environment", fault.environment, names_of(scenario.environments)));
      continue;
    }
    const auto datapath = environment->second.datapath;
    const bool known = !log.faulty(join_path("environments", fault.environment));
    if (known && !cluster::can_break(fault.kind, datapath)) {
      refuse(log, where, cannot_break(fault, datapath));
    } else if (const auto missing = nothing_to_break(scenario, fault, !log.faulty("arms"))) {
      refuse(log, path + ".kind", *missing);
    } else if (fault.delay && fault.kind != cluster::FaultKind::policy_delayed &&
               !cluster::is_late_in_mesh(fault.kind)) {
      refuse(log, path + ".delay",
             "only policy_delayed, interception_late and peer_authentication_late have one");
    } else if (fault.one_in && fault.kind != cluster::FaultKind::forwarded_in_plaintext) {
      refuse(log, path + ".one_in", "only forwarded_in_plaintext has one");
    } else if (!seen.emplace(fault.kind, fault.environment).second) {
      refuse(log, path, "this fault is already listed");
    } else if (has_arms(scenario) && !log.faulty("arms") &&
               std::ranges::find(scenario.arms, std::optional(fault.environment), &ArmSpec::in) ==
                   scenario.arms.end()) {
      refuse(log, where,
             fmt::format("no arm enters \"{}\", so nobody would notice", fault.environment));
    }
  }
}

}  // namespace stackbench
