// Checks: each must have something to look at.
#include <algorithm>
#include <set>

#include "bench/canaries.h"
#include "stackbench/scenario/resolve.h"

namespace stackbench {
namespace {

// Why there is nothing to look at where requests go.
std::optional<std::string> cannot_look_at_routes(const Scenario& scenario, const ReadLog& log) {
  if (scenario.routing.empty() && !log.faulty("routing")) {
    return "routes_as_specified needs cells to try: say some under routing";
  }
  if (!log.faulty("workloads") &&
      std::ranges::none_of(scenario.workloads, [](const auto& workload) {
        return workload.kind == bench::WorkloadKind::http;
      })) {
    return "routes_as_specified asks at the port of http, and no workload here is http";
  }
  if (std::ranges::none_of(scenario.arms, [&](const ArmSpec& arm) {
        const auto* const mesh = mesh_of(scenario, arm);
        return mesh != nullptr && arm.dial.kind == DialTarget::Kind::service &&
               std::ranges::any_of(mesh->objects, decides_routes);
      })) {
    return "no arm dials a Service in an environment whose mesh has a VirtualService or a "
           "DestinationRule among its objects";
  }
  return std::nullopt;
}

// The same of a check about the proxies of arms.
std::optional<std::string> cannot_look_at_meshes(const Scenario& scenario, CheckKind kind,
                                                 const ReadLog& log) {
  using base::kube::MtlsMode;
  const auto any_arm = [&](auto&& holds) {
    return std::ranges::any_of(scenario.arms, [&](const ArmSpec& arm) {
      const auto* mesh = mesh_of(scenario, arm);
      return mesh != nullptr && holds(*mesh);
    });
  };
  if (!any_arm([](const auto&) { return true; })) {
    return fmt::format("{} is about proxies, and no arm is in an environment with a mesh",
                       base::enum_name(kind));
  }
  if (kind == CheckKind::plaintext_refused &&
      !any_arm([](const auto& mesh) { return mesh.mode == MtlsMode::STRICT; })) {
    return "plaintext_refused is what STRICT promises, and no arm is in an environment that has it";
  }
  if (kind == CheckKind::certificates_valid &&
      !any_arm([](const auto& mesh) { return mesh.mode != MtlsMode::DISABLE; })) {
    return "certificates_valid needs proxies that show some, and every mesh here is DISABLE";
  }
  if (kind == CheckKind::authorization_enforced) {
    if (log.faulty("authorization")) return std::nullopt;
    const auto any_expected = [&](bool allowed) {
      return std::ranges::any_of(scenario.authorization, [&](const AccessSpec& access) {
        return (access.expect == base::kube::Access::allowed) == allowed;
      });
    };
    if (!any_expected(true) || !any_expected(false)) {
      return "authorization_enforced needs requests, under authorization: one that is allowed, as "
             "whoever refuses everybody proves nothing, and one that is not";
    }
    if (!any_arm(
            [](const auto& mesh) { return std::ranges::any_of(mesh.objects, decides_access); })) {
      return "no arm is in an environment whose mesh has an AuthorizationPolicy or a "
             "RequestAuthentication among its objects";
    }
  }
  if (kind == CheckKind::routes_as_specified) return cannot_look_at_routes(scenario, log);
  if (kind == CheckKind::handshake_per_connection && !log.faulty("workloads") &&
      std::ranges::none_of(scenario.workloads, [](const auto& workload) {
        return bench::connects_by_itself(workload.kind);
      })) {
    return "proxies keep connections for http and http2, so a connection of a client is none "
           "between "
           "them; add tcp_crr or tcp_rr";
  }
  return std::nullopt;
}

// Why a check of a scenario with arms has nothing to look at.
std::optional<std::string> cannot_look_at_arms(const Scenario& scenario, CheckKind kind,
                                               const ReadLog& log) {
  if (kind == CheckKind::distribution && !log.faulty("workloads") &&
      std::ranges::all_of(scenario.workloads, [](const auto& workload) {
        return bench::keeps_connections(workload);
      })) {
    return "distribution counts connections, and every workload here keeps its own; add one that "
           "opens a connection for each request, tcp_crr, or http or http2 with keep_alive: false";
  }
  if (kind == CheckKind::connection_table && !log.faulty("arms") && !log.faulty("environments") &&
      std::ranges::none_of(scenario.arms, [&](const ArmSpec& arm) {
        return arm.in && uses_connection_table(scenario.environments.at(*arm.in).datapath, arm.dial,
                                               arm.from);
      })) {
    return "connection_table watches the table of ebpf_tc, and no arm dials a Service through it";
  }
  if (is_about_meshes(kind) && !log.faulty("arms") && !log.faulty("environments")) {
    return cannot_look_at_meshes(scenario, kind, log);
  }
  if (kind == CheckKind::wire_is_encrypted && !log.faulty("workloads") &&
      std::ranges::none_of(scenario.workloads, [](const auto& workload) {
        return bench::can_carry_canaries(workload.kind);
      })) {
    return "wire_is_encrypted looks for what requests and replies carry, and no workload here has "
           "any over TCP; add http, http2, tcp_rr or tcp_crr";
  }
  return std::nullopt;
}

// The same of one with a policy.
std::optional<std::string> cannot_look_at_policies(const PolicySpec& policy, CheckKind kind,
                                                   const ReadLog& log) {
  const bool changes = !policy.changes.empty() || log.faulty("policy.changes");
  if (kind == CheckKind::leak_window && !changes) {
    return "leak_window watches packets while something changes; say what under policy.changes";
  }
  if (kind == CheckKind::new_pod_protected && policy.new_pods.empty() &&
      !log.faulty("policy.new_pods")) {
    return "new_pod_protected watches pods that are made anew; say which under policy.new_pods";
  }
  if (kind != CheckKind::established_connections) return std::nullopt;
  if (!changes) {
    return "established_connections watches flows while something changes; say what under "
           "policy.changes";
  }
  const auto& expected = policy.established;
  if (log.faulty("policy.established") ||
      (expected && (expected->busy_tcp || expected->idle_tcp || expected->udp))) {
    return std::nullopt;
  }
  return "what is to become of open flows is not in the specification of NetworkPolicy: say what "
         "is expected under policy.established";
}

}  // namespace

void resolve_checks(const Scenario& scenario, ReadLog& log) {
  std::set<CheckKind> checks;
  for (std::size_t i = 0; i < scenario.checks.size(); ++i) {
    const auto path = index_path("checks", i);
    if (log.faulty(path)) continue;
    const auto kind = scenario.checks[i];
    const auto name = base::enum_name(kind);
    std::optional<std::string> why;
    if (!checks.insert(kind).second) {
      why = fmt::format("\"{}\" is already among the checks", name);
    } else if (is_about_policies(kind) && !scenario.policy) {
      why = fmt::format("{} is about NetworkPolicies: say which under policy", name);
    } else if (is_about_windows(kind) != scenario.plaintext_window.has_value()) {
      why = scenario.plaintext_window
                ? fmt::format("{} is about arms, and a scenario with a plaintext_window has none",
                              name)
                : fmt::format("{} is about changes of a mesh: say which under plaintext_window",
                              name);
    } else if (scenario.plaintext_window) {
      continue;  // it watches whatever changes
    } else if (is_about_rotations(kind) && !scenario.rotation) {
      why = fmt::format("{} is about certificates that are rotated: say how under rotation", name);
    } else if (scenario.rotation && !is_about_rotations(kind)) {
      if (kind != CheckKind::certificates_valid) {
        why = fmt::format("{} is about arms, and a scenario with a rotation has none", name);
      }
    } else if (!is_about_policies(kind) && scenario.policy) {
      why = fmt::format("{} is about arms, and a scenario with a policy has none", name);
    } else if (scenario.policy) {
      why = cannot_look_at_policies(*scenario.policy, kind, log);
    } else if (!scenario.rotation) {
      why = cannot_look_at_arms(scenario, kind, log);
    }
    if (why) refuse(log, path, *std::move(why));
  }
}

}  // namespace stackbench
