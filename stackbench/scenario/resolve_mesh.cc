// Environments with a mesh: what their proxies must be able to do, and what arms must not ask of
// them.
#include <algorithm>

#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

using base::kube::MtlsMode;

void check_mesh(const EnvironmentSpec& environment, const std::string& path, ReadLog& log) {
  const auto at = path + ".mesh";
  if (log.faulty(at)) return;
  if (environment.mesh->mode == MtlsMode::UNSET) {
    refuse(log, at + ".mode",
           "nothing is above the mesh for it to be as: say DISABLE, PERMISSIVE or STRICT");
  }
  if (log.faulty(path + ".datapath")) return;
  if (environment.datapath == cluster::DatapathKind::direct) {
    refuse(
        log, at,
        "proxies know Services, and datapath direct implements none; give the environment another");
  }
  if (environment.datapath == cluster::DatapathKind::ebpf_socket) {
    refuse(
        log, at,
        "ebpf_socket translates in connect(2), before a proxy could see which Service was dialled "
        "(Cilium's socketLB.hostNamespaceOnly leaves pods out); take iptables, nftables or "
        "ebpf_tc");
  }
}

// Whether the pods of a group have proxies; nobody outside has.
bool has_proxies(const Scenario& scenario, const std::string& group) {
  const auto pods = scenario.topology.pods.find(group);
  if (pods == scenario.topology.pods.end()) return false;
  const auto inject = pods->second.labels.find(std::string(cluster::inject_label));
  return inject == pods->second.labels.end() || inject->second != cluster::no_injection;
}

// Who answers what an arm dials; empty where the scenario does not say.
std::string dialled_group(const Scenario& scenario, const ArmSpec& arm) {
  if (arm.dial.kind == DialTarget::Kind::pod) return arm.dial.name;
  const auto service = scenario.topology.services.find(arm.dial.name);
  return service == scenario.topology.services.end() ? "" : service->second.target;
}

void check_arm(const Scenario& scenario, const ArmSpec& arm, const cluster::MeshSpec& mesh,
               const std::string& path, ReadLog& log) {
  if (arm.family.value_or(scenario.family) == base::AddressFamily::ipv6 &&
      !log.faulty(path + ".family") && !log.faulty("family")) {
    refuse(log, path, "proxies are led IPv4 alone here: dial ipv4");
  }
  if (arm.dial.kind == DialTarget::Kind::pod && mesh.mode == MtlsMode::STRICT &&
      !log.faulty(path + ".dial")) {
    refuse(log, path + ".dial",
           fmt::format("a proxy sends what goes to a pod's own address in the clear, and \"{}\" is "
                       "STRICT, which refuses it: dial a Service",
                       *arm.in));
    return;
  }
  if (mesh.mode == MtlsMode::STRICT && !log.faulty(path + ".from") && !log.faulty("topology") &&
      !has_proxies(scenario, arm.from) && has_proxies(scenario, dialled_group(scenario, arm))) {
    refuse(log, path + (arm.from == "client" ? "" : ".from"),
           fmt::format("who has no proxy speaks in the clear, and \"{}\" is STRICT, which refuses "
                       "it: have \"{}\" dial an environment that is PERMISSIVE",
                       *arm.in, arm.from));
  }
}

}  // namespace

const cluster::MeshSpec* mesh_of(const Scenario& scenario, const ArmSpec& arm) {
  if (!arm.in) return nullptr;
  const auto environment = scenario.environments.find(*arm.in);
  if (environment == scenario.environments.end() || !environment->second.mesh) return nullptr;
  return &*environment->second.mesh;
}

void resolve_meshes(const Scenario& scenario, ReadLog& log) {
  if (log.faulty_itself("environments")) return;
  bool any = false;
  for (const auto& [name, environment] : scenario.environments) {
    if (!environment.mesh) continue;
    any = true;
    const auto path = join_path("environments", name);
    if (scenario.policy || scenario.bgp) {
      refuse(log, path + ".mesh", "a mesh is measured by arms, and this scenario has none");
      continue;
    }
    check_mesh(environment, path, log);
  }
  if (!any || log.faulty_itself("arms") || scenario.plaintext_window) return;
  if (!scenario.events.empty() && !log.faulty_itself("events")) {
    refuse(log, "events",
           "what proxies use is not yet told apart from what events cost: ask of "
           "meshes in a scenario without events");
  }
  for (std::size_t i = 0; i < scenario.arms.size(); ++i) {
    const auto path = index_path("arms", i);
    const auto* mesh = mesh_of(scenario, scenario.arms[i]);
    if (mesh == nullptr || log.faulty(path + ".in")) continue;
    check_arm(scenario, scenario.arms[i], *mesh, path, log);
    for (std::size_t k = 0; k < scenario.workloads.size(); ++k) {
      const auto at = index_path("workloads", k) + ".generators";
      if (scenario.workloads[k].generators == 1 || log.faulty(at)) continue;
      refuse(log, at,
             fmt::format("what the proxies of arm \"{}\" use is read in one generator's "
                         "window: leave it out",
                         scenario.arms[i].name));
    }
  }
}

}  // namespace stackbench
